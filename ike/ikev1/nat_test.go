package ikev1

import (
	"net/netip"
	"testing"

	"sallyport/crypto"
	"sallyport/ike/isakmp"
)

// The hash of RFC 3947 3.2 for an address and port, of either version of IP, tells whether something on the way has changed it.
func TestDetectNAT(t *testing.T) {
	cookies := isakmp.Cookies{Initiator: 0x0102030405060708, Responder: 0x1112131415161718}
	end := netip.MustParseAddrPort
	for _, c := range []struct {
		name                   string
		version                natVersion
		sender, receiver       string // as the sender knows the two ends
		from, to               string // as the receiver sees the datagram
		beforeUs, beforeSender bool
	}{
		{"none", natRFC, "10.0.0.1:500", "10.0.0.2:500", "10.0.0.1:500", "10.0.0.2:500", false, false},
		{"none, IPv6", natRFC, "[2001:db8::1]:500", "[2001:db8::2]:500", "[2001:db8::1]:500", "[2001:db8::2]:500", false, false},
		{"before the sender", natRFC, "10.0.0.1:500", "192.0.2.2:500", "192.0.2.1:500", "192.0.2.2:500", false, true},
		{"a port only", natDraft, "10.0.0.1:500", "192.0.2.2:500", "10.0.0.1:1024", "192.0.2.2:500", false, true},
		{"before us", natDraft, "192.0.2.1:500", "192.0.2.2:500", "192.0.2.1:500", "10.0.0.2:500", true, false},
		{"before both", natRFC, "10.0.0.1:500", "192.0.2.2:500", "192.0.2.1:500", "10.0.0.2:500", true, true},
		{"no version in common", natNone, "10.0.0.1:500", "192.0.2.2:500", "192.0.2.1:500", "10.0.0.2:500", false, false},
	} {
		for _, prf := range []crypto.PRFID{crypto.PRFHMACMD5, crypto.PRFHMACSHA256} {
			payloads := nat{version: c.version}.natDetection(prf, cookies, end(c.sender), end(c.receiver))
			m := &isakmp.Message{Header: isakmp.Header{Cookies: cookies}, Payloads: payloads}
			found := nat{version: c.version}
			found.detect(m, prf, end(c.to), end(c.from))
			if found.local != c.beforeUs || found.remote != c.beforeSender {
				t.Errorf("%s: a NAT before us: %t, before the sender: %t; expected %t and %t", c.name, found.local, found.remote, c.beforeUs, c.beforeSender)
			}
			for _, p := range payloads {
				if draft := p.PayloadType() == isakmp.PayloadNATDDraft; draft != (c.version == natDraft) {
					t.Errorf("%s: payload %v for version %d", c.name, p, c.version)
				}
			}
		}
	}
}

// NAT-D as strongSwan and libreswan sent it with no NAT on the way.
func TestCapturedNATDetection(t *testing.T) {
	for _, v := range []struct {
		name            string
		prf             crypto.PRFID
		request, answer int // messages 3 and 4 of main mode
	}{
		{"ikev1-psk-pfs-tunnel", crypto.PRFHMACSHA256, 2, 3}, {"ikev1-rsa-3des-md5-fragments", crypto.PRFHMACMD5, 2, 3}, {"ikev1-libreswan-ah-dpd", crypto.PRFHMACSHA1, 6, 7},
	} {
		c := readCapture(t, v.name)
		initiator, responder := netip.AddrPortFrom(here, portIKE), netip.AddrPortFrom(there, portIKE)
		for i, m := range []*isakmp.Message{c.messages[v.request], c.messages[v.answer]} {
			local, remote := responder, initiator
			if i == 1 {
				local, remote = initiator, responder
			}
			if len(isakmp.FindAll[*isakmp.NATD](m.Payloads)) < 2 {
				t.Fatalf("%s: message %d has no NAT-D payloads", v.name, i+3)
			}
			n := nat{version: natRFC}
			if n.detect(m, v.prf, local, remote); n.across() {
				t.Errorf("%s: message %d shows a NAT before us: %t, before the peer: %t; there is none", v.name, i+3, n.local, n.remote)
			}
			n.detect(m, v.prf, onPort(local, 501), remote)
			if !n.local || n.remote {
				t.Errorf("%s: message %d at another port of ours shows a NAT before us: %t, before the peer: %t; expected the first", v.name, i+3, n.local, n.remote)
			}
		}
	}
}

// C-12, S-092: with a NAT on the way message 5 leaves for port 4500, without one the port stays. RFC 3947 5.1 has modes of its own then, the drafts private ones.
func TestFloat(t *testing.T) {
	local, remote := netip.MustParseAddrPort("10.0.0.1:500"), netip.MustParseAddrPort("192.0.2.2:500")
	for _, c := range []struct {
		nat               nat
		port              uint16
		tunnel, transport isakmp.Encapsulation
	}{
		{nat{version: natRFC}, 500, isakmp.EncapsulationTunnel, isakmp.EncapsulationTransport},
		{nat{version: natRFC, local: true}, 4500, isakmp.EncapsulationUDPTunnel, isakmp.EncapsulationUDPTransport},
		{nat{version: natDraft, remote: true}, 4500, isakmp.EncapsulationUDPTunnelDraft, isakmp.EncapsulationUDPTransportDraft},
	} {
		l, r := c.nat.float(local, remote)
		if l.Port() != c.port || r.Port() != c.port || l.Addr() != local.Addr() || r.Addr() != remote.Addr() {
			t.Errorf("%+v: message 5 goes from %v to %v, expected port %d", c.nat, l, r, c.port)
		}
		if got := c.nat.encapsulation(false); got != c.tunnel {
			t.Errorf("%+v: tunnel mode is %v, expected %v", c.nat, got, c.tunnel)
		}
		if got := c.nat.encapsulation(true); got != c.transport {
			t.Errorf("%+v: transport mode is %v, expected %v", c.nat, got, c.transport)
		}
	}
}

// S-091: nothing with AH is offered or taken across a NAT.
func TestNoAHAcrossNAT(t *testing.T) {
	behind := nat{version: natRFC, local: true}
	for texts, want := range map[string]int{"AH sha256, aes128gcm16, AH sha1": 1, "aes128gcm16": 1, "aes128gcm16 + AH sha1": 0} {
		if got := len(behind.passable(terms(t, texts)).proposals); got != want {
			t.Errorf("of %s %d proposals pass a NAT, expected %d", texts, got, want)
		}
		if q := terms(t, texts); len(nat{}.passable(q).proposals) != len(q.proposals) {
			t.Errorf("of %s something is left out without a NAT", texts)
		}
	}
}

// S-091: where only the NAT stands in the way of what is offered that is said.
func TestWhyNotAcrossNAT(t *testing.T) {
	behind := nat{version: natRFC, remote: true}
	for _, c := range []struct {
		ours, theirs string
		nat          nat
		said         bool
	}{
		{"AH sha256", "aes128gcm16", behind, true}, {"aes128gcm16", "AH sha256", behind, true}, {"aes128gcm16", "aes128gcm16 + AH sha1", behind, true},
		{"aes128gcm16 + AH sha1", "aes128gcm16", behind, true}, {"aes128gcm16", "AH sha1, aes256gcm16", behind, false}, {"AH sha256", "AH sha1", nat{}, false},
	} {
		ours := c.nat.passable(terms(t, c.ours))
		offered := received(t, offerPhase2(terms(t, c.theirs), crypto.DHNone, childSPIs{0x1001, 0x1002}))
		if said := c.nat.whyNot(ours, offered) != ""; said != c.said {
			t.Errorf("%s offered for %s across %+v: the NAT is named: %t, expected %t", c.theirs, c.ours, c.nat, said, c.said)
		}
	}
}

func TestOriginals(t *testing.T) {
	n := nat{version: natDraft, remote: true}
	for _, initiator := range []bool{true, false} {
		list := n.originals(true, initiator, here, there)
		want := here
		if !initiator {
			want = there
		}
		if len(list) != 2 || list[0].(*isakmp.NATOA).Address != want || !list[0].(*isakmp.NATOA).Draft {
			t.Errorf("NAT-OA as initiator (%t): %v, expected two of the draft, %v first", initiator, list, want)
		}
	}
	if list := append(n.originals(false, true, here, there), nat{version: natRFC}.originals(true, true, here, there)...); len(list) > 0 {
		t.Errorf("NAT-OA in tunnel mode or without a NAT: %v", list)
	}
	s := selector(t, "198.51.100.1", "10.0.0.9", 17, 1701)
	got := nat{version: natRFC, local: true, remote: true}.ownView(s, true, here, there)
	if want := selector(t, "192.0.2.1", "192.0.2.2", 17, 1701); got != want {
		t.Errorf("the peer's %s is %s for us, expected %s", s, got, want)
	}
	if got := n.ownView(s, false, here, there); got != s {
		t.Errorf("in tunnel mode %s becomes %s", s, got)
	}
}
