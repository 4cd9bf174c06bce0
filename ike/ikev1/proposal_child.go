package ikev1

import (
	"encoding/binary"
	"fmt"
	"slices"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// quickTerms is what one end wants of the IPsec SAs of a quick mode.
type quickTerms struct {
	proposals     []crypto.Proposal // of ESP or AH each, in order of preference
	around        []crypto.Proposal // of AH, around what those of ESP make: a bundle; none: no bundle. Their groups do not count
	encapsulation isakmp.Encapsulation
	lifetime      isakmp.Lifetime
}

// childTerms are the protocols that a child is protected by, one of ESP or AH or, of a bundle, the one around the other.
func childTerms(c ike.Child) quickTerms {
	if !c.Bundle {
		return quickTerms{proposals: c.Proposals}
	}
	isAH := func(p crypto.Proposal) bool { return p.Protocol == crypto.ProtocolAH }
	return quickTerms{
		proposals: slices.DeleteFunc(slices.Clone(c.Proposals), isAH),
		around:    slices.DeleteFunc(slices.Clone(c.Proposals), func(p crypto.Proposal) bool { return !isAH(p) }),
	}
}

// childTransform is one way to make an SA of AH or ESP, without its lifetime, over which a negotiation does not fail.
type childTransform struct {
	protocol isakmp.ProtocolID
	id       uint8
	isakmp.Phase2
}

// alternative is what one proposal number has: transforms of AH, of ESP, or of both, which then are made together.
type alternative struct{ ah, esp []childTransform }

// quickGroups are the groups of perfect forward secrecy in order of preference, DHNone for none: the one KE payload of a quick mode serves all that is
// offered in it, so that one of these groups is offered at a time (RFC 2409 5.5).
func quickGroups(proposals []crypto.Proposal) []crypto.DHID {
	var list []crypto.DHID
	for _, p := range proposals {
		for _, group := range childGroups(p) {
			if !slices.Contains(list, group) {
				list = append(list, group)
			}
		}
	}
	return list
}

// childGroups are those of one proposal that IKEv1 has a number for.
func childGroups(p crypto.Proposal) []crypto.DHID {
	switch {
	case combined(p):
		return nil
	case len(p.DH) == 0:
		return []crypto.DHID{crypto.DHNone}
	}
	return slices.DeleteFunc(slices.Clone(p.DH), func(id crypto.DHID) bool { return !slices.Contains(dhGroups, id) })
}

// alternatives are the terms spread out, with those of their groups that are let.
func (t quickTerms) alternatives(let func(crypto.DHID) bool) []alternative {
	var list []alternative
	for _, p := range t.proposals {
		groups := slices.DeleteFunc(childGroups(p), func(id crypto.DHID) bool { return !let(id) })
		transforms := spreadChild(p, groups, t.encapsulation)
		switch {
		case len(transforms) == 0:
		case p.Protocol == crypto.ProtocolAH:
			list = append(list, alternative{ah: transforms})
		case len(t.around) == 0:
			list = append(list, alternative{esp: transforms})
		default:
			for _, ah := range t.around {
				if outer := spreadChild(ah, groups, t.encapsulation); len(outer) > 0 {
					list = append(list, alternative{ah: outer, esp: transforms})
				}
			}
		}
	}
	return list
}

// spreadChild writes a proposal as transforms, all algorithms in order: the cipher decides before the integrity algorithm, that before the form of the
// sequence numbers, and that before the group. What IKEv1 has no number for is left out.
func spreadChild(p crypto.Proposal, groups []crypto.DHID, encapsulation isakmp.Encapsulation) []childTransform {
	var list []childTransform
	for _, suite := range p.Suites() {
		t, ok := childTransformOf(suite)
		if !ok {
			continue
		}
		t.Encapsulation = encapsulation
		for _, esn := range p.ESN {
			t.ESN = esn == crypto.ESNYes
			for _, group := range groups {
				t.Group = isakmp.Group(group)
				list = append(list, t)
			}
		}
	}
	return list
}

// childTransformOf is a suite on the wire.
func childTransformOf(s crypto.Suite) (t childTransform, ok bool) {
	var ah isakmp.AHTransform
	if s.Integ != crypto.IntegNone {
		if t.Auth, ah, ok = authOf(s.Integ); !ok {
			return t, false
		}
	}
	if s.AH() {
		t.protocol, t.id = isakmp.ProtocolAH, uint8(ah)
		return t, true
	}
	esp, ok := espTransformOf(s.Encr)
	t.protocol, t.id, t.KeyBits = isakmp.ProtocolESP, uint8(esp), uint16(s.KeyBits)
	return t, ok
}

// suite is what a transform that equals one of ours stands for.
func (t childTransform) suite() crypto.Suite {
	s := crypto.Suite{KeyBits: int(t.KeyBits)}
	s.Integ, _ = integOf(t.Auth)
	if t.protocol == isakmp.ProtocolESP {
		s.Encr, _ = espEncrOf(isakmp.ESPTransform(t.id))
	}
	return s
}

// childSPIs are the SPIs of one end: of AH, of ESP, or of both.
type childSPIs struct{ ah, esp uint32 }

// offerPhase2 writes the SA payload of message 1 of quick mode with one of quickGroups.
func offerPhase2(t quickTerms, group crypto.DHID, spis childSPIs) *isakmp.SA {
	sa := &isakmp.SA{}
	add := func(number int, protocol isakmp.ProtocolID, spi uint32, transforms []childTransform) {
		if len(transforms) == 0 {
			return
		}
		p := isakmp.Proposal{Number: uint8(number), Protocol: protocol, SPI: binary.BigEndian.AppendUint32(nil, spi)}
		for i, transform := range transforms {
			transform.Lifetime = t.lifetime
			p.Transforms = append(p.Transforms, transform.Transform(uint8(i+1), transform.id))
		}
		sa.Proposals = append(sa.Proposals, p)
	}
	for i, a := range t.alternatives(only(group)) {
		add(i+1, isakmp.ProtocolAH, spis.ah, a.ah)
		add(i+1, isakmp.ProtocolESP, spis.esp, a.esp)
	}
	return sa
}

func only(group crypto.DHID) func(crypto.DHID) bool {
	return func(id crypto.DHID) bool { return id == group }
}

// phase2Choice is what both sides agreed on for the IPsec SAs of a quick mode.
type phase2Choice struct {
	ah, esp       *childHalf // nil: there is none
	dh            crypto.DHID
	encapsulation isakmp.Encapsulation
	lifetime      isakmp.Lifetime // that stood in it: of two protocols the shorter one

	proposals []isakmp.Proposal // as they came, each with the transform that was chosen
}

// childHalf is one protocol of that.
type childHalf struct {
	suite crypto.Suite
	esn   bool
	spi   uint32 // the peer's
}

// answer is the SA payload of message 2: the transforms as they were offered, with our SPIs (RFC 2408 4.2).
func (c phase2Choice) answer(spis childSPIs) *isakmp.SA {
	sa := &isakmp.SA{Proposals: slices.Clone(c.proposals)}
	for i := range sa.Proposals {
		p := &sa.Proposals[i]
		spi := spis.esp
		if p.Protocol == isakmp.ProtocolAH {
			spi = spis.ah
		}
		p.SPI = binary.BigEndian.AppendUint32(nil, spi)
	}
	return sa
}

// choosePhase2 picks the first of our alternatives that a peer has offered. ke is how many octets the KE payload beside the offer has, 0 without one:
// a transform is with perfect forward secrecy by a group whose values have that length, or without.
func choosePhase2(t quickTerms, offered *isakmp.SA, ke int) (phase2Choice, error) {
	theirs := readOffers(offered.Alternatives())
	ours := t.alternatives(func(id crypto.DHID) bool {
		length, _ := id.ValueLens()
		return length == ke
	})
	for _, our := range ours {
		for i := range theirs {
			if c, ok := theirs[i].choose(our); ok {
				return c, nil
			}
		}
	}
	all := t.alternatives(func(crypto.DHID) bool { return true })
	return phase2Choice{}, fmt.Errorf("peer offers %s%s; expected one of %s", describeOffers(theirs), describeKE(ke), describeAlternatives(all))
}

// confirmPhase2 checks the answer to an offer of ours: of one of our alternatives one transform for each protocol, the same but for their lifetimes and
// all numbers, for several peers count by themselves.
func confirmPhase2(t quickTerms, group crypto.DHID, answer *isakmp.SA) (phase2Choice, error) {
	chosen, err := answer.Chosen()
	if err != nil {
		return phase2Choice{}, err
	}
	theirs, ours := readOffer(chosen), t.alternatives(only(group))
	for _, our := range ours {
		if c, ok := theirs.choose(our); ok {
			return c, nil
		}
	}
	return phase2Choice{}, fmt.Errorf("answer is %s; expected one of what we offered, %s", describeOffers([]offer{theirs}), describeAlternatives(ours))
}

// offer is one alternative of a peer's, with the position of each transform that can be read.
type offer struct {
	proposals  []isakmp.Proposal
	transforms map[childTransform]int
	usable     bool // of AH, ESP or both, with SPIs that packets may carry
}

func readOffers(groups [][]isakmp.Proposal) []offer {
	var list []offer
	for _, group := range groups {
		list = append(list, readOffer(group))
	}
	return list
}

// lastReservedSPI is the last of those that no packet may carry (RFC 4303 2.1).
const lastReservedSPI = 255

func readOffer(group []isakmp.Proposal) offer {
	o := offer{proposals: group, transforms: map[childTransform]int{}, usable: true}
	seen := map[isakmp.ProtocolID]bool{}
	for _, p := range group {
		known := p.Protocol == isakmp.ProtocolAH || p.Protocol == isakmp.ProtocolESP
		if !known || seen[p.Protocol] || binary.BigEndian.Uint32(p.SPI) <= lastReservedSPI {
			o.usable = false
			continue
		}
		seen[p.Protocol] = true
		for i := range p.Transforms {
			t := childTransform{protocol: p.Protocol, id: p.Transforms[i].ID}
			var err error
			if t.Phase2, err = p.Transforms[i].Phase2(); err != nil {
				continue
			}
			t.Lifetime = isakmp.Lifetime{}
			if _, again := o.transforms[t]; !again {
				o.transforms[t] = i
			}
		}
	}
	return o
}

// choose takes the first transform of each protocol of ours that is offered. Those of a bundle have the same group.
func (o *offer) choose(our alternative) (phase2Choice, bool) {
	protocols := 0
	for _, list := range [][]childTransform{our.ah, our.esp} {
		if len(list) > 0 {
			protocols++
		}
	}
	if !o.usable || len(o.proposals) != protocols {
		return phase2Choice{}, false
	}
	ah, esp := o.common(our.ah), o.common(our.esp)
	if protocols == 1 {
		if all := append(ah, esp...); len(all) > 0 {
			return o.take(all[0]), true
		}
		return phase2Choice{}, false
	}
	for _, inner := range esp {
		if i := slices.IndexFunc(ah, func(outer childTransform) bool { return outer.Group == inner.Group }); i >= 0 {
			return o.take(ah[i], inner), true
		}
	}
	return phase2Choice{}, false
}

// common is what of ours is offered, in our order.
func (o *offer) common(ours []childTransform) (list []childTransform) {
	for _, t := range ours {
		if _, ok := o.transforms[t]; ok {
			list = append(list, t)
		}
	}
	return list
}

// DefaultLifetime is how long an IPsec SA lives whose negotiation does not say, in seconds (RFC 2407 4.5).
const DefaultLifetime = 28800

// take makes the choice of one transform for each protocol that is there.
func (o *offer) take(transforms ...childTransform) phase2Choice {
	c := phase2Choice{dh: crypto.DHID(transforms[0].Group), encapsulation: transforms[0].Encapsulation}
	for _, p := range o.proposals {
		t := transforms[slices.IndexFunc(transforms, func(t childTransform) bool { return t.protocol == p.Protocol })]
		original := p.Transforms[o.transforms[t]]
		p.Transforms = []isakmp.Transform{original}
		c.proposals = append(c.proposals, p)
		half := &childHalf{suite: t.suite(), esn: t.ESN, spi: binary.BigEndian.Uint32(p.SPI)}
		if p.Protocol == isakmp.ProtocolAH {
			c.ah = half
		} else {
			c.esp = half
		}
		said, _ := original.Phase2() // read before
		if said.Lifetime.Seconds == 0 {
			said.Lifetime.Seconds = DefaultLifetime
		}
		c.lifetime, _ = agreeLifetime(said.Lifetime, c.lifetime)
	}
	return c
}
