package pipeline

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"sallyport/crypto"
)

var ahSuites = []string{"md5", "sha1", "sha256", "sha384", "sha512", "aesxcbc", "aescmac", "aes128gmac", "aes256gmac"}

// S-094: AH by every integrity algorithm, in tunnel and transport mode over both IP versions, with 32-bit and extended numbers:
// fast path and reference agree on every byte, and the payload is readable.
func TestAHDifferential(t *testing.T) {
	for i, suite := range ahSuites {
		for j := range 4 {
			f := form{ah: suite, transport: j&1 != 0, outer6: j&2 != 0, esn: (i+j)&1 != 0}
			t.Run(f.String(), func(t *testing.T) { f.differential(t, defaultCrypto) })
		}
	}
	r := newRig(t, rigOptions{})
	r.outbound(r.formed(form{ah: "sha256"}, false))
	p := tcp(lanHost, farHost)
	if sent := r.wantForward(lan, fromHost(p), wan); !bytes.HasSuffix(sent, decrementTTL(p)) {
		t.Errorf("% x does not end with the packet", sent)
	}
}

// S-096: AH around ESP, in both modes over both IP versions.
func TestBundleDifferential(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes256-sha256", "null-sha1"} {
		for i := range 8 {
			f := form{suite: suite, ah: ahSuites[(i+2)%len(ahSuites)], transport: i&1 != 0, outer6: i&2 != 0, esn: i&4 != 0}
			t.Run(f.String(), func(t *testing.T) { f.differential(t, defaultCrypto) })
		}
	}
}

// AH over headers with options and extension headers: what may change on the way is not covered, the rest is.
func TestAHBehindExtensions(t *testing.T) {
	for _, wide := range []bool{false, true} {
		r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
		f := form{ah: "sha256", transport: true, outer6: wide}
		far := r.outbound(r.formed(f, false))
		near := r.inbound(r.formed(f, true))
		packets := carried(wide, true)
		if !wide {
			for _, options := range [][]byte{{7, 7, 4, 1, 2, 3, 4, 0}, {1, 1, 130, 4, 9, 9, 0, 0}, {68, 8, 5, 0, 1, 2, 3, 4}, {1, 148, 4, 0, 0, 82, 3, 0}, make([]byte, 40)} {
				packets = append(packets, withOptions(tcp(lanHost, farHost), options))
			}
		}
		for _, p := range packets {
			sent := r.wantForward(lan, fromLAN(p), wan)[etherHeaderLen:]
			got, reason := far.unwrap(sent)
			same(t, reason, got, decrementHops(p))
		}
		for _, p := range carried(wide, false) {
			near.sequence++
			r.wantForward(wan, fromWAN(near.encapsulate(p, near.sequence)), lan)
		}
	}
}

// S-094: every bit of the outer header is covered but those that routers change: TTL, TOS, flags and the checksum.
func TestAHCoversTheHeader(t *testing.T) {
	r := newRig(t, rigOptions{})
	near := r.inbound(r.formed(form{ah: "sha256"}, true))
	mutable := map[int]byte{1: 0xff, 6: 0xc0, 8: 0xff} // TOS, flags but for more fragments, TTL
	for at := 1; at < ipv4HeaderLen; at++ {
		for bit := range 8 {
			near.sequence++
			p := ipv4(near.encapsulate(packetOfLength(farHost, lanHost, 253, 64), near.sequence))
			p[at] ^= 1 << bit
			setHeaderChecksum(p)
			o, _ := r.check(wan, fromPeer(p)) // the reference agrees on each
			switch passes := mutable[at]>>bit&1 != 0 || at == 10 || at == 11; {
			case passes && o.Reason != "" && o.Reason != "ecn", !passes && o.Disposition == packetForwarded:
				t.Errorf("byte %d bit %d: %+v", at, bit, o)
			case (at == 4 || at == 5 || at >= 12 && at < 16) && o.Reason != "auth_failed" && o.Reason != "bad_source":
				t.Errorf("byte %d bit %d: %+v, want auth_failed", at, bit, o)
			}
		}
	}
}

// S-094 for IPv6: traffic class, flow label and hop limit may change on the way (RFC 4302 section 3.3.3.1.2.1), nothing else.
func TestAHCoversTheIPv6Header(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
	near := r.inbound(r.formed(form{ah: "sha256", outer6: true}, true))
	for at := range ipv6HeaderLen {
		for bit := range 8 {
			near.sequence++
			p := near.encapsulate(inner(6, 64, false), near.sequence)
			p[at] ^= 1 << bit
			o, _ := r.check(wan, fromWAN(p)) // the reference agrees on each
			switch passes := at == 0 && bit < 4 || at > 0 && at < 4 || at == 7; {
			case passes && o.Disposition != packetForwarded && o.Reason != "ecn", !passes && o.Disposition == packetForwarded:
				t.Errorf("byte %d bit %d: %+v", at, bit, o)
			case at >= 8 && at < 24 && o.Reason != "auth_failed" && o.Reason != "bad_source":
				t.Errorf("byte %d bit %d: %+v, want auth_failed", at, bit, o)
			}
		}
	}
}

// S-095: ESP says nothing of the outer header: another source passes. One bit of what it covers does not.
func TestESPLeavesTheHeaderOpen(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		r := newRig(t, rigOptions{})
		near := r.inbound(r.formed(form{suite: suite}, true))
		p := ipv4(near.encapsulate(tcp(farHost, lanHost), 1))
		p[15] ^= 0x40
		setHeaderChecksum(p)
		forged := slices.Clone(p)
		forged[len(forged)-20] ^= 1
		r.wantDrop(wan, fromPeer(forged), "auth_failed")
		r.wantForward(wan, fromPeer(p), lan)
	}
}

// S-096: ESP with the null cipher can be read, and what was changed is dropped.
func TestESPNull(t *testing.T) {
	r := newRig(t, rigOptions{})
	f := form{suite: "null-sha256"}
	r.outbound(r.formed(f, false))
	near := r.inbound(r.formed(f, true))
	p := tcp(lanHost, farHost)
	if sent := r.wantForward(lan, fromHost(p), wan); !bytes.Contains(sent, decrementTTL(p)) {
		t.Errorf("% x does not hold the packet", sent)
	}
	in := near.encapsulate(tcp(farHost, lanHost), 1)
	forged := slices.Clone(in)
	forged[60] ^= 1
	r.wantDrop(wan, fromPeer(forged), "auth_failed")
	r.wantForward(wan, fromPeer(in), lan)
}

// S-096: the order on the wire is IP, AH, ESP; AH protects the source address of encrypted packets; and neither half of a bundle
// passes for the whole.
func TestBundleOrder(t *testing.T) {
	r := newRig(t, rigOptions{})
	f := form{suite: "aes128gcm16", ah: "sha256"}
	out := r.formed(f, false)
	r.outbound(out)
	sent := ipv4(r.wantForward(lan, fromHost(tcp(lanHost, farHost)), wan)[etherHeaderLen:])
	ah := sent[ipv4HeaderLen:]
	if sent.protocol() != protocolAH || ah[0] != protocolESP || binary.BigEndian.Uint32(ah[4:]) != out.AH.SPI ||
		binary.BigEndian.Uint32(ah[ahLen(out.AH.Suite, false):]) != out.SPI {
		t.Fatalf("% x is not IP, AH, ESP", sent)
	}
	in := r.formed(f, true)
	near := r.inbound(in)
	p := ipv4(near.encapsulate(tcp(farHost, lanHost), 1))
	moved := append(ipv4(nil), p...)
	moved[15] ^= 0x40
	setHeaderChecksum(moved)
	r.wantDrop(wan, fromPeer(moved), "auth_failed")
	bare, alone := *near, *near
	bare.ah, alone.esp = nil, nil
	r.wantDrop(wan, fromPeer(bare.encapsulate(tcp(farHost, lanHost), 1)), "bundle")
	r.wantDrop(wan, fromPeer(alone.encapsulate(tcp(farHost, lanHost), 2)), "bundle")
	r.wantForward(wan, fromPeer(p), lan)
	r.wantDrop(wan, fromPeer(p), "replay_duplicate")
}

// S-097: second copies are dropped, and what lies below the window, under AH, under ESP and under both.
func TestReplayUnderEveryForm(t *testing.T) {
	for _, f := range []form{{ah: "sha256"}, {suite: "aes128gcm16", outer6: true}, {suite: "aes128gcm16", ah: "sha1"}, {suite: "null-sha1", transport: true}} {
		for _, window := range []int{32, 96, 8192} {
			r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
			child := r.formed(f, true)
			child.ReplayWindow = window
			if child.AH != nil {
				child.AH.ReplayWindow = window
			}
			near := r.inbound(child)
			version := f.versions()[0]
			send := func(sequence uint64) []byte { return fromWAN(near.encapsulate(inner(version, 64, false), sequence)) }
			top := uint64(window) + 10
			r.wantForward(wan, send(top), lan)
			r.wantDrop(wan, send(top), "replay_duplicate")
			oldest := top - uint64(window) + 1
			r.wantForward(wan, send(oldest), lan)
			r.wantDrop(wan, send(oldest), "replay_duplicate")
			r.wantDrop(wan, send(oldest-1), "replay_old")
			got := map[string]uint64{}
			for _, sa := range r.d.SACounters() {
				got = sa.Drops
			}
			same(t, f.String(), got, map[string]uint64{"replay_duplicate": 2, "replay_old": 1})
		}
	}
}

// AH that cannot be: cut short, with a length that is not its ICV's, behind too many headers. The reserved bytes are ignored (RFC
// 4302 section 2.3), and the longer padding of other peers is not.
func TestMalformedAH(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
	child := r.formed(form{ah: "sha256"}, true)
	near := r.inbound(child)
	whole := near.encapsulate(tcp(farHost, lanHost), 1)
	r.wantDrop(wan, fromPeer(lead(slices.Clone(whole[:ipv4HeaderLen]), ipv4HeaderLen, protocolAH)), "no_payload")
	for n := ipv4HeaderLen + 1; n < ipv4HeaderLen+ahLen(child.Suite, false); n++ {
		r.wantDrop(wan, fromPeer(lead(slices.Clone(whole[:n]), ipv4HeaderLen, protocolAH)), "ah_truncated")
	}
	for length := range 256 {
		forged := slices.Clone(whole)
		forged[ipv4HeaderLen+1] = byte(length)
		if o, _ := r.check(wan, fromPeer(forged)); o.Disposition == packetForwarded && length != int(whole[ipv4HeaderLen+1]) {
			t.Errorf("length %d passed", length)
		}
	}
	wide := r.inbound(r.formed(form{ah: "sha256", transport: true, outer6: true}, true))
	long := packet6(farHost6, lanHost6, 253, make([]byte, 8), extension{nextHopByHop, append([]byte{31, 1, 252}, make([]byte, 252)...)[:255]})
	if _, reason := parseIPv6(long); reason == "" {
		r.wantDrop(wan, fromWAN(wide.encapsulate(long, 1)), "ah_headers")
	} else {
		t.Errorf("the test's packet: %s", reason)
	}
}

// S-080: the 32-bit counter of AH and of a bundle ends and never begins anew.
func TestSequenceEndsInEveryForm(t *testing.T) {
	for _, f := range []form{{ah: "sha256"}, {suite: "aes128gcm16", ah: "sha1", outer6: true}, {suite: "aes128-sha256", transport: true}} {
		r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
		child := r.formed(f, false)
		child.FirstSequence = 1<<32 - 2
		r.outbound(child)
		p := fromLAN(inner(f.versions()[0], 64, true))
		r.wantForward(lan, p, wan)
		r.wantForward(lan, p, wan)
		for range 3 {
			r.wantDrop(lan, p, "seq_exhausted")
		}
	}
}

// RFC 4303 sections 2.6 and 2.7: inner packets are padded up to a length, what the peer pads is accepted, and its dummies end here.
func TestTFCPadding(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes256-sha256"} {
		r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
		out := r.formed(form{suite: suite}, false)
		out.Encapsulation.TFCPad = 1300
		far := r.outbound(out)
		near := r.inbound(r.formed(form{suite: suite}, true))
		lengths := map[int]bool{}
		for _, size := range []int{40, 41, 128, 576, 1200, 1300} {
			for _, version := range []int{4, 6} {
				p := inner(version, size, true)
				sent := r.wantForward(lan, fromLAN(p), wan)
				r.opened(far, sent, len(p))
				lengths[len(sent)] = true
				near.sequence++
				r.wantForward(wan, fromWAN(near.wrap(inner(version, size, false), near.sequence, 1400)), lan)
			}
		}
		if len(lengths) != 1 {
			t.Errorf("%s: packets of lengths %v", suite, lengths)
		}
	}
}

// Algorithms of the other protocol, AH across a NAT and AH around AH are refused with a reason (S-091).
func TestRefusedForms(t *testing.T) {
	r := newRig(t, rigOptions{})
	for name, change := range map[string]func(*ChildSA){
		"AH in UDP":                             func(c *ChildSA) { c.UDPEncap = true },
		"algorithms sha256 are not":             func(c *ChildSA) { c.Protocol = crypto.ProtocolESP },
		"AH around AH":                          func(c *ChildSA) { c.AH = &AHLayer{SPI: 999, Suite: c.Suite, Keymat: c.Keymat} },
		"want two of IPv4 or two of IPv6":       func(c *ChildSA) { c.Local = wanPort6 },
		"replay window of 100000 packets, want": func(c *ChildSA) { c.ReplayWindow = 100000 },
	} {
		child := r.formed(form{ah: "sha256"}, false)
		change(&child)
		if err := r.d.InstallOutbound(child); err == nil || !bytes.Contains([]byte(err.Error()), []byte(name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
