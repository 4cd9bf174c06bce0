package ike

import (
	"encoding/binary"
	"errors"
	"slices"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// intermediate is the part of a negotiation between IKE_SA_INIT and IKE_AUTH: additional key exchanges, one IKE_INTERMEDIATE each (RFC 9370 2.2.2).
// Their messages are too long for IKE_SA_INIT, which cannot be cut into fragments.
//
//	IKE_SA_INIT            SK(0) of KE
//	IKE_INTERMEDIATE 1     under the keys of SK(0), then SK(1) of KE and KE1
//	IKE_INTERMEDIATE n     under the keys of SK(n-1), then SK(n)
//	IKE_AUTH               under the last, and AUTH covers all of the above
type intermediate struct {
	supported bool          // by both ends (RFC 9242)
	pending   []crypto.DHID // the methods still to come
	exchanges uint32        // that were

	// What AUTH has to cover: IntAuth_iN and IntAuth_rN (RFC 9242 3.3.1).
	fromInitiator, fromResponder []byte

	previous *ikeKeys // of the exchange before: its response may be asked for again
}

// further lists the methods of the additional key exchanges in their order.
func (c chosen) further() []crypto.DHID {
	return slices.DeleteFunc(slices.Clone(c.additional[:]), func(method crypto.DHID) bool { return method == crypto.DHNone })
}

// additionalOffered reports whether some proposal has additional key exchanges.
func additionalOffered(proposals []crypto.Proposal) bool {
	return slices.ContainsFunc(proposals, func(p crypto.Proposal) bool {
		return slices.ContainsFunc(p.AdditionalKE[:], func(methods []crypto.DHID) bool { return len(methods) > 0 })
	})
}

// withoutAdditional leaves out what needs IKE_INTERMEDIATE, for an initiator that does not have it.
func withoutAdditional(offered []wire.Proposal) []wire.Proposal {
	return slices.DeleteFunc(slices.Clone(offered), func(p wire.Proposal) bool {
		return slices.ContainsFunc(p.Transforms, func(t wire.Transform) bool { return t.Type >= wire.TransformAdditionalKE1 && t.ID != 0 })
	})
}

// announce says that we have IKE_INTERMEDIATE (RFC 9242 3.1).
func (x *intermediate) announce(m *message) {
	m.add(wire.NewNotify(wire.NotifyIntermediateSupported, nil))
}

// begin orders the exchange that comes next when IKE_SA_INIT, or an IKE_INTERMEDIATE, is done.
func (sa *ikeSA) begin() {
	if len(sa.intermediate.pending) > 0 {
		sa.tasks.enqueue(wire.ExchangeIntermediate, &intermediateInitiator{method: sa.intermediate.pending[0]})
		return
	}
	sa.tasks.enqueue(wire.ExchangeIKEAuth, &authInitiator{}, &childInitiator{first: true})
}

// further derives the keys that follow a further key exchange: SKEYSEED(n) = prf(SK_d(n-1), SK(n) | Ni | Nr) (RFC 9370 2.2.2).
func (sa *ikeSA) further(shared crypto.Secret) (*ikeKeys, error) {
	spiI, spiR := sa.spis()
	return deriveKeys(sa.chosen, seedRekey(sa.keys, sa.ni, sa.nr, secrets{first: shared}), sa.ni, sa.nr, spiI, spiR, sa.role, sa.engine.cfg.KeyLog)
}

// exchanged notes the two messages of an exchange for AUTH and goes over to the keys that follow it.
func (sa *ikeSA) exchanged(request, response *message, next *ikeKeys) error {
	x, k := &sa.intermediate, sa.keys
	a, err := adjusted(request)
	b, err2 := adjusted(response)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	x.fromInitiator = crypto.PRF(k.prf, k.pi.Bytes(), x.fromInitiator, a, request.plain)
	x.fromResponder = crypto.PRF(k.prf, k.pr.Bytes(), x.fromResponder, b, response.plain)
	x.exchanges++
	x.pending = x.pending[1:]
	x.forget()
	x.previous, sa.keys = sa.keys, next
	return nil
}

// adjusted is IntAuth_*A: all up to the generic header of SK of a message in one piece, with lengths that leave out IV, padding and ICV (RFC 9242
// 3.3.2). The sender's octets count, where it has set bits that are reserved as well.
func adjusted(m *message) ([]byte, error) {
	if m.clear != nil {
		return wire.WholePrefix(m.clear, len(m.plain)), nil
	}
	return wire.EncryptedPrefix(m.Header, m.first, len(m.plain))
}

// intAuth is what AUTH covers beside what it covers always (RFC 9242 3.3.1). The message id is that of the first IKE_AUTH.
func (x *intermediate) intAuth() []byte {
	if x.exchanges == 0 {
		return nil
	}
	return binary.BigEndian.AppendUint32(slices.Concat(x.fromInitiator, x.fromResponder), x.exchanges+1)
}

func (x *intermediate) forget() {
	if x.previous != nil {
		x.previous.wipe()
		x.previous = nil
	}
}

// intermediateInitiator is our half of an additional key exchange.
type intermediateInitiator struct {
	method  crypto.DHID
	key     crypto.KeyExchange
	request *message
}

func (t *intermediateInitiator) build(m *message) error {
	var err error
	if t.key, err = crypto.GenerateKey(t.method, m.sa.engine.cfg.Random); err != nil {
		return err
	}
	t.request = m
	m.add(&wire.KE{Group: uint16(t.method), Data: t.key.Public()})
	return nil
}

func (t *intermediateInitiator) process(m *message) error {
	defer t.abandon()
	shared, err := further(t.key, t.method, m)
	if err != nil {
		return err
	}
	defer shared.Wipe()
	next, err := m.sa.further(shared)
	if err != nil {
		return err
	}
	if err := m.sa.exchanged(t.request, m, next); err != nil {
		return err
	}
	m.sa.begin()
	return nil
}

func (t *intermediateInitiator) abandon() {
	if t.key != nil {
		t.key.Wipe()
	}
}

// further completes an additional key exchange with the response.
func further(key crypto.KeyExchange, method crypto.DHID, m *message) (crypto.Secret, error) {
	ke := wire.Find[*wire.KE](m.Payloads)
	if ke == nil {
		return crypto.Secret{}, failureOf(wire.FindError(m.Payloads))
	}
	if ke.Group != uint16(method) {
		return crypto.Secret{}, failf(FailKE, "KE payload of group %d, expected the additional %v", ke.Group, method)
	}
	return complete(key, ke)
}

// intermediateResponder answers an additional key exchange.
type intermediateResponder struct {
	request *message
	answer  *wire.KE
	next    *ikeKeys
}

func (t *intermediateResponder) process(m *message) error {
	t.request = m
	answer, shared, err := answerFurther(m, m.sa.intermediate.pending[0])
	if err != nil {
		return err
	}
	defer shared.Wipe()
	t.answer = answer
	t.next, err = m.sa.further(shared)
	return err
}

func (t *intermediateResponder) build(m *message) error {
	m.add(t.answer)
	m.then(func() { // the response itself goes under the keys of its request
		if err := m.sa.exchanged(t.request, m, t.next); err != nil {
			m.sa.fail(err)
		}
	})
	return nil
}

func (t *intermediateResponder) abandon() {}

// answerFurther makes our half of an additional key exchange.
func answerFurther(m *message, method crypto.DHID) (*wire.KE, crypto.Secret, error) {
	ke := wire.Find[*wire.KE](m.Payloads)
	if ke.Group != uint16(method) {
		return nil, crypto.Secret{}, refuse(wire.NotifyInvalidSyntax, FailKE, "KE payload of group %d, expected the additional %v", ke.Group, method)
	}
	value, shared, err := crypto.Respond(method, ke.Data, m.sa.engine.cfg.Random)
	if errors.Is(err, crypto.ErrPeerValue) {
		return nil, crypto.Secret{}, refuse(wire.NotifyInvalidSyntax, FailKE, "%v", err)
	}
	return &wire.KE{Group: ke.Group, Data: value}, shared, err
}
