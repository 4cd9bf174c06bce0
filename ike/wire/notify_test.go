package wire

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"testing"
)

func TestNotifyReaders(t *testing.T) {
	if group, err := InvalidKEPayload(31).Group(); err != nil || group != 31 {
		t.Errorf("group %d (%v), expected 31", group, err)
	}
	if protocol, spi, err := RekeySA(ProtocolESP, 0xc1020304).ChildSPI(); err != nil || protocol != ProtocolESP || spi != 0xc1020304 {
		t.Errorf("REKEY_SA names %v %x (%v)", protocol, spi, err)
	}
	if n := ChildSANotFound(ProtocolAH, 1); n.Type != NotifyChildSANotFound || n.Protocol != ProtocolAH || !bytes.Equal(n.SPI, []byte{0, 0, 0, 1}) {
		t.Errorf("CHILD_SA_NOT_FOUND is %+v", *n)
	}
	if data, err := Cookie([]byte{7}).CookieData(); err != nil || !bytes.Equal(data, []byte{7}) {
		t.Errorf("cookie %x (%v), expected 07", data, err)
	}
	for _, n := range []*Notify{Cookie(nil), Cookie(make([]byte, MaxCookie+1)), NewNotify(NotifyInvalidKEPayload, []byte{1})} {
		_, cookieErr := n.CookieData()
		_, groupErr := n.Group()
		_, _, spiErr := n.ChildSPI()
		if !typed(cookieErr) || !typed(groupErr) || !typed(spiErr) {
			t.Errorf("%v of %d octets is read with errors %v, %v, %v, expected a refusal of each", n, len(n.Data), cookieErr, groupErr, spiErr)
		}
	}
}

func TestNotifyFor(t *testing.T) {
	for _, c := range []struct {
		err  error
		want *Notify
	}{
		{nil, nil},
		{ErrTooShort, nil},
		{errors.New("another error"), nil},
		{fmt.Errorf("wrapped: %w", syntaxf(PayloadKE, "x")), NewNotify(NotifyInvalidSyntax, nil)},
		{&CriticalError{Type: 200}, NewNotify(NotifyUnsupportedCriticalPayload, []byte{200})},
		{&VersionError{Major: 3}, NewNotify(NotifyInvalidMajorVersion, []byte{2})},
		{&VersionError{Major: 1}, nil},
	} {
		if got := NotifyFor(c.err); !equal(got, c.want) {
			t.Errorf("%v is answered with %v, expected %v", c.err, got, c.want)
		}
	}
}

func TestNATDetected(t *testing.T) {
	address := netip.MustParseAddrPort
	sent, seen, here := address("10.0.0.1:500"), address("203.0.113.9:1024"), address("[2001:db8::1]:500")
	source := func(a netip.AddrPort) Payload { return NATDetectionSource(1, 2, a) }
	destination := func(a netip.AddrPort) Payload { return NATDetectionDestination(1, 2, a) }
	for _, c := range []struct {
		name                                string
		payloads                            []Payload
		from                                netip.AddrPort
		supported, natSource, natDestnation bool
	}{
		{"no NAT", []Payload{source(sent), destination(here)}, sent, true, false, false},
		{"NAT at the sender", []Payload{source(sent), destination(here)}, seen, true, true, false},
		{"NAT at the receiver", []Payload{source(sent), destination(seen)}, sent, true, false, true},
		{"one of several sources", []Payload{source(seen), source(sent), destination(here)}, sent, true, false, false},
		{"mapped address", []Payload{source(sent), destination(here)}, address("[::ffff:10.0.0.1]:500"), true, false, false},
		{"source only", []Payload{source(sent)}, seen, false, false, false},
		{"none", nil, seen, false, false, false},
		{"other SPIs", []Payload{NATDetectionSource(3, 2, sent), destination(here)}, sent, true, true, false},
	} {
		m := &Message{Header: Header{InitiatorSPI: 1, ResponderSPI: 2}, Payloads: c.payloads}
		supported, natSource, natDestination := NATDetected(m, c.from, here)
		if supported != c.supported || natSource != c.natSource || natDestination != c.natDestnation {
			t.Errorf("%s: supported %t, NAT at source %t, at destination %t", c.name, supported, natSource, natDestination)
		}
	}
}

func TestFind(t *testing.T) {
	all := []Payload{status, idI, idR, tsI, tsR, noProposal, temporaryFail}
	if FindID(all, true) != idI || FindID(all, false) != idR || FindTS(all, true) != tsI || FindTS(all, false) != tsR {
		t.Error("IDs or traffic selectors are mixed up between initiator and responder")
	}
	if FindError(all) != noProposal || FindNotify(all, NotifyTemporaryFailure) != temporaryFail || FindNotify(all, NotifyCookie) != nil {
		t.Error("notifications are not found by type")
	}
	if Find[*SA](all) != nil || FindID(nil, true) != nil || FindTS(nil, true) != nil || FindError(nil) != nil || len(FindAll[*Notify](all)) != 3 {
		t.Error("finding a payload that is not there gives one")
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		ExchangeCreateChildSA.String():         "CREATE_CHILD_SA",
		ExchangeType(99).String():              "exchange 99",
		PayloadFragment.String():               "SKF",
		ProtocolESP.String():                   "ESP",
		TransformInteg.String():                "INTEG",
		IDFQDN.String():                        "ID_FQDN",
		AuthDigitalSignature.String():          "digital signature",
		CertEncoding(200).String():             "certificate encoding 200",
		TSIPv6Range.String():                   "TS_IPV6_ADDR_RANGE",
		NotifyChildSANotFound.String():         "CHILD_SA_NOT_FOUND",
		NotifyType(16383).String():             "error 16383",
		NotifyType(16500).String():             "status 16500",
		(FlagInitiator | FlagVersion).String(): "initiator|version",
	} {
		if got != want {
			t.Errorf("printed as %q, expected %q", got, want)
		}
	}
}
