package ikev1

import (
	"slices"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// attempt is how far a negotiation with that role has come, for people: nil where none goes on.
func (sa *isakmpSA) attempt(role ike.Role) *ike.Attempt {
	for _, x := range append([]*exchange{sa.main}, sa.exchanges()...) {
		if x.role == role && !x.over() {
			return x.attempt()
		}
	}
	return nil
}

// over reports whether an exchange has come to its end, and is kept for a peer that has not seen it.
func (x *exchange) over() bool {
	switch t := x.task.(type) {
	case *quickInitiator:
		return t.slot.negotiating != t
	case *quickResponder:
		return t.made == nil
	}
	return x.sa.state >= stateEstablished
}

func (x *exchange) attempt() *ike.Attempt {
	sa := x.sa
	a := &ike.Attempt{Version: ike.V1, Role: x.role, Began: sa.began, Exchange: x.kind.String(), Local: sa.local, Remote: sa.remote, NATLocal: sa.nat.local, NATRemote: sa.nat.remote,
		Fragments: sa.can.fragments}
	if x.asks {
		a.Sent, a.NextSending = x.tries, x.retry.When()
	}
	switch t := x.task.(type) {
	case *mainInitiator:
		t.tell(a)
	case *mainResponder:
		t.tell(a)
	case *quickInitiator:
		t.tell(a)
	case *quickResponder:
		t.tell(a)
	}
	if x == sa.main {
		sa.tellShown(a)
	}
	if x == sa.main && sa.no != "" && x.role == ike.RoleResponder {
		a.Answer = sa.no
	}
	if sa.word != "" && a.Answer == "" {
		a.Answer = sa.word + ", which anybody may have sent"
	}
	return a
}

func (t *mainInitiator) tell(a *ike.Attempt) {
	sa := t.sa
	a.Ours.IKE, a.Ours.Method = []ike.Offer{offerOf(t.offered)}, methodNames(t.offered)
	if sa.state > stateProposing {
		a.Answer, a.Theirs.IKE, a.Theirs.Method = "response", []ike.Offer{offerOf([]isakmp.Phase1{sa.chosen.Phase1})}, sa.chosen.Auth.String()
	}
	if sa.state >= stateProving {
		a.Ours.Identity, a.Ours.Asked = sa.peer.cfg.LocalID, sa.peer.cfg.RemoteID
	}
}

// offered are the proposals of message 1.
func (t *mainResponder) offered() []isakmp.Proposal {
	m, err := isakmp.Parse(t.opening)
	if err != nil {
		return nil
	}
	return isakmp.Find[*isakmp.SA](m.Payloads).Proposals // without which it is not answered
}

func (t *mainResponder) tell(a *ike.Attempt) {
	var offered []isakmp.Phase1
	for _, p := range t.offered() {
		for i := range p.Transforms {
			if transform, err := p.Transforms[i].Phase1(); err == nil {
				offered = append(offered, transform)
			}
		}
	}
	a.Theirs.IKE, a.Theirs.Method = []ike.Offer{offerOf(offered)}, methodNames(offered)
	if t.sa.chosen.dh != crypto.DHNone {
		a.Answer, a.Ours.IKE, a.Ours.Method = "response", []ike.Offer{offerOf([]isakmp.Phase1{t.sa.chosen.Phase1})}, t.sa.chosen.Auth.String()
	}
}

// Bounds of what a peer can have an attempt keep.
const (
	maxIdentityLen    = 256  // octets
	maxCertificateLen = 8192 // octets of all certificates
)

// tellShown says who the peer says that it is.
func (sa *isakmpSA) tellShown(a *ike.Attempt) {
	id := isakmp.Find[*isakmp.ID](sa.shown)
	if id == nil {
		return
	}
	a.Theirs.Identity = identityOf(id)
	a.Theirs.Identity.Data = a.Theirs.Identity.Data[:min(len(a.Theirs.Identity.Data), maxIdentityLen)]
	left := maxCertificateLen
	for _, c := range isakmp.FindAll[*isakmp.Cert](sa.shown) {
		if left -= len(c.Data); left < 0 || c.Encoding != isakmp.CertX509Signature {
			break
		}
		a.Theirs.Certificates = append(a.Theirs.Certificates, slices.Clone(c.Data))
	}
}

func (t *quickInitiator) tell(a *ike.Attempt) {
	a.Began, a.Rekey = t.began, t.slot.live() != nil
	for _, p := range t.slot.cfg.Proposals {
		a.Ours.Child = append(a.Ours.Child, ike.Offer{Protocol: p.Protocol, Transforms: p.Transforms()})
	}
	a.Ours.Transport = t.transport
	if t.ni != nil { // otherwise nothing was sent
		a.Ours.Local, a.Ours.Remote = []string{t.selector.Local.String()}, []string{t.selector.Remote.String()}
	}
}

func (t *quickResponder) tell(a *ike.Attempt) {
	a.Began = t.began
	if t.made != nil {
		a.Answer = "response"
	}
	for _, p := range t.offered.Proposals {
		for i := range p.Transforms {
			if len(a.Theirs.Child) == maxDescribed {
				break
			}
			transform := childTransform{protocol: p.Protocol, id: p.Transforms[i].ID}
			var err error
			if transform.Phase2, err = p.Transforms[i].Phase2(); err == nil && transform.known() {
				a.Theirs.Child = append(a.Theirs.Child, transform.offer())
				a.Theirs.Transport = slices.Contains(transportModes, transform.Encapsulation)
			}
		}
	}
	a.Theirs.Local, a.Theirs.Remote = []string{t.traffic.Local.String()}, []string{t.traffic.Remote.String()}
}

// transportModes are transport mode with and without a NAT between.
var transportModes = []isakmp.Encapsulation{isakmp.EncapsulationTransport, isakmp.EncapsulationUDPTransport, isakmp.EncapsulationUDPTransportDraft}

// known reports whether there is a word of ours for a transform.
func (t childTransform) known() bool {
	ours, ok := childTransformOf(t.suite())
	return ok && ours.protocol == t.protocol && ours.id == t.id && t.suite().Validate() == nil
}

func (t childTransform) offer() ike.Offer {
	l := layer{protocol: crypto.Protocol(t.protocol), suite: t.suite(), esn: t.ESN}
	p := l.proposal(crypto.DHID(t.Group))
	if !t.ESN {
		p.ESN = []crypto.ESNID{crypto.ESNNo}
	}
	return ike.Offer{Protocol: p.Protocol, Transforms: p.Transforms()}
}

// offerOf lists the algorithms of transforms, each once.
func offerOf(list []isakmp.Phase1) ike.Offer {
	offer := ike.Offer{Protocol: crypto.ProtocolIKE}
	seen := map[crypto.Transform]bool{}
	add := func(t crypto.Transform) {
		if !seen[t] {
			seen[t] = true
			offer.Transforms = append(offer.Transforms, t)
		}
	}
	for _, t := range list {
		encr, _ := encrOf(t.Encryption)
		prf, _ := prfOf(t.Hash)
		add(crypto.Transform{Type: crypto.TransformEncr, ID: uint16(encr), KeyBits: t.KeyBits})
		add(crypto.Transform{Type: crypto.TransformPRF, ID: uint16(prf)})
		add(crypto.Transform{Type: crypto.TransformDH, ID: uint16(t.Group)})
	}
	return offer
}

// methodNames are the authentication methods of an offer: one, for both ends of a peer prove themselves by the same.
func methodNames(list []isakmp.Phase1) string {
	if len(list) == 0 {
		return ""
	}
	return list[0].Auth.String()
}

// untaken is what was refused by a limit and what was dropped, of the datagrams on a path that a peer is configured for.
type untaken struct{ refused, dropped ike.Note }

// noteUntaken remembers a Refused or Dropped fact. There is one for each configured path, and one for all other addresses together.
func (e *Engine) noteUntaken(f ike.Fact) {
	note := &e.stray
	if at := (path{f.Local.Addr(), f.Remote.Addr()}); len(e.byPath[at]) > 0 {
		if e.untaken[at] == nil {
			e.untaken[at] = &untaken{}
		}
		note = &e.untaken[at].dropped
		if f.Kind == ike.Refused {
			note = &e.untaken[at].refused
		}
	}
	*note = ike.Note{Reason: f.Reason, Remote: f.Remote, At: e.now, Count: note.Count + 1}
}
