package wire

import (
	"errors"
	"strings"
	"testing"
)

// Parts of messages; Check looks at types, counts, proposals and notification types only.
var (
	saIKE      = &SA{Proposals: []Proposal{{Number: 1, Protocol: ProtocolIKE, Transforms: []Transform{{Type: TransformPRF, ID: 5}}}}}
	saIKERekey = &SA{Proposals: []Proposal{{Number: 1, Protocol: ProtocolIKE, SPI: make([]byte, 8), Transforms: []Transform{{Type: TransformPRF, ID: 5}}}}}
	saESP      = &SA{Proposals: []Proposal{{Number: 1, Protocol: ProtocolESP, SPI: make([]byte, 4), Transforms: []Transform{{Type: TransformEncr, ID: 20}}}}}
	saTwo      = &SA{Proposals: []Proposal{saESP.Proposals[0], {Number: 2, Protocol: ProtocolESP, SPI: make([]byte, 4), Transforms: []Transform{{Type: TransformEncr, ID: 12}}}}}
	saSecond   = &SA{Proposals: saTwo.Proposals[1:]}
	saMixed    = &SA{Proposals: []Proposal{saIKERekey.Proposals[0], saTwo.Proposals[1]}}

	ke, nonce, auth, vendor   = &KE{}, &Nonce{}, &Auth{}, &VendorID{}
	idI, idR, tsI, tsR        = &ID{Initiator: true}, &ID{}, &TS{Initiator: true}, &TS{}
	cert, certReq, config     = &Cert{}, &CertReq{}, &Configuration{}
	unknown, deleteIKE        = &Unknown{Type: 200}, &Delete{Protocol: ProtocolIKE}
	status, cookie, rekey     = NewNotify(NotifyInitialContact, nil), Cookie([]byte{1}), RekeySA(ProtocolESP, 1)
	noProposal, temporaryFail = NewNotify(NotifyNoProposalChosen, nil), NewNotify(NotifyTemporaryFailure, nil)
)

const (
	request  = false
	response = true
)

func TestCheck(t *testing.T) {
	cases := []struct {
		exchange ExchangeType
		response bool
		payloads []Payload
		says     string // part of the error; empty when the message keeps the rules
	}{
		{ExchangeIKESAInit, request, []Payload{saIKE, ke, nonce}, ""},
		{ExchangeIKESAInit, request, []Payload{cookie, nonce, ke, saIKE, vendor, vendor, status, unknown}, ""},
		{ExchangeIKESAInit, request, []Payload{ke, nonce}, "IKE_SA_INIT request has 0 SA payloads, expected 1"},
		{ExchangeIKESAInit, request, []Payload{saIKE, nonce}, "has 0 KE payloads, expected 1"},
		{ExchangeIKESAInit, request, []Payload{saIKE, ke}, "has 0 Nonce payloads, expected 1"},
		{ExchangeIKESAInit, request, []Payload{saIKE, ke, nonce, nonce}, "has 2 Nonce payloads, expected 1"},
		{ExchangeIKESAInit, request, []Payload{saIKE, ke, nonce, idI}, "has 1 IDi payloads, expected none"},
		{ExchangeIKESAInit, request, []Payload{saESP, ke, nonce}, "proposal 1 of IKE_SA_INIT request is for ESP"},
		{ExchangeIKESAInit, request, []Payload{saIKERekey, ke, nonce}, "SPI of 8 octets, expected none"},
		{ExchangeIKESAInit, request, []Payload{&SA{}, ke, nonce}, "no proposal number 1"},
		{ExchangeIKESAInit, response, []Payload{saIKE, ke, nonce, certReq}, ""},
		{ExchangeIKESAInit, response, []Payload{saIKE, nonce}, "IKE_SA_INIT response has 0 KE payloads"},
		{ExchangeIKESAInit, response, []Payload{cookie}, ""},
		{ExchangeIKESAInit, response, []Payload{InvalidKEPayload(19), vendor}, ""},
		{ExchangeIKESAInit, response, []Payload{status}, "no notification that says why"},
		{ExchangeIKESAInit, response, []Payload{noProposal, ke}, "has 1 KE payloads, expected none"},
		{ExchangeIKESAInit, response, nil, "has 0 N payloads, expected 1 to"},

		{ExchangeIKEAuth, request, []Payload{idI, auth, saESP, tsI, tsR}, ""},
		{ExchangeIKEAuth, request, []Payload{idI, cert, cert, certReq, idR, auth, config, saTwo, tsI, tsR, status}, ""},
		{ExchangeIKEAuth, request, []Payload{idI, saESP, tsI, tsR}, ""}, // asks for EAP
		{ExchangeIKEAuth, request, []Payload{idI, auth, auth, saESP, tsI, tsR}, "has 2 AUTH payloads, expected 0 to 1"},
		{ExchangeIKEAuth, request, []Payload{idR, auth, saESP, tsI, tsR}, "has 0 IDi payloads"},
		{ExchangeIKEAuth, request, []Payload{idI, idR, idR, auth, saESP, tsI, tsR}, "has 2 IDr payloads, expected 0 to 1"},
		{ExchangeIKEAuth, request, []Payload{idI, auth, saESP, tsI, tsI}, "has 2 TSi payloads"},
		{ExchangeIKEAuth, request, []Payload{idI, auth, saIKE, tsI, tsR}, "is for IKE"},
		{ExchangeIKEAuth, request, []Payload{idI, auth, saSecond, tsI, tsR}, "no proposal number 1"},
		{ExchangeIKEAuth, request, []Payload{idI, auth, saESP, tsI, tsR, deleteIKE}, "has 1 D payloads, expected none"},
		{ExchangeIKEAuth, request, []Payload{idI, auth, saESP, tsI, tsR, &Encrypted{}}, "has 1 SK payloads, expected none"},
		{ExchangeIKEAuth, response, []Payload{idR, auth, saSecond, tsI, tsR}, ""},
		{ExchangeIKEAuth, response, []Payload{idR, auth, saTwo, tsI, tsR}, "has 2 proposals, expected the one chosen"},
		{ExchangeIKEAuth, response, []Payload{idR, saESP, tsI, tsR}, "IKE_AUTH response has 0 AUTH payloads"},
		{ExchangeIKEAuth, response, []Payload{idI, auth, saESP, tsI, tsR}, "IKE_AUTH response has 0 IDr payloads"},
		{ExchangeIKEAuth, response, []Payload{idR, auth, noProposal}, ""},
		{ExchangeIKEAuth, response, []Payload{auth, noProposal}, "IKE_AUTH response without SA has 0 IDr payloads"},
		{ExchangeIKEAuth, response, []Payload{idR, auth, status}, ""}, // RFC 6023
		{ExchangeIKEAuth, response, []Payload{idR, auth}, ""},
		{ExchangeIKEAuth, response, []Payload{idR, auth, tsI, tsR}, "IKE_AUTH response without SA has 1 TSi payloads, expected none"},
		{ExchangeIKEAuth, request, []Payload{idI, auth}, ""},
		{ExchangeIKEAuth, request, []Payload{idI, auth, tsI, tsR}, "IKE_AUTH request without SA has 1 TSi payloads, expected none"},
		{ExchangeIKEAuth, request, []Payload{idI, nonce}, "IKE_AUTH request without SA has 0 AUTH payloads"},
		{ExchangeIKEAuth, response, []Payload{NewNotify(NotifyAuthenticationFailed, nil)}, ""},
		{ExchangeIKEAuth, response, []Payload{cookie}, "no notification that says why"},

		{ExchangeCreateChildSA, request, []Payload{saTwo, nonce, tsI, tsR}, ""},
		{ExchangeCreateChildSA, request, []Payload{saESP, nonce, ke, tsI, tsR, status}, ""},
		{ExchangeCreateChildSA, request, []Payload{saESP, ke, tsI, tsR}, "for a new Child SA has 0 Nonce payloads"},
		{ExchangeCreateChildSA, request, []Payload{saESP, nonce, ke, ke, tsI, tsR}, "has 2 KE payloads, expected 0 to 1"},
		{ExchangeCreateChildSA, request, []Payload{nonce, tsI, tsR}, "has 0 SA payloads"},
		{ExchangeCreateChildSA, request, []Payload{rekey, saESP, nonce, tsI, tsR}, ""},
		{ExchangeCreateChildSA, request, []Payload{rekey, saESP, nonce, tsI}, "to rekey a Child SA has 0 TSr payloads"},
		{ExchangeCreateChildSA, request, []Payload{saIKERekey, nonce, ke}, ""},
		{ExchangeCreateChildSA, request, []Payload{saIKERekey, nonce}, "to rekey the IKE SA has 0 KE payloads"},
		{ExchangeCreateChildSA, request, []Payload{saIKERekey, nonce, ke, tsI, tsR}, "to rekey the IKE SA has 1 TSi payloads, expected none"},
		{ExchangeCreateChildSA, request, []Payload{saIKE, nonce, ke}, "SPI of 0 octets, expected 8"},
		{ExchangeCreateChildSA, request, []Payload{saMixed, nonce, ke}, "proposal 2 of CREATE_CHILD_SA request to rekey the IKE SA is for ESP"},
		{ExchangeCreateChildSA, response, []Payload{saESP, nonce, ke, tsI, tsR}, ""},
		{ExchangeCreateChildSA, response, []Payload{saESP, nonce, ke}, "has 0 TSi payloads"},
		{ExchangeCreateChildSA, response, []Payload{saIKERekey, nonce, ke}, ""},
		{ExchangeCreateChildSA, response, []Payload{saIKERekey, nonce}, "response to a rekey of the IKE SA has 0 KE payloads"},
		{ExchangeCreateChildSA, response, []Payload{temporaryFail}, ""},
		{ExchangeCreateChildSA, response, []Payload{status}, "no notification that says why"},

		{ExchangeInformational, request, nil, ""},
		{ExchangeInformational, response, nil, ""},
		{ExchangeInformational, request, []Payload{deleteIKE, status, vendor, config, unknown}, ""},
		{ExchangeInformational, request, []Payload{saESP}, "INFORMATIONAL has 1 SA payloads, expected none"},
		{42, request, nil, "exchange 42, expected one of those"},
	}
	for _, c := range cases {
		m := &Message{Header: Header{Exchange: c.exchange}, Payloads: c.payloads}
		if c.response {
			m.Flags = FlagResponse
		}
		err := Check(c.exchange, c.response, c.payloads)
		var syntax *SyntaxError
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%v: %v, expected no error", m, err)
		case c.says != "" && (!errors.As(err, &syntax) || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%v: error %v, expected a SyntaxError that says %q", m, err, c.says)
		}
	}
}

func TestRuleErrorNamesThePayload(t *testing.T) {
	err := Check(ExchangeIKEAuth, request, []Payload{auth, saESP, tsI, tsR})
	var broken *RuleError
	if !errors.As(err, &broken) || broken.Payload != PayloadIDi || broken.Found != 0 || broken.Min != 1 {
		t.Errorf("a request without IDi gives %v, expected a RuleError about IDi", err)
	}
}

func TestCheckOuter(t *testing.T) {
	sk, skf := &Encrypted{}, &Fragment{}
	for _, c := range []struct {
		header   Header
		payloads []Payload
		says     string
	}{
		{Header{Exchange: ExchangeIKESAInit, Flags: FlagInitiator}, []Payload{saIKE, ke, nonce}, ""},
		{Header{Exchange: ExchangeIKESAInit, Flags: FlagResponse, ResponderSPI: 1}, []Payload{saIKE, ke, nonce}, ""},
		{Header{Exchange: ExchangeIKESAInit, Flags: FlagResponse}, []Payload{cookie}, ""},
		{Header{Exchange: ExchangeIKESAInit, Flags: FlagInitiator, MessageID: 1}, nil, "message ID 1, expected 0"},
		{Header{Exchange: ExchangeIKESAInit, Flags: FlagInitiator, ResponderSPI: 1}, nil, "responder's SPI, expected zero"},
		{Header{Exchange: ExchangeIKESAInit}, nil, "expected initiator or response"},
		{Header{Exchange: ExchangeIKESAInit, Flags: FlagInitiator | FlagResponse}, nil, "flags initiator|response"},
		{Header{Exchange: ExchangeIKESAInit, Flags: FlagInitiator}, []Payload{sk}, "expected all payloads in clear"},
		{Header{Exchange: ExchangeIKEAuth, Flags: FlagInitiator, MessageID: 1, ResponderSPI: 1}, []Payload{sk}, ""},
		{Header{Exchange: ExchangeIKEAuth, Flags: FlagInitiator, MessageID: 1, ResponderSPI: 1}, []Payload{skf}, ""},
		{Header{Exchange: ExchangeIKEAuth, Flags: FlagInitiator, MessageID: 1, ResponderSPI: 1}, []Payload{idI, sk}, "stands in clear in IKE_AUTH"},
		{Header{Exchange: ExchangeIKEAuth, Flags: FlagInitiator, MessageID: 1, ResponderSPI: 1}, []Payload{unknown, sk}, ""},
		{Header{Exchange: ExchangeIKEAuth, Flags: FlagInitiator, MessageID: 1, ResponderSPI: 1}, []Payload{unknown}, "missing in IKE_AUTH"},
		{Header{Exchange: ExchangeIKEAuth, Flags: FlagInitiator, ResponderSPI: 1}, []Payload{sk}, "expected an ID above 0"},
		{Header{Exchange: ExchangeIKEAuth, MessageID: 1, ResponderSPI: 1}, []Payload{sk}, "expected an ID above 0 and initiator or response"},
		{Header{Exchange: ExchangeCreateChildSA, ResponderSPI: 1}, []Payload{sk}, ""},
		{Header{Exchange: ExchangeInformational, Flags: FlagResponse, ResponderSPI: 1}, []Payload{sk}, ""},
		{Header{Exchange: ExchangeInformational}, []Payload{sk}, "without the responder's SPI"},
		{Header{Exchange: ExchangeInformational, ResponderSPI: 1}, nil, "missing in INFORMATIONAL"},
		{Header{Exchange: 42, ResponderSPI: 1}, []Payload{sk}, "expected one of those"},
	} {
		m := &Message{Header: c.header, Payloads: c.payloads}
		err := m.CheckOuter()
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%v: %v, expected no error", m, err)
		case c.says != "" && (!typed(err) || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%v: error %v, expected a SyntaxError that says %q", m, err, c.says)
		}
	}
}
