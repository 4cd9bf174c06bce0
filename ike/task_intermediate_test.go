package ike

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

const hybrid = "aes256gcm16-prfsha384-curve25519-ke1_mlkem768"

// offering makes both ends offer and accept these proposals for IKE.
func offering(t testing.TB, proposals ...string) func(*Config) {
	return func(c *Config) { c.Peers[0].IKEProposals = ikeProposals(t, proposals...) }
}

// Additional key exchanges go through IKE_INTERMEDIATE, one each in their order, and end in the same keys; ML-KEM may also be the only exchange.
func TestAdditionalKeyExchanges(t *testing.T) {
	for _, proposal := range []string{
		hybrid,
		"aes128gcm16-prfsha256-ecp256-ke1_mlkem512",
		"aes256-sha512-ecp384-ke1_mlkem1024",
		"aes128ctr-aesxcbc-modp2048-ke3_mlkem768",
		"aes128ccm16-prfaescmac-curve25519-ke1_mlkem512-ke2_ecp256-ke4_mlkem1024-ke7_mlkem768",
		"aes256gcm16-prfsha384-mlkem768",
		"chacha20poly1305-prfsha256-mlkem1024-ke1_curve448",
	} {
		l := up(t, offering(t, proposal), offering(t, proposal))
		additional := strings.Count(proposal, "-ke")
		if got := l.a.engine.Snapshot()[0]; got.Proposal != ikeProposals(t, proposal)[0].String() {
			t.Errorf("%s: IKE SA has %s", proposal, got.Proposal)
		}
		if found := oneIKE(l.a).intermediate.exchanges; int(found) != additional {
			t.Errorf("%s: %d additional exchanges, expected %d", proposal, found, additional)
		}
		if a, b := oneIKE(l.a), oneIKE(l.b); !a.keys.d.Equal(b.keys.d) || a.intermediate.previous != nil || b.intermediate.previous != nil {
			t.Errorf("%s: the two ends have other keys, or keep old ones", proposal)
		}
	}
}

// oneIKE is the IKE SA of an end that has one.
func oneIKE(n *end) *ikeSA {
	for _, sa := range n.engine.sas {
		return sa
	}
	return nil
}

// Every message lost once, or delivered twice; and all through a path that takes no more than 576 octets.
func TestAdditionalKeyExchangeLosses(t *testing.T) {
	join := func() *link {
		return join(t, offering(t, hybrid+"-ke2_mlkem1024"), offering(t, hybrid+"-ke2_mlkem1024"))
	}
	l := join()
	l.begin()
	messages := 0
	for ; len(l.wire) > 0; messages++ {
		l.deliver(0)
	}
	l.established("net")
	for i := range messages {
		l := join()
		l.begin()
		for step := 0; len(l.wire) > 0; step++ {
			switch {
			case step == i:
				l.wire = l.wire[1:]
			case step == i+1:
				l.wire = append(l.wire, l.wire[0])
				fallthrough
			default:
				l.deliver(0)
			}
		}
		l.advance(10 * time.Second)
		l.established("net")
	}
	l = join()
	l.mtu = leastFragmentSize
	l.begin()
	l.advance(time.Minute)
	l.established("net")
}

// A peer without IKE_INTERMEDIATE, or that does not want it, gets the proposal without; or nobody gets anything where that is not allowed.
func TestAdditionalKeyExchangeIsOptional(t *testing.T) {
	plain := "aes256gcm16-prfsha384-curve25519"
	for _, c := range []struct {
		a, b []string
		want string
	}{
		{[]string{hybrid, plain}, []string{plain}, plain},
		{[]string{plain}, []string{hybrid, plain}, plain},
		{[]string{hybrid + "-ke1_none"}, []string{hybrid}, hybrid},
		{[]string{hybrid}, []string{hybrid + "-ke1_none"}, hybrid},
		{[]string{plain}, []string{hybrid + "-ke1_none"}, plain},
		{[]string{hybrid + "-ke1_none", plain}, []string{plain}, plain},
		{[]string{hybrid}, []string{plain}, ""},
		{[]string{plain}, []string{hybrid}, ""},
	} {
		l := join(t, offering(t, c.a...), offering(t, c.b...))
		l.begin()
		l.run()
		snapshot := l.a.engine.Snapshot()
		switch {
		case c.want == "" && l.a.count(Failed, FailProposal) == 0 && l.b.count(Failed, FailProposal) == 0:
			l.advance(5 * time.Second)
			if l.a.count(Failed, FailProposal) == 0 {
				t.Errorf("%q with %q: no failure:\n%s", c.a, c.b, l.a.story())
			}
		case c.want != "" && snapshot[0].Proposal != c.want:
			t.Errorf("%q with %q ends in %s, expected %s", c.a, c.b, snapshot[0].Proposal, c.want)
		}
	}
}

// AUTH covers what the two ends said in IKE_INTERMEDIATE (RFC 9242 3.3.1): with another octet there it does not fit.
func TestIntermediateIsAuthenticated(t *testing.T) {
	for _, part := range []func(*intermediate) *[]byte{
		func(x *intermediate) *[]byte { return &x.fromInitiator }, func(x *intermediate) *[]byte { return &x.fromResponder },
	} {
		l := join(t, offering(t, hybrid), offering(t, hybrid))
		l.begin()
		for oneIKE(l.b) == nil || oneIKE(l.b).intermediate.exchanges == 0 {
			l.deliver(0)
		}
		(*part(&oneIKE(l.b).intermediate))[0] ^= 1
		l.run()
		l.b.expect(Failed, AuthKey, 1)
		l.b.expect(IKEEstablished, "", 0)
	}
}

// intAuth as RFC 9242 3.3 writes it down, from a message made by hand: header and generic header with lengths that leave out IV, padding and ICV.
func TestAdjustedMessage(t *testing.T) {
	m := &message{Message: wire.Message{Header: wire.Header{InitiatorSPI: 1, ResponderSPI: 2, Exchange: wire.ExchangeIntermediate, Flags: wire.FlagInitiator, MessageID: 1}},
		first: wire.PayloadKE, plain: make([]byte, 1192)}
	got, err := adjusted(m)
	want := []byte{
		0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 46, 0x20, 43, 0x08, 0, 0, 0, 1, 0, 0, 4, 200, // 28 + 4 + 1192 = 1224
		34, 0, 4, 172, // 4 + 1192 = 1196
	}
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%x, %v, expected %x", got, err, want)
	}
	// Of a message received its own octets count: a minor version, reserved bits, an unknown payload in clear. Of one in fragments the first has them.
	const header, unknown = "0000000000000001" + "0000000000000002" + "%02x" + "2f" + "2b" + "c9" + "00000001" + "%08x", "%02x" + "7f0006" + "abcd"
	whole := fmt.Sprintf(header+unknown+"22"+"55"+"%04x", 200, 28+6+4+1192, 46, 4+1192)
	received := fmt.Sprintf(header+unknown+"22"+"55"+"%04x", 200, 28+6+4+1216, 46, 4+1216)
	fragment := fmt.Sprintf(header+unknown+"22"+"55"+"%04x"+"00010003", 200, 28+6+8+500, 53, 8+500)
	for _, clear := range []string{received, fragment} {
		got, err := adjusted(&message{clear: unhex(t, clear), plain: make([]byte, 1192)})
		if err != nil || !bytes.Equal(got, unhex(t, whole)) {
			t.Errorf("%x, %v, expected %s", got, err, whole)
		}
	}
	x := intermediate{exchanges: 2, fromInitiator: []byte{1}, fromResponder: []byte{2}}
	if got := x.intAuth(); !bytes.Equal(got, []byte{1, 2, 0, 0, 0, 3}) {
		t.Errorf("IntAuth %x", got)
	}
}

// A responder that chooses what was not offered, or has no IKE_INTERMEDIATE, and an initiator that goes on without one, get nowhere; what is half
// open ends in time.
func TestHostileIntermediate(t *testing.T) {
	ours := ikeProposals(t, "aes256gcm16-prfsha384-curve25519")
	answer := offer(ikeProposals(t, hybrid), nil)
	if c, err := confirm(ours, answer, crypto.DHCurve25519); err == nil {
		t.Errorf("an answer with an additional exchange that was not offered ends in %v", c)
	}

	l := join(t, offering(t, hybrid), offering(t, hybrid))
	l.begin()
	l.deliver(0)
	l.deliver(0)
	sa := oneIKE(l.a)
	sa.intermediate.pending, sa.tasks.active, sa.tasks.nextSend, l.wire = nil, nil, 1, nil
	e := l.a.engine
	e.effects = nil
	sa.tasks.enqueue(wire.ExchangeIKEAuth, &authInitiator{}, &childInitiator{first: true})
	for _, ef := range e.effects {
		l.a.do(ef)
	}
	l.run()
	l.b.expect(IKEEstablished, "", 0)
	if dropped := slices.IndexFunc(l.b.facts, func(f Fact) bool { return f.Reason == DropExchange }); dropped < 0 {
		t.Errorf("IKE_AUTH before IKE_INTERMEDIATE was not dropped:\n%s", l.b.story())
	}

	l = join(t, offering(t, hybrid), offering(t, hybrid))
	l.begin()
	l.deliver(0)
	l.deliver(0)
	for range 40 {
		l.wire = nil
		l.tick(l.now.Add(time.Second))
	}
	if len(l.b.engine.sas) != 0 {
		t.Error("half-open after 40 s, expected 30 s at most")
	}
}

// A peer of a later minor version, with reserved bits set, in one piece and in fragments: AUTH is over what it has sent (RFC 9242 3.3.2).
func TestIntermediateOfALaterVersion(t *testing.T) {
	for name, fragments := range map[string]int{"whole": 0, "in fragments": leastFragmentSize} {
		t.Run(name, func(t *testing.T) {
			change := func(c *Config) {
				offering(t, "aes128gcm16-prfsha256-curve25519-ke1_mlkem512")(c)
				c.Peers[0].FragmentSize = fragments
			}
			l := join(t, change, change)
			l.begin()
			l.deliver(0)
			l.deliver(0)
			b := oneIKE(l.b)
			for i := range l.wire {
				l.wire[i].payload = resealed(t, b, l.wire[i].payload)
			}
			if n := len(l.wire); fragments == 0 && n != 1 || fragments > 0 && n < 2 {
				t.Fatalf("%d datagrams", n)
			}
			for b.intermediate.exchanges == 0 {
				l.deliver(0)
			}
			plain := oneIKE(l.a).tasks.active.message.plain
			clear := unhex(t, fmt.Sprintf("%016x%016x2e2f2b8800000001%08x22550000", b.remoteSPI, b.localSPI, 28+4+len(plain)))
			binary.BigEndian.PutUint16(clear[30:], uint16(4+len(plain)))
			want := crypto.PRF(b.chosen.prf, b.intermediate.previous.pi.Bytes(), clear, plain)
			if !bytes.Equal(b.intermediate.fromInitiator, want) {
				t.Error("IntAuth_i1 is not over the octets that were sent")
			}
		})
	}
}

// resealed is a datagram for an IKE SA as a later version would have sent it, by the keys of the one that has.
func resealed(t *testing.T, to *ikeSA, datagram []byte) []byte {
	t.Helper()
	m, err := wire.Parse(datagram)
	if err != nil {
		t.Fatal(err)
	}
	var aad, body []byte
	if f := wire.Find[*wire.Fragment](m.Payloads); f != nil {
		aad, body = f.AAD, f.Body
	} else {
		aad, body = wire.Find[*wire.Encrypted](m.Payloads).AAD, wire.Find[*wire.Encrypted](m.Payloads).Body
	}
	plain, err := to.keys.in.Open(aad, body)
	if err != nil {
		t.Fatal(err)
	}
	aad = bytes.Clone(aad)
	aad[17], aad[19] = 0x2f, aad[19]|0x80 // 2.15, and a flag without a name
	aad[29] = 0x55                        // reserved
	b, err := to.keys.in.Seal(bytes.Clone(aad), aad, plain, seeded(8))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
