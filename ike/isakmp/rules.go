package isakmp

// Kind says which message of its exchange a message is, as far as its header and payloads tell: messages 1 and 2 of an exchange look alike.
type Kind int

const (
	KindUnsupported    Kind = iota
	KindFragment            // a piece of another message
	KindMainSA              // main mode, messages 1 and 2
	KindMainKE              // main mode, messages 3 and 4
	KindMainAuth            // main mode, messages 5 and 6
	KindQuickSA             // quick mode, messages 1 and 2
	KindQuickHash           // quick mode, message 3
	KindQuickConnected      // quick mode, message 4 as Windows sends it after the commit bit
	KindInformational       // encrypted
	KindInformationalClear
)

// rule says how many payloads of one type a message may have.
type rule struct {
	payload  PayloadType
	min, max int
}

const many = MaxPayloads

// messageKind is one row of RFC 2409 section 5: a message with what it must and may hold. What is not listed must not be there, save payloads of
// a private type that is not known. Order is free (RFC 2409 section 5) but for the payloads in first.
type messageKind struct {
	name      string
	encrypted bool
	phase2    bool // with a message ID
	responder bool // the responder's cookie is known
	first     []PayloadType
	rules     []rule
	check     func(payloads []Payload) error // what counts of single payloads do not say
}

var messageKinds = map[Kind]*messageKind{
	KindFragment: {name: "fragment", rules: []rule{{PayloadFragment, 1, 1}}},

	// RFC 2409 section 5: the SA payload precedes all others.
	KindMainSA: {name: "main mode with SA", first: []PayloadType{PayloadSA}, rules: []rule{
		{PayloadSA, 1, 1}, {PayloadCertReq, 0, many}, {PayloadNotify, 0, many}, {PayloadVendorID, 0, many}}, check: checkPhase1Proposals},
	KindMainKE: {name: "main mode with KE", responder: true, rules: []rule{
		{PayloadKE, 1, 1}, {PayloadNonce, 1, 1}, {PayloadNATD, 0, many}, {PayloadNATDDraft, 0, many}, {PayloadCertReq, 0, many}, {PayloadNotify, 0, many}, {PayloadVendorID, 0, many}}},
	KindMainAuth: {name: "main mode with ID", encrypted: true, responder: true, rules: []rule{
		{PayloadID, 1, 1}, {PayloadHash, 0, 1}, {PayloadSig, 0, 1}, {PayloadCert, 0, many}, {PayloadCertReq, 0, many}, {PayloadNotify, 0, many}, {PayloadVendorID, 0, many}},
		check: checkProof},

	// RFC 2409 5.5: HASH follows the header, SA follows HASH. One SA payload: several at once are not supported.
	KindQuickSA: {name: "quick mode with SA", encrypted: true, phase2: true, responder: true, first: []PayloadType{PayloadHash, PayloadSA}, rules: []rule{
		{PayloadHash, 1, 1}, {PayloadSA, 1, 1}, {PayloadNonce, 1, 1}, {PayloadKE, 0, 1}, {PayloadID, 0, 2}, {PayloadNATOA, 0, 2}, {PayloadNATOADraft, 0, 2},
		{PayloadNotify, 0, many}, {PayloadVendorID, 0, many}}, check: checkPhase2},
	// HASH(3) covers nothing of its own message, so nothing else may be there.
	KindQuickHash: {name: "quick mode with HASH only", encrypted: true, phase2: true, responder: true, first: []PayloadType{PayloadHash}, rules: []rule{
		{PayloadHash, 1, 1}}},
	KindQuickConnected: {name: "quick mode with N", encrypted: true, phase2: true, responder: true, first: []PayloadType{PayloadHash}, rules: []rule{
		{PayloadHash, 1, 1}, {PayloadNotify, 1, many}, {PayloadVendorID, 0, many}}},

	// RFC 2409 5.7: HASH first, when there are keys for it.
	KindInformational: {name: "encrypted informational exchange", encrypted: true, phase2: true, responder: true, first: []PayloadType{PayloadHash}, rules: []rule{
		{PayloadHash, 1, 1}, {PayloadNotify, 0, many}, {PayloadDelete, 0, many}, {PayloadVendorID, 0, many}}, check: checkInformational},
	KindInformationalClear: {name: "informational exchange in clear", rules: []rule{
		{PayloadNotify, 0, many}, {PayloadDelete, 0, many}, {PayloadVendorID, 0, many}}, check: checkInformational},
}

func (k Kind) String() string {
	if row := messageKinds[k]; row != nil {
		return row.name
	}
	return "unsupported message"
}

// kindOf tells the messages of an exchange apart by what only one of them has.
func kindOf(h Header, payloads []Payload) Kind {
	if h.NextPayload == PayloadFragment {
		return KindFragment
	}
	sa := Find[*SA](payloads) != nil
	switch h.Exchange {
	case ExchangeMain:
		switch {
		case h.Flags.Has(FlagEncryption):
			return KindMainAuth
		case sa:
			return KindMainSA
		}
		return KindMainKE
	case ExchangeQuick:
		switch {
		case sa:
			return KindQuickSA
		case Find[*Notify](payloads) != nil:
			return KindQuickConnected
		}
		return KindQuickHash
	case ExchangeInformational:
		if h.Flags.Has(FlagEncryption) {
			return KindInformational
		}
		return KindInformationalClear
	}
	return KindUnsupported
}

// Check says which message of its exchange a message with these payloads is, those in clear or the decrypted ones, and holds both against the
// rules of it. Its errors are *[SyntaxError]; a wrong number of payloads is a *[RuleError] inside.
func Check(h Header, payloads []Payload) (Kind, error) {
	kind := kindOf(h, payloads)
	row := messageKinds[kind]
	if row == nil {
		return kind, refused(NotifyUnsupportedExchangeType, PayloadNone, "%v, expected main mode, quick mode or an informational exchange", h.Exchange)
	}
	if kind == KindFragment {
		return kind, row.checkCounts(kind, payloads) // its header is that of the whole, or what the sender likes
	}
	if err := row.checkHeader(h); err != nil {
		return kind, err
	}
	if err := row.checkCounts(kind, payloads); err != nil {
		return kind, err
	}
	for i, t := range row.first {
		if payloads[i].PayloadType() != t { // its rule has it there at least once
			return kind, malformed(t, "%v has %v at position %d, expected %v there", kind, payloads[i].PayloadType(), i+1, t)
		}
	}
	if row.check == nil {
		return kind, nil
	}
	return kind, row.check(payloads)
}

func (k *messageKind) checkHeader(h Header) error {
	switch {
	case h.Flags.Has(FlagEncryption) != k.encrypted:
		return refused(NotifyInvalidFlags, PayloadNone, "%s with flags %v, encryption expected: %t", k.name, h.Flags, k.encrypted)
	case k.responder && h.Responder == 0:
		return refused(NotifyInvalidCookie, PayloadNone, "%s without the responder's cookie", k.name)
	case k.phase2 && h.MessageID == 0:
		return refused(NotifyInvalidMessageID, PayloadNone, "%s with message ID 0, expected another", k.name)
	case h.Exchange == ExchangeMain && h.MessageID != 0:
		return refused(NotifyInvalidMessageID, PayloadNone, "%s with message ID %08x, expected 0", k.name, h.MessageID)
	}
	return nil
}

func (k *messageKind) checkCounts(kind Kind, payloads []Payload) error {
	var counts [1 << 8]uint16
	for _, p := range payloads {
		t := p.PayloadType()
		if _, unknown := p.(*Unknown); !unknown {
			counts[t]++
		} else if t < firstPrivatePayload {
			return refused(NotifyInvalidPayloadType, t, "not known in %v", kind)
		}
	}
	for _, r := range k.rules {
		if found := int(counts[r.payload]); found < r.min || found > r.max {
			return &SyntaxError{Notify: NotifyPayloadMalformed, Err: &RuleError{Message: kind, Payload: r.payload, Min: r.min, Max: r.max, Found: found}}
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
		return &SyntaxError{Notify: NotifyPayloadMalformed, Err: &RuleError{Message: kind, Payload: misplaced, Found: int(counts[misplaced])}}
	}
	return nil
}

// checkPhase1Proposals: RFC 2409 section 5 has a single proposal in phase 1, for there is nothing that several could mean. Old peers
// send several all the same, as alternatives.
func checkPhase1Proposals(payloads []Payload) error {
	for _, p := range Find[*SA](payloads).Proposals {
		if p.Protocol != ProtocolISAKMP {
			return refused(NotifyInvalidProtocolID, PayloadSA, "proposal %d of main mode is for %v, expected ISAKMP", p.Number, p.Protocol)
		}
	}
	return nil
}

// checkProof: one of HASH and SIG, by the authentication method.
func checkProof(payloads []Payload) error {
	hashes, signatures := len(FindAll[*Hash](payloads)), len(FindAll[*Sig](payloads))
	if hashes+signatures != 1 {
		return malformed(PayloadNone, "%v has %d HASH and %d SIG payloads, expected one of either", KindMainAuth, hashes, signatures)
	}
	return Find[*ID](payloads).checkPhase1()
}

func checkPhase2(payloads []Payload) error {
	for _, p := range Find[*SA](payloads).Proposals {
		if p.Protocol == ProtocolISAKMP {
			return refused(NotifyInvalidProtocolID, PayloadSA, "proposal %d of quick mode is for %v, expected AH or ESP", p.Number, p.Protocol)
		}
	}
	if ids := len(FindAll[*ID](payloads)); ids == 1 {
		return malformed(PayloadID, "%v has %d ID payload, expected none or both ends", KindQuickSA, ids)
	}
	return nil
}

func checkInformational(payloads []Payload) error {
	if Find[*Notify](payloads) == nil && Find[*Delete](payloads) == nil {
		return malformed(PayloadNone, "an informational exchange without N or D, expected at least one")
	}
	return nil
}
