package pipeline

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"net/netip"
	"testing"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
)

// Every replay decision over window sizes: the fast path's ring of words against a plain set of numbers.
func TestReplayWindow(t *testing.T) {
	for _, size := range []int{32, 64, 128, 256, 1024, 4096, 8192} {
		for _, esn := range []bool{false, true} {
			r := newRig(t, rigOptions{maxSAs: 64})
			child := r.child("site", "aes128gcm16", true)
			child.ReplayWindow, child.ESN = size, esn
			near := r.inbound(child)
			inner := packetOfLength(farHost, lanHost, 253, 64)
			top := uint64(1)
			reasons := map[string]int{}
			for range 1500 {
				// Around the top, around the far edge of the window, far below, and jumps ahead.
				var sequence uint64
				switch r.random.IntN(5) {
				case 0:
					sequence = top + uint64(r.random.IntN(3))
				case 1:
					sequence = top - min(top, uint64(r.random.IntN(8)))
				case 2:
					sequence = top - min(top, uint64(size-4+r.random.IntN(8)))
				case 3:
					sequence = top - min(top, uint64(r.random.IntN(2*size)))
				default:
					sequence = top + uint64(r.random.IntN(size*2))
				}
				o, _ := r.check(wan, fromPeer(near.encapsulate(inner, sequence)))
				reasons[o.Reason]++
				if o.Reason == "" {
					top = max(top, sequence)
				}
			}
			below := "replay_old"
			if esn {
				below = "auth_failed" // taken for a number of the next 2^32
			}
			if reasons[""] == 0 || reasons[below] == 0 || reasons["replay_duplicate"] == 0 {
				t.Errorf("window %d, ESN %v: a case was not met: %v", size, esn, reasons)
			}
		}
	}
}

// The upper half of the sequence number is inferred across its wrap (RFC 4303 appendix A2.2).
func TestReplayWindowESNWrap(t *testing.T) {
	r := newRig(t, rigOptions{})
	child := r.child("site", "aes128gcm16", true)
	child.ESN = true
	near := r.inbound(child)
	inner := packetOfLength(farHost, lanHost, 253, 64)
	send := func(sequence uint64) { r.wantForward(wan, fromPeer(near.encapsulate(inner, sequence)), lan) }
	for _, sequence := range []uint64{1, 1 << 30, 1 << 31, 1<<32 - 600, 1<<32 - 1, 1<<32 + 5, 1<<32 - 2, 1 << 32, 1<<32 + 900, 1<<32 + 4} {
		send(sequence)
	}
	r.wantDrop(wan, fromPeer(near.encapsulate(inner, 1<<32+5)), "replay_duplicate")
}

// Inside one burst all packets pass the first check together: only the second one, after the ICV, can tell them apart.
func TestReplayInsideOneBurst(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		r := newRig(t, rigOptions{})
		child := r.child("site", suite, true)
		child.ReplayWindow = 64
		near := r.inbound(child)
		inner := packetOfLength(farHost, lanHost, 253, 64)
		var burst [][]byte
		for _, sequence := range []uint64{5, 5, 7, 5, 200, 7, 100, 200, 201} {
			burst = append(burst, fromPeer(near.encapsulate(inner, sequence)))
		}
		before := r.tally()
		r.enqueue(0, wan, burst...)
		r.settle()
		// 5, 7, 200 and 201 are new; 200 pushed 7 and 100 out of the window of 64.
		same(t, suite, ends(before, r.tally()), map[string]int{"forwarded": 4, "replay_duplicate": 3, "replay_old": 2})
		if n := len(r.sent(lan)); n != 4 {
			t.Errorf("%s: %d frames left, want 4", suite, n)
		}
	}
}

// S-063: an unknown SPI is dropped, also one with the slot of a live SA.
func TestUnknownSPI(t *testing.T) {
	r := newRig(t, rigOptions{})
	child := r.child("site", "aes128gcm16", true)
	near := r.inbound(child)
	frame := fromPeer(near.encapsulate(packetOfLength(farHost, lanHost, 253, 64), 1))
	for bit := range 32 {
		forged := append([]byte(nil), frame...)
		at := forged[etherHeaderLen+ipv4HeaderLen:]
		binary.BigEndian.PutUint32(at, child.SPI^1<<bit)
		r.wantDrop(wan, forged, "no_inbound_sa")
	}
	r.wantForward(wan, frame, lan)
	if err := r.d.RemoveInbound(child.SPI); err != nil {
		t.Fatal(err)
	}
	delete(r.ref.inbound, child.SPI)
	r.wantDrop(wan, fromPeer(near.encapsulate(packetOfLength(farHost, lanHost, 253, 64), 2)), "no_inbound_sa")
}

// A flip of any byte from the sequence number to the end of the ICV is found, and costs no sequence number.
func TestTamperedBytes(t *testing.T) {
	suites := []string{"aes128gcm16", "aes192gcm12", "aes256gcm8", "aes256-sha256", "aes128-sha1", "aes192-sha512"}
	eachWay(t, suites, func(t *testing.T, pool *cryptodev.Pool, suite string) {
		for _, udp := range []bool{false, true} {
			tamper(newRig(t, rigOptions{crypto: pool}), suite, udp)
		}
	})
}

func tamper(r *rig, suite string, udp bool) {
	child := r.child("site", suite, true)
	child.UDPEncap = udp
	near := r.inbound(child)
	frame := fromPeer(near.encapsulate(packetOfLength(farHost, lanHost, 253, 90), 9))
	first := etherHeaderLen + ipv4HeaderLen
	if udp {
		first += udpHeaderLen
	}
	for i := first + 4; i < len(frame); i++ {
		forged := append([]byte(nil), frame...)
		forged[i] ^= 1 << r.random.IntN(8)
		r.wantDrop(wan, forged, "auth_failed")
	}
	r.wantForward(wan, frame, lan)
	r.wantDrop(wan, frame, "replay_duplicate")
}

// ESP cut short at any length is a counted drop.
func TestTruncatedESP(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes256-sha384"} {
		for _, udp := range []bool{false, true} {
			r := newRig(t, rigOptions{})
			child := r.child("site", suite, true)
			child.UDPEncap = udp
			near := r.inbound(child)
			whole := near.encapsulate(packetOfLength(farHost, lanHost, 253, 90), 9)
			for n := ipv4HeaderLen; n < len(whole); n++ {
				cut := append(ipv4(nil), whole[:n]...)
				binary.BigEndian.PutUint16(cut[2:], uint16(n))
				setHeaderChecksum(cut)
				if udp && n >= ipv4HeaderLen+udpHeaderLen {
					binary.BigEndian.PutUint16(cut[ipv4HeaderLen+4:], uint16(n-ipv4HeaderLen))
				}
				if o, _ := r.check(wan, fromPeer(cut)); o.Disposition != packetDropped {
					t.Fatalf("%d of %d bytes: %+v", n, len(whole), o)
				}
			}
		}
	}
}

// UDP encapsulation belongs to the SA: the other form is not accepted (RFC 3948 section 3).
func TestEncapsulationMismatch(t *testing.T) {
	for _, udp := range []bool{false, true} {
		r := newRig(t, rigOptions{})
		child := r.child("site", "aes128gcm16", true)
		child.UDPEncap = udp
		near := r.inbound(child)
		near.child.UDPEncap = !udp
		r.wantDrop(wan, fromPeer(near.encapsulate(packetOfLength(farHost, lanHost, 253, 90), 1)), "encapsulation")
	}
}

// sealRaw encrypts a plaintext as it is, trailer and all, with AES-GCM: what no sound sender would send.
func sealRaw(t testing.TB, child ChildSA, sequence uint32, plaintext []byte) []byte {
	t.Helper()
	keymat := child.Keymat.Bytes()
	block, err := aes.NewCipher(keymat[:child.Suite.KeyLen()])
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, child.SPI), sequence)
	iv := binary.BigEndian.AppendUint64(nil, uint64(sequence))
	nonce := append(append([]byte(nil), keymat[child.Suite.KeyLen():]...), iv...)
	esp := gcm.Seal(append(header, iv...), nonce, plaintext, header)
	outer := make([]byte, ipv4HeaderLen+len(esp))
	copy(outer[ipv4HeaderLen:], esp)
	putIPv4(outer, 0, 64, protocolESP, 0, child.Remote.Addr(), child.Local.Addr())
	return fromPeer(outer)
}

// Trailers: pad length, pad bytes and next header (RFC 4303 sections 2.4 to 2.6).
func TestTrailers(t *testing.T) {
	r := newRig(t, rigOptions{})
	child := r.child("site", "aes128gcm16", true)
	r.inbound(child)
	inner := packetOfLength(farHost, lanHost, 253, 40)
	with := func(tail ...byte) []byte { return append(append([]byte(nil), inner...), tail...) }
	long := make([]byte, 0, 300)
	for i := 1; i <= 254; i++ {
		long = append(long, byte(i))
	}
	for i, c := range []struct {
		name      string
		plaintext []byte
		reason    string
	}{
		{"least", with(1, 2, 2, 4), ""},
		{"more than needed", with(1, 2, 3, 4, 5, 6, 6, 4), ""},
		{"254 bytes of padding", with(append(long, 254, 4)...), ""},
		{"wrong pad byte", with(1, 3, 2, 4), "bad_padding"},
		{"zeros", with(0, 0, 2, 4), "bad_padding"},
		{"pad length beyond the packet", with(1, 2, 255, 4), "bad_padding"},
		{"pad length that leaves nothing of the header", with(1, 2, 42, 4), "bad_padding"},
		{"IPv4 under the name of IPv6", with(1, 2, 2, 41), "inner_header"},
		{"transport mode", with(1, 2, 2, 6), "next_header"},
		{"dummy", with(1, 2, 2, 59), "dummy"},
		{"nothing but a trailer", []byte{1, 2, 2, 4}, "no_payload"},
		{"padding inside the packet's length", append(inner[:36:36], 1, 2, 2, 4), "inner_header"},
	} {
		frame := sealRaw(t, child, uint32(i+1), c.plaintext)
		if o, _ := r.check(wan, frame); o.Reason != c.reason {
			t.Errorf("%s: %q, want %q", c.name, o.Reason, c.reason)
		}
	}
}

// Padding lies inside the ciphertext: the last byte of the IV, a 1 here, is no part of it.
func TestPaddingReachesIntoTheIV(t *testing.T) {
	r := newRig(t, rigOptions{})
	child := r.child("site", "aes128gcm16", true)
	r.inbound(child)
	r.wantDrop(wan, sealRaw(t, child, 257, []byte{2, 3, 3, 4}), "bad_padding")
}

// Whatever is inside a sound ESP packet, the fast path ends it as the reference does.
func TestInnerGarbage(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{siteRule, {name: "web", source: "10.2.0.0/16", destination: "10.1.0.7", protocol: 6, block: true}}})
	near := r.inbound(r.child("site", "aes128gcm16", true))
	reasons := map[string]int{}
	for range 4000 {
		inner := packetOfLength(farHost, lanHost, []uint8{6, 17, 253, 1, 41, 50}[r.random.IntN(6)], 20+r.random.IntN(80))
		for range r.random.IntN(4) {
			inner[r.random.IntN(min(len(inner), 24))] = byte(r.random.Uint32())
		}
		if r.random.IntN(2) == 0 && inner.headerLen() <= len(inner) && inner.headerLen() >= 20 {
			setHeaderChecksum(inner)
		}
		inner = inner[:r.random.IntN(len(inner)+1)]
		near.sequence++
		o, _ := r.check(wan, fromPeer(near.encapsulate2(inner, near.sequence)))
		reasons[string(o.Disposition)+" "+o.Reason]++
	}
	for _, want := range []string{"forwarded ", "dropped inner_header", "dropped selector_mismatch", "dropped filter_block"} {
		if reasons[want] == 0 {
			t.Errorf("never met: %s; met %v", want, reasons)
		}
	}
}

// encapsulate2 is encapsulate for an inner packet that may be too short to have a header.
func (sa *referenceOut) encapsulate2(inner []byte, sequence uint64) []byte {
	if len(inner) >= ipv4HeaderLen {
		return sa.encapsulate(inner, sequence)
	}
	sealed, err := sa.esp.Seal(sequence, nil, inner, protocolIPv4)
	if err != nil {
		panic(err)
	}
	b := make([]byte, ipv4HeaderLen+len(sealed))
	copy(b[ipv4HeaderLen:], sealed)
	putIPv4(b, 0, 64, protocolESP, 0, sa.child.Local.Addr(), sa.child.Remote.Addr())
	return b
}

// S-065: the inner packet must lie within what was negotiated, whatever the filters say.
func TestInnerOutsideSelectors(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{siteRule, {name: "all", source: "any", destination: "any"}}})
	child := r.child("site", "aes128gcm16", true)
	child.Selectors = siteSelectors(func(s *policySelector) { s.Protocol, s.LocalPort.First, s.LocalPort.Last = 17, 5000, 6000 })
	near := r.inbound(child)
	for i, c := range []struct {
		source, destination string
		protocol            uint8
		reason              string
	}{
		{"10.2.0.7", "10.1.0.7", 17, ""}, // destination port 5678
		{"10.3.0.7", "10.1.0.7", 17, "selector_mismatch"},
		{"10.2.0.7", "10.9.0.7", 17, "selector_mismatch"},
		{"10.2.0.7", "10.1.0.7", 6, "selector_mismatch"},
		{"10.1.0.7", "10.2.0.7", 17, "selector_mismatch"},
	} {
		inner := packetOfLength(netip.MustParseAddr(c.source), netip.MustParseAddr(c.destination), c.protocol, 60)
		if o, _ := r.check(wan, fromPeer(near.encapsulate(inner, uint64(i+1)))); o.Reason != c.reason {
			t.Errorf("%s to %s protocol %d: %q, want %q", c.source, c.destination, c.protocol, o.Reason, c.reason)
		}
	}
}

// Packets that the Linux kernel protected come out of the fast path as they went into the kernel.
func TestKernelCaptures(t *testing.T) {
	for _, name := range []string{"esp-gcm128-tunnel", "esp-gcm256-tunnel", "esp-cbc128-sha1-tunnel", "esp-cbc256-sha256-tunnel", "esp-cbc128-sha1-esn-tunnel", "esp-cbc128-sha1-udp-tunnel",
		"ah-sha256-tunnel", "ah-sha256-pad64-tunnel"} {
		t.Run(name, func(t *testing.T) {
			capture := readCapture(t, name)
			for _, sa := range capture.sas {
				capture.open(t, sa)
			}
		})
	}
}

// open makes a gateway of the end that an SA leads to, and gives it the packets for there.
func (c *capture) open(t *testing.T, sa capturedSA) {
	t.Helper()
	r := newRig(t, rigOptions{
		lan: netip.PrefixFrom(sa.host, 24).Masked().Addr().Next().Next().String() + "/24", host: sa.host,
		wan: sa.destination.String() + "/24", peer: sa.source, rules: []rule{{name: "site", source: netip.PrefixFrom(sa.host, 24).Masked().String(), destination: "10.0.0.0/8", tunnel: "site"}},
	})
	f := form{suite: sa.suite}
	if sa.ah {
		f = form{ah: sa.suite}
	}
	child := r.formed(f, false)
	child.SPI, child.Keymat, child.ESN, child.UDPEncap = sa.spi, crypto.NewSecret(sa.keymat), sa.esn, sa.udp
	child.Local, child.Remote = netip.AddrPortFrom(sa.destination, 4500), netip.AddrPortFrom(sa.source, 4500)
	child.Selectors = siteSelectors(func(s *policySelector) { s.Local, s.Remote = anyIPv4, anyIPv4 })
	r.forceSPI(sa.spi)
	r.inbound(child)
	opened := 0
	for _, frame := range c.frames {
		if ip := ipv4(frame[etherHeaderLen:]); ip.destination() == sa.destination {
			out := ipv4(r.wantForward(wan, fromPeer(ip[:ip.totalLen()]), lan)[etherHeaderLen:])
			if out.protocol() != protocolICMP || checksum(out.payload()) != 0 || out.destination() != sa.host {
				t.Errorf("% x is not the kernel's ping", out)
			}
			opened++
		}
	}
	if opened == 0 {
		t.Errorf("no packet of SA %#x", sa.spi)
	}
}
