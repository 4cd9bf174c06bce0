package pipeline

import (
	"fmt"
	"testing"
)

// classes are packets of both IP versions for every n-th DSCP and each ECN field, with DF and without.
func classes(t *testing.T, n int, visit func(t *testing.T, name string, packet []byte)) {
	t.Helper()
	for class := range 256 {
		if class>>2%n != 0 {
			continue
		}
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
	classes(t, 1, func(t *testing.T, name string, inner []byte) {
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
	classes(t, 3, func(t *testing.T, name string, inner []byte) {
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

// fieldForms are SAs whose outer headers are written and read by different code.
var fieldForms = []form{{suite: "aes128gcm16"}, {suite: "aes128-sha256"}, {suite: "aes128gcm16", outer6: true}, {suite: "aes256-sha512", outer6: true, udp: true},
	{ah: "sha256"}, {ah: "sha1", outer6: true}, {suite: "aes128gcm16", ah: "sha256"}, {suite: "aes128-sha256", ah: "aes128gmac", outer6: true}}

// RFC 2983, RFC 4301 section 8.1, RFC 6040 section 4.1: every policy for every inner header, on the wire.
func TestEncapsulationPolicies(t *testing.T) {
	ef := uint8(46)
	for _, f := range fieldForms {
		for name, e := range map[string]Encapsulation{
			"default": {},
			"fixed":   {DSCP: &ef, ECNOff: true, DF: DFSet, TTL: 7},
			"clear":   {DSCP: new(uint8), DF: DFClear, TTL: 255},
			"no ECN":  {ECNOff: true},
			"TTL":     {TTL: 1},
		} {
			t.Run(f.String()+","+name, func(t *testing.T) {
				r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
				child := r.formed(f, false)
				child.Encapsulation = e
				r.outbound(child)
				classes(t, 21, func(t *testing.T, name string, inner []byte) {
					outer := r.wantForward(lan, fromLAN(inner), wan)[etherHeaderLen:]
					dscp, ecn := trafficClassOf(inner)&^ecnMask, trafficClassOf(inner)&ecnMask
					if e.DSCP != nil {
						dscp = *e.DSCP << 2
					}
					if e.ECNOff {
						ecn = notECT
					}
					ttl := e.TTL
					if ttl == 0 {
						ttl = 64
					}
					if trafficClassOf(outer) != dscp|ecn || hopsLeft(outer) != ttl {
						t.Fatalf("%s: outer class %#02x, TTL %d, want %#02x, %d", name, trafficClassOf(outer), hopsLeft(outer), dscp|ecn, ttl)
					}
					if isIPv6(outer) {
						return
					}
					df := e.DF == DFSet || e.DF == DFCopy && (isIPv6(inner) || ipv4(inner).fragment()&flagDontFragment != 0)
					if got := ipv4(outer).fragment(); got != map[bool]uint16{true: flagDontFragment}[df] {
						t.Fatalf("%s: outer flags %#04x, want DF %t", name, got, df)
					}
				})
			})
		}
	}
}

// RFC 6040 section 4.2, all sixteen cases for several DSCPs inside and another one outside, which stays outside (RFC 2983 section
// 3.2). Nothing else of the inner header changes but its TTL.
func TestECNDecapsulation(t *testing.T) {
	column := [4]int{notECT: 0, ect0: 1, ect1: 2, markCE: 3}
	for _, f := range fieldForms {
		t.Run(f.String(), func(t *testing.T) {
			r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
			near := r.inbound(r.formed(f, true))
			classes(t, 21, func(t *testing.T, name string, inner []byte) {
				turn(inner)
				for outer := range byte(4) {
					near.sequence++
					frame := fromWAN(withClass(near.encapsulate(inner, near.sequence), 0x28|outer))
					want := ecnInside[column[trafficClassOf(inner)&ecnMask]][column[outer]]
					if want < 0 {
						r.wantDrop(wan, frame, "ecn")
						continue
					}
					expected := decrementHops(withClass(inner, trafficClassOf(inner)&^ecnMask|uint8(want)))
					if got := r.wantForward(wan, frame, lan)[etherHeaderLen:]; string(got) != string(expected) {
						t.Fatalf("%s, outer ECN %d: forwarded % x, want % x", name, outer, got, expected)
					}
				}
			})
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
