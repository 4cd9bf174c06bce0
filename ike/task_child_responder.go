package ike

import (
	"encoding/binary"
	"slices"

	"sallyport/crypto"
	"sallyport/ike/wire"
	"sallyport/policy"
)

// childResponder answers a peer that wants a Child SA: the first one in IKE_AUTH, a further one, or one in place of an old one.
type childResponder struct {
	first bool

	additional bool // other traffic of the offer is another child's (RFC 7296 2.9)

	no       *refusal // what keeps it from being made
	old      *childSA // the one to be rekeyed
	rivalOf  *childInitiator
	replaces *childSA // the peer has forgotten it, as it seems

	made    *childSA
	offered wire.Proposal
	ni, nr  []byte
	ke      *wire.KE
	secrets secrets
	request *message
}

// process makes the Child SA up to its installation. A no concerns the Child SA only (RFC 7296 1.2 and 1.3): build says it.
func (t *childResponder) process(m *message) error {
	err := t.admit(m)
	if err == nil {
		err = t.negotiate(m)
	}
	r, ok := err.(*refusal)
	if !ok {
		return err
	}
	if r.notify.Type == wire.NotifyInvalidSyntax {
		return r
	}
	t.no = r
	if r.reason != FailTemporary && !r.goesOn {
		f := m.sa.fact(Failed)
		f.Role, f.Reason, f.Detail = RoleResponder, r.reason, r.detail
		if t.old != nil {
			f.Child = t.old.slot.cfg.Name
		}
		m.sa.engine.fact(f)
		m.sa.peer.noteFailure(m.sa, RoleResponder, r.reason, r.detail)
	}
	return nil
}

// admit refuses what the state of the IKE SA or of the Child SA to rekey forbids (RFC 7296 2.25).
func (t *childResponder) admit(m *message) error {
	sa := m.sa
	if limit := sa.engine.limits.ChildrenPerIKE; len(sa.children) >= limit || len(sa.peer.late) >= limit {
		f := sa.fact(Refused)
		f.Reason = RefuseIKEChildren
		sa.engine.fact(f)
		return refuse(wire.NotifyNoAdditionalSAs, FailNoAdditionalSAs, "%d Child SAs on this IKE SA and %d that were just deleted, the limit is %d of each", len(sa.children), len(sa.peer.late), limit)
	}
	if t.first {
		return nil
	}
	if sa.state != stateEstablished || sa.tasks.inFlight(isRekeyIKE) {
		return refuse(wire.NotifyTemporaryFailure, FailTemporary, "the IKE SA is being rekeyed or deleted")
	}
	if sa.spent() {
		sa.rekey()
		return refuse(wire.NotifyTemporaryFailure, FailTemporary, "the IKE SA has made its %d Child SAs and is rekeyed first", sa.made)
	}
	n := m.notify(wire.NotifyRekeySA)
	if n == nil {
		return nil
	}
	protocol, spi, err := n.ChildSPI()
	if err != nil {
		return refuse(wire.NotifyInvalidSyntax, FailSyntax, "%v", err)
	}
	t.old = sa.childBySPI(crypto.Protocol(protocol), spi)
	switch {
	case t.old == nil && sa.tasks.creating() != nil:
		return refuse(wire.NotifyTemporaryFailure, FailTemporary, "it may be the Child SA whose making is on its way")
	case t.old == nil:
		r := refuse(wire.NotifyChildSANotFound, FailNotFound, "no Child SA of %v with the peer's SPI %#08x to rekey", protocol, spi)
		r.notify = wire.ChildSANotFound(protocol, spi)
		return r
	case t.old.state != childActive:
		return refuse(wire.NotifyTemporaryFailure, FailTemporary, "the Child SA is being deleted")
	}
	return nil
}

// childBySPI finds a Child SA by the peer's inbound SPI. On an IKE SA that the peer already takes for the successor the children may still be
// with its predecessor, as long as our own rekey of that is on its way.
func (sa *ikeSA) childBySPI(protocol crypto.Protocol, spi uint32) *childSA {
	for ; sa != nil; sa = sa.predecessor {
		if i := slices.IndexFunc(sa.children, func(c *childSA) bool { return c.chosen.protocol == protocol && c.spiOut == spi }); i >= 0 {
			return sa.children[i]
		}
	}
	return nil
}

// controls reports whether a Child SA was made by an IKE SA or one that it has replaced by a rekey.
func (sa *ikeSA) controls(c *childSA) bool {
	for ; sa != nil; sa = sa.predecessor {
		if c.ike == sa {
			return true
		}
	}
	return false
}

func (t *childResponder) negotiate(m *message) error {
	sa := m.sa
	s, selectors, err := t.chooseSlot(m)
	if err == nil {
		s, err = t.asksForWorker(m, s)
	}
	if err != nil {
		return err
	}
	if no := s.full(sa); no != nil {
		return no
	}
	proposals := s.cfg.Proposals
	if s.worker > 0 && t.old == nil {
		if err := s.same(selectors); err != nil {
			return err
		}
		proposals, selectors = s.terms()
	}
	ours, offered := sa.passable(proposals), wire.Find[*wire.SA](m.Payloads).Proposals
	if t.first {
		ours = withoutDH(ours)
	}
	ke := wire.Find[*wire.KE](m.Payloads)
	choice, proposal, ok := choose(ours, offered, keGroup(ke))
	if !ok {
		return refuse(wire.NotifyNoProposalChosen, FailProposal, "peer offered %s for child %s%s, we accept %s", describe(offered), s.cfg.Name, sa.whyNot(offered), describeOurs(ours))
	}
	t.offered = proposal
	out := binary.BigEndian.Uint32(proposal.SPI)
	if !sa.mayUse(choice.protocol, out) {
		return refuse(wire.NotifyInvalidSyntax, FailSyntax, "peer's SPI %#08x is reserved or in use, expected a new one above %#x", out, lastReservedSPI)
	}
	if err := t.unique(sa, s, selectors); err != nil {
		return err
	}
	var shared crypto.Secret
	if t.ke, shared, err = answerDH(sa.engine, choice, ke); err != nil {
		return err
	}
	spi, err := sa.engine.cfg.AllocateSPI(s.peer.cfg.Name, s.cfg.Name)
	if err != nil {
		sa.engine.fact(Fact{Kind: Refused, Reason: RefuseSPI, Peer: s.peer.cfg.Name, Child: s.cfg.Name, Detail: err.Error()})
		return refuse(wire.NotifyNoAdditionalSAs, FailNoAdditionalSAs, "no SPI: %v", err)
	}
	t.ni, t.nr = sa.ni, sa.nr
	if !t.first {
		t.ni, t.nr = wire.Find[*wire.Nonce](m.Payloads).Data, sa.engine.random(nonceLen)
	}
	t.made = newChild(sa, s, RoleResponder, choice, selectors, spi, out)
	t.made.transport, t.made.first = s.cfg.Transport, t.first
	t.made.perWorker = s.cfg.PerCore > 1 && m.notify(wire.NotifySAResourceInfo) != nil || t.old != nil && t.old.perWorker
	t.made.lowestNonce = lowest(t.ni, t.nr)
	t.secrets, t.request = secrets{first: shared}, m
	if len(choice.further()) == 0 {
		t.deriveKeys()
	}
	return nil
}

func (t *childResponder) deriveKeys() {
	c := t.made
	c.keyIn, c.keyOut = childKeymat(c.ike.keys, c.chosen.suite, t.secrets, t.ni, t.nr)
	t.secrets.wipe()
}

// finish decides anew, now that the additional key exchanges are done (see task_followup.go).
func (t *childResponder) finish(sa *ikeSA, s secrets) error {
	t.rivalOf, t.replaces = nil, nil
	if err := t.admit(t.request); err != nil {
		return err
	}
	if t.made.slot.retired {
		return refuse(wire.NotifyNoProposalChosen, FailProposal, "child %s is configured no longer", t.made.slot.cfg.Name)
	}
	if err := t.unique(sa, t.made.slot, t.made.selectors); err != nil {
		return err
	}
	t.secrets = s
	t.deriveKeys()
	return nil
}

// complete installs the Child SA before the answer leaves: the peer may send at once.
func (t *childResponder) complete(m *message) {
	t.made.install()
	m.then(t.settle)
}

func (t *childResponder) drop(sa *ikeSA) { sa.engine.effect(ReleaseSPI{SPI: t.made.spiIn}) }

// whyNot explains the refusal of an offer that no algorithm of ours could have helped (S-091).
func (sa *ikeSA) whyNot(offered []wire.Proposal) string {
	if sa.acrossNAT() && !slices.ContainsFunc(offered, func(p wire.Proposal) bool { return p.Protocol != wire.ProtocolAH }) {
		return " (" + NoAHAcrossNAT + ")"
	}
	return ""
}

// chooseSlot finds the child that the peer means and narrows to it (RFC 7296 2.9): best one that the first selectors, which may be those of a
// waiting packet, lie within; else one whose traffic the offer takes whole; else one with any traffic in common.
func (t *childResponder) chooseSlot(m *message) (*slot, []policy.Selector, error) {
	tsi, tsr, transport := wire.FindTS(m.Payloads, true), wire.FindTS(m.Payloads, false), m.notify(wire.NotifyUseTransportMode) != nil
	m.sa.peer.adapt(transport)
	slots := slices.DeleteFunc(slices.Clone(m.sa.peer.slots), func(s *slot) bool { return s.worker > 0 })
	if t.old != nil {
		slots = []*slot{t.old.slot}
	}
	var best, otherMode *slot
	able := 0 // how many could take some of the traffic
	var bestSelectors []policy.Selector
	bestRank, left := 0, maxPairs
	for _, s := range slots {
		remote, local := endpoints(tsi), endpoints(tsr)
		if s.cfg.Transport {
			m.sa.seen(local, remote)
		}
		selectors := narrowWithin(s.cfg.Selectors, local, remote, &left)
		switch {
		case len(selectors) == 0:
			continue
		case s.cfg.Transport && !transport: // the other way round tunnel mode is our answer, which the peer may take (RFC 7296 1.3.1)
			otherMode = s
			continue
		}
		able++
		rank := 1
		if s.cfg.Transport == transport {
			rank += 4
		}
		if first := pairOf(local[0], remote[0]); covers(s.cfg.Selectors, []policy.Selector{first}) {
			rank += 2
		}
		if covers(selectors, s.cfg.Selectors) {
			rank++
		}
		if rank > bestRank {
			best, bestSelectors, bestRank = s, selectors, rank
		}
	}
	switch {
	case best != nil:
		t.additional = able > 1
		return best, bestSelectors, nil
	case otherMode != nil:
		return nil, nil, refuse(wire.NotifyNoProposalChosen, FailMode, "peer asks for tunnel mode, child %s is of transport mode", otherMode.cfg.Name)
	}
	return nil, nil, refuse(wire.NotifyTSUnacceptable, FailSelectors, "peer wants TSi %s and TSr %s, we have %s",
		describeEndpoints(endpoints(tsi)), describeEndpoints(endpoints(tsr)), describeSlots(slots))
}

func describeSlots(slots []*slot) string {
	var all []policy.Selector
	for _, s := range slots {
		all = append(all, s.cfg.Selectors...)
	}
	return describeSelectors(all)
}

// unique keeps a rule at one Child SA. The peer may be negotiating the same one at the same time (rivals), may not have seen yet that
// ours has come up (it must look again), or may have lost the old one (then the new one replaces it, if it takes the same traffic).
func (t *childResponder) unique(sa *ikeSA, s *slot, selectors []policy.Selector) error {
	ours := s.negotiating
	if ours != nil && ours.old == t.old && sa.tasks.inFlight(func(other task) bool { return other == task(ours) }) {
		t.rivalOf = ours
		return nil
	}
	prior := s.live()
	if t.first || t.old != nil || prior == nil || !sa.controls(prior) { // on another IKE SA it goes on until that is replaced
		return nil
	}
	e := sa.engine
	switch {
	case prior.role == RoleInitiator && e.now.Sub(prior.established) < e.limits.RekeyGrace:
		return refuse(wire.NotifyTemporaryFailure, FailTemporary, "Child SA for %s has just come up", s.cfg.Name)
	case !covers(selectors, prior.selectors):
		f := sa.fact(Refused)
		f.Child, f.Reason = s.cfg.Name, RefuseChildSelectors
		e.fact(f)
		return refuse(wire.NotifyNoAdditionalSAs, FailNoAdditionalSAs, "child %s is up for %s, peer wants another for %s", s.cfg.Name,
			describeSelectors(prior.selectors), describeSelectors(selectors))
	}
	t.replaces = prior
	return nil
}

func (t *childResponder) build(m *message) error {
	if t.no != nil {
		m.add(t.no.notify)
		return nil
	}
	c := t.made
	if c.transport {
		m.add(wire.NewNotify(wire.NotifyUseTransportMode, nil))
	}
	if c.perWorker {
		m.add(c.slot.resourceInfo())
	}
	m.add(c.chosen.accept(t.offered, spi4(c.spiIn)))
	if !t.first {
		m.add(&wire.Nonce{Data: t.nr})
	}
	if t.ke != nil {
		m.add(t.ke)
	}
	if t.additional {
		m.add(wire.NewNotify(wire.NotifyAdditionalTSPossible, nil))
	}
	tsi, tsr := trafficSelectors(false, c.selectors)
	m.add(tsi, tsr)
	if methods := c.chosen.further(); len(methods) > 0 {
		m.sa.followLater(m, t, methods, t.secrets)
	} else {
		t.complete(m)
	}
	return nil
}

// settle decides, once the answer has left, which Child SA packets leave by (childState tells why).
func (t *childResponder) settle() {
	kind := ChildEstablished
	if t.old != nil {
		kind = ChildRekeyed
	}
	t.made.announce(kind)
	switch {
	case t.rivalOf != nil:
		t.rivalOf.rival = t.made
	case t.old != nil:
		t.old.successor = t.made
		t.old.replace(DeletedRekeyed, false)
	case t.replaces != nil:
		t.replaces.replace(DeletedRekeyed, true)
	}
	t.made.slot.elect()
}

func (t *childResponder) abandon() {}
