package ikev1

import (
	"net/netip"
	"strings"
	"testing"

	"sallyport/crypto"
	"sallyport/ike/isakmp"
	"sallyport/policy"
)

// selector reads "local remote [protocol [local port [remote port]]]", of ports 0 being any.
func selector(t testing.TB, local, remote string, numbers ...uint16) policy.Selector {
	t.Helper()
	read := func(text string) policy.AddrRange {
		if first, last, isRange := strings.Cut(text, "-"); isRange {
			return policy.AddrRange{First: netip.MustParseAddr(first), Last: netip.MustParseAddr(last)}
		}
		if p, err := netip.ParsePrefix(text); err == nil {
			return policy.RangeOf(p)
		}
		return policy.HostRange(netip.MustParseAddr(text))
	}
	s := policy.Selector{Local: read(local), Remote: read(remote), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}
	for i, n := range numbers {
		switch {
		case i == 0:
			s.Protocol = uint8(n)
		case n != 0 && i == 1:
			s.LocalPort = policy.PortRange{First: n, Last: n}
		case n != 0:
			s.RemotePort = policy.PortRange{First: n, Last: n}
		}
	}
	return s
}

var (
	here  = netip.MustParseAddr("192.0.2.1")
	there = netip.MustParseAddr("192.0.2.2")
)

// S-064: traffic is described as subnets, ranges and addresses of both versions of IP, with protocol and port, and comes back as it was.
func TestIdentitiesOfTraffic(t *testing.T) {
	for _, c := range []struct {
		selector      policy.Selector
		local, remote isakmp.IDType
	}{
		{selector(t, "10.1.0.0/16", "10.2.0.0/16"), isakmp.IDIPv4Subnet, isakmp.IDIPv4Subnet},
		{selector(t, "0.0.0.0/0", "10.2.3.4", 6), isakmp.IDIPv4Subnet, isakmp.IDIPv4Address},
		{selector(t, "10.1.0.5-10.1.0.9", "10.2.0.0/31", 17, 0, 53), isakmp.IDIPv4Range, isakmp.IDIPv4Subnet},
		{selector(t, "2001:db8::/32", "::/0", 6, 443), isakmp.IDIPv6Subnet, isakmp.IDIPv6Subnet},
		{selector(t, "2001:db8::1", "2001:db8::5-2001:db8::ff"), isakmp.IDIPv6Address, isakmp.IDIPv6Range},
		{selector(t, "192.0.2.1", "192.0.2.2", 1), isakmp.IDIPv4Address, isakmp.IDIPv4Address},
	} {
		if err := sayable(c.selector); err != nil {
			t.Error(err)
		}
		local, remote := identities(c.selector)
		if local.Type != c.local || remote.Type != c.remote {
			t.Errorf("%s is %v and %v, expected %v and %v", c.selector, local.Type, remote.Type, c.local, c.remote)
		}
		if got, err := traffic(local, remote, here, there); err != nil || got != c.selector {
			t.Errorf("%s comes back as %s, error %v", c.selector, got, err)
		}
	}
}

func TestUnsayable(t *testing.T) {
	of := func(protocol uint8, local, remote policy.PortRange) policy.Selector {
		s := selector(t, "10.1.0.0/16", "10.2.0.0/16", uint16(protocol))
		s.LocalPort, s.RemotePort = local, remote
		return s
	}
	for _, s := range []policy.Selector{
		of(6, policy.PortRange{First: 80, Last: 81}, policy.AnyPort), of(6, policy.AnyPort, policy.PortRange{}), of(0, policy.PortRange{First: 80, Last: 80}, policy.AnyPort),
		of(17, policy.OpaquePort, policy.AnyPort), of(1, policy.PortRange{First: 0x800, Last: 0x8ff}, policy.AnyPort), of(58, policy.AnyPort, policy.OpaquePort),
	} {
		if err := sayable(s); err == nil {
			t.Errorf("%s can be said by IKEv1, expected an error", s)
		}
	}
}

func TestHostileTraffic(t *testing.T) {
	subnet := isakmp.SubnetID(netip.MustParsePrefix("10.1.0.0/16"))
	with := func(change func(*isakmp.ID)) *isakmp.ID {
		id := *subnet
		change(&id)
		return &id
	}
	for name, c := range map[string]struct {
		local, remote *isakmp.ID
		want, err     string
	}{
		"none":                       {nil, nil, "192.0.2.1 === 192.0.2.2", ""},
		"one only":                   {subnet, nil, "", "one ID payload"},
		"a host with the net's mask": {&isakmp.ID{Type: isakmp.IDIPv4Subnet, Data: []byte{10, 1, 2, 3, 255, 255, 0, 0}}, subnet, "10.1.0.0/16 === 10.1.0.0/16", ""},
		"a mask with holes":          {&isakmp.ID{Type: isakmp.IDIPv4Subnet, Data: []byte{10, 1, 2, 3, 255, 0, 255, 0}}, subnet, "", "one after a zero"},
		"a backward range":           {isakmp.RangeID(there, here), subnet, "", "ends before it starts"},
		"a name":                     {&isakmp.ID{Type: isakmp.IDFQDN, Data: []byte("gw.example")}, subnet, "", "expected an address, a subnet or a range"},
		"two protocols":              {with(func(id *isakmp.ID) { id.Protocol = 6 }), with(func(id *isakmp.ID) { id.Protocol = 17 }), "", "protocol tcp at our end and udp"},
		"one protocol":               {with(func(id *isakmp.ID) { id.Protocol, id.Port = 6, 80 }), subnet, "10.1.0.0/16[80] === 10.1.0.0/16 tcp", ""},
		"a port of any protocol":     {with(func(id *isakmp.ID) { id.Port = 80 }), subnet, "", "port 80 of protocol 0"},
		"a port of ICMP":             {with(func(id *isakmp.ID) { id.Protocol, id.Port = 1, 8 }), subnet, "", "port 8 of protocol 1"},
		"two versions":               {isakmp.AddressID(netip.MustParseAddr("2001:db8::1")), subnet, "", "two IP versions"},
		"too short":                  {&isakmp.ID{Type: isakmp.IDIPv4Address, Data: []byte{10}}, subnet, "", "1 octets"},
	} {
		got, err := traffic(c.local, c.remote, here, there)
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) || c.err == "" && (err != nil || got.String() != c.want) {
			t.Errorf("%s: %s, error %v; expected %s, error %q", name, got, err, c.want, c.err)
		}
	}
}

// S-064: traffic that lies within what is configured is taken as it is, wider traffic is refused with both side by side.
func TestFits(t *testing.T) {
	configured := []policy.Selector{selector(t, "10.1.0.0/16", "10.2.0.0/16"), selector(t, "10.3.0.0/16", "10.2.0.0/16", 6, 0, 80)}
	for _, c := range []struct {
		offered policy.Selector
		want    fit
	}{
		{configured[0], fitExact}, {configured[1], fitExact},
		{selector(t, "10.1.5.0/24", "10.2.0.0/16"), fitWithin},
		{selector(t, "10.1.0.0/16", "10.2.0.7", 17, 0, 53), fitWithin},
		{selector(t, "10.0.0.0/15", "10.2.0.0/16"), fitNone},
		{selector(t, "10.1.0.0/16", "0.0.0.0/0"), fitNone},
		{selector(t, "10.3.0.0/16", "10.2.0.0/16", 6), fitNone},
		{selector(t, "10.2.0.0/16", "10.1.0.0/16"), fitNone},
		{selector(t, "2001:db8::/64", "2001:db8:1::/64"), fitNone},
	} {
		if got := fits(configured, c.offered); got != c.want {
			t.Errorf("%s fits %d, expected %d", c.offered, got, c.want)
		}
	}
	want := "peer offers 10.0.0.0/15 === 10.2.0.0/16; expected that or a part of 10.1.0.0/16 === 10.2.0.0/16, 10.3.0.0/16 === 10.2.0.0/16[80] tcp"
	if got := refuseTraffic(configured, selector(t, "10.0.0.0/15", "10.2.0.0/16")).Error(); got != want {
		t.Errorf("refused with\n%s, expected\n%s", got, want)
	}
	if confirmTraffic(configured[0], configured[0]) != nil || confirmTraffic(configured[0], selector(t, "10.1.5.0/24", "10.2.0.0/16")) == nil {
		t.Error("a responder may repeat what was offered, and nothing else")
	}
}

// IDs as strongSwan sends them in tunnel mode; libreswan sends none in transport mode, and strongSwan answers with some.
func TestCapturedTraffic(t *testing.T) {
	for _, v := range []struct {
		name          string
		prf           crypto.PRFID
		cipher        phase1Cipher
		quick         int
		main          [4]int
		first, second string
	}{
		{"ikev1-psk-pfs-tunnel", crypto.PRFHMACSHA256, phase1Cipher{crypto.EncrAESCBC, 32}, 6, [4]int{0, 1, 2, 3}, "10.1.0.0/24 === 10.2.0.0/24", "10.1.0.0/24 === 10.2.0.0/24"},
		{"ikev1-libreswan-ah-dpd", crypto.PRFHMACSHA1, phase1Cipher{crypto.Encr3DES, 24}, 10, [4]int{0, 3, 6, 7}, "192.0.2.1 === 192.0.2.2", "192.0.2.1 === 192.0.2.2"},
	} {
		c := readCapture(t, v.name)
		k, seen := c.mainModeKeys(t, v.prf, v.cipher, []*isakmp.Message{c.messages[v.main[0]], c.messages[v.main[1]], c.messages[v.main[2]], c.messages[v.main[3]]})
		last := c.checkProofs(t, k, seen, c.messages[v.quick-2:])
		request, iv := c.open(t, k, k.phase2IV(last, c.messages[v.quick].MessageID), c.messages[v.quick])
		answer, _ := c.open(t, k, iv, c.messages[v.quick+1])
		for i, want := range []string{v.first, v.second} {
			var ids [2]*isakmp.ID
			copy(ids[:], isakmp.FindAll[*isakmp.ID]([][]isakmp.Payload{request.Payloads, answer.Payloads}[i]))
			got, err := traffic(ids[0], ids[1], here, there)
			if err != nil || got.String() != want {
				t.Errorf("%s: message %d is about %s, error %v, expected %s", v.name, i+1, got, err, want)
			}
		}
	}
}
