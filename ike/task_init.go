package ike

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// nonceLen is the length of our nonces: at least half the key of any PRF we have, and no less than 16 (RFC 7296 2.10).
const nonceLen = 32

// initInitiator is our IKE_SA_INIT (RFC 7296 1.2). Somebody else may ask for another group in the peer's name, or for a cookie: what was sent before is
// kept, for the peer may have answered that.
type initInitiator struct {
	group    crypto.DHID
	key      crypto.KeyExchange // of that group
	wanted   crypto.DHID        // the group that the peer asks for, 0 when none
	cookie   []byte
	sent     []opening
	hints    []hint
	computed int      // how often a private value was used since the last sending
	keyed    []digest // of what the keys of each answer come from
}

// hint is something that an answer asked for and that was not done at once.
type hint struct {
	cookie  string
	group   crypto.DHID
	gateway netip.Addr
}

// opening is the last request with a group.
type opening struct {
	group   crypto.DHID
	key     crypto.KeyExchange
	request []byte
}

// maxHints bounds those that wait for the time of the next sending.
const maxHints = 8

func (t *initInitiator) build(m *message) error {
	sa := m.sa
	ours := sa.peer.cfg.IKEProposals
	switch {
	case t.wanted != 0:
		t.group, t.key, t.wanted = t.wanted, nil, 0
		if o := t.answered(uint16(t.group)); o.group == t.group {
			t.key = o.key
		}
	case t.group == 0:
		t.group = groups(ours)[0]
	}
	if t.key == nil {
		key, err := crypto.GenerateKey(t.group, sa.engine.cfg.Random)
		if err != nil {
			return err
		}
		t.key, t.sent = key, append(t.sent, opening{group: t.group, key: key})
	}
	if sa.ni == nil {
		sa.ni = sa.engine.random(nonceLen)
	}
	if t.cookie != nil {
		m.add(wire.Cookie(t.cookie)) // first, and all the rest as before (RFC 7296 2.6)
	}
	m.add(offer(ours, nil), &wire.KE{Group: uint16(t.group), Data: t.key.Public()}, &wire.Nonce{Data: sa.ni})
	m.addNATDetection()
	m.announceFragmentation()
	m.announceRedirect()
	if additionalOffered(ours) {
		sa.intermediate.announce(m)
	}
	if hasPPK(sa.peer) {
		m.add(wire.NewNotify(wire.NotifyUsePPK, nil)) // RFC 8784 3
	}
	if p := &sa.peer.cfg; p.signs() {
		m.add(signatureHashes(p.Legacy))
	}
	return nil
}

func (t *initInitiator) process(m *message) error {
	sa := m.sa
	if err := t.heed(sa, m); err != nil {
		return err
	}
	if wire.Find[*wire.SA](m.Payloads) == nil {
		return errLost // it said nothing else
	}
	ke := wire.Find[*wire.KE](m.Payloads)
	answered := t.answered(ke.Group)
	var err error
	if sa.chosen, err = confirm(sa.peer.cfg.IKEProposals, wire.Find[*wire.SA](m.Payloads), answered.group); err != nil {
		return failf(FailProposal, "%v", err)
	}
	if m.ResponderSPI == 0 {
		return failf(FailSyntax, "the responder's SPI is zero, expected a number that names the IKE SA") // RFC 7296 3.1
	}
	sa.intermediate = intermediate{supported: m.notify(wire.NotifyIntermediateSupported) != nil, pending: sa.chosen.further()}
	if len(sa.intermediate.pending) > 0 && !sa.intermediate.supported {
		return failf(FailProposal, "peer chose %v and does not have IKE_INTERMEDIATE, which that takes", sa.chosen)
	}
	sa.ppk.agreed = hasPPK(sa.peer) && m.notify(wire.NotifyUsePPK) != nil
	if ppk := sa.peer.cfg.PPK; ppk != nil && ppk.Required && !sa.ppk.agreed {
		return failf(AuthPPK, "peer has no postquantum preshared key, and %q is required", ppk.ID)
	}
	if ke.Group != uint16(answered.group) || sa.chosen.dh != answered.group {
		return failf(FailKE, "KE payload of group %d and %v chosen, we sent %v", ke.Group, sa.chosen.dh, answered.group)
	}
	if t.computed++; t.computed > maxClaims {
		return failf(FailKE, "more than %d public values in answer to one request", maxClaims)
	}
	shared, err := answered.key.Shared(ke.Data)
	if err != nil {
		return failf(FailKE, "%v", err)
	}
	defer shared.Wipe()
	if !t.unheardOf(m, shared) {
		return failf(FailTimeout, "the answer leads to the keys of one that was given up, which had not proved in time to be the peer's")
	}
	sa.remoteSPI = m.ResponderSPI
	sa.nr = wire.Find[*wire.Nonce](m.Payloads).Data
	if sa.keys, err = deriveKeys(sa.chosen, seedInit(sa.chosen.prf, sa.ni, sa.nr, shared), sa.ni, sa.nr, sa.localSPI, sa.remoteSPI, RoleInitiator, sa.engine.cfg.KeyLog); err != nil {
		return err
	}
	sa.initRequest, sa.initResponse, sa.childless = answered.request, m.raw, m.notify(wire.NotifyChildlessSupported) != nil
	sa.agreeOnFragmentation(m)
	sa.peerHashes = readHashes(m.notify(wire.NotifySignatureHashAlgorithms))
	if sa.detectNAT(m) || sa.peer.cfg.MOBIKE {
		// From here on port 4500, and after IKE_AUTH ESP inside UDP (RFC 7296 2.23).
		sa.local, sa.remote = onPort(sa.local, portNATT), onPort(sa.remote, portNATT)
	}
	sa.state = stateAuth
	sa.claimed(m)
	sa.begin()
	return nil
}

// unheardOf reports whether nothing was encrypted yet by the keys that an answer leads to, whatever else is in it. Their IVs would begin anew, and the peer, if it is the peer's own that comes
// again, has perhaps taken the request that they encrypted first. The secret says so and not the public value, which can be written in several ways (RFC 7748 5).
func (t *initInitiator) unheardOf(m *message, shared crypto.Secret) bool {
	nonce := wire.Find[*wire.Nonce](m.Payloads).Data
	b := make([]byte, 0, 12+len(nonce)+len(shared.Bytes())) // no copy of the secret stays behind
	b = binary.BigEndian.AppendUint64(b, m.ResponderSPI)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(nonce))), nonce...)
	b = append(b, shared.Bytes()...)
	d := digestOf(Datagram{Payload: b})
	crypto.Wipe(b)
	if slices.Contains(t.keyed, d) {
		return false
	}
	t.keyed = append(t.keyed, d)
	return true
}

// heed does at once what an honest peer may ask for before it answers, and gives errLost or errRepeat then.
func (t *initInitiator) heed(sa *ikeSA, m *message) error {
	h, found, err := t.asksFor(sa, m)
	n := wire.FindError(m.Payloads)
	switch {
	case err != nil:
		return err
	case found && t.atOnce(sa, h):
		t.take(h)
		return errRepeat
	case found:
		t.remember(h)
		return errLost
	case n != nil:
		return t.refusal(sa, n)
	}
	return nil
}

// asksFor reads what a response asks for in place of what we sent.
func (t *initInitiator) asksFor(sa *ikeSA, m *message) (h hint, found bool, err error) {
	if n := m.notify(wire.NotifyCookie); n != nil {
		cookie, err := n.CookieData()
		return hint{cookie: string(cookie)}, err == nil, err
	}
	if n := m.notify(wire.NotifyInvalidKEPayload); n != nil {
		group, err := n.Group()
		wanted := crypto.DHID(group)
		return hint{group: wanted}, err == nil && wanted != t.group && slices.Contains(groups(sa.peer.cfg.IKEProposals), wanted), err
	}
	gateway, ok := sa.redirected(m)
	return hint{gateway: gateway}, ok, nil
}

// atOnce reports whether an honest peer may want that: the first cookie, and a group that we have not sent. When attempts have failed a cookie waits too:
// with a forged one we send a request that the peer answers beside the one before, and AUTH covers one of the two.
func (t *initInitiator) atOnce(sa *ikeSA, h hint) bool {
	switch {
	case h.cookie != "":
		return t.cookie == nil && sa.peer.failures == 0
	case h.group != 0:
		return t.answered(uint16(h.group)).group != h.group
	}
	return false
}

// take has the next request be as asked for.
func (t *initInitiator) take(h hint) {
	t.wanted = h.group
	if h.cookie != "" {
		t.cookie = []byte(h.cookie)
	}
}

func (t *initInitiator) remember(h hint) {
	if len(t.hints) < maxHints && !slices.Contains(t.hints, h) {
		t.hints = append(t.hints, h)
	}
}

// follow picks one of the hints: which of them is the peer's nobody can tell. The others may come again.
func (t *initInitiator) follow(sa *ikeSA) (h hint, found bool) {
	switch n := len(t.hints); n {
	case 0:
		return h, false
	case 1:
		h = t.hints[0]
	default:
		h = t.hints[int(sa.engine.random(1)[0])%n]
	}
	t.hints = nil
	t.take(h)
	return h, true
}

// sends notes the present request.
func (t *initInitiator) sends(request []byte) {
	t.answered(uint16(t.group)).request = request
}

// answered is the request that a response with a group may belong to.
func (t *initInitiator) answered(group uint16) *opening {
	i := slices.IndexFunc(t.sent, func(o opening) bool { return uint16(o.group) == group })
	if i < 0 {
		i = len(t.sent) - 1
	}
	return &t.sent[i]
}

// refusal is an error in answer to our first message.
func (t *initInitiator) refusal(sa *ikeSA, n *wire.Notify) error {
	f := failureOf(n)
	f.detail += ", we offered " + describeOurs(sa.peer.cfg.IKEProposals)
	if group, err := n.Group(); n.Type == wire.NotifyInvalidKEPayload && err == nil {
		f.detail = fmt.Sprintf("peer wants %v, we offered %s and sent %v", crypto.DHID(group), describeOurs(sa.peer.cfg.IKEProposals), t.tried())
	}
	return f
}

// tried lists the groups of our requests.
func (t *initInitiator) tried() (list []crypto.DHID) {
	for _, o := range t.sent {
		list = append(list, o.group)
	}
	return list
}

func (t *initInitiator) abandon() {
	for _, o := range t.sent {
		o.key.Wipe()
	}
}

// initResponder answers a peer's IKE_SA_INIT. Until it has accepted, nothing is kept.
type initResponder struct {
	offered wire.Proposal // the one that was chosen from
	public  []byte
}

func (t *initResponder) process(m *message) error {
	sa := m.sa
	ke := wire.Find[*wire.KE](m.Payloads)
	sa.intermediate.supported = m.notify(wire.NotifyIntermediateSupported) != nil
	if err := t.choose(sa, wire.Find[*wire.SA](m.Payloads), ke); err != nil {
		return err
	}
	sa.intermediate.pending = sa.chosen.further()
	sa.ppk.agreed = hasPPK(sa.among...) && m.notify(wire.NotifyUsePPK) != nil
	value, shared, err := crypto.Respond(sa.chosen.dh, ke.Data, sa.engine.cfg.Random)
	if errors.Is(err, crypto.ErrPeerValue) {
		return &unauthenticated{DropMalformed, err}
	} else if err != nil {
		return err
	}
	defer shared.Wipe()
	t.public = value
	sa.localSPI = sa.engine.newSPI()
	sa.ni, sa.nr = wire.Find[*wire.Nonce](m.Payloads).Data, sa.engine.random(nonceLen)
	if sa.keys, err = deriveKeys(sa.chosen, seedInit(sa.chosen.prf, sa.ni, sa.nr, shared), sa.ni, sa.nr, sa.remoteSPI, sa.localSPI, RoleResponder, sa.engine.cfg.KeyLog); err != nil {
		return err
	}
	sa.initRequest = m.raw
	sa.agreeOnFragmentation(m)
	sa.peerHashes = readHashes(m.notify(wire.NotifySignatureHashAlgorithms))
	sa.detectNAT(m)
	sa.halfOpened()
	return nil
}

// choose takes of the choices that the peers it may be would make the one that suits the most of them, the first of equals. Which of them it is,
// IKE_AUTH tells, and checks the choice again. The group that the KE payload is of has no advantage here: anybody may have asked the initiator for
// it (RFC 7296 2.7).
func (t *initResponder) choose(sa *ikeSA, offered *wire.SA, ke *wire.KE) error {
	most := 0
	list := offered.Proposals
	if !sa.intermediate.supported {
		list = withoutAdditional(list)
	}
	kinds := kindsOf(sa.among)
	for _, k := range kinds {
		c, proposal, ok := choose(k.proposals, list, 0)
		if !ok {
			continue
		}
		suits := 0
		for _, other := range kinds {
			if permits(other.proposals, c) {
				suits += other.peers
			}
		}
		if suits > most {
			most, sa.chosen, t.offered = suits, c, proposal
		}
	}
	switch {
	case most == 0:
		return refuse(wire.NotifyNoProposalChosen, FailProposal, "peer offered %s, we accept %s", describe(offered.Proposals), describePeers(sa.among))
	case uint16(sa.chosen.dh) != ke.Group:
		return askForGroup(sa.chosen, ke.Group)
	}
	return nil
}

// kind is peers with equal proposals: thousands of peers on one path have few of them, and a stranger's request must not cost more for each peer than a look.
type kind struct {
	proposals []crypto.Proposal
	peers     int
}

// kindsOf lists them in the order in which the peers have them first.
func kindsOf(peers []*peer) []kind {
	var kinds []kind
	at := map[string]int{}
	for _, p := range peers {
		i, known := at[p.accepts]
		if !known {
			i = len(kinds)
			at[p.accepts] = i
			kinds = append(kinds, kind{proposals: p.cfg.IKEProposals})
		}
		kinds[i].peers++
	}
	return kinds
}

func (t *initResponder) build(m *message) error {
	m.add(m.sa.chosen.accept(t.offered, nil), &wire.KE{Group: uint16(m.sa.chosen.dh), Data: t.public}, &wire.Nonce{Data: m.sa.nr})
	m.InitiatorSPI, m.ResponderSPI = m.sa.spis()
	m.add(wire.NewNotify(wire.NotifyChildlessSupported, nil))
	m.addNATDetection()
	if m.sa.fragmentation {
		m.announceFragmentation()
	}
	if len(m.sa.intermediate.pending) > 0 {
		m.sa.intermediate.announce(m)
	}
	if m.sa.ppk.agreed {
		m.add(wire.NewNotify(wire.NotifyUsePPK, nil))
	}
	if sa := m.sa; sa.peerHashes != nil && slices.ContainsFunc(sa.among, func(p *peer) bool { return p.cfg.signs() }) {
		m.add(signatureHashes(slices.ContainsFunc(sa.among, func(p *peer) bool { return p.cfg.Legacy })))
	}
	if request := certificateRequest(m.sa.among...); request != nil {
		m.add(request)
	}
	return nil
}

func (t *initResponder) abandon() {}
