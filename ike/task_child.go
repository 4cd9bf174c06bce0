package ike

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"sallyport/crypto"
	"sallyport/ike/wire"
	"sallyport/policy"
)

// childInitiator negotiates a Child SA at our wish: the first one in IKE_AUTH (RFC 7296 1.2), a further one (1.3.1), or one in place of an
// old one (1.3.3).
type childInitiator struct {
	first  bool // in IKE_AUTH: nonces are those of IKE_SA_INIT, and there is no KE payload
	none   bool // IKE_AUTH is to make no Child SA (RFC 6023)
	single bool // for the packet that waits only
	slot   *slot
	old    *childSA // the one to rekey

	spi uint32 // ours, reserved; 0 when not
	ni  []byte
	dh  dhInitiator

	// deadSPIs are those that the peer deletes while its answer with one of them, it may be, is still on its way.
	deadSPIs []uint32

	// rival is what an exchange of the peer's, begun at the same time, has made for the same purpose.
	rival *childSA
}

func newChildInitiator(s *slot, old *childSA) *childInitiator {
	t := &childInitiator{slot: s, old: old}
	s.negotiating = t
	return t
}

func (t *childInitiator) proposals(sa *ikeSA) []crypto.Proposal {
	proposals, _ := t.terms()
	if t.first {
		return withoutDH(sa.passable(proposals))
	}
	return sa.passable(proposals)
}

// terms are what the Child SA is asked for with. A rekey is free to find better ones.
func (t *childInitiator) terms() ([]crypto.Proposal, []policy.Selector) {
	if t.old != nil {
		return t.slot.cfg.Proposals, t.slot.cfg.Selectors
	}
	return t.slot.terms()
}

func (t *childInitiator) build(m *message) error {
	if due, err := t.dh.addFollowing(m); due {
		return err
	}
	if err := t.cause(m.sa); err != nil || t.none {
		return err
	}
	if err := t.reserve(m.sa); err != nil {
		return err
	}
	if t.old != nil {
		m.add(wire.RekeySA(wire.ProtocolID(t.old.chosen.protocol), t.old.spiIn))
	}
	if t.slot.cfg.Transport {
		m.add(wire.NewNotify(wire.NotifyUseTransportMode, nil))
	}
	if t.slot.cfg.PerCore > 1 {
		m.add(t.slot.resourceInfo())
	}
	proposals := t.proposals(m.sa)
	if len(proposals) == 0 { // IKE_AUTH has to carry some
		proposals = withoutDH(t.slot.cfg.Proposals)
	}
	m.add(offer(proposals, spi4(t.spi)))
	if t.first {
		t.ni = m.sa.ni
	} else {
		t.ni = m.sa.engine.random(nonceLen)
		m.add(&wire.Nonce{Data: t.ni})
		if err := t.dh.add(m, proposals); err != nil {
			return err
		}
	}
	_, selectors := t.terms()
	selectors = withPacket(selectors, t.slot.packet)
	if t.single {
		selectors = selectors[:1]
	}
	tsi, tsr := trafficSelectors(true, selectors)
	m.add(tsi, tsr)
	return nil
}

// cause finds out whether the Child SA is still wanted, now that the window is free. IKE_AUTH has to carry one, unless the peer says otherwise: if
// none is wanted any more, the first.
func (t *childInitiator) cause(sa *ikeSA) error {
	switch {
	case t.first:
		s := sa.firstSlot()
		if t.none = s == nil; t.none {
			return nil
		}
		t.slot = s
		if t.slot.negotiating == nil {
			t.slot.negotiating = t
		}
	case t.slot.retired, t.slot.down, sa.state != stateEstablished, t.old != nil && t.old.state != childActive, t.old == nil && t.slot.live() != nil:
		return errNothingToDo
	case sa.spent():
		sa.rekey()
		if t.old != nil {
			t.old.rekeyLater(0)
		}
		return errNothingToDo
	case len(t.proposals(sa)) == 0:
		t.putOff(sa, FailProposal, NoAHAcrossNAT)
		t.fact(sa, FailProposal, NoAHAcrossNAT)
		return errNothingToDo
	}
	return nil
}

// firstSlot is what IKE_AUTH carries: what is needed, or else what is up and needs its like on the new IKE SA. It must carry something, or nil.
func (sa *ikeSA) firstSlot() *slot {
	p := sa.peer
	for _, fit := range []func(*slot) bool{(*slot).needed, func(s *slot) bool { return s.live() != nil }} {
		if i := slices.IndexFunc(p.slots, func(s *slot) bool { return s.worker == 0 && fit(s) && sa.fits(s) }); i >= 0 {
			return p.slots[i]
		}
	}
	if sa.childless {
		return nil
	}
	return p.slots[0]
}

// fits reports whether IKE_AUTH can make the Child SA of a slot as it is configured. One of whose proposals all ask for a key exchange of their own
// has none there (RFC 7296 1.2): where the peer does without a Child SA in IKE_AUTH it gets it in an exchange of its own, and ends that
// disagree about it find out at once and not at the first rekey (S-082).
func (sa *ikeSA) fits(s *slot) bool {
	ours := sa.passable(s.cfg.Proposals)
	if !sa.childless {
		return len(ours) > 0
	}
	return !sa.peer.cfg.Childless && slices.ContainsFunc(ours, func(p crypto.Proposal) bool { return len(p.DH) == 0 })
}

// reserve gets an SPI from the data plane.
func (t *childInitiator) reserve(sa *ikeSA) error {
	if t.spi != 0 {
		return nil // kept over errRepeat
	}
	p := t.slot.peer
	spi, err := p.engine.cfg.AllocateSPI(p.cfg.Name, t.slot.cfg.Name)
	if err == nil {
		t.spi = spi
		return nil
	}
	p.engine.fact(Fact{Kind: Refused, Reason: RefuseSPI, Peer: p.cfg.Name, Child: t.slot.cfg.Name, Detail: err.Error()})
	if t.first {
		return failf(FailNoAdditionalSAs, "no SPI: %v", err)
	}
	t.putOff(sa, FailNoAdditionalSAs, err.Error())
	return errNothingToDo
}

func (t *childInitiator) process(m *message) error {
	made := m
	if t.dh.more != nil {
		made = t.dh.more.created
	}
	switch {
	case t.none:
		return nil
	case t.first && m.sa.endedFor == DeletedRedirected:
		t.abandon() // and what the peer has made goes with the IKE SA
		return nil
	case t.slot.retired:
		t.disown(made)
		return nil
	case t.first:
		return t.answered(m)
	}
	done, err := t.dh.follow(m, t.proposals(m.sa))
	switch {
	case errors.Is(err, errFollowup), endsAll(err):
		return err
	case err != nil:
		t.unusable(m.sa, protocolMade(made), err)
		return nil
	}
	return t.answered(done)
}

// answered takes the response to IKE_AUTH or CREATE_CHILD_SA, with which the exchange has come to its end.
func (t *childInitiator) answered(m *message) error {
	switch {
	case wire.Find[*wire.SA](m.Payloads) == nil && wire.FindError(m.Payloads) == nil:
		return failf(FailSyntax, "peer answered with neither a Child SA nor an error")
	case wire.Find[*wire.SA](m.Payloads) == nil:
		return t.refused(m.sa, wire.FindError(m.Payloads))
	}
	c, err := t.agree(m)
	if endsAll(err) {
		return err
	}
	if err != nil {
		t.unusable(m.sa, protocolMade(m), err)
		return nil
	}
	t.spi = 0
	t.done()
	t.settle(c)
	return nil
}

// refused handles the peer's no. The IKE SA goes on without the Child SA (RFC 7296 1.2).
func (t *childInitiator) refused(sa *ikeSA, n *wire.Notify) error {
	if n.Type == wire.NotifyInvalidKEPayload && t.dh.asked(n, t.proposals(sa)) {
		return errRepeat
	}
	if n.Type == wire.NotifySinglePairRequired && !t.single && t.slot.packet != nil {
		return t.forPacket(sa)
	}
	f := failureOf(n)
	t.abandon()
	if t.takeRival() {
		return nil // the peer's own exchange has done it
	}
	if n.Type == wire.NotifyChildSANotFound && t.old != nil {
		t.old.remove(DeletedByPeer, 0) // RFC 7296 2.25; pursue makes a new one
		return nil
	}
	if f.reason == FailMaxQueue && t.slot.worker > 0 && t.old == nil {
		t.slot.surplus = true
		return nil
	}
	detail := fmt.Sprintf("%s, we offered %s for %s", f.detail, describeOurs(t.slot.cfg.Proposals), describeSelectors(t.slot.cfg.Selectors))
	t.putOff(sa, f.reason, detail)
	if t.slot.worker == 0 && (t.old != nil || len(sa.children) == 0) {
		sa.startOver(f.reason, t.slot.failures)
	}
	if f.reason != FailTemporary {
		t.fact(sa, f.reason, detail)
	}
	return nil
}

// forPacket asks again, for no more than the packet that waits: the peer takes a single pair of addresses (RFC 7296 2.9). IKE_AUTH cannot be repeated.
func (t *childInitiator) forPacket(sa *ikeSA) error {
	if !t.first {
		t.single = true
		return errRepeat
	}
	t.abandon()
	again := newChildInitiator(t.slot, nil)
	again.single = true
	sa.tasks.enqueue(wire.ExchangeCreateChildSA, again)
	return nil
}

// takeRival lets the rival, if there is one, have the place.
func (t *childInitiator) takeRival() bool {
	if t.rival == nil || t.rival.state == childGone {
		return false
	}
	if t.old != nil {
		t.old.successor = t.rival
		t.old.replace(DeletedRekeyed, false)
	}
	t.slot.elect()
	return true
}

// putOff schedules another try. A packet that waits goes on waiting only if the peer has said that it is just busy.
func (t *childInitiator) putOff(sa *ikeSA, reason Reason, detail string) {
	wanted := t.slot.wanted && reason == FailTemporary
	t.slot.failed(sa, reason, detail)
	t.slot.wanted = wanted
	if t.old != nil {
		t.old.rekeyLater(t.slot.failures)
	}
}

// unusable handles a Child SA that the peer has made and we cannot use: it must be told to remove it.
func (t *childInitiator) unusable(sa *ikeSA, protocol wire.ProtocolID, err error) {
	reason, detail := reasonOf(err)
	spi := t.spi
	t.spi = 0
	t.done()
	t.putOff(sa, reason, detail)
	t.fact(sa, reason, detail)
	sa.tasks.enqueue(wire.ExchangeInformational, &deleteUnused{engine: sa.engine, protocol: protocol, spi: spi})
}

// agree checks the peer's answer and makes the Child SA from it.
func (t *childInitiator) agree(m *message) (*childSA, error) {
	sa := m.sa
	answer := wire.Find[*wire.SA](m.Payloads)
	if t.slot.worker > 0 && t.slot.all.liveOn(sa) == nil {
		return nil, failf(FailTemporary, "the Child SA of all has gone meanwhile")
	}
	ours := t.proposals(sa)
	if len(ours) == 0 {
		return nil, failf(FailProposal, "%s", NoAHAcrossNAT)
	}
	choice, err := confirm(ours, answer, t.dh.group)
	if err != nil {
		return nil, failf(FailProposal, "%v", err)
	}
	transport := t.slot.cfg.Transport
	if answered := m.notify(wire.NotifyUseTransportMode) != nil; answered != transport {
		return nil, failf(FailMode, "peer answered with %s mode, we asked for %s mode", modeName(answered), modeName(transport))
	}
	local, remote := endpoints(wire.FindTS(m.Payloads, true)), endpoints(wire.FindTS(m.Payloads, false))
	if transport {
		sa.seen(local, remote)
	}
	_, asked := t.terms()
	selectors := narrow(asked, local, remote)
	if len(selectors) == 0 || t.old == nil && t.slot.same(selectors) != nil {
		return nil, failf(FailSelectors, "peer answered TSi %s and TSr %s, we asked for %s", describeEndpoints(local), describeEndpoints(remote),
			describeSelectors(asked))
	}
	shared, err := t.dh.shared(choice, wire.Find[*wire.KE](m.Payloads))
	if err != nil {
		return nil, err
	}
	defer shared.wipe()
	nr := sa.nr
	if !t.first {
		nr = wire.Find[*wire.Nonce](m.Payloads).Data
	}
	c := newChild(sa, t.slot, RoleInitiator, choice, selectors, t.spi, binary.BigEndian.Uint32(answer.Proposals[0].SPI))
	c.transport = transport
	c.perWorker = t.slot.cfg.PerCore > 1 && m.notify(wire.NotifySAResourceInfo) != nil || t.old != nil && t.old.perWorker
	if !sa.mayUse(choice.protocol, c.spiOut) {
		return nil, failf(FailSyntax, "peer's SPI %#08x is reserved or in use, expected a new one above %#x", c.spiOut, lastReservedSPI)
	}
	if slices.Contains(t.deadSPIs, c.spiOut) {
		return nil, failf(FailPeer, "peer has deleted the Child SA before we knew of it")
	}
	c.keyOut, c.keyIn = childKeymat(sa.keys, choice.suite, shared, t.ni, nr)
	c.lowestNonce = lowest(t.ni, nr)
	return c, nil
}

// settle installs the new Child SA and decides what becomes of the old one and of a rival (RFC 7296 2.8.1): of two made at once
// that with the lowest nonce goes, deleted by the side that began it; the one that began the other deletes the old one.
func (t *childInitiator) settle(c *childSA) {
	c.install()
	kind := ChildEstablished
	if t.old != nil {
		kind = ChildRekeyed
	}
	c.announce(kind)
	if t.rival != nil && loses(c.lowestNonce, t.rival.lowestNonce) {
		t.takeRival()
		c.replace(DeletedRedundant, true)
		return
	}
	if c.ike.state == stateEstablished && !c.holdsBack() {
		c.installOutbound()
	}
	if t.rival != nil {
		t.rival.replace(DeletedRedundant, false)
	}
	if t.old != nil {
		t.old.replace(DeletedRekeyed, true)
	}
	if t.slot.down {
		c.delete(DeletedByOperator) // since it was asked for
	}
}

func (t *childInitiator) abandon() {
	if t.slot == nil {
		return
	}
	if t.spi != 0 {
		t.slot.peer.engine.effect(ReleaseSPI{SPI: t.spi})
		t.spi = 0
	}
	t.done()
}

// done makes way for another negotiation. IKE_AUTH has to carry a Child SA even if one is under way on another IKE SA: then that one keeps
// the place.
func (t *childInitiator) done() {
	t.dh.wipe()
	if t.slot.negotiating == t {
		t.slot.negotiating = nil
		t.slot.peer.touch()
	}
}

func (t *childInitiator) fact(sa *ikeSA, reason Reason, detail string) {
	f := sa.fact(Failed)
	f.Role, f.Child, f.Reason, f.Detail, f.NextAttempt = RoleInitiator, t.slot.cfg.Name, reason, detail, t.slot.nextAttempt()
	if t.old != nil && t.old.again.Pending() {
		f.NextAttempt = t.old.again.When()
	}
	sa.engine.fact(f)
}

// newChild makes a Child SA that is agreed on and not yet installed.
func newChild(sa *ikeSA, s *slot, role Role, c chosen, selectors []policy.Selector, in, out uint32) *childSA {
	return &childSA{slot: s, ike: sa, role: role, chosen: c, selectors: selectors, spiIn: in, spiOut: out, udp: sa.natLocal || sa.natRemote}
}

func (c *childSA) announce(kind FactKind) {
	f := c.fact(kind)
	f.Selectors = slices.Clone(c.selectors)
	c.engine().fact(f)
}

// creating is our making of a Child SA, if it is on its way.
func (tm *taskManager) creating() *childInitiator {
	if tm.active == nil {
		return nil
	}
	for _, t := range tm.active.tasks {
		if t, ok := t.(*childInitiator); ok {
			return t
		}
	}
	return nil
}

// maxDeadSPIs bounds what a peer can make deadSPIs hold. It has no more than one reason to name any.
const maxDeadSPIs = 16

// isChildWork spots the tasks that a rekey of the IKE SA must not overtake (RFC 7296 2.25.2).
func isChildWork(t task) bool {
	switch t.(type) {
	case *childInitiator, *deleteChild, *deleteUnused:
		return true
	}
	return false
}
