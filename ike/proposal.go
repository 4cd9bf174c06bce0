package ike

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// chosen is what both sides agreed on: one transform of each type (RFC 7296 2.7).
type chosen struct {
	protocol crypto.Protocol
	suite    crypto.Suite
	prf      crypto.PRFID // IKE only
	dh       crypto.DHID  // 0: no key exchange of its own
	esn      bool         // ESP and AH only

	additional [crypto.AdditionalKEs]crypto.DHID // RFC 9370; 0: none in this place
}

// String is the keyword form of the configuration.
func (c chosen) String() string {
	p := crypto.Proposal{Protocol: c.protocol}
	if !c.suite.AH() {
		p.Ciphers = []crypto.Cipher{{Encr: c.suite.Encr, KeyBits: c.suite.KeyBits}}
	}
	if c.suite.Integ != crypto.IntegNone {
		p.Integ = []crypto.IntegID{c.suite.Integ}
	}
	if c.prf != 0 {
		p.PRF = []crypto.PRFID{c.prf}
	}
	if c.dh != 0 {
		p.DH = []crypto.DHID{c.dh}
	}
	if c.esn {
		p.ESN = []crypto.ESNID{crypto.ESNYes}
	}
	for i, method := range c.additional {
		if method != crypto.DHNone {
			p.AdditionalKE[i] = []crypto.DHID{method}
		}
	}
	return p.String()
}

// mostDescribed bounds the texts that are kept of what was agreed on. A configuration has few of them, and thousands of SAs have each in common.
const mostDescribed = 64

// describe is what was agreed on, in the words of the configuration.
func (e *Engine) describe(c chosen) string {
	text, known := e.described[c]
	if !known {
		if text = c.String(); e.described == nil {
			e.described = map[chosen]string{}
		}
		if len(e.described) < mostDescribed {
			e.described[c] = text
		}
	}
	return text
}

// withoutDH is what a Child SA can be made from in IKE_AUTH, where there is no KE payload for it (RFC 7296 1.2).
func withoutDH(proposals []crypto.Proposal) []crypto.Proposal {
	stripped := slices.Clone(proposals)
	for i := range stripped {
		stripped[i].DH, stripped[i].AdditionalKE = nil, [crypto.AdditionalKEs][]crypto.DHID{}
	}
	return stripped
}

// alike is what of the proposals gives the same algorithms for packets once more, by whichever key exchange.
func alike(proposals []crypto.Proposal, c chosen) (list []crypto.Proposal) {
	for _, p := range proposals {
		if p.Protocol != c.protocol || !slices.Contains(p.ESN, c.esnID()) {
			continue
		}
		p.ESN = []crypto.ESNID{c.esnID()}
		cipher := crypto.Cipher{Encr: c.suite.Encr, KeyBits: c.suite.KeyBits}
		switch {
		case c.suite.AH():
		case slices.Contains(p.Ciphers, cipher):
			p.Ciphers = []crypto.Cipher{cipher}
		default:
			continue
		}
		switch {
		case slices.Contains(p.Integ, c.suite.Integ):
			p.Integ = []crypto.IntegID{c.suite.Integ}
		case len(p.Integ) > 0 || c.suite.Integ != crypto.IntegNone:
			continue
		}
		list = append(list, p)
	}
	return list
}

func (c chosen) esnID() crypto.ESNID {
	if c.esn {
		return crypto.ESNYes
	}
	return crypto.ESNNo
}

// groups lists the key exchange groups of the proposals in order of preference.
func groups(proposals []crypto.Proposal) []crypto.DHID {
	var list []crypto.DHID
	for _, p := range proposals {
		for _, g := range p.DH {
			if !slices.Contains(list, g) {
				list = append(list, g)
			}
		}
	}
	return list
}

// offer writes our proposals as an SA payload. The SPI is ours, empty in IKE_SA_INIT.
func offer(proposals []crypto.Proposal, spi []byte) *wire.SA {
	sa := &wire.SA{}
	for i, p := range proposals {
		w := wire.Proposal{Number: uint8(i + 1), Protocol: wire.ProtocolID(p.Protocol), SPI: spi}
		for _, t := range p.Transforms() {
			w.Transforms = append(w.Transforms, wire.Transform{Type: wire.TransformType(t.Type), ID: t.ID, KeyBits: t.KeyBits})
		}
		sa.Proposals = append(sa.Proposals, w)
	}
	return sa
}

// accept writes the answer to an offer: the proposal's number, and of each type the one transform that was chosen.
func (c chosen) accept(offered wire.Proposal, spi []byte) *wire.SA {
	w := wire.Proposal{Number: offered.Number, Protocol: offered.Protocol, SPI: spi}
	for _, t := range offered.Transforms {
		if c.has(t) && !slices.ContainsFunc(w.Transforms, func(other wire.Transform) bool { return other.Type == t.Type }) {
			w.Transforms = append(w.Transforms, wire.Transform{Type: t.Type, ID: t.ID, KeyBits: t.KeyBits})
		}
	}
	return &wire.SA{Proposals: []wire.Proposal{w}}
}

func (c chosen) has(t wire.Transform) bool {
	switch t.Type {
	case wire.TransformEncr:
		return t.ID == uint16(c.suite.Encr) && int(t.KeyBits) == c.suite.KeyBits
	case wire.TransformInteg:
		return t.ID == uint16(c.suite.Integ)
	case wire.TransformPRF:
		return t.ID == uint16(c.prf)
	case wire.TransformDH:
		return t.ID == uint16(c.dh)
	case wire.TransformESN:
		return (t.ID == wire.ESNYes) == c.esn
	}
	return !ofUnknownType(t) && t.ID == uint16(c.additional[t.Type-wire.TransformAdditionalKE1])
}

// choose picks the first of our proposals that some offered one satisfies. Among groups it prefers that of an authenticated KE payload that came
// with the offer, 0 when there is none: that saves a round trip (RFC 7296 2.7 leaves the choice to the responder).
func choose(ours []crypto.Proposal, offered []wire.Proposal, keGroup crypto.DHID) (chosen, wire.Proposal, bool) {
	for _, our := range ours {
		for _, their := range offered {
			if c, ok := match(our, their, keGroup); ok {
				return c, their, true
			}
		}
	}
	return chosen{}, wire.Proposal{}, false
}

// match takes one transform of each type out of an offered proposal, in our order of preference.
func match(our crypto.Proposal, their wire.Proposal, keGroup crypto.DHID) (c chosen, ok bool) {
	if wire.ProtocolID(our.Protocol) != their.Protocol || slices.ContainsFunc(their.Transforms, ofUnknownType) {
		return chosen{}, false
	}
	c.protocol = our.Protocol
	if our.Protocol != crypto.ProtocolAH { // which has integrity alone
		cipher, ok := pick(our.Ciphers, func(x crypto.Cipher) bool { return has(their, wire.TransformEncr, uint16(x.Encr), x.KeyBits) })
		if !ok {
			return chosen{}, false
		}
		c.suite = crypto.Suite{Encr: cipher.Encr, KeyBits: cipher.KeyBits}
	}
	if c.suite.Integ, ok = pickOrNone(our.Integ, their, wire.TransformInteg); !ok {
		return chosen{}, false
	}
	dh := our.DH
	if slices.Contains(dh, keGroup) && has(their, wire.TransformDH, uint16(keGroup), 0) {
		dh = []crypto.DHID{keGroup}
	}
	if c.dh, ok = pickOrNone(dh, their, wire.TransformDH); !ok {
		return chosen{}, false
	}
	for i, methods := range our.AdditionalKE {
		if c.additional[i], ok = pickOrNone(methods, their, wire.TransformAdditionalKE1+wire.TransformType(i)); !ok {
			return chosen{}, false
		}
	}
	if our.Protocol == crypto.ProtocolIKE {
		c.prf, ok = pick(our.PRF, func(x crypto.PRFID) bool { return has(their, wire.TransformPRF, uint16(x), 0) })
		return c, ok
	}
	esn, ok := pick(our.ESN, func(x crypto.ESNID) bool { return has(their, wire.TransformESN, uint16(x), 0) })
	c.esn = esn == crypto.ESNYes
	return c, ok
}

// has reports whether the transform is offered, with nothing about it that we do not understand (RFC 7296 3.3.6).
func has(p wire.Proposal, kind wire.TransformType, id uint16, bits int) bool {
	return slices.ContainsFunc(p.Transforms, func(t wire.Transform) bool {
		return t.Type == kind && t.ID == id && int(t.KeyBits) == bits && len(t.Attributes) == 0
	})
}

// ofUnknownType spots what makes a whole proposal one we cannot accept (RFC 7296 3.3.6).
func ofUnknownType(t wire.Transform) bool {
	return t.Type < wire.TransformEncr || t.Type > wire.TransformAdditionalKE7
}

func pick[T any](ours []T, offered func(T) bool) (T, bool) {
	i := slices.IndexFunc(ours, offered)
	if i < 0 {
		var none T
		return none, false
	}
	return ours[i], true
}

// pickOrNone is for the types that may be absent. When we want none, or NONE is one of our alternatives, the offer must lack the type or have NONE,
// which is 0, among its own (RFC 7296 3.3.2).
func pickOrNone[T ~uint16](ours []T, their wire.Proposal, kind wire.TransformType) (T, bool) {
	if len(ours) == 0 {
		ours = []T{0}
	}
	absent := !slices.ContainsFunc(their.Transforms, func(t wire.Transform) bool { return t.Type == kind })
	return pick(ours, func(x T) bool { return has(their, kind, uint16(x), 0) || x == 0 && absent })
}

// confirm checks the answer to our offer: exactly one of our proposals, with one transform of each type we offered (RFC 7296 2.7).
func confirm(ours []crypto.Proposal, answer *wire.SA, keGroup crypto.DHID) (chosen, error) {
	if len(answer.Proposals) != 1 {
		return chosen{}, fmt.Errorf("%d proposals in the answer, expected the one that was chosen", len(answer.Proposals))
	}
	p := answer.Proposals[0]
	if int(p.Number) > len(ours) {
		return chosen{}, fmt.Errorf("answer chose proposal %d of the %d offered", p.Number, len(ours))
	}
	for i, t := range p.Transforms {
		if slices.ContainsFunc(p.Transforms[:i], func(other wire.Transform) bool { return other.Type == t.Type }) {
			return chosen{}, fmt.Errorf("answer has two transforms of type %v, expected one", t.Type)
		}
	}
	c, ok := match(ours[p.Number-1], p, keGroup)
	if !ok {
		return chosen{}, fmt.Errorf("answer %s is not within our proposal %s", describe([]wire.Proposal{p}), ours[p.Number-1])
	}
	return c, nil
}

// spi8 and spi4 are SPIs as proposals carry them.
func spi8(spi uint64) []byte { return binary.BigEndian.AppendUint64(nil, spi) }
func spi4(spi uint32) []byte { return binary.BigEndian.AppendUint32(nil, spi) }

// byAH stands before the algorithms of AH for people. ESP and IKE go without saying.
const byAH = "AH by "

// maxDescribed bounds what a hostile offer can put into a Fact.
const maxDescribed = 16

// describe lists offered proposals for people, with IANA names.
func describe(proposals []wire.Proposal) string {
	var list []string
	for _, p := range proposals[:min(len(proposals), maxDescribed)] {
		var names []string
		for _, t := range p.Transforms[:min(len(p.Transforms), maxDescribed)] {
			names = append(names, crypto.Transform{Type: crypto.TransformType(t.Type), ID: t.ID, KeyBits: t.KeyBits}.Keyword())
		}
		text := strings.Join(names, "-")
		if p.Protocol == wire.ProtocolAH {
			text = byAH + text
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

func describeOurs(proposals []crypto.Proposal) string {
	var list []string
	for _, p := range proposals {
		text := p.String()
		if p.Protocol == crypto.ProtocolAH {
			text = byAH + text
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}
