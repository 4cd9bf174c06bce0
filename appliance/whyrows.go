package appliance

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sallyport/appliance/api"
	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/wire"
	"sallyport/policy"
)

// The rows of a comparison that a fault is found in.
const (
	rowWe      = "we are"
	rowPeer    = "peer is"
	rowPPK     = "PPK"
	rowMode    = "mode"
	rowOurSide = "our traffic"
	rowItsSide = "its traffic"
)

// comparison sets what we want, or when the peer asked what we accept, beside what the peer said.
type comparison struct {
	peer    ike.Peer
	older   ike.Peer // as IKEv1 has it, with other proposals where the configuration has none
	attempt *ike.Attempt
}

func (c *comparison) weBegan() bool { return c.attempt.Role == ike.RoleInitiator }

func (c *comparison) rows() []api.WhyRow {
	a := c.attempt
	ours := a.Ours.IKE
	if !c.weBegan() {
		ours = c.acceptableIKE()
	}
	var rows []api.WhyRow
	if a.Exchange != quickMode && (c.weBegan() || a.Theirs.IKE != nil || !strings.HasPrefix(a.Exchange, "CREATE")) {
		rows = c.offers("IKE", ours, a.Theirs.IKE, a.Ours.IKE)
	}
	if a.Exchange != "IKE_SA_INIT" && a.Exchange != quickMode && !a.Ours.Identity.IsZero() || !a.Theirs.Identity.IsZero() {
		rows = append(rows, c.identities()...)
	}
	return append(rows, c.child()...)
}

// The exchanges of IKEv1, as an attempt names them.
const (
	mainMode  = "main mode"
	quickMode = "quick mode"
)

// acceptableIKE is what the configuration would let a peer have of main mode, or of IKE_SA_INIT. In IKEv1 the hash is that of the PRF.
func (c *comparison) acceptableIKE() []ike.Offer {
	if c.attempt.Version != ike.V1 {
		return offers(c.peer.IKEProposals)
	}
	list := offers(c.older.IKEProposals)
	for i := range list {
		list[i].Transforms = slices.DeleteFunc(list[i].Transforms, func(t crypto.Transform) bool { return t.Type == crypto.TransformInteg })
	}
	return list
}

// child is what the ends say about a Child SA.
func (c *comparison) child() []api.WhyRow {
	a := c.attempt
	if a.Ours.Child == nil && a.Theirs.Child == nil {
		return nil
	}
	ours := a.Ours
	if !c.weBegan() {
		ours = c.acceptable()
	}
	protocol := "ESP"
	if len(ours.Child) > 0 && ours.Child[0].Protocol == crypto.ProtocolAH {
		protocol = "AH"
	}
	rows := c.offers(protocol, ours.Child, a.Theirs.Child, a.Ours.Child)
	mode := api.WhyRow{What: rowMode, Ours: modeText(ours.Transport)}
	if a.Theirs.Child != nil {
		mode.Peers = modeText(a.Theirs.Transport)
		mode.Differs = mode.Ours != mode.Peers
	}
	return append(rows, mode,
		api.WhyRow{What: rowOurSide, Ours: strings.Join(ours.Local, ", "), Peers: strings.Join(a.Theirs.Local, ", ")},
		api.WhyRow{What: rowItsSide, Ours: strings.Join(ours.Remote, ", "), Peers: strings.Join(a.Theirs.Remote, ", ")})
}

// acceptable is what the configuration would let a peer have, of all its rules.
func (c *comparison) acceptable() (said ike.Said) {
	children := c.peer.Children
	if c.attempt.Version == ike.V1 {
		children = c.older.Children
	}
	for _, child := range children {
		said.Child = append(said.Child, offers(child.Proposals)...)
		said.Transport = said.Transport || child.Transport
		for _, s := range child.Selectors {
			said.Local, said.Remote = add(said.Local, endText(s.Local, s.LocalPort, s.Protocol)), add(said.Remote, endText(s.Remote, s.RemotePort, s.Protocol))
		}
	}
	return said
}

func add(list []string, text string) []string {
	if slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}

func endText(r policy.AddrRange, ports policy.PortRange, protocol uint8) string {
	text := r.String()
	if ports != policy.AnyPort {
		text += "[" + ports.String() + "]"
	}
	if protocol != 0 {
		text += " " + policy.ProtocolName(protocol)
	}
	return text
}

// modeText is the word of the configuration.
func modeText(transport bool) string {
	if transport {
		return "transport"
	}
	return "tunnel"
}

func offers(proposals []crypto.Proposal) (list []ike.Offer) {
	for _, p := range proposals {
		list = append(list, ike.Offer{Protocol: p.Protocol, Transforms: p.Transforms()})
	}
	return list
}

func (c *comparison) identities() []api.WhyRow {
	a := c.attempt
	we := api.WhyRow{What: rowWe, Ours: fmt.Sprintf("%v by %s", c.peer.LocalID, methodText(c.peer.LocalAuth))}
	if !a.Theirs.Asked.IsZero() {
		we.Peers = fmt.Sprintf("asks for %v", a.Theirs.Asked)
		we.Differs = !a.Theirs.Asked.Equal(c.peer.LocalID)
	}
	peer := api.WhyRow{What: rowPeer, Ours: fmt.Sprintf("expected: %v by %s", c.peer.RemoteID, methodText(c.peer.RemoteAuth))}
	if !a.Theirs.Identity.IsZero() {
		peer.Peers = fmt.Sprintf("%v by %s", a.Theirs.Identity, cmp.Or(a.Theirs.Method, "EAP or nothing"))
		peer.Differs = !a.Theirs.Identity.Equal(c.peer.RemoteID)
	}
	rows := []api.WhyRow{we, peer}
	if ppk := c.peer.PPK; ppk != nil {
		rows = append(rows, api.WhyRow{What: rowPPK, Ours: fmt.Sprintf("%q, %s", ppk.ID, map[bool]string{true: "required", false: "if the peer has it"}[ppk.Required])})
	}
	return rows
}

// methodText is the word for how an end authenticates, as package ike has it for what the peer does.
func methodText(m ike.AuthMethod) string {
	if m == ike.AuthSignature {
		return "certificate"
	}
	return wire.AuthSharedKeyMIC.String()
}

// offers compares proposals: in one row where one was chosen, and otherwise transform by transform those two that are nearest to each other.
func (c *comparison) offers(protocol string, ours, theirs, said []ike.Offer) []api.WhyRow {
	chosen := said
	if c.weBegan() {
		chosen = theirs
	}
	if len(chosen) == 1 && !c.weBegan() || len(chosen) == 1 && fits(ours, theirs[0]) {
		text := offerText(chosen[0])
		return []api.WhyRow{{What: protocol, Ours: text, Peers: "agreed"}}
	}
	if len(ours) == 0 {
		return nil
	}
	if len(theirs) == 0 {
		return transformRows(protocol, union(ours), nil, c.attempt.Theirs.Group)
	}
	best, their := ours[0], theirs[0]
	for _, o := range ours {
		for _, t := range theirs {
			if unlike(o, t) < unlike(best, their) {
				best, their = o, t
			}
		}
	}
	if best.Protocol != their.Protocol {
		return []api.WhyRow{{What: "protocol", Ours: best.Protocol.String() + " " + offerText(best), Peers: their.Protocol.String() + " " + offerText(their), Differs: true}}
	}
	return transformRows(protocol, best, their.Transforms, 0)
}

func fits(ours []ike.Offer, choice ike.Offer) bool {
	return slices.ContainsFunc(ours, func(o ike.Offer) bool {
		return !slices.ContainsFunc(choice.Transforms, func(t crypto.Transform) bool { return t.ID != 0 && !slices.Contains(o.Transforms, t) })
	})
}

// union is all transforms of several offers.
func union(list []ike.Offer) (all ike.Offer) {
	for _, o := range list {
		for _, t := range o.Transforms {
			if !slices.Contains(all.Transforms, t) {
				all.Transforms = append(all.Transforms, t)
			}
		}
	}
	return all
}

// unlike is how many types of transforms two offers have nothing of in common.
func unlike(ours, theirs ike.Offer) (n int) {
	if ours.Protocol != theirs.Protocol {
		n = len(transformLabels)
	}
	for _, kind := range transformLabels {
		if differ(ofType(ours.Transforms, kind.of), ofType(theirs.Transforms, kind.of)) {
			n++
		}
	}
	return n
}

// transformLabels are the types of transforms in the order in which they are shown; NONE counts as nothing.
var transformLabels = []struct {
	of   crypto.TransformType
	name string
}{{crypto.TransformEncr, "cipher"}, {crypto.TransformInteg, "integrity"}, {crypto.TransformPRF, "PRF"}, {crypto.TransformDH, "group"}, {crypto.TransformESN, "numbers"},
	{crypto.AdditionalKE(0), "KE 1"}, {crypto.AdditionalKE(1), "KE 2"}, {crypto.AdditionalKE(2), "KE 3"}, {crypto.AdditionalKE(3), "KE 4"},
	{crypto.AdditionalKE(4), "KE 5"}, {crypto.AdditionalKE(5), "KE 6"}, {crypto.AdditionalKE(6), "KE 7"}}

func ofType(transforms []crypto.Transform, of crypto.TransformType) (names []string) {
	for _, t := range transforms {
		if t.Type == of && (t.ID != 0 || of == crypto.TransformESN) {
			names = append(names, t.Keyword())
		}
	}
	return names
}

func differ(ours, theirs []string) bool {
	if len(ours) == 0 || len(theirs) == 0 {
		return len(ours) != len(theirs)
	}
	return !slices.ContainsFunc(ours, func(name string) bool { return slices.Contains(theirs, name) })
}

func transformRows(protocol string, ours ike.Offer, theirs []crypto.Transform, asked crypto.DHID) (rows []api.WhyRow) {
	for _, kind := range transformLabels {
		we, peer := ofType(ours.Transforms, kind.of), ofType(theirs, kind.of)
		if len(we)+len(peer) == 0 {
			continue
		}
		row := api.WhyRow{What: protocol + " " + kind.name, Ours: cmp.Or(strings.Join(we, ", "), "none"), Peers: strings.Join(peer, ", ")}
		if theirs != nil {
			row.Peers, row.Differs = cmp.Or(row.Peers, "none"), differ(we, peer)
		} else if kind.of == crypto.TransformDH && asked != 0 {
			row.Peers, row.Differs = "asks for "+group(asked), !slices.Contains(we, group(asked))
		}
		rows = append(rows, row)
	}
	return rows
}

// group is the word of the configuration for a group.
func group(id crypto.DHID) string {
	return crypto.Transform{Type: crypto.TransformDH, ID: uint16(id)}.Keyword()
}

func offerText(o ike.Offer) string {
	var names []string
	for _, kind := range transformLabels {
		names = append(names, ofType(o.Transforms, kind.of)...)
	}
	return strings.Join(names, " ")
}

// markCertificate marks the peer's certificate where the reason is about it, or about what a server says of it.
func markCertificate(view *api.WhyAttempt, reason ike.Reason) bool {
	if strings.HasPrefix(string(reason), "auth_") {
		return false
	}
	theirs := func(c api.WhyCertificate) bool { return !c.Ours }
	if !slices.ContainsFunc(view.Certificates, func(c api.WhyCertificate) bool { return theirs(c) && c.Fault != "" }) {
		i := slices.IndexFunc(view.Certificates, theirs)
		if i < 0 {
			return false
		}
		view.Certificates[i].Fault = string(reason)
	}
	return true
}

// markFault marks the rows that a failure is about, where that is not to be seen from what they say.
func markFault(view *api.WhyAttempt, reason ike.Reason) {
	var at []string
	switch {
	case reason == ike.FailAuthentication:
		at = []string{rowWe}
	case reason.Authentication() && markCertificate(view, reason):
	case reason == ike.AuthPPK:
		at = []string{rowPPK}
	case reason.Authentication():
		at = []string{rowPeer}
	case reason == ike.FailSelectors:
		at = []string{rowOurSide, rowItsSide}
	}
	for i, row := range view.Rows {
		view.Rows[i].Differs = row.Differs || slices.Contains(at, row.What)
	}
}
