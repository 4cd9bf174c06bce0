package ike

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// authInitiator proves to the responder who we are, and checks who it is (RFC 7296 2.15).
type authInitiator struct {
	engine *Engine
	proof  proof
}

func (t *authInitiator) build(m *message) error {
	sa := m.sa
	cfg := &sa.peer.cfg
	t.engine = sa.engine
	id := idPayload(cfg.LocalID, true)
	if err := sa.offerPPK(m, id); err != nil {
		return err
	}
	auth, err := sa.prove(sa.peer, id)
	if err != nil {
		return err
	}
	m.add(id)
	m.addCertificates(cfg)
	if request := certificateRequest(sa.peer); request != nil {
		m.add(request)
	}
	m.add(idPayload(cfg.RemoteID, false), auth)
	if sa.peer.carrier() == nil {
		m.add(wire.NewNotify(wire.NotifyInitialContact, nil)) // RFC 7296 2.4
	}
	m.addMOBIKE()
	return nil
}

func (t *authInitiator) process(m *message) error {
	sa := m.sa
	if wire.Find[*wire.Auth](m.Payloads) == nil {
		f := failureOf(wire.FindError(m.Payloads))
		f.detail += ", we are " + sa.peer.cfg.LocalID.String()
		return f
	}
	id := wire.FindID(m.Payloads, false)
	if found := identityOf(id); !found.Equal(sa.peer.cfg.RemoteID) {
		return failf(AuthIdentity, "peer is %v, expected %v", found, sa.peer.cfg.RemoteID)
	}
	if err := sa.answeredPPK(m); err != nil {
		return err
	}
	if err := t.proof.verify(m, sa.peer, id); err != nil {
		return err
	}
	sa.ppk.settle(sa.keys)
	sa.mobike.agree(m)
	sa.authenticated()
	sa.heedLifetime(m)
	if gateway, ok := sa.redirected(m); ok && sa.state == stateEstablished {
		sa.goTo(gateway)
	}
	return nil
}

func (t *authInitiator) abandon() { t.proof.abandon(t.engine) }

// authResponder finds out who the initiator is, and proves who we are.
type authResponder struct {
	engine *Engine
	peer   *peer // that the initiator says to be
	proof  proof

	id   *wire.ID
	auth *wire.Auth
}

func (t *authResponder) process(m *message) error {
	sa := m.sa
	t.engine = sa.engine
	id := wire.FindID(m.Payloads, true)
	if t.peer == nil {
		p, err := identify(sa, m, id)
		if err != nil {
			return err
		}
		t.peer = p
	}
	err := sa.choosePPK(m, t.peer)
	if err == nil {
		err = t.proof.verify(m, t.peer, id)
	}
	if err == nil && t.peer.left() {
		err = failf(AuthIdentity, "peer %v is configured no longer", t.peer.cfg.RemoteID) // since its certificates were sent to be checked
	}
	if err == nil {
		t.id = idPayload(t.peer.cfg.LocalID, false)
		t.auth, err = sa.prove(t.peer, t.id)
	}
	if err != nil {
		return t.refuse(sa, err)
	}
	if t.peer.cfg.MOBIKE && m.translated() {
		return refuse(wire.NotifyUnexpectedNATDetected, FailAddress, "the peer lets no NAT be between us, and is seen at %v", m.remote) // RFC 4555 3.9
	}
	anew := m.notify(wire.NotifyInitialContact) != nil
	if !anew || len(t.peer.sas) == 0 { // else those that it has go
		if no := t.peer.full(sa, false); no != nil {
			return no
		}
	}
	if err := sa.engine.welcome(sa, t.peer); err != nil {
		return err
	}
	sa.ppk.settle(sa.keys)
	sa.peer, sa.among = t.peer, nil
	sa.mobike.agree(m)
	sa.peer.sas = append(sa.peer.sas, sa)
	if anew {
		sa.peer.initialContact(sa)
	}
	return nil
}

// refuse answers with AUTHENTICATION_FAILED, which is all that the peer is told. What went wrong is known here by the name that it gave.
func (t *authResponder) refuse(sa *ikeSA, err error) error {
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	t.peer.noteFailure(sa, RoleResponder, f.reason, f.detail)
	return &refusal{failure: *f, notify: wire.NewNotify(wire.NotifyAuthenticationFailed, nil)}
}

// identify picks the peer with the initiator's identity out of those at its address, if it agrees to what IKE_SA_INIT chose. Of several the one
// that proves itself as the initiator does comes first, then the one that is configured first. An initiator that does not say whom it wants gets the
// identity that we have for that peer.
func identify(sa *ikeSA, m *message, idi *wire.ID) (*peer, error) {
	auth, idr := wire.Find[*wire.Auth](m.Payloads), wire.FindID(m.Payloads, false)
	no := func(reason Reason, format string, args ...any) (*peer, error) {
		return nil, refuse(wire.NotifyAuthenticationFailed, reason, format, args...)
	}
	switch {
	case auth == nil:
		return no(AuthOtherMethod, "peer asks for EAP (no AUTH payload), expected a pre-shared key or a certificate")
	case auth.Method == wire.AuthNull:
		return no(AuthOtherMethod, "peer does not prove who it is (%v), expected a pre-shared key or a certificate", auth.Method)
	}
	found, wanted := identityOf(idi), Identity{}
	asked := "nobody in particular"
	if idr != nil {
		wanted = identityOf(idr)
		asked = wanted.String()
	}
	fits := slices.DeleteFunc(slices.Clone(sa.among), func(p *peer) bool {
		return !p.expects(sa, found, wanted) || !permits(p.cfg.IKEProposals, sa.chosen)
	})
	if len(fits) > 0 {
		same := func(p *peer) bool { return (p.cfg.RemoteAuth == AuthPSK) == (auth.Method == wire.AuthSharedKeyMIC) }
		p := fits[max(0, slices.IndexFunc(fits, same))]
		if p.isTemplate() {
			p = p.meet(sa, found)
		}
		return p, nil
	}
	if slices.ContainsFunc(sa.among, func(p *peer) bool { return found.Equal(p.cfg.RemoteID) }) {
		return no(AuthIdentity, "peer is %v and wants %s by %v, expected %s", found, asked, sa.chosen, describePeers(sa.among))
	}
	var expected []string
	for _, p := range sa.among[:min(len(sa.among), maxDescribed)] {
		expected = append(expected, p.describe())
	}
	return no(AuthIdentity, "peer is %v and wants %s, expected %s", found, asked, strings.Join(expected, ", or "))
}

// describePeers says whom we expect at an address, for people.
func describePeers(peers []*peer) string {
	var list []string
	for _, p := range peers[:min(len(peers), maxDescribed)] {
		list = append(list, fmt.Sprintf("%s with %s", p.describe(), describeOurs(p.cfg.IKEProposals)))
	}
	return strings.Join(list, ", or ")
}

func permits(ours []crypto.Proposal, c chosen) bool {
	return slices.ContainsFunc(ours, func(p crypto.Proposal) bool {
		return slices.Contains(p.Suites(), c.suite) && slices.Contains(p.PRF, c.prf) && slices.Contains(p.DH, c.dh) && permitsAdditional(p, c)
	})
}

func permitsAdditional(p crypto.Proposal, c chosen) bool {
	for i, method := range c.additional {
		if allowed := p.AdditionalKE[i]; !slices.Contains(allowed, method) && (method != crypto.DHNone || len(allowed) > 0) {
			return false
		}
	}
	return true
}

func (t *authResponder) build(m *message) error {
	sa := m.sa
	m.add(t.id)
	m.addCertificates(&sa.peer.cfg)
	m.add(t.auth)
	sa.acceptPPK(m)
	sa.addLifetime(m)
	if sa.mobike.on {
		m.addMOBIKE()
	}
	sa.authenticated()
	return nil
}

func (t *authResponder) abandon() { t.proof.abandon(t.engine) }

func idPayload(id Identity, initiator bool) *wire.ID {
	return &wire.ID{Initiator: initiator, Type: id.Type, Data: []byte(id.Data)}
}

func identityOf(id *wire.ID) Identity { return Identity{Type: id.Type, Data: string(id.Data)} }

// authenticated establishes the IKE SA, and settles which one stays if there are two. One that was ended meanwhile goes.
func (sa *ikeSA) authenticated() {
	sa.proved()
	sa.establish()
	sa.origin = origin{role: sa.role, lowest: sa.lowestNonce(), begun: sa.createdIn, authenticated: sa.engine.steps}
	sa.authentication.established, sa.confirmed = sa.engine.now, sa.role == RoleInitiator
	sa.limitAuthentication()
	f := sa.fact(IKEEstablished)
	f.Suite = sa.engine.describe(sa.chosen)
	sa.engine.fact(f)
	if sa.endedFor != "" {
		sa.terminate(sa.endedFor)
		return
	}
	sa.forgetSuspects()
	for _, other := range sa.peer.sas {
		other.apart = false // who knows which of them this one is to replace
	}
	sa.peer.settle()
}

// initialContact ends what the peer has forgotten (RFC 7296 2.4), without a delete: it could not be answered. Spared are IKE SAs younger than the
// one that brings the news: they were established while the peer was negotiating this one, so it may not have known of them.
func (p *peer) initialContact(sa *ikeSA) {
	for _, other := range slices.Clone(p.sas) {
		if other != sa && other.establishedIn != 0 && other.establishedIn <= sa.createdIn {
			other.close(DeletedInitial)
		}
	}
}
