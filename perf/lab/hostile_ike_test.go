package lab_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/perf/lab"
)

// The IKE header (RFC 7296 section 3.1): where its fields begin, and its length, in octets.
const (
	ikeNextPayload = 16
	ikeVersion     = 17
	ikeExchange    = 18
	ikeFlags       = 19
	ikeMessageID   = 20
	ikeLength      = 24
	ikeHeaderLen   = 28

	flagInitiator = 0x08
	flagResponse  = 0x20

	exchangeInit          = 34
	exchangeAuth          = 35
	exchangeCreateChild   = 36
	exchangeInformational = 37

	payloadSK     = 46
	payloadNotify = 41
	payloadDelete = 42
)

// TestHostileIKE sends IKE datagrams that no peer sends, in the peer's name and in those of strangers, to both ports.
// Each is dropped or refused and counted, answered as RFC 7296 says or not at all, and the IKE SA and its child live on.
//
// S-062
func TestHostileIKE(t *testing.T) {
	r := newHostileRig(t)
	r.onlyPings(t, r.A, r.lan)
	r.onlyPings(t, r.B, r.farLAN)
	r.run(t, "unparsable", testUnparsableIKE)
	r.run(t, "unprotected answers", testUnprotectedAnswers)
	r.run(t, "live IKE SA", testLiveIKE)
	r.run(t, "strangers", testStrangers)
	r.run(t, "random", testRandomIKE)
	r.run(t, "flood", testIKEFlood)
	r.noClear(t)

	// IKE still works: the Child SA gets new keys.
	before := lab.Outbound(sas(t, r.a))
	if err := r.a.RekeyChild(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := lab.Until(t.Context(), nil, "new keys", changeLimit, func() (bool, error) {
		now := lab.Outbound(sas(t, r.a))
		return now != "" && now != before, r.a.Process.Alive()
	})
	if err != nil {
		t.Error(err)
	}
	r.ping(t)
}

func sas(t *testing.T, g *lab.Gateway) []api.SA {
	t.Helper()
	all, err := g.SAs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// message is an IKE message with a header that fits it.
func message(spiI, spiR []byte, next, exchange, flags byte, id uint32, payloads ...byte) []byte {
	m := slices.Concat(spiI, spiR, []byte{next, 0x20, exchange, flags}, octets32(id), octets32(0), payloads)
	return sized(m)
}

// sized makes the length in the header right.
func sized(m []byte) []byte {
	copy(m[ikeLength:], octets32(uint32(len(m))))
	return m
}

func octets32(n uint32) []byte { return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} }

// initiation is an IKE_SA_INIT request that gw-a would accept from its peer.
func initiation(t *testing.T, r *hostileRig) []byte {
	t.Helper()
	proposal, err := crypto.ParseIKEProposal("aes128gcm16-prfsha256-ecp256")
	if err != nil {
		t.Fatal(err)
	}
	engine := ike.NewEngine(ike.Config{Random: rand.NewChaCha8([32]byte{7, 2, 9, 6}),
		AllocateSPI: func(_, _ string) (uint32, error) { return 1 << 16, nil },
		Peers: []ike.Peer{{Name: "victim", Local: r.B.WANAddress, Remote: r.A.WANAddress, PSK: crypto.NewSecret([]byte("not the key")),
			IKEProposals: []crypto.IKEProposal{proposal}, Children: []ike.Child{{Name: "any", Start: ike.StartAlways}}}}})
	for _, effect := range engine.Step(time.Now(), ike.Tick{}) {
		if send, ok := effect.(ike.Send); ok {
			return send.Payload
		}
	}
	t.Fatal("the engine began no negotiation")
	return nil
}

// fromPeer makes frames of IKE messages in the peer's name, for port 500 and behind the marker for port 4500.
func (r *hostileRig) fromPeer(messages ...[]byte) [][]byte {
	return r.ikeFrames(r.B.WANAddress, messages...)
}

func (r *hostileRig) ikeFrames(source netip.Addr, messages ...[]byte) (frames [][]byte) {
	for _, m := range messages {
		for _, datagram := range [][]byte{udp(500, 500, m), udp(4500, 4500, slices.Concat(make([]byte, 4), m))} {
			frames = append(frames, ether(r.wanMAC, etherIPv4, ipv4(source, r.A.WANAddress, protocolUDP, datagram)))
		}
	}
	return frames
}

var factLine = regexp.MustCompile(`(?m)^sallyport_ike_facts_total\{kind="(\w+)",peer="[^"]*",reason="(\w*)",version="[12]"\} (\d+)$`)

// facts are gw-a's IKE facts of one kind, by reason, from its metrics.
func (r *hostileRig) facts(t *testing.T, kind string) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, m := range factLine.FindAllStringSubmatch(metrics(t, r.a), -1) {
		if m[1] == kind {
			n, _ := strconv.Atoi(m[3])
			found[m[2]] += n
		}
	}
	return found
}

func total(counts map[string]int) (sum int) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// dropped sends datagrams that IKE must all drop, and returns for which reasons it did and what gw-a sent meanwhile
// besides ESP and ARP.
func (r *hostileRig) dropped(t *testing.T, frames [][]byte) (reasons map[string]int, sent []reply) {
	t.Helper()
	if _, err := r.wan.Receive(); err != nil {
		t.Fatal(err)
	}
	before := r.facts(t, "dropped")
	// Fewer at once than one sender may have wait in any queue before IKE, which is half of the shortest, so nothing is lost there.
	for some := range slices.Chunk(frames, 2*slowBunch) {
		at := total(r.facts(t, "dropped"))
		r.inject(t, wanPort, some)
		err := lab.Until(t.Context(), nil, "IKE to drop the datagrams", takeLimit, func() (bool, error) {
			return total(r.facts(t, "dropped"))-at >= len(some), r.a.Process.Alive()
		})
		if err != nil {
			t.Fatalf("%v: %d of %d, %v", err, total(r.facts(t, "dropped"))-at, len(some), r.facts(t, "dropped"))
		}
	}
	reasons = r.facts(t, "dropped")
	for reason, n := range before {
		if reasons[reason] -= n; reasons[reason] == 0 {
			delete(reasons, reason)
		}
	}
	if total(reasons) != len(frames) {
		t.Errorf("IKE dropped %d of %d datagrams: %v", total(reasons), len(frames), reasons)
	}
	return reasons, r.replies(t)
}

// reply is an IKE message that gw-a sent.
type reply struct {
	to      netip.Addr
	message []byte
}

func (m reply) String() string { return fmt.Sprintf("to %s: % x", m.to, m.message) }

func (m reply) response() bool { return m.message[ikeFlags]&flagResponse != 0 }

// replies are what gw-a has sent since the last look, besides ESP to its peer and ARP about it.
func (r *hostileRig) replies(t *testing.T) (found []reply) {
	t.Helper()
	frames, err := r.wan.Receive()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		switch {
		case isPacket(f, r.A.WANAddress, r.B.WANAddress, protocolESP):
		case isARP(f) && len(f) >= 42 && netip.AddrFrom4([4]byte(f[38:42])) == r.B.WANAddress:
		case len(f) > espAt+udpLen+ikeHeaderLen && !isARP(f) && f[23] == protocolUDP:
			m := f[espAt+udpLen:]
			if get16(f[espAt:]) == 4500 {
				m = m[4:]
			}
			found = append(found, reply{netip.AddrFrom4([4]byte(f[30:34])), m})
		default:
			t.Errorf("gw-a sent % x", f)
		}
	}
	return found
}

// silent wants IKE to drop all frames without a word, for these reasons and no other.
func (r *hostileRig) silent(t *testing.T, frames [][]byte, allowed ...string) {
	t.Helper()
	reasons, sent := r.dropped(t, frames)
	for reason := range reasons {
		if !slices.Contains(allowed, reason) {
			t.Errorf("dropped for %s, want one of %v: %v", reason, allowed, reasons)
		}
	}
	for _, m := range sent {
		t.Errorf("gw-a answered %v", m)
	}
}

// testUnparsableIKE: what cannot be read gets no answer, whoever it is from.
func testUnparsableIKE(t *testing.T, r *hostileRig) {
	good := initiation(t, r)
	r.silent(t, r.fromPeer(each(count(1, ikeHeaderLen-1), func(n int) []byte { return good[:n] })...), "ike_short")
	r.silent(t, r.fromPeer(each(count(ikeHeaderLen, len(good)-1), func(n int) []byte { return good[:n] })...), "ike_malformed")
	withLength := func(n uint32) []byte {
		m := slices.Clone(good)
		copy(m[ikeLength:], octets32(n))
		return m
	}
	r.silent(t, r.fromPeer(each([]uint32{0, 1, 27, 28, uint32(len(good) - 1), uint32(len(good) + 1), 1 << 16, 1 << 31, 1<<32 - 1}, withLength)...), "ike_malformed")
	// The header fits what is there, and the payloads do not.
	r.silent(t, r.fromPeer(each(count(ikeHeaderLen, len(good)-1), func(n int) []byte { return sized(slices.Clone(good[:n])) })...), "ike_malformed")
	payload := func(n int) []byte {
		m := slices.Clone(good)
		put16(m[ikeHeaderLen+2:], uint16(n)) // of the first payload
		return m
	}
	right := int(get16(good[ikeHeaderLen+2:]))
	wrong := slices.DeleteFunc(count(0, 300), func(n int) bool { return n == right })
	r.silent(t, r.fromPeer(each(append(wrong, 0x7fff, 0x8000, 0xffff), payload)...), "ike_malformed")
	// Behind a wrong UDP length or checksum there is nothing to read (RFC 768).
	d := udp(500, 500, good)
	d[6], d[7] = 0xde, 0xad
	r.inject(t, wanPort, [][]byte{ether(r.wanMAC, etherIPv4, ipv4(r.B.WANAddress, r.A.WANAddress, protocolUDP, d))})
	for _, n := range []uint16{0, 7, 0xffff} {
		d := udp(500, 500, good)
		put16(d[4:], n)
		r.inject(t, wanPort, [][]byte{ether(r.wanMAC, etherIPv4, ipv4(r.B.WANAddress, r.A.WANAddress, protocolUDP, d))})
	}
	// IKEv1 gets silence, and so does no version at all.
	for _, version := range []byte{0x00, 0x10, 0x11} {
		m := slices.Clone(good)
		m[ikeVersion] = version
		r.silent(t, r.fromPeer(m), "ike_version", "ike_malformed")
	}
}

// unprotectedReplies is how many errors gw-a says in clear in a second, and at once after a silence.
const unprotectedReplies = 10

// testUnprotectedAnswers: the three errors that RFC 7296 has said in clear (sections 2.5, 2.21.2 and 2.21.4) are said
// with the requester's SPIs and message id, at a limited rate, and never to a response.
func testUnprotectedAnswers(t *testing.T, r *hostileRig) {
	good := initiation(t, r)
	version := slices.Clone(good)
	version[ikeVersion] = 0x30
	// An unknown payload with the critical bit, before all others.
	critical := slices.Concat(good[:ikeHeaderLen], []byte{good[ikeNextPayload], 0x80, 0, 8, 1, 2, 3, 4}, good[ikeHeaderLen:])
	critical[ikeNextPayload] = 200
	unknown := message([]byte("nobody's"), []byte("SPIs...."), payloadSK, exchangeInformational, flagInitiator, 3, skPayload(64)...)
	for _, c := range []struct {
		name    string
		message []byte
		reason  string
		notify  uint16 // RFC 7296 section 3.10.1
	}{
		{"version", version, "ike_version", 5},
		{"critical payload", sized(critical), "ike_critical", 1},
		{"unknown SPI", unknown, "ike_unknown_spi", 4},
	} {
		var first []reply
		err := lab.Until(t.Context(), nil, "an answer", settleLimit, func() (bool, error) { // the last case has used them up
			_, first = r.dropped(t, r.fromPeer(c.message))
			return len(first) > 0, nil
		})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		before := time.Now()
		frames := slices.Repeat(r.fromPeer(c.message), 100)
		reasons, sent := r.dropped(t, frames)
		if reasons[c.reason] != len(frames) {
			t.Errorf("%s: dropped %v, want %d for %s", c.name, reasons, len(frames), c.reason)
		}
		seconds := int(time.Since(before).Seconds()) + 1
		if len(sent) > unprotectedReplies*(1+seconds) {
			t.Errorf("%s: %d answers within %d s, want %d a second at most", c.name, len(sent), seconds, unprotectedReplies)
		}
		for _, m := range append(sent, first...) {
			notify := m.message[ikeHeaderLen:]
			if m.to != r.B.WANAddress || !m.response() || !bytes.Equal(m.message[:16], c.message[:16]) || !bytes.Equal(m.message[ikeMessageID:ikeLength], c.message[ikeMessageID:ikeLength]) ||
				m.message[ikeNextPayload] != payloadNotify || get16(notify[6:]) != c.notify {
				t.Errorf("%s: answer %v, want notify %d alone", c.name, m, c.notify)
			}
		}
		answer := slices.Clone(c.message)
		answer[ikeFlags] = flagResponse
		if _, sent := r.dropped(t, r.fromPeer(answer)); len(sent) != 0 {
			t.Errorf("%s: a response was answered with %v", c.name, sent)
		}
	}
}

// skPayload is an encrypted payload of random octets.
func skPayload(n int) []byte {
	b := randomOctets(rand.New(rand.NewPCG(uint64(n), 46)), n)
	b[0], b[1] = 0, 0
	put16(b[2:], uint16(n))
	return b
}

// testLiveIKE: messages with the SPIs of the IKE SA that stands, none of which is protected with its keys.
func testLiveIKE(t *testing.T, r *hostileRig) {
	sa, err := r.a.IKE(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	spiI, spiR := spi8(t, sa.InitiatorSPI), spi8(t, sa.ResponderSPI)
	child, err := strconv.ParseUint(lab.Outbound(sas(t, r.a)), 0, 32)
	if err != nil {
		t.Fatal(err)
	}
	deleteIKE := []byte{0, 0, 0, 8, 1, 0, 0, 0}
	deleteChild := slices.Concat([]byte{0, 0, 0, 12, 3, 4, 0, 1}, octets32(uint32(child)))
	notify := func(n uint16) []byte { return []byte{0, 0, 0, 8, 0, 0, byte(n >> 8), byte(n)} }
	var messages [][]byte
	for _, id := range []uint32{0, 1, 2, 3, 4, 100, 1 << 31, 1<<32 - 1} {
		for _, flags := range []byte{0, flagResponse} { // gw-a is the original initiator: its peer does not set that flag
			for _, exchange := range []byte{exchangeAuth, exchangeCreateChild, exchangeInformational} {
				messages = append(messages,
					message(spiI, spiR, payloadDelete, exchange, flags, id, deleteIKE...),
					message(spiI, spiR, payloadDelete, exchange, flags, id, deleteChild...),
					message(spiI, spiR, payloadSK, exchange, flags, id, skPayload(36)...),
					message(spiI, spiR, payloadSK, exchange, flags, id, skPayload(64)...),
					message(spiI, spiR, payloadSK, exchange, flags, id, skPayload(5)...),
					message(spiI, spiR, 0, exchange, flags, id))
				for _, n := range []uint16{4, 7, 11, 14, 24, 16384} { // among them AUTHENTICATION_FAILED and INITIAL_CONTACT
					messages = append(messages, message(spiI, spiR, payloadNotify, exchange, flags, id, notify(n)...))
				}
			}
		}
	}
	reasons, sent := r.dropped(t, r.fromPeer(messages...))
	for _, reason := range []string{"ike_cleartext", "ike_integrity", "ike_message_id"} {
		if reasons[reason] == 0 {
			t.Errorf("dropped %v, want some for %s", reasons, reason)
		}
	}
	for _, m := range sent { // a protected question to the true peer is all that they can cause
		if m.response() || m.to != r.B.WANAddress || m.message[ikeExchange] != exchangeInformational || m.message[ikeNextPayload] != payloadSK {
			t.Errorf("gw-a answered %v", m)
		}
	}
	if len(sent) > unprotectedReplies {
		t.Errorf("spoofed messages caused %d liveness checks, want %d at most", len(sent), unprotectedReplies)
	}
	// Half of the SPIs right is no SPI.
	other := []byte("other...")
	r.silent(t, r.fromPeer(message(other, spiR, payloadDelete, exchangeInformational, flagResponse, 0, deleteIKE...),
		message(spiI, other, payloadDelete, exchangeInformational, flagResponse, 0, deleteIKE...),
		message(spiI, make([]byte, 8), payloadDelete, exchangeInformational, flagResponse, 0, deleteIKE...)), "ike_unknown_spi")
}

func spi8(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
	if err != nil || len(b) != 8 {
		t.Fatalf("IKE SPI %q: %v", text, err)
	}
	return b
}

// testStrangers: whoever is not a peer hears nothing, not even a question for its link-layer address.
//
// S-040
func testStrangers(t *testing.T, r *hostileRig) {
	good := initiation(t, r)
	version, protected := slices.Clone(good), message([]byte("nobody's"), []byte("SPIs...."), payloadSK, exchangeInformational, flagInitiator, 0, skPayload(64)...)
	version[ikeVersion] = 0x30
	sa, err := r.a.IKE(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	live := message(spi8(t, sa.InitiatorSPI), spi8(t, sa.ResponderSPI), payloadDelete, exchangeInformational, 0, 0, 0, 0, 0, 8, 1, 0, 0, 0)
	for _, stranger := range []string{"192.0.2.66", "198.51.100.66", "10.1.0.77", "10.2.0.77"} {
		r.silent(t, slices.Repeat(r.ikeFrames(ip(stranger), good, version, protected), 20), "ike_no_policy")
		r.silent(t, r.ikeFrames(ip(stranger), live), "ike_no_policy", "ike_cleartext")
		r.silent(t, r.ikeFrames(ip(stranger), good[:20], good[:100]), "ike_short", "ike_malformed")
	}
}

// randomDatagrams is how many datagrams of noise IKE gets.
const randomDatagrams = 3000

// testRandomIKE: noise, from random octets to a good request with some octets changed.
func testRandomIKE(t *testing.T, r *hostileRig) {
	random := rand.New(rand.NewPCG(7296, 2))
	good := initiation(t, r)
	var frames [][]byte
	for range randomDatagrams / 6 {
		header := message(randomOctets(random, 8), randomOctets(random, 8), byte(33+random.IntN(16)), byte(exchangeInit+random.IntN(5)),
			byte(random.Uint32()), random.Uint32N(4), randomOctets(random, random.IntN(200))...)
		// The header stays and the payloads' own are hit: what is left is not a request to accept.
		hit := slices.Clone(good)
		hit[ikeHeaderLen+2] ^= 0x80
		for range 1 + random.IntN(8) {
			hit[ikeHeaderLen+random.IntN(len(hit)-ikeHeaderLen)] ^= byte(random.Uint32())
		}
		frames = append(frames, r.fromPeer(randomOctets(random, 1+random.IntN(300)), header, hit)...)
	}
	_, sent := r.dropped(t, frames)
	for _, m := range sent {
		if !m.response() || m.message[ikeNextPayload] != payloadNotify {
			t.Errorf("gw-a answered noise with %v", m)
		}
	}
}
