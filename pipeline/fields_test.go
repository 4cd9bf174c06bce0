package pipeline

import (
	"fmt"
	"testing"
)

// classes are packets of both IP versions for every TOS and traffic class, with DF and without.
func classes(t *testing.T, visit func(t *testing.T, name string, packet []byte)) {
	t.Helper()
	for class := range 256 {
		for _, df := range []bool{false, true} {
			p := ipv4(packetOfLength(lanHost, farHost, 253, 60))
			p[1] = byte(class)
			if p[6] = 0; df {
				p[6] = flagDontFragment >> 8
			}
			setHeaderChecksum(p)
			visit(t, fmt.Sprintf("IPv4, TOS %#02x, DF %t", class, df), p)
		}
		q := tcp6(lanHost6, farHost6)
		q[0], q[1] = 0x60|byte(class>>4), byte(class<<4)|0xf // and a flow label
		visit(t, fmt.Sprintf("IPv6, traffic class %#02x", class), q)
	}
}

// RFC 2983, RFC 4301 section 8.1 and RFC 6040 section 4.1: what an outer header takes from the inner one, under every policy.
func TestOuterFields(t *testing.T) {
	classes(t, func(t *testing.T, name string, inner []byte) {
		for _, df := range []DFPolicy{DFCopy, DFSet, DFClear} {
			for _, dscp := range []int{-1, 0, 46, 63} {
				for _, ecnOff := range []bool{false, true} {
					for _, ttl := range []uint8{0, 1, 255} {
						e := Encapsulation{DF: df, ECNOff: ecnOff, TTL: ttl}
						if dscp >= 0 {
							point := uint8(dscp)
							e.DSCP = &point
						}
						if got, want := outerFieldsC(&e, inner), e.outerFields(inner); got != want {
							t.Fatalf("%s, DF %d, DSCP %d, ECN off %t, TTL %d: %+v, want %+v", name, df, dscp, ecnOff, ttl, got, want)
						}
					}
				}
			}
		}
	})
}

func TestEncapsulationInvalid(t *testing.T) {
	tooLarge := uint8(64)
	for _, e := range []Encapsulation{{DF: 3}, {DSCP: &tooLarge}, {MSSClamp: -2}, {MSSClamp: 65536}, {TFCPad: -1}, {TFCPad: 65536}} {
		if e.validate() == nil {
			t.Errorf("%+v was accepted", e)
		}
	}
}

// By default DSCP, ECN and DF go outside as they are, and a packet of IPv6 gets DF.
func TestDefaultOuterFields(t *testing.T) {
	r, r6 := newRig(t, rigOptions{}), newRig6(t, rigOptions{rules: []rule{siteRule6}})
	r.outbound(r.child("site", "aes128gcm16", false))
	r6.outbound(r6.child6("aes128gcm16", false))
	classes(t, func(t *testing.T, name string, inner []byte) {
		out := r
		frame := fromHost(inner)
		if isIPv6(inner) {
			out, frame = r6, fromHost6(inner)
		}
		outer := ipv4(out.wantForward(lan, frame, wan)[etherHeaderLen:])
		df := uint16(flagDontFragment)
		if !isIPv6(inner) {
			df = ipv4(inner).fragment()
		}
		if outer[1] != trafficClassOf(inner) || outer.fragment() != df || outer.ttl() != 64 {
			t.Fatalf("%s: outer TOS %#02x, flags %#04x, TTL %d", name, outer[1], outer.fragment(), outer.ttl())
		}
	})
}

// ecnInside is figure 4 of RFC 6040: inner field by the arriving inner (row) and outer (column) one, each not-ECT, ECT(0),
// ECT(1), CE; -1 is a drop.
var ecnInside = [4][4]int{
	{notECT, notECT, notECT, -1},
	{ect0, ect0, ect1, markCE},
	{ect1, ect1, ect1, markCE},
	{markCE, markCE, markCE, markCE},
}

// RFC 6040 section 4.2, all sixteen cases for every DSCP inside and another one outside, which stays outside (RFC 2983 section
// 3.2). Nothing else of the inner header changes but its TTL.
func TestECNDecapsulation(t *testing.T) {
	column := [4]int{notECT: 0, ect0: 1, ect1: 2, markCE: 3}
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		r, r6 := newRig(t, rigOptions{}), newRig6(t, rigOptions{rules: []rule{siteRule6}})
		near, near6 := r.inbound(r.child("site", suite, true)), r6.inbound(r6.child6(suite, true))
		classes(t, func(t *testing.T, name string, inner []byte) {
			in, sa, source := r, near, fromPeer
			turn(inner)
			if isIPv6(inner) {
				in, sa = r6, near6
			}
			for outer := range byte(4) {
				sa.sequence++
				e := sa.encapsulate(inner, sa.sequence)
				e[1] = 0x28 | outer
				setHeaderChecksum(e)
				want := ecnInside[column[trafficClassOf(inner)&ecnMask]][column[outer]]
				if want < 0 {
					in.wantDrop(wan, source(e), "ecn")
					continue
				}
				expected := decrementHops(withClass(inner, trafficClassOf(inner)&^ecnMask|uint8(want)))
				if got := in.wantForward(wan, source(e), lan)[etherHeaderLen:]; string(got) != string(expected) {
					t.Fatalf("%s, outer ECN %d: forwarded % x, want % x", name, outer, got, expected)
				}
			}
		})
	}
}

// turn exchanges source and destination.
func turn(ip []byte) {
	at, n := 12, 4
	if isIPv6(ip) {
		at, n = 8, 16
	}
	for i := at; i < at+n; i++ {
		ip[i], ip[i+n] = ip[i+n], ip[i]
	}
}
