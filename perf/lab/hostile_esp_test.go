package lab_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"sallyport/appliance/api"
	"sallyport/perf/lab"
)

// Octets of ESP with AES-GCM, 64-bit IV and 128-bit ICV (RFC 4303 section 2, RFC 4106 sections 3 and 6), and where they
// begin in a frame.
const (
	espHeaderLen = 8
	espIVLen     = 8
	espICVLen    = 16
	espOverhead  = espHeaderLen + espIVLen + espICVLen
	espAlignment = 4

	espAt      = etherLen + ipv4Len
	sequenceAt = espAt + 4
	ivAt       = espAt + espHeaderLen
)

// TestHostileESP attacks a tunnel with its own packets: replayed, too old, changed in every part, cut at every
// length, under other SPIs and in UDP. Each copy is dropped and counted for its reason; none moves the replay window,
// so that the true packets, which arrive last, are all taken.
func TestHostileESP(t *testing.T) {
	r := newHostileRig(t)
	r.onlyPings(t, r.A, r.lan)
	r.onlyPings(t, r.B, r.farLAN)
	r.run(t, "replayed", testReplayed)
	r.run(t, "changed", testChangedESP)
	r.run(t, "other SPIs", testOtherSPIs)
	r.noClear(t)
}

// espFrames are the ESP frames among what a raw port received since the last look.
func espFrames(t *testing.T, raw *lab.RawPort) (frames [][]byte) {
	t.Helper()
	all, err := raw.Receive()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if !isARP(f) && len(f) > espAt && f[23] == protocolESP {
			frames = append(frames, f)
		}
	}
	return frames
}

// replayWindow is that of the tunnel, in packets: the default.
const replayWindow = 1024

// testReplayed sends captured packets again while they are in the window, and once they have left it.
//
// S-097
func testReplayed(t *testing.T, r *hostileRig) {
	espFrames(t, r.farWAN)
	for range 4 {
		r.ping(t)
	}
	captured := espFrames(t, r.farWAN)
	if len(captured) != 4*soundPings {
		t.Fatalf("captured %d packets of the tunnel, want %d", len(captured), 4*soundPings)
	}
	var again batch
	again.add("replay_duplicate", slices.Concat(captured, captured)...)
	r.drops(t, wanPort, again)

	// Move the window on by true packets.
	packet := r.silentPacket(t)
	before := r.windowTop(t)
	for sent := 0; sent < replayWindow+len(captured); sent += bunch {
		for range bunch {
			if err := r.farLAN.Send(packet); err != nil {
				t.Fatal(err)
			}
		}
		taken := before + uint64(sent+bunch)
		err := lab.Until(t.Context(), nil, "the replay window to move", takeLimit, func() (bool, error) {
			return r.windowTop(t) >= taken, nil
		})
		if err != nil {
			t.Fatalf("%v: it is at %d, want %d", err, r.windowTop(t), taken)
		}
	}
	var old batch
	old.add("replay_old", slices.Concat(captured, captured)...)
	r.drops(t, wanPort, old)
}

// windowTop is the highest sequence number that gw-a has taken from its peer.
func (r *hostileRig) windowTop(t *testing.T) uint64 {
	t.Helper()
	sas, err := r.a.SAs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(sas, func(sa api.SA) bool { return sa.Direction == "inbound" })
	if i < 0 {
		t.Fatalf("gw-a has no inbound SA: %+v", sas)
	}
	return sas[i].Sequence
}

// silentPacket goes from the far host into the tunnel and has no answer: an echo reply that nobody waits for.
func (r *hostileRig) silentPacket(t *testing.T) []byte {
	t.Helper()
	return ether(portMAC(t, r.b, lanPort), etherIPv4, ipv4(r.B.HostAddress, r.A.HostAddress, protocolICMP, echoMessage(0, 0, 0)))
}

// held has the other gateway send pings into its tunnel while its link is out of the WAN: true packets that gw-a
// has never seen.
func (r *hostileRig) held(t *testing.T, count int) [][]byte {
	t.Helper()
	if err := r.Unplug(r.B); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Plug(r.B); err != nil {
			t.Fatal(err)
		}
	}()
	espFrames(t, r.farWAN)
	packet := r.silentPacket(t)
	for range count {
		if err := r.farLAN.Send(packet); err != nil {
			t.Fatal(err)
		}
	}
	var frames [][]byte
	err := lab.Until(t.Context(), nil, "packets of the tunnel", takeLimit, func() (bool, error) {
		frames = append(frames, espFrames(t, r.farWAN)...)
		return len(frames) >= count, nil
	})
	if err != nil || len(frames) != count {
		t.Fatalf("captured %d packets of the tunnel, want %d: %v", len(frames), count, err)
	}
	return frames
}

// outer changes the IPv4 header of an ESP frame and makes its checksum right.
func outer(frame []byte, change func(p []byte)) []byte {
	return slices.Concat(frame[:etherLen], changed(frame[etherLen:], change))
}

// testChangedESP sends changed copies of packets that gw-a has not seen, then the packets themselves.
//
// S-095
func testChangedESP(t *testing.T, r *hostileRig) {
	const total = 10
	frames := r.held(t, total)
	frame := frames[0]
	flip := func(bit int) []byte {
		f := slices.Clone(frame)
		f[bit/8] ^= 1 << (bit % 8)
		return f
	}
	bits := func(from, to int) []int { return count(8*from, 8*to-1) }
	var b batch
	b.add("no_inbound_sa", each(bits(espAt, sequenceAt), flip)...)
	b.add("auth_failed", each(bits(ivAt, len(frame)), flip)...)
	// Another number is one to come, one that was here, or one that the window has left behind.
	sequence, top := uint32(get16(frame[sequenceAt:]))<<16|uint32(get16(frame[sequenceAt+2:])), r.windowTop(t)
	for bit := range 32 {
		f := slices.Clone(frame)
		put16(f[sequenceAt:], uint16((sequence^1<<bit)>>16))
		put16(f[sequenceAt+2:], uint16(sequence^1<<bit))
		switch n := uint64(sequence ^ 1<<bit); {
		case n > top:
			b.add("auth_failed", f)
		case n == 0 || top-n >= replayWindow:
			b.add("replay_old", f)
		default:
			b.add("replay_duplicate", f)
		}
	}
	r.drops(t, wanPort, b)

	esp := frame[espAt:]
	var cut batch
	for n := range len(esp) {
		f := slices.Concat(frame[:etherLen], ipv4(r.B.WANAddress, r.A.WANAddress, protocolESP, esp[:n]))
		switch {
		case n == 0:
			cut.add("no_payload", f)
		case n < espOverhead+espAlignment:
			cut.add("esp_truncated", f)
		case (n-espOverhead)%espAlignment != 0:
			cut.add("esp_length", f)
		default:
			cut.add("auth_failed", f)
		}
	}
	for _, n := range []int{1, 2, 3} {
		cut.add("esp_length", slices.Concat(frame[:etherLen], ipv4(r.B.WANAddress, r.A.WANAddress, protocolESP, append(slices.Clone(esp), make([]byte, n)...))))
	}
	const largest = 1500 - ipv4Len
	cut.add("auth_failed", slices.Concat(frame[:etherLen], ipv4(r.B.WANAddress, r.A.WANAddress, protocolESP, append(slices.Clone(esp), make([]byte, largest-len(esp))...))))
	r.drops(t, wanPort, cut)

	// The outer header is not what ESP protects: another source, TTL or TOS is no harm. Everything is taken at last.
	frames[1] = outer(frames[1], func(p []byte) { copy(p[12:], []byte{198, 51, 100, 66}) })
	frames[2] = outer(frames[2], func(p []byte) { p[8] = 1 })
	frames[3] = outer(frames[3], func(p []byte) { p[1] = 0xb8 })
	before := r.counters(t, wanPort)
	r.inject(t, wanPort, frames)
	after := r.counters(t, wanPort)
	if n := after.Forwarded - before.Forwarded; n != total {
		t.Errorf("gw-a took %d of the %d true packets", n, total)
	}
}

// testOtherSPIs: ESP of no SA, for the SA in another form, and what goes to UDP port 4500 besides.
func testOtherSPIs(t *testing.T, r *hostileRig) {
	esp := r.held(t, 1)[0][espAt:]
	spi := func(n uint32) []byte {
		return slices.Concat([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, esp[4:])
	}
	plain := func(esp []byte) []byte {
		return ether(r.wanMAC, etherIPv4, ipv4(r.B.WANAddress, r.A.WANAddress, protocolESP, esp))
	}
	inUDP := func(datagram []byte) []byte {
		return ether(r.wanMAC, etherIPv4, ipv4(r.B.WANAddress, r.A.WANAddress, protocolUDP, datagram))
	}
	var b batch
	random := rand.New(rand.NewPCG(4303, 0))
	own := uint32(get16(esp))<<16 | uint32(get16(esp[2:]))
	// S-063: SPI 0 is nobody's, and neither are those in the same slot of the SAD.
	for _, n := range []uint32{0, 1, 255, 256, 0xffffffff, own ^ 0x80000000, own + 1, own - 1} {
		b.add("no_inbound_sa", plain(spi(n)))
	}
	for range 1000 {
		if n := random.Uint32(); n != own {
			b.add("no_inbound_sa", plain(spi(n)))
		}
	}
	b.add("encapsulation", inUDP(udp(4500, 4500, esp)))
	b.add("no_inbound_sa", inUDP(udp(4500, 4500, spi(own+1))))
	b.add("nat_keepalive", inUDP(udp(4500, 4500, []byte{0xff})), inUDP(udp(1024, 4500, []byte{0xff})))
	b.add("no_payload", inUDP(udp(4500, 4500, nil)))
	for n := 1; n < 8; n++ {
		b.add("esp_truncated", inUDP(udp(4500, 4500, slices.Repeat([]byte{0x66}, n))))
	}
	for _, n := range []uint16{0, 1, 7, 0xffff, uint16(udpLen + len(esp) + 1)} { // RFC 768: the length counts the header
		d := udp(4500, 4500, esp)
		put16(d[4:], n)
		b.add("l4_truncated", inUDP(d))
	}
	for n := 4; n < udpLen; n++ {
		b.add("l4_truncated", inUDP(udp(4500, 4500, nil)[:n]))
	}
	r.drops(t, wanPort, b)
}
