package wire

import "fmt"

// rule says how many payloads of one type a message may have.
type rule struct {
	payload  PayloadType
	min, max int
}

const many = MaxPayloads

// messageKind is one row of RFC 7296 appendix C: a message of an exchange with what it must and may hold. What is not listed must not be there,
// save payloads of unknown type. Order is free: only SK must come last (RFC 7296 2.5).
type messageKind struct {
	name      string
	encrypted bool // all its payloads stand inside SK; otherwise all in clear
	rules     []rule
	protocol  negotiated // what its SA payload is about
	response  bool
	// refusal: it has no SA payload, so one of its notifications must say why: an error or, in IKE_SA_INIT, COOKIE or REDIRECT.
	refusal bool
}

// negotiated is what an SA payload negotiates, and with it the length of its SPIs.
type negotiated int

const (
	negotiateNothing  negotiated = iota
	negotiateIKE                 // the SPIs are in the header (RFC 7296 3.3.1)
	negotiateIKERekey            // the SPIs of the new IKE SA are in the proposals
	negotiateChild
)

var (
	initRequest = messageKind{name: "IKE_SA_INIT request", protocol: negotiateIKE, rules: []rule{
		{PayloadSA, 1, 1}, {PayloadKE, 1, 1}, {PayloadNonce, 1, 1}, {PayloadNotify, 0, many}, {PayloadVendorID, 0, many}}}
	initResponse = messageKind{name: "IKE_SA_INIT response", response: true, protocol: negotiateIKE, rules: []rule{
		{PayloadSA, 1, 1}, {PayloadKE, 1, 1}, {PayloadNonce, 1, 1}, {PayloadCertReq, 0, many}, {PayloadNotify, 0, many}, {PayloadVendorID, 0, many}}}
	initRefusal = messageKind{name: "IKE_SA_INIT response without SA", response: true, refusal: true, rules: []rule{
		{PayloadNotify, 1, many}, {PayloadVendorID, 0, many}}}

	// A request without AUTH asks for EAP (RFC 7296 2.16): well-formed, for IKE_AUTH to refuse as it refuses others.
	authRequest = messageKind{name: "IKE_AUTH request", encrypted: true, protocol: negotiateChild, rules: []rule{
		{PayloadIDi, 1, 1}, {PayloadIDr, 0, 1}, {PayloadCert, 0, many}, {PayloadCertReq, 0, many}, {PayloadAuth, 0, 1}, {PayloadConfiguration, 0, 1},
		{PayloadSA, 1, 1}, {PayloadTSi, 1, 1}, {PayloadTSr, 1, 1}, {PayloadNotify, 0, many}, {PayloadVendorID, 0, many}}}
	// RFC 6023 4: no Child SA is asked for.
	authRequestChildless = messageKind{name: "IKE_AUTH request without SA", encrypted: true, rules: []rule{
		{PayloadIDi, 1, 1}, {PayloadIDr, 0, 1}, {PayloadCert, 0, many}, {PayloadCertReq, 0, many}, {PayloadAuth, 1, 1}, {PayloadConfiguration, 0, 1},
		{PayloadNotify, 0, many}, {PayloadVendorID, 0, many}}}
	authResponse = messageKind{name: "IKE_AUTH response", encrypted: true, response: true, protocol: negotiateChild, rules: []rule{
		{PayloadIDr, 1, 1}, {PayloadCert, 0, many}, {PayloadAuth, 1, 1}, {PayloadConfiguration, 0, 1},
		{PayloadSA, 1, 1}, {PayloadTSi, 1, 1}, {PayloadTSr, 1, 1}, {PayloadNotify, 0, many}, {PayloadVendorID, 0, many}}}
	// With an error the Child SA that was asked for is refused; without one none was asked for (RFC 6023 4).
	authResponseChildless = messageKind{name: "IKE_AUTH response without SA", encrypted: true, response: true, rules: []rule{
		{PayloadIDr, 1, 1}, {PayloadCert, 0, many}, {PayloadAuth, 1, 1}, {PayloadConfiguration, 0, 1}, {PayloadNotify, 0, many}, {PayloadVendorID, 0, many}}}
	authRefusal = messageKind{name: "IKE_AUTH response without AUTH", encrypted: true, response: true, refusal: true, rules: []rule{
		{PayloadNotify, 1, many}, {PayloadVendorID, 0, many}}}

	newChildRequest = messageKind{name: "CREATE_CHILD_SA request for a new Child SA", encrypted: true, protocol: negotiateChild, rules: []rule{
		{PayloadSA, 1, 1}, {PayloadNonce, 1, 1}, {PayloadKE, 0, 1}, {PayloadTSi, 1, 1}, {PayloadTSr, 1, 1}, {PayloadConfiguration, 0, 1},
		{PayloadNotify, 0, many}, {PayloadVendorID, 0, many}}}
	rekeyChildRequest = messageKind{name: "CREATE_CHILD_SA request to rekey a Child SA", encrypted: true, protocol: negotiateChild, rules: []rule{
		{PayloadNotify, 1, many}, // REKEY_SA
		{PayloadSA, 1, 1}, {PayloadNonce, 1, 1}, {PayloadKE, 0, 1}, {PayloadTSi, 1, 1}, {PayloadTSr, 1, 1}, {PayloadConfiguration, 0, 1},
		{PayloadVendorID, 0, many}}}
	childResponse = messageKind{name: "CREATE_CHILD_SA response for a Child SA", encrypted: true, response: true, protocol: negotiateChild, rules: []rule{
		{PayloadSA, 1, 1}, {PayloadNonce, 1, 1}, {PayloadKE, 0, 1}, {PayloadTSi, 1, 1}, {PayloadTSr, 1, 1}, {PayloadConfiguration, 0, 1},
		{PayloadNotify, 0, many}, {PayloadVendorID, 0, many}}}
	rekeyIKERequest = messageKind{name: "CREATE_CHILD_SA request to rekey the IKE SA", encrypted: true, protocol: negotiateIKERekey, rules: []rule{
		{PayloadSA, 1, 1}, {PayloadNonce, 1, 1}, {PayloadKE, 1, 1}, {PayloadNotify, 0, many}, {PayloadVendorID, 0, many}}}
	rekeyIKEResponse = messageKind{name: "CREATE_CHILD_SA response to a rekey of the IKE SA", encrypted: true, response: true, protocol: negotiateIKERekey, rules: []rule{
		{PayloadSA, 1, 1}, {PayloadNonce, 1, 1}, {PayloadKE, 1, 1}, {PayloadNotify, 0, many}, {PayloadVendorID, 0, many}}}
	createRefusal = messageKind{name: "CREATE_CHILD_SA response without SA", encrypted: true, response: true, refusal: true, rules: []rule{
		{PayloadNotify, 1, many}, {PayloadVendorID, 0, many}}}

	// RFC 9370 2.2.2 and 2.2.4: one more key exchange each.
	intermediate = messageKind{name: "IKE_INTERMEDIATE", encrypted: true, rules: []rule{
		{PayloadKE, 1, 1}, {PayloadNotify, 0, many}, {PayloadVendorID, 0, many}}}
	intermediateRefusal = messageKind{name: "IKE_INTERMEDIATE response without KE", encrypted: true, response: true, refusal: true, rules: []rule{
		{PayloadNotify, 1, many}, {PayloadVendorID, 0, many}}}
	followupRequest = messageKind{name: "IKE_FOLLOWUP_KE request", encrypted: true, rules: []rule{
		{PayloadKE, 1, 1}, {PayloadNotify, 1, many}, {PayloadVendorID, 0, many}}}
	followupResponse = messageKind{name: "IKE_FOLLOWUP_KE response", encrypted: true, response: true, rules: []rule{
		{PayloadKE, 1, 1}, {PayloadNotify, 0, many}, {PayloadVendorID, 0, many}}}
	followupRefusal = messageKind{name: "IKE_FOLLOWUP_KE response without KE", encrypted: true, response: true, refusal: true, rules: []rule{
		{PayloadNotify, 1, many}, {PayloadVendorID, 0, many}}}

	informational = messageKind{name: "INFORMATIONAL", encrypted: true, rules: []rule{
		{PayloadNotify, 0, many}, {PayloadDelete, 0, many}, {PayloadConfiguration, 0, 1}, {PayloadVendorID, 0, many}}}
)

// kindOf tells the variants of an exchange apart by what only one of them has. It gives nil for an exchange this codec does not know.
func kindOf(exchange ExchangeType, response bool, payloads []Payload) *messageKind {
	sa := Find[*SA](payloads)
	switch exchange {
	case ExchangeIKESAInit:
		switch {
		case !response:
			return &initRequest
		case sa == nil:
			return &initRefusal
		}
		return &initResponse
	case ExchangeIKEAuth:
		switch {
		case !response && sa == nil:
			return &authRequestChildless
		case !response:
			return &authRequest
		case sa != nil:
			return &authResponse
		case Find[*Auth](payloads) != nil:
			return &authResponseChildless
		}
		return &authRefusal
	case ExchangeCreateChildSA:
		ike := sa != nil && len(sa.Proposals) > 0 && sa.Proposals[0].Protocol == ProtocolIKE
		switch {
		case response && sa == nil:
			return &createRefusal
		case response && ike:
			return &rekeyIKEResponse
		case response:
			return &childResponse
		case ike:
			return &rekeyIKERequest
		case FindNotify(payloads, NotifyRekeySA) != nil:
			return &rekeyChildRequest
		}
		return &newChildRequest
	case ExchangeInformational:
		return &informational
	case ExchangeIntermediate:
		if response && Find[*KE](payloads) == nil {
			return &intermediateRefusal
		}
		return &intermediate
	case ExchangeFollowupKE:
		switch {
		case !response:
			return &followupRequest
		case Find[*KE](payloads) == nil:
			return &followupRefusal
		}
		return &followupResponse
	}
	return nil
}

// Check holds the payloads of a message, those in clear of an IKE_SA_INIT and those inside SK of any other, against the rules of its exchange.
// Its errors are *[SyntaxError]; a wrong number of payloads is a *[RuleError] inside.
func Check(exchange ExchangeType, response bool, payloads []Payload) error {
	kind := kindOf(exchange, response, payloads)
	if kind == nil {
		return syntaxf(PayloadNone, "%v, expected one of those of RFC 7296 and RFC 9370", exchange)
	}
	if err := kind.checkCounts(payloads); err != nil {
		return &SyntaxError{Err: err}
	}
	if kind.refusal {
		inInit := exchange == ExchangeIKESAInit && (FindNotify(payloads, NotifyCookie) != nil || FindNotify(payloads, NotifyRedirect) != nil)
		if FindError(payloads) == nil && !inInit {
			return syntaxf(PayloadNone, "%s has no notification that says why, expected an error", kind.name)
		}
		return nil
	}
	if sa := Find[*SA](payloads); sa != nil {
		if err := kind.checkProposals(sa.Proposals); err != nil {
			return &SyntaxError{Payload: PayloadSA, Err: err}
		}
	}
	return nil
}

func (k *messageKind) checkCounts(payloads []Payload) error {
	var counts [1 << 8]uint16
	for _, p := range payloads {
		if _, unknown := p.(*Unknown); !unknown {
			counts[p.PayloadType()]++
		}
	}
	for _, r := range k.rules {
		if found := int(counts[r.payload]); found < r.min || found > r.max {
			return &RuleError{Message: k.name, Payload: r.payload, Min: r.min, Max: r.max, Found: found}
		}
		counts[r.payload] = 0
	}
	misplaced := PayloadNone // the first by number
	for _, p := range payloads {
		if t := p.PayloadType(); counts[t] > 0 && (misplaced == PayloadNone || t < misplaced) {
			misplaced = t
		}
	}
	if misplaced != PayloadNone {
		return &RuleError{Message: k.name, Payload: misplaced, Found: int(counts[misplaced])}
	}
	return nil
}

// checkProposals holds the parts of an SA payload against the message it is in (RFC 7296 3.3.1 and 2.7).
func (k *messageKind) checkProposals(proposals []Proposal) error {
	if k.response && len(proposals) != 1 {
		return fmt.Errorf("%s has %d proposals, expected the one chosen", k.name, len(proposals))
	}
	if !k.response && (len(proposals) == 0 || proposals[0].Number != 1) {
		return fmt.Errorf("%s has no proposal number 1, expected them numbered from 1", k.name)
	}
	for _, p := range proposals {
		ike := p.Protocol == ProtocolIKE
		switch {
		case ike != (k.protocol != negotiateChild):
			return fmt.Errorf("proposal %d of %s is for %v", p.Number, k.name, p.Protocol)
		case k.protocol == negotiateIKE && len(p.SPI) != 0:
			return fmt.Errorf("proposal %d of %s has an SPI of %d octets, expected none: it is in the header", p.Number, k.name, len(p.SPI))
		case k.protocol == negotiateIKERekey && len(p.SPI) != 8:
			return fmt.Errorf("proposal %d of %s has an SPI of %d octets, expected 8", p.Number, k.name, len(p.SPI))
		}
	}
	return nil
}

// CheckOuter holds the header and the payloads in clear against the exchange: an IKE_SA_INIT has everything in clear, any other message has one SK
// or SKF payload. Only payloads of unknown type may stand beside it. Its errors are *[SyntaxError].
//
// Two messages outside an IKE SA break these rules and are answered or noted by the caller before, if at all: INFORMATIONAL messages
// in clear about an unknown SPI (RFC 7296 1.5) and INVALID_MAJOR_VERSION.
func (m *Message) CheckOuter() error {
	if err := m.checkHeader(); err != nil {
		return err
	}
	encrypted := 0
	for _, p := range m.Payloads {
		switch p.(type) {
		case *Unknown:
		case *Encrypted, *Fragment:
			encrypted++
		default:
			if m.Exchange != ExchangeIKESAInit {
				return syntaxf(p.PayloadType(), "stands in clear in %v, expected inside SK", m.Exchange)
			}
		}
	}
	switch {
	case m.Exchange == ExchangeIKESAInit && encrypted != 0:
		return syntaxf(PayloadEncrypted, "in %v, expected all payloads in clear", m.Exchange)
	case m.Exchange != ExchangeIKESAInit && encrypted == 0:
		return syntaxf(PayloadEncrypted, "missing in %v, expected one", m.Exchange)
	}
	return nil
}

func (m *Message) checkHeader() error {
	switch m.Exchange {
	case ExchangeIKESAInit:
		switch {
		case m.MessageID != 0:
			return syntaxf(PayloadNone, "%v with message ID %d, expected 0", m.Exchange, m.MessageID)
		case m.FromInitiator() == m.Response():
			return syntaxf(PayloadNone, "%v with flags %v, expected initiator or response", m.Exchange, m.Flags)
		case !m.Response() && m.ResponderSPI != 0:
			return syntaxf(PayloadNone, "%v request with a responder's SPI, expected zero", m.Exchange)
		}
		return nil
	case ExchangeIKEAuth, ExchangeCreateChildSA, ExchangeInformational, ExchangeIntermediate, ExchangeFollowupKE:
		if m.ResponderSPI == 0 {
			return syntaxf(PayloadNone, "%v without the responder's SPI", m.Exchange)
		}
		initial := m.Exchange == ExchangeIKEAuth || m.Exchange == ExchangeIntermediate
		if initial && (m.MessageID == 0 || m.FromInitiator() == m.Response()) {
			return syntaxf(PayloadNone, "%v with message ID %d and flags %v, expected an ID above 0 and initiator or response", m.Exchange, m.MessageID, m.Flags)
		}
		return nil
	}
	return syntaxf(PayloadNone, "%v, expected one of those of RFC 7296 and RFC 9370", m.Exchange)
}
