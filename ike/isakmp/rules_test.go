package isakmp

import (
	"errors"
	"strings"
	"testing"
)

// Parts of messages; Check looks at types, counts, order, protocols, and protocol and port of identities only.
var (
	saMain   = &SA{Proposals: []Proposal{{Number: 1, Protocol: ProtocolISAKMP, Transforms: make([]Transform, 1)}}}
	saESP    = &SA{Proposals: []Proposal{{Number: 1, Protocol: ProtocolESP, SPI: make([]byte, 4), Transforms: make([]Transform, 1)}}}
	saBundle = &SA{Proposals: []Proposal{{Number: 1, Protocol: ProtocolAH, SPI: make([]byte, 4), Transforms: make([]Transform, 1)}, saESP.Proposals[0]}}

	ke, nonce, hash, sig, vendor = &KE{}, &Nonce{}, &Hash{}, &Sig{}, &VendorID{}
	id, idUDP, idTCP             = &ID{}, &ID{Protocol: 17, Port: 500}, &ID{Protocol: 6, Port: 80}
	cert, certReq                = &Cert{}, &CertReq{}
	natD, natDDraft              = &NATD{}, &NATD{Draft: true}
	natOA, natOADraft            = &NATOA{}, &NATOA{Draft: true}
	notify, del                  = &Notify{}, &Delete{}
	private, unassigned          = &Unknown{Type: 200}, &Unknown{Type: 19}
)

func TestCheck(t *testing.T) {
	both := Cookies{Initiator: 1, Responder: 2}
	main := Header{Cookies: both, Exchange: ExchangeMain}
	mainSecret := Header{Cookies: both, Exchange: ExchangeMain, Flags: FlagEncryption}
	quick := Header{Cookies: both, Exchange: ExchangeQuick, Flags: FlagEncryption, MessageID: 7}
	info := Header{Cookies: both, Exchange: ExchangeInformational, Flags: FlagEncryption, MessageID: 7}
	infoClear := Header{Cookies: both, Exchange: ExchangeInformational}
	first := Header{Cookies: Cookies{Initiator: 1}, Exchange: ExchangeMain}
	with := func(h Header, change func(*Header)) Header {
		change(&h)
		return h
	}
	cases := []struct {
		header   Header
		payloads []Payload
		kind     Kind
		says     string // part of the error; empty when the message keeps the rules
		notify   NotifyType
	}{
		{first, []Payload{saMain}, KindMainSA, "", 0},
		{main, []Payload{saMain, vendor, vendor, certReq, notify, private}, KindMainSA, "", 0},
		{first, []Payload{vendor, saMain}, KindMainSA, "main mode with SA has V at position 1, expected SA there", NotifyPayloadMalformed},
		{first, []Payload{saMain, saMain}, KindMainSA, "has 2 SA payloads, expected 1", NotifyPayloadMalformed},
		{first, []Payload{saMain, ke, nonce}, KindMainSA, "has 1 KE payloads, expected none", NotifyPayloadMalformed},
		{first, []Payload{saESP}, KindMainSA, "proposal 1 of main mode is for ESP", NotifyInvalidProtocolID},
		{first, []Payload{saMain, unassigned}, KindMainSA, "payload 19 payload: not known", NotifyInvalidPayloadType},
		{with(main, func(h *Header) { h.MessageID = 1 }), []Payload{saMain}, KindMainSA, "message ID 00000001, expected 0", NotifyInvalidMessageID},

		{main, []Payload{ke, nonce}, KindMainKE, "", 0},
		{main, []Payload{nonce, vendor, natD, natD, natD, certReq, ke, natDDraft}, KindMainKE, "", 0},
		{main, []Payload{ke}, KindMainKE, "has 0 NONCE payloads, expected 1", NotifyPayloadMalformed},
		{main, []Payload{ke, ke, nonce}, KindMainKE, "has 2 KE payloads", NotifyPayloadMalformed},
		{main, []Payload{ke, nonce, id}, KindMainKE, "has 1 ID payloads, expected none", NotifyPayloadMalformed},
		{main, nil, KindMainKE, "has 0 KE payloads", NotifyPayloadMalformed},
		{first, []Payload{ke, nonce}, KindMainKE, "without the responder's cookie", NotifyInvalidCookie},

		{mainSecret, []Payload{id, hash}, KindMainAuth, "", 0},
		{mainSecret, []Payload{hash, notify, idUDP}, KindMainAuth, "", 0},
		{mainSecret, []Payload{id, cert, cert, certReq, sig, notify, vendor, private}, KindMainAuth, "", 0},
		{mainSecret, []Payload{id}, KindMainAuth, "0 HASH and 0 SIG payloads, expected one of either", NotifyPayloadMalformed},
		{mainSecret, []Payload{id, hash, sig}, KindMainAuth, "1 HASH and 1 SIG payloads", NotifyPayloadMalformed},
		{mainSecret, []Payload{id, hash, hash}, KindMainAuth, "has 2 HASH payloads, expected 0 to 1", NotifyPayloadMalformed},
		{mainSecret, []Payload{hash}, KindMainAuth, "has 0 ID payloads", NotifyPayloadMalformed},
		{mainSecret, []Payload{id, id, hash}, KindMainAuth, "has 2 ID payloads", NotifyPayloadMalformed},
		{mainSecret, []Payload{idTCP, hash}, KindMainAuth, "protocol 6 and port 80 in phase 1", NotifyInvalidIDInformation},
		{mainSecret, []Payload{saMain}, KindMainAuth, "has 0 ID payloads", NotifyPayloadMalformed},
		{with(mainSecret, func(h *Header) { h.MessageID = 1 }), []Payload{id, hash}, KindMainAuth, "message ID 00000001, expected 0", NotifyInvalidMessageID},

		{quick, []Payload{hash, saESP, nonce}, KindQuickSA, "", 0},
		{quick, []Payload{hash, saBundle, ke, nonce, id, idTCP, natOA, natOA, notify, vendor}, KindQuickSA, "", 0},
		{with(quick, func(h *Header) { h.Flags |= FlagCommit }), []Payload{hash, saESP, nonce, natOADraft}, KindQuickSA, "", 0},
		{quick, []Payload{saESP, hash, nonce}, KindQuickSA, "has SA at position 1, expected HASH there", NotifyPayloadMalformed},
		{quick, []Payload{hash, nonce, saESP}, KindQuickSA, "has NONCE at position 2, expected SA there", NotifyPayloadMalformed},
		{quick, []Payload{hash, saESP, saESP, nonce}, KindQuickSA, "has 2 SA payloads, expected 1", NotifyPayloadMalformed},
		{quick, []Payload{hash, saESP}, KindQuickSA, "has 0 NONCE payloads", NotifyPayloadMalformed},
		{quick, []Payload{hash, saMain, nonce}, KindQuickSA, "proposal 1 of quick mode is for ISAKMP", NotifyInvalidProtocolID},
		{quick, []Payload{hash, saESP, nonce, id}, KindQuickSA, "1 ID payload, expected none or both ends", NotifyPayloadMalformed},
		{quick, []Payload{hash, saESP, nonce, id, id, id}, KindQuickSA, "has 3 ID payloads, expected 0 to 2", NotifyPayloadMalformed},
		{quick, []Payload{hash, saESP, nonce, del}, KindQuickSA, "has 1 D payloads, expected none", NotifyPayloadMalformed},
		{with(quick, func(h *Header) { h.MessageID = 0 }), []Payload{hash, saESP, nonce}, KindQuickSA, "with message ID 0", NotifyInvalidMessageID},
		{with(quick, func(h *Header) { h.Responder = 0 }), []Payload{hash, saESP, nonce}, KindQuickSA, "without the responder's cookie", NotifyInvalidCookie},
		{with(quick, func(h *Header) { h.Flags = 0 }), []Payload{hash, saESP, nonce}, KindQuickSA, "encryption expected: true", NotifyInvalidFlags},
		{quick, []Payload{hash}, KindQuickHash, "", 0},
		{quick, []Payload{hash, vendor}, KindQuickHash, "has 1 V payloads, expected none", NotifyPayloadMalformed},
		{quick, []Payload{nonce}, KindQuickHash, "has 0 HASH payloads", NotifyPayloadMalformed},
		{quick, []Payload{hash, notify}, KindQuickConnected, "", 0},
		{quick, []Payload{notify, hash}, KindQuickConnected, "has N at position 1, expected HASH there", NotifyPayloadMalformed},

		{info, []Payload{hash, notify}, KindInformational, "", 0},
		{info, []Payload{hash, del, del, notify, vendor, private}, KindInformational, "", 0},
		{info, []Payload{hash}, KindInformational, "without N or D", NotifyPayloadMalformed},
		{info, []Payload{hash, private}, KindInformational, "without N or D", NotifyPayloadMalformed},
		{info, []Payload{notify, hash}, KindInformational, "has N at position 1, expected HASH there", NotifyPayloadMalformed},
		{info, []Payload{del}, KindInformational, "has 0 HASH payloads", NotifyPayloadMalformed},
		{info, []Payload{hash, notify, saESP}, KindInformational, "has 1 SA payloads, expected none", NotifyPayloadMalformed},
		{with(info, func(h *Header) { h.MessageID = 0 }), []Payload{hash, notify}, KindInformational, "with message ID 0", NotifyInvalidMessageID},
		{infoClear, []Payload{notify}, KindInformationalClear, "", 0},
		{infoClear, []Payload{del, notify}, KindInformationalClear, "", 0},
		{infoClear, []Payload{hash, notify}, KindInformationalClear, "has 1 HASH payloads, expected none", NotifyPayloadMalformed},
		{infoClear, nil, KindInformationalClear, "without N or D", NotifyPayloadMalformed},

		{with(main, func(h *Header) { h.NextPayload = PayloadFragment }), []Payload{&Fragment{}}, KindFragment, "", 0},
		{with(quick, func(h *Header) { h.NextPayload = PayloadFragment }), []Payload{&Fragment{}}, KindFragment, "", 0},
		{with(main, func(h *Header) { h.NextPayload = PayloadFragment }), []Payload{&Fragment{}, vendor}, KindFragment, "has 1 V payloads, expected none", NotifyPayloadMalformed},
		{main, []Payload{ke, nonce, &Fragment{}}, KindMainKE, "has 1 FRAG payloads, expected none", NotifyPayloadMalformed},

		{Header{Exchange: ExchangeAggressive}, []Payload{saMain, ke, nonce, id}, KindUnsupported, "aggressive mode, expected main mode", NotifyUnsupportedExchangeType},
		{Header{Exchange: ExchangeTransaction}, []Payload{hash}, KindUnsupported, "transaction exchange", NotifyUnsupportedExchangeType},
		{Header{Exchange: 99}, nil, KindUnsupported, "exchange 99", NotifyUnsupportedExchangeType},
	}
	for _, c := range cases {
		m := &Message{Header: c.header, Payloads: c.payloads}
		kind, err := Check(c.header, c.payloads)
		var syntax *SyntaxError
		switch {
		case kind != c.kind:
			t.Errorf("%v is %v, expected %v", m, kind, c.kind)
		case c.says == "" && err != nil:
			t.Errorf("%v: %v, expected no error", m, err)
		case c.says != "" && (!errors.As(err, &syntax) || !strings.Contains(err.Error(), c.says) || NotifyFor(err) != c.notify):
			t.Errorf("%v: error %v (%v), expected a SyntaxError that says %q (%v)", m, err, NotifyFor(err), c.says, c.notify)
		}
	}
}

func TestRuleErrorNamesThePayload(t *testing.T) {
	_, err := Check(Header{Cookies: Cookies{1, 2}, Exchange: ExchangeMain}, []Payload{nonce})
	var broken *RuleError
	if !errors.As(err, &broken) || broken.Payload != PayloadKE || broken.Message != KindMainKE || broken.Found != 0 || broken.Min != 1 {
		t.Errorf("a message without KE gives %v, expected a RuleError about KE", err)
	}
}
