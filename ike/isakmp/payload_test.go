package isakmp

import (
	"bytes"
	"crypto/sha1"
	"net/netip"
	"strings"
	"testing"
)

func TestIDRange(t *testing.T) {
	address := func(text string) netip.Addr {
		if text == "" {
			return netip.Addr{}
		}
		return netip.MustParseAddr(text)
	}
	for _, c := range []struct {
		octets      string // of the payload
		first, last string
		says        string
	}{
		{"01 00 0000 c0000201", "192.0.2.1", "192.0.2.1", ""},
		{"04 00 0000 c0000201 ffffff00", "192.0.2.0", "192.0.2.255", ""},
		{"04 00 0000 c0000201 ffffffff", "192.0.2.1", "192.0.2.1", ""},
		{"04 00 0000 c0000201 00000000", "0.0.0.0", "255.255.255.255", ""},
		{"04 00 0000 0a010000 fffff000", "10.1.0.0", "10.1.15.255", ""},
		{"04 00 0000 0a010000 ff00ff00", "", "", "has a one after a zero"},
		{"04 00 0000 0a010000 ffffff01", "", "", "has a one after a zero"},
		{"04 00 0000 0a010000 fffe8000", "", "", "has a one after a zero"},
		{"07 00 0000 0a010005 0a010009", "10.1.0.5", "10.1.0.9", ""},
		{"07 00 0000 0a010009 0a010005", "10.1.0.9", "10.1.0.5", "ends before it starts"},
		{"06 00 0000 20010db8000000000000000000000001 ffffffffffffffff0000000000000000", "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", ""},
		{"08 00 0000 20010db8000000000000000000000001 20010db8000000000000000000000002", "2001:db8::1", "2001:db8::2", ""},
		{"02 00 0000 61", "", "", "ID_FQDN, expected an address, a subnet or a range"},
	} {
		body := octets(t, c.octets)
		chain, err := ParsePayloads(PayloadID, append([]byte{0, 0, 0, byte(4 + len(body))}, body...))
		if err != nil {
			t.Fatal(err)
		}
		first, last, err := Find[*ID](chain.Payloads).Range()
		if first != address(c.first) || last != address(c.last) || (err == nil) != (c.says == "") {
			t.Errorf("%s: %v to %v (%v), expected %s to %s", c.octets, first, last, err, c.first, c.last)
		}
		if err != nil && (NotifyFor(err) != NotifyInvalidIDInformation || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: error %v, expected one that says %q", c.octets, err, c.says)
		}
	}
	if _, _, err := (&ID{Type: IDIPv4Subnet, Data: make([]byte, 4)}).Range(); !typed(err) {
		t.Errorf("a subnet without a mask gives error %v", err)
	}
	if id := AddressID(netip.MustParseAddr("::ffff:192.0.2.1")); id.Type != IDIPv4Address || len(id.Data) != 4 {
		t.Errorf("an IPv4 address mapped into IPv6 is identity %v of %d octets", id.Type, len(id.Data))
	}
}

func TestNotifyReaders(t *testing.T) {
	cookies := Cookies{1, 2}
	if n, err := RUThere(cookies, 9).Sequence(); err != nil || n != 9 {
		t.Errorf("R-U-THERE has number %d (%v), expected 9", n, err)
	}
	if n, err := RUThereAck(cookies, 9).Sequence(); err != nil || n != 9 {
		t.Errorf("R-U-THERE-ACK has number %d (%v), expected 9", n, err)
	}
	if c, err := InitialContact(cookies).Cookies(); err != nil || c != cookies {
		t.Errorf("INITIAL-CONTACT is about %v (%v), expected %v", c, err, cookies)
	}
	if protocol, spi, err := Connected(ProtocolAH, 0xc1020304).SASPI(); err != nil || protocol != ProtocolAH || spi != 0xc1020304 {
		t.Errorf("CONNECTED is about %v %x (%v)", protocol, spi, err)
	}
	for _, n := range []*Notify{
		{}, NewNotify(NotifyRUThere, cookies, []byte{1, 2, 3}), {Protocol: ProtocolESP, SPI: cookies.CookieOctets()}, {Protocol: ProtocolISAKMP, SPI: make([]byte, 4)},
	} {
		_, sequenceErr := n.Sequence()
		_, lifetimeErr := n.Lifetime()
		_, cookiesErr := n.Cookies()
		_, _, spiErr := n.SASPI()
		if !typed(sequenceErr) || !typed(lifetimeErr) || n.Type != NotifyRUThere && !typed(cookiesErr) || !typed(spiErr) {
			t.Errorf("%+v is read with errors %v, %v, %v, %v, expected a refusal of each", n, sequenceErr, lifetimeErr, cookiesErr, spiErr)
		}
	}
}

func TestResponderLifetime(t *testing.T) {
	want := Lifetime{Seconds: 3600, Kilobytes: 4608000}
	n, err := ResponderLifetime(ProtocolESP, 0xc1020304, want)
	if err != nil {
		t.Fatal(err)
	}
	if data := octets(t, "8001 0001 8002 0e10 8001 0002 0002 0004 00465000"); !bytes.Equal(n.Data, data) || n.Type != NotifyResponderLifetime {
		t.Errorf("%v with %x, expected %x", n, n.Data, data)
	}
	if got, err := n.Lifetime(); err != nil || got != want {
		t.Errorf("read as %+v (%v), expected %+v", got, err, want)
	}
	// RFC 2409's numbers, in a notification about the ISAKMP SA.
	main := NewNotify(NotifyResponderLifetime, Cookies{1, 2}, octets(t, "800b 0001 000c 0004 00007080"))
	if got, err := main.Lifetime(); err != nil || got != (Lifetime{Seconds: 28800}) {
		t.Errorf("of the ISAKMP SA read as %+v (%v), expected 28800 seconds", got, err)
	}
	for data, says := range map[string]string{
		"8001 0001":                    "life type without a duration",
		"8002 0e10":                    "without a type before it",
		"8001 00":                      "ends within an attribute",
		strings.Repeat("80050001", 33): "more than 32 attributes",
	} {
		n := NewSANotify(NotifyResponderLifetime, ProtocolESP, 1, octets(t, data))
		if got, err := n.Lifetime(); !typed(err) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s is read as %+v (%v), expected an error that says %q", data, got, err, says)
		}
	}
}

func TestNATDetected(t *testing.T) {
	hash := func(b []byte) []byte { sum := sha1.Sum(b); return sum[:] }
	address := netip.MustParseAddrPort
	sent, seen, here := address("10.0.0.1:500"), address("203.0.113.9:1024"), address("[2001:db8::1]:500")
	cookies := Cookies{1, 2}
	of := func(endpoint netip.AddrPort) Payload { return &NATD{Hash: hash(NATDOctets(cookies, endpoint))} }
	other := &NATD{Hash: hash(NATDOctets(Cookies{3, 2}, sent))}
	for _, c := range []struct {
		name                                string
		payloads                            []Payload
		from                                netip.AddrPort
		supported, natSource, natDestnation bool
	}{
		{"no NAT", []Payload{of(here), of(sent)}, sent, true, false, false},
		{"NAT at the sender", []Payload{of(here), of(sent)}, seen, true, true, false},
		{"NAT at the receiver", []Payload{of(seen), of(sent)}, sent, true, false, true},
		{"one of several sources", []Payload{of(here), of(seen), of(sent)}, sent, true, false, false},
		{"mapped address", []Payload{of(here), of(sent)}, address("[::ffff:10.0.0.1]:500"), true, false, false},
		{"the two exchanged", []Payload{of(sent), of(here)}, sent, true, true, true},
		{"destination only", []Payload{of(here)}, seen, false, false, false},
		{"none", nil, seen, false, false, false},
		{"other cookies", []Payload{of(here), other}, sent, true, true, false},
		{"hashes of another length", []Payload{&NATD{Hash: []byte{1}}, &NATD{Hash: []byte{1}}}, sent, true, true, true},
	} {
		m := &Message{Header: Header{Cookies: cookies}, Payloads: c.payloads}
		supported, natSource, natDestination := NATDetected(m, c.from, here, hash)
		if supported != c.supported || natSource != c.natSource || natDestination != c.natDestnation {
			t.Errorf("%s: supported %t, NAT at source %t, at destination %t", c.name, supported, natSource, natDestination)
		}
	}
	if got, want := NATDOctets(Cookies{0x0102030405060708, 9}, sent), octets(t, "0102030405060708 0000000000000009 0a000001 01f4"); !bytes.Equal(got, want) {
		t.Errorf("NAT-D is a hash of %x, expected %x", got, want)
	}
}

func TestSplit(t *testing.T) {
	h := Header{Cookies: Cookies{1, 2}, NextPayload: PayloadID, Exchange: ExchangeQuick, Flags: FlagEncryption, MessageID: 7}
	message := mustMarshal(t, &Message{Header: h, Ciphertext: bytes.Repeat([]byte{0xc1, 0xc2, 0xc3, 0xc4}, 300)})
	for _, size := range []int{FragmentOverhead + 20, 576, 1227, 1228, 4000} {
		fragments, err := Split(message, 5, size)
		if err != nil {
			t.Fatal(err)
		}
		if len(message) <= size {
			if len(fragments) != 1 || !bytes.Equal(fragments[0], message) {
				t.Errorf("a message of %d octets that fits %d is cut", len(message), size)
			}
			continue
		}
		var whole []byte
		for i, b := range fragments {
			m := mustParse(t, b)
			f := Find[*Fragment](m.Payloads)
			if kind, err := Check(m.Header, m.Payloads); kind != KindFragment || err != nil || len(b) > size {
				t.Errorf("fragment of %d octets is %v with error %v", len(b), kind, err)
			}
			if f.ID != 5 || int(f.Number) != i+1 || f.Last != (i+1 == len(fragments)) || m.Cookies != h.Cookies || m.Encrypted() || m.MessageID != 0 || m.Exchange != ExchangeMain {
				t.Errorf("fragment %d of %d: %v, header %+v", i+1, len(fragments), f, m.Header)
			}
			whole = append(whole, f.Data...)
		}
		if !bytes.Equal(whole, message) || len(fragments) != (len(message)+size-FragmentOverhead-1)/(size-FragmentOverhead) {
			t.Errorf("%d fragments of %d octets make another message", len(fragments), size)
		}
	}
	for _, size := range []int{0, FragmentOverhead, FragmentOverhead + 10} {
		if _, err := Split(message, 5, size); err == nil {
			t.Errorf("fragments of %d octets are made", size)
		}
	}
	if _, err := Split(make([]byte, 2000), 5, 1000); err == nil {
		t.Error("what is no message is cut")
	}
}

func TestFind(t *testing.T) {
	failure, status, dpd := NewNotify(NotifyNoProposalChosen, Cookies{}, nil), InitialContact(Cookies{}), NewVendorID(VendorDPD)
	all := []Payload{status, vendor, id, idUDP, failure, dpd}
	if Find[*ID](all) != id || len(FindAll[*ID](all)) != 2 || Find[*SA](all) != nil {
		t.Error("payloads are not found by type")
	}
	if FindError(all) != failure || FindNotify(all, NotifyInitialContact) != status || FindNotify(all, NotifyConnected) != nil || FindError(nil) != nil {
		t.Error("notifications are not found by type")
	}
	if FindVendor(all, VendorDPD) != dpd || FindVendor(all, VendorNATT) != nil {
		t.Error("vendor IDs are not found by vendor")
	}
}
