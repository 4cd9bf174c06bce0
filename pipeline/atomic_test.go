package pipeline

import (
	"slices"
	"testing"
)

// behindFragmentHeader is an IPv6 packet with a fragment header of a whole packet (RFC 6946) behind its fixed header, and then more
// headers. The header's second byte is reserved: whatever it is, it is no length.
func behindFragmentHeader(p ipv6, reserved byte, more ...extension) ipv6 {
	list := append([]extension{{nextFragment, []byte{reserved, 0, 0, 0, 0, 0, 1}}}, more...)
	q := packet6(p.source(), p.destination(), p[6], p[ipv6HeaderLen:], list...)
	copy(q[:4], p)
	q[7] = p.hopLimit()
	return q
}

var padded = extension{nextDestination, []byte{0, 1, 4, 0, 0, 0, 0}}

// A fragment header in front of AH, which covers a packet as it was before and after fragmentation (RFC 4302 section 3.3.4), is none
// that its sender has put there. Nothing of such a packet is read as the options that its second byte seems to announce.
func TestAHBehindAFragmentHeader(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
	options := slices.Repeat([]byte{0xff, 254}, 300) // one may change on the way, wherever it is looked for
	for _, transport := range []bool{false, true} {
		near := r.inbound(r.formed(form{ah: "sha256", outer6: true, transport: transport}, true))
		whole := ipv6(near.encapsulate(packet6(farHost6, lanHost6, 253, options), 1))
		for _, reserved := range []byte{0, 1, 30, 255} {
			r.wantDrop(wan, fromWAN(behindFragmentHeader(whole, reserved)), "ah_headers")
			r.wantDrop(wan, fromWAN(behindFragmentHeader(whole, reserved, padded)), "ah_headers")
		}
		r.wantForward(wan, fromWAN(whole), lan)
	}
}

// ESP in transport mode says nothing of the headers in front of it, but what it brings comes behind all of them.
func TestESPBehindAFragmentHeader(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
	near := r.inbound(r.formed(form{suite: "aes128gcm16", outer6: true, transport: true}, true))
	for i, reserved := range []byte{0, 1, 255} {
		for j, more := range [][]extension{nil, {padded}} {
			whole := ipv6(near.encapsulate(tcp6(farHost6, lanHost6), uint64(2*i+j+1)))
			sent := ipv6(r.wantForward(wan, fromWAN(behindFragmentHeader(whole, reserved, more...)), lan)[etherHeaderLen:])
			protocol, segment := sent.upper()
			if protocol != protocolTCP || !slices.Equal(segment, tcp6(farHost6, lanHost6)[ipv6HeaderLen:]) {
				t.Errorf("reserved byte %d: % x", reserved, sent)
			}
		}
	}
}
