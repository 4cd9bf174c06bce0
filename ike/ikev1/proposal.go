package ikev1

import (
	"fmt"
	"slices"

	"sallyport/crypto"
	"sallyport/ike/isakmp"
)

// DefaultIKEProposals is what main mode offers a peer of version 1 when the configuration does not say.
func DefaultIKEProposals() []crypto.IKEProposal {
	return []crypto.IKEProposal{{
		Protocol: crypto.ProtocolIKE,
		Ciphers:  []crypto.Cipher{{Encr: crypto.EncrAESCBC, KeyBits: 256}, {Encr: crypto.EncrAESCBC, KeyBits: 128}},
		Integ:    []crypto.IntegID{crypto.IntegHMACSHA256},
		PRF:      []crypto.PRFID{crypto.PRFHMACSHA256},
		DH:       []crypto.DHID{crypto.DHECP256, crypto.DHECP384, crypto.DHMODP2048},
	}}
}

// DefaultESPProposals are for a child without any: those of [crypto.DefaultESPProposals] with a new Diffie-Hellman exchange for each quick mode (PFS of
// session keys), which the peer has to have too (S-082). The groups are those of [DefaultIKEProposals], tried one after the other.
func DefaultESPProposals() []crypto.Proposal {
	proposals := crypto.DefaultESPProposals()
	for i := range proposals {
		proposals[i].DH = DefaultIKEProposals()[0].DH
	}
	return proposals
}

// spread writes proposals as the transforms of main mode, all algorithms of each in order: the cipher decides before the hash, that before the
// group, and that before the authentication method. The hash is that of the PRF. What IKEv1 has no number for is left out ([Check] tells of it).
func spread(proposals []crypto.IKEProposal, methods []isakmp.AuthMethod, life isakmp.Lifetime) []isakmp.Phase1 {
	var list []isakmp.Phase1
	for _, p := range proposals {
		if combined(p) {
			continue
		}
		for _, c := range p.Ciphers {
			for _, prf := range p.PRF {
				for _, dh := range p.DH {
					list = appendPhase1(list, c, prf, dh, methods, life)
				}
			}
		}
	}
	return list
}

// appendPhase1 adds the transforms of one combination, unless they are there already.
func appendPhase1(list []isakmp.Phase1, c crypto.Cipher, prf crypto.PRFID, dh crypto.DHID, methods []isakmp.AuthMethod, life isakmp.Lifetime) []isakmp.Phase1 {
	encryption, hasCipher := encryptionOf(c.Encr)
	hash, hasHash := hashOf(prf)
	group, hasGroup := groupOf(dh)
	if !hasCipher || !hasHash || !hasGroup {
		return list
	}
	for _, method := range methods {
		t := isakmp.Phase1{Encryption: encryption, KeyBits: uint16(c.KeyBits), Hash: hash, Auth: method, Group: group, Lifetime: life}
		if !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	return list
}

// offerPhase1 writes the SA payload of message 1 of main mode: one proposal with all transforms (RFC 2409 section 5).
func offerPhase1(ours []isakmp.Phase1) *isakmp.SA {
	p := isakmp.Proposal{Number: 1, Protocol: isakmp.ProtocolISAKMP}
	for i, t := range ours {
		p.Transforms = append(p.Transforms, t.Transform(uint8(i+1)))
	}
	return &isakmp.SA{Proposals: []isakmp.Proposal{p}}
}

// phase1Choice is what both sides agreed on for an ISAKMP SA.
type phase1Choice struct {
	isakmp.Phase1 // with the lifetime that stood in it
	prf           crypto.PRFID
	dh            crypto.DHID
	cipher        phase1Cipher

	number    uint8            // of the proposal it was offered in
	transform isakmp.Transform // as it came
}

// answer is the SA payload of message 2: the transform as it was offered, with its numbers and its lifetime (RFC 2408 4.2).
func (c phase1Choice) answer() *isakmp.SA {
	return &isakmp.SA{Proposals: []isakmp.Proposal{{Number: c.number, Protocol: isakmp.ProtocolISAKMP, Transforms: []isakmp.Transform{c.transform}}}}
}

// String is the keyword form of the configuration, and the authentication method.
func (c phase1Choice) String() string { return describePhase1([]isakmp.Phase1{c.Phase1}) }

// chosenPhase1 reads what a transform that equals one of ours stands for.
func chosenPhase1(t isakmp.Phase1, number uint8, transform isakmp.Transform) phase1Choice {
	c := phase1Choice{Phase1: t, number: number, transform: transform, dh: crypto.DHID(t.Group)}
	c.prf, _ = prfOf(t.Hash)
	c.cipher.encr, _ = encrOf(t.Encryption)
	c.cipher.keyLength = crypto.Suite{Encr: c.cipher.encr, KeyBits: int(t.KeyBits)}.KeyLen()
	return c
}

// ageless is a transform without its lifetime, over which a negotiation does not fail.
func ageless(t isakmp.Phase1) isakmp.Phase1 {
	t.Lifetime = isakmp.Lifetime{}
	return t
}

// choosePhase1 picks the first of our transforms that a peer has offered, in whichever of its proposals. The offer is gone through once.
func choosePhase1(ours []isakmp.Phase1, offered *isakmp.SA) (phase1Choice, error) {
	ranks := map[isakmp.Phase1]int{}
	for i, t := range ours {
		if _, known := ranks[ageless(t)]; !known {
			ranks[ageless(t)] = i
		}
	}
	best, choice := len(ours), phase1Choice{}
	var theirs []isakmp.Phase1
	for _, group := range offered.Alternatives() {
		p := group[0]
		if len(group) != 1 || p.Protocol != isakmp.ProtocolISAKMP {
			continue // an ISAKMP SA goes with nothing else (RFC 2407 4.4.1.1)
		}
		for i := range p.Transforms {
			t, err := p.Transforms[i].Phase1()
			if err != nil {
				continue
			}
			if len(theirs) < maxDescribed {
				theirs = append(theirs, t)
			}
			if rank, ok := ranks[ageless(t)]; ok && rank < best {
				best, choice = rank, chosenPhase1(t, p.Number, p.Transforms[i])
			}
		}
	}
	if best == len(ours) {
		return phase1Choice{}, fmt.Errorf("peer offers %s; expected one of %s", describePhase1(theirs), describePhase1(ours))
	}
	return choice, nil
}

// confirmPhase1 checks the answer to our offer: one transform, which is one of ours but for its lifetime and its numbers, for several peers count by
// themselves.
func confirmPhase1(ours []isakmp.Phase1, answer *isakmp.SA) (phase1Choice, error) {
	chosen, err := answer.Chosen()
	if err != nil {
		return phase1Choice{}, err
	}
	if len(chosen) != 1 || chosen[0].Protocol != isakmp.ProtocolISAKMP {
		return phase1Choice{}, fmt.Errorf("answer has %d proposals, the first for %v; expected one for %v", len(chosen), chosen[0].Protocol, isakmp.ProtocolISAKMP)
	}
	t, err := chosen[0].Transforms[0].Phase1()
	if err != nil {
		return phase1Choice{}, err
	}
	if !slices.ContainsFunc(ours, func(our isakmp.Phase1) bool { return ageless(our) == ageless(t) }) {
		return phase1Choice{}, fmt.Errorf("answer is %s; expected one of what we offered, %s", describePhase1([]isakmp.Phase1{t}), describePhase1(ours))
	}
	return chosenPhase1(t, chosen[0].Number, chosen[0].Transforms[0]), nil
}

// agreeLifetime is the lifetime of an SA of which each side wants one: the shorter of each kind, 0 being no limit. shorter says that ours cuts the
// peer's, which a responder tells by RESPONDER-LIFETIME (RFC 2407 4.5.4).
func agreeLifetime(ours, theirs isakmp.Lifetime) (life isakmp.Lifetime, shorter bool) {
	least := func(our, their uint32) uint32 {
		if our != 0 && (their == 0 || our < their) {
			shorter = true
			return our
		}
		return their
	}
	life = isakmp.Lifetime{Seconds: least(ours.Seconds, theirs.Seconds), Kilobytes: least(ours.Kilobytes, theirs.Kilobytes)}
	return life, shorter
}
