package ike

import (
	"net/netip"
	"slices"
	"time"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// Attempt is a negotiation as far as it came: what each end said that the other had to agree to. It holds no key, and what a peer can make it
// hold is bounded.
type Attempt struct {
	Version      Version // V1 or V2
	Role         Role    // who began it
	Began        time.Time
	Exchange     string         // the last one
	Sent         int            // sendings of our last message, when it was a request
	NextSending  time.Time      // of that, while it waits
	Answer       string         // what came back, or went: "response", or an error; empty: nothing
	Cookies      int            // how often one was demanded, by whoever answered
	Local        netip.AddrPort // the path
	Remote       netip.AddrPort
	NATLocal     bool // a NAT was found before us, before the peer
	NATRemote    bool
	Fragments    bool // both ends understand fragments (RFC 7383)
	Rekey        bool // of a Child SA
	Ours, Theirs Said
}

// Said is what one end said in a negotiation, as far as it came to that.
type Said struct {
	IKE, Child    []Offer // proposals, or the one that was chosen
	Identity      Identity
	Asked         Identity // whom an initiator takes the other end for (IDr)
	Method        string   // of AUTH
	Certificates  [][]byte // DER, in the order they came
	Local, Remote []string // traffic selectors, seen from us
	Transport     bool
	Group         crypto.DHID // that INVALID_KE_PAYLOAD asked for
}

// Offer is a proposal of an SA payload.
type Offer struct {
	Protocol   crypto.Protocol
	Transforms []crypto.Transform
}

// Bounds of an Attempt, for each end.
const (
	maxOffers         = 8
	maxTransforms     = 32   // of one offer
	maxIdentityLen    = 256  // octets
	maxCertificateLen = 8192 // octets of all certificates
)

// trace is an Attempt that goes on. It refers to the payloads of its messages, so that a negotiation which succeeds pays for no copies.
type trace struct {
	began        time.Time
	exchange     wire.ExchangeType
	sent         int
	answer       string
	cookies      int
	ours, theirs said
	rekey        bool
	kept         *Attempt // in a Failure: later messages belong to it
}

// said is what Said is made from.
type said struct {
	ike, child   *wire.SA
	tsi, tsr     *wire.TS
	id, asked    *wire.ID
	auth         *wire.Auth
	certificates []*wire.Cert
	group        *wire.Notify
	transport    bool
}

// note takes down what a message says, ours or the peer's: of the IKE SA's making from its first message to its last, of a Child SA's its own exchange.
func (sa *ikeSA) note(m *message, ours bool) {
	sa.observe(m, ours)
	if m.Exchange == wire.ExchangeInformational {
		return
	}
	role := RoleInitiator
	if ours == m.Response() {
		role = RoleResponder
	}
	t := sa.traces[role]
	if t == nil || m.Exchange == wire.ExchangeCreateChildSA && !m.Response() {
		t = &trace{began: sa.engine.now}
		sa.traces[role] = t
	}
	by := &t.theirs
	if ours {
		by = &t.ours
	}
	t.exchange, t.answer = m.Exchange, ""
	if m.Response() {
		t.answer = "response"
	} else {
		t.sent = 0
	}
	if m.Exchange == wire.ExchangeIKEAuth {
		by.certificates = nil // those of this message
	}
	for _, p := range m.Payloads {
		t.payload(by, p, ours == (role == RoleInitiator))
	}
	if t.kept != nil {
		*t.kept = t.attempt(sa, role)
	}
}

func (t *trace) payload(by *said, p wire.Payload, fromInitiator bool) {
	switch p := p.(type) {
	case *wire.SA:
		if p.Proposals[0].Protocol == wire.ProtocolIKE {
			by.ike = p
		} else {
			by.child = p
		}
	case *wire.TS:
		if p.Initiator {
			by.tsi = p
		} else {
			by.tsr = p
		}
	case *wire.ID:
		if p.Initiator == fromInitiator {
			by.id = p
		} else {
			by.asked = p
		}
	case *wire.Auth:
		by.auth = p
	case *wire.Cert:
		by.certificates = append(by.certificates, p)
	case *wire.Notify:
		t.notify(by, p)
	}
}

func (t *trace) notify(by *said, n *wire.Notify) {
	switch {
	case n.Type == wire.NotifyCookie && t.answer != "": // a request brings one back
		t.cookies++
		t.answer = n.Type.String()
	case n.Type == wire.NotifyUseTransportMode:
		by.transport = true
	case n.Type == wire.NotifyRekeySA:
		t.rekey = true
	case n.Type.IsError() && t.answer != "":
		t.answer = n.Type.String()
		if n.Type == wire.NotifyInvalidKEPayload {
			by.group = n
		}
	}
}

// sending takes down that a request of ours leaves, for the first time or again.
func (sa *ikeSA) sending(x *exchange) {
	if t := sa.traces[RoleInitiator]; t != nil && t.exchange == x.kind {
		t.sent = x.tries
	}
}

// concluded forgets the trace of an exchange that is over, once the IKE SA is established: what failed has been kept.
func (sa *ikeSA) concluded(role Role) {
	if sa.state >= stateEstablished {
		sa.traces[role] = nil
	}
}

// attempt is what is known of a negotiation, in bounds.
func (t *trace) attempt(sa *ikeSA, role Role) Attempt {
	return Attempt{Role: role, Began: t.began, Exchange: t.exchange.String(), Sent: t.sent, Answer: t.answer, Cookies: t.cookies,
		Local: sa.local, Remote: sa.remote, NATLocal: sa.natLocal, NATRemote: sa.natRemote, Fragments: sa.fragmentation, Rekey: t.rekey,
		Ours: t.ours.bounded(role == RoleInitiator), Theirs: t.theirs.bounded(role == RoleInitiator)}
}

// attempt is the negotiation with that role that goes on, nil if none does.
func (sa *ikeSA) attempt(role Role) *Attempt {
	t := sa.traces[role]
	if t == nil {
		return nil
	}
	a := t.attempt(sa, role)
	if x := sa.tasks.active; x != nil && role == RoleInitiator && x.kind == t.exchange {
		a.NextSending = sa.tasks.retry.When()
	}
	return &a
}

// keep is what a Failure keeps of the negotiation with that role; what follows of it, such as our answer, is added.
func (sa *ikeSA) keep(role Role) *Attempt {
	t := sa.traces[role]
	if t == nil {
		return nil
	}
	if t.kept == nil {
		t.kept = new(Attempt)
	}
	*t.kept = t.attempt(sa, role)
	return t.kept
}

func (s *said) bounded(weBegan bool) Said {
	list := Said{IKE: offersOf(s.ike), Child: offersOf(s.child), Identity: boundedIdentity(s.id), Asked: boundedIdentity(s.asked), Transport: s.transport}
	if s.auth != nil {
		list.Method = s.auth.Method.String()
	}
	left := maxCertificateLen
	for _, c := range s.certificates {
		if left -= len(c.Data); left < 0 || c.Encoding != wire.CertX509Signature {
			break
		}
		list.Certificates = append(list.Certificates, slices.Clone(c.Data))
	}
	local, remote := s.tsi, s.tsr
	if !weBegan {
		local, remote = remote, local
	}
	list.Local, list.Remote = endTexts(local), endTexts(remote)
	if s.group != nil {
		if group, err := s.group.Group(); err == nil {
			list.Group = crypto.DHID(group)
		}
	}
	return list
}

func boundedIdentity(id *wire.ID) Identity {
	if id == nil {
		return Identity{}
	}
	return Identity{Type: id.Type, Data: string(id.Data[:min(len(id.Data), maxIdentityLen)])}
}

func offersOf(sa *wire.SA) (offers []Offer) {
	if sa == nil {
		return nil
	}
	for _, p := range sa.Proposals[:min(len(sa.Proposals), maxOffers)] {
		offer := Offer{Protocol: crypto.Protocol(p.Protocol)}
		for _, t := range p.Transforms[:min(len(p.Transforms), maxTransforms)] {
			offer.Transforms = append(offer.Transforms, crypto.Transform{Type: crypto.TransformType(t.Type), ID: t.ID, KeyBits: t.KeyBits})
		}
		offers = append(offers, offer)
	}
	return offers
}

// endTexts are the selectors of one TS payload, for people.
func endTexts(ts *wire.TS) (list []string) {
	if ts == nil {
		return nil
	}
	for _, e := range endpoints(ts) {
		if len(list) == maxDescribed {
			break
		}
		list = append(list, describeEndpoints([]endpoint{e}))
	}
	return list
}

// Note counts what came from an address and was not taken, for one reason or another.
type Note struct {
	Reason Reason // of the last one
	Remote netip.AddrPort
	At     time.Time
	Count  uint64 // of all since start
}

// untaken is what was refused by a limit and what was dropped, of the datagrams on a path that a peer is configured for.
type untaken struct{ refused, dropped Note }

// noteUntaken remembers a Refused or Dropped fact. There is one for each configured path, and one for all other addresses together.
func (e *Engine) noteUntaken(f Fact) {
	note := &e.stray
	if at := (path{f.Local.Addr(), f.Remote.Addr()}); len(e.byPath[at]) > 0 {
		if e.untaken[at] == nil {
			e.untaken[at] = &untaken{}
		}
		note = &e.untaken[at].dropped
		if f.Kind == Refused {
			note = &e.untaken[at].refused
		}
	}
	*note = Note{Reason: f.Reason, Remote: f.Remote, At: e.now, Count: note.Count + 1}
}
