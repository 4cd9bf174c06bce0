package ike

import (
	"bytes"
	"crypto/subtle"
	"slices"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// authInitiator proves to the responder who we are, and checks who it is (RFC 7296 2.15).
type authInitiator struct{}

func (*authInitiator) build(m *message) error {
	sa := m.sa
	cfg := &sa.peer.cfg
	id := idPayload(cfg.LocalID, true)
	mic := sharedKeyMIC(sa.keys.prf, cfg.PSK, sa.keys.pi, sa.initRequest, sa.nr, id.SignedOctets())
	m.add(id, idPayload(cfg.RemoteID, false), &wire.Auth{Method: wire.AuthSharedKeyMIC, Data: mic})
	if sa.peer.carrier() == nil {
		m.add(wire.NewNotify(wire.NotifyInitialContact, nil)) // RFC 7296 2.4
	}
	return nil
}

func (*authInitiator) process(m *message) error {
	sa := m.sa
	auth := wire.Find[*wire.Auth](m.Payloads)
	if auth == nil {
		f := failureOf(wire.FindError(m.Payloads))
		f.detail += ", we are " + sa.peer.cfg.LocalID.String()
		return f
	}
	id := wire.FindID(m.Payloads, false)
	if found := identityOf(id); found != sa.peer.cfg.RemoteID {
		return failf(FailAuthentication, "peer is %v, expected %v", found, sa.peer.cfg.RemoteID)
	}
	if !verify(sa, auth, sa.peer.cfg.PSK, sa.keys.pr, sa.initResponse, sa.ni, id) {
		return failf(FailAuthentication, "peer %v does not hold our pre-shared key (AUTH by %v)", sa.peer.cfg.RemoteID, auth.Method)
	}
	sa.authenticated()
	return nil
}

func (*authInitiator) abandon() {}

// authResponder finds out who the initiator is, and proves who we are.
type authResponder struct{ id *wire.ID }

func (t *authResponder) process(m *message) error {
	sa := m.sa
	id, auth := wire.FindID(m.Payloads, true), wire.Find[*wire.Auth](m.Payloads)
	p, err := identify(sa, id, wire.FindID(m.Payloads, false))
	if err != nil {
		return err
	}
	if !verify(sa, auth, p.cfg.PSK, sa.keys.pi, sa.initRequest, sa.nr, id) {
		p.noteFailure(RoleResponder, FailAuthentication, "peer does not hold our pre-shared key")
		return refuse(wire.NotifyAuthenticationFailed, FailAuthentication, "peer %v does not hold our pre-shared key (AUTH by %v)", p.cfg.RemoteID, auth.Method)
	}
	sa.peer, sa.among = p, nil
	p.sas = append(p.sas, sa)
	if m.notify(wire.NotifyInitialContact) != nil {
		p.initialContact(sa)
	}
	t.id = idPayload(p.cfg.LocalID, false)
	return nil
}

// identify picks the peer with the initiator's identity out of those at its address, if it agrees to what IKE_SA_INIT chose.
func identify(sa *ikeSA, idi, idr *wire.ID) (*peer, error) {
	found := identityOf(idi)
	for _, p := range sa.among {
		switch {
		case p.retired || len(p.slots) == 0 || p.cfg.RemoteID != found:
		case idr != nil && identityOf(idr) != p.cfg.LocalID:
		case !permits(p.cfg.IKEProposals, sa.chosen):
		default:
			return p, nil
		}
	}
	asked := "nobody in particular"
	if idr != nil {
		asked = identityOf(idr).String()
	}
	cfg := sa.among[0].cfg
	return nil, refuse(wire.NotifyAuthenticationFailed, FailAuthentication, "peer is %v and wants %s, expected %v for %v with %s",
		found, asked, cfg.RemoteID, cfg.LocalID, describeOurs(cfg.IKEProposals))
}

func permits(ours []crypto.Proposal, c chosen) bool {
	return slices.ContainsFunc(ours, func(p crypto.Proposal) bool {
		return slices.Contains(p.Suites(), c.suite) && slices.Contains(p.PRF, c.prf) && slices.Contains(p.DH, c.dh)
	})
}

func (t *authResponder) build(m *message) error {
	sa := m.sa
	mic := sharedKeyMIC(sa.keys.prf, sa.peer.cfg.PSK, sa.keys.pr, sa.initResponse, sa.ni, t.id.SignedOctets())
	m.add(t.id, &wire.Auth{Method: wire.AuthSharedKeyMIC, Data: mic})
	sa.authenticated()
	return nil
}

func (t *authResponder) abandon() {}

func idPayload(id Identity, initiator bool) *wire.ID {
	return &wire.ID{Initiator: initiator, Type: id.Type, Data: []byte(id.Data)}
}

func identityOf(id *wire.ID) Identity { return Identity{Type: id.Type, Data: string(id.Data)} }

func verify(sa *ikeSA, auth *wire.Auth, psk, skP crypto.Secret, firstMessage, nonce []byte, id *wire.ID) bool {
	expected := sharedKeyMIC(sa.keys.prf, psk, skP, firstMessage, nonce, id.SignedOctets())
	return auth.Method == wire.AuthSharedKeyMIC && subtle.ConstantTimeCompare(auth.Data, expected) == 1
}

// authenticated establishes the IKE SA, and settles which one stays if there are two. One that was ended meanwhile goes.
func (sa *ikeSA) authenticated() {
	sa.establish()
	sa.origin = origin{sa.role, sa.lowestNonce()}
	f := sa.fact(IKEEstablished)
	f.Suite = sa.chosen.String()
	sa.engine.fact(f)
	if sa.endedFor != "" {
		sa.terminate(sa.endedFor)
		return
	}
	sa.settleDuplicates()
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

// settleDuplicates keeps one of two IKE SAs that both ends began at the same time, by the rule that RFC 7296 2.8.2 has for rekeys: that
// with the lowest of the four nonces goes, and the side that began it deletes it.
func (sa *ikeSA) settleDuplicates() {
	for _, other := range slices.Clone(sa.peer.sas) {
		sameLine := bytes.Equal(other.origin.lowest, sa.origin.lowest) // a rekey, which settles that by itself
		if sameLine || other.state != stateEstablished || sa.state != stateEstablished {
			continue
		}
		if other.suspect {
			other.close(DeletedDead) // the peer has answered here, and does not there
			continue
		}
		loser := other
		if loses(sa.origin.lowest, other.origin.lowest) {
			loser = sa
		}
		if loser.origin.role == RoleInitiator {
			loser.terminate(DeletedRedundant)
		} else {
			loser.standby(DeletedRedundant, (*ikeSA).terminate)
		}
	}
}
