package ikev1

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/isakmp"
	"sallyport/policy"
)

// Problem is what IKEv1 cannot work with.
type Problem struct {
	Peer, Child string // Child is empty where it is about the peer itself
	About       About
	Text        string
}

// About is the kind of setting that a problem is with.
type About uint8

const (
	AboutAuthentication About = iota
	AboutPPK
	AboutProposals
	AboutSelectors
)

// Error names the peer, and the child.
func (p *Problem) Error() string { return where(p.Peer, p.Child) + ": " + p.Text }

func where(peer, child string) string {
	if child == "" {
		return fmt.Sprintf("peer %q", peer)
	}
	return fmt.Sprintf("peer %q: child %q", peer, child)
}

// Check holds peers that may speak IKEv1 against what it can say. Warnings are what is left out, or has no effect with it; the error joins a *Problem
// for whatever leaves a peer, or a child, with nothing to negotiate by. Proposals that are not set are those of [Complete].
func Check(peers []ike.Peer) (warnings []string, err error) {
	var errs []error
	for i, p := range peers {
		whole := Complete(p)
		c := checker{peer: p.Name}
		c.authentication(whole, peers[:i])
		c.mainMode(whole.IKEProposals)
		c.ineffective(p)
		for _, child := range whole.Children {
			c.quickMode(child, p.Version == ike.VAny)
		}
		warnings, errs = append(warnings, c.warnings...), append(errs, c.errs...)
	}
	return warnings, errors.Join(errs...)
}

// checker collects what is found of one peer.
type checker struct {
	peer, child string // looked at
	warnings    []string
	errs        []error
}

func (c *checker) warn(format string, args ...any) {
	c.warnings = append(c.warnings, where(c.peer, c.child)+": "+fmt.Sprintf(format, args...))
}

func (c *checker) fail(about About, format string, args ...any) {
	c.errs = append(c.errs, &Problem{Peer: c.peer, Child: c.child, About: about, Text: fmt.Sprintf(format, args...)})
}

// authentication checks how both ends prove who they are. Main mode looks a pre-shared key up by addresses alone (RFC 2409 5.4).
func (c *checker) authentication(p ike.Peer, others []ike.Peer) {
	if _, err := authMethods(&p); err != nil {
		c.fail(AboutAuthentication, "%v", err)
	}
	if p.PPK != nil && p.PPK.Required {
		c.fail(AboutPPK, "a postquantum preshared key is required, and IKEv1 has none")
	}
	for _, other := range others {
		if p.LocalAuth == ike.AuthPSK && other.LocalAuth == ike.AuthPSK && p.Local == other.Local && p.Remote == other.Remote && !p.PSK.Equal(other.PSK) {
			c.fail(AboutAuthentication, "another pre-shared key than that of peer %q, which has the same addresses: IKEv1 finds the key by them, expected one key", other.Name)
		}
	}
}

// mainMode checks the proposals of phase 1.
func (c *checker) mainMode(proposals []crypto.IKEProposal) {
	for _, p := range proposals {
		c.leftOut("IKE proposal", p, unsaid(p))
	}
	switch n := len(spread(proposals, []isakmp.AuthMethod{isakmp.AuthPreSharedKey}, isakmp.Lifetime{})); {
	case n == 0:
		c.fail(AboutProposals, "no IKE proposal is left for IKEv1, expected one with AES in CBC mode, a hash and a group of MODP or ECP: aes256-sha256-modp2048")
	case n > math.MaxUint8:
		c.fail(AboutProposals, "the IKE proposals make %d transforms of main mode, expected at most %d", n, math.MaxUint8)
	}
}

// ineffective names what a peer has that IKEv1 knows nothing of.
func (c *checker) ineffective(p ike.Peer) {
	var names []string
	for _, setting := range []struct {
		name string
		has  bool
	}{
		{"mobike", p.MOBIKE}, {"redirect", p.Redirect}, {"childless", p.Childless},
		{"a postquantum preshared key", p.PPK != nil && !p.PPK.Required},
		{"an SA for each worker", slices.ContainsFunc(p.Children, func(child ike.Child) bool { return child.PerCore > 1 })},
	} {
		if setting.has {
			names = append(names, setting.name)
		}
	}
	if len(names) > 0 {
		c.warn("IKEv1 has no %s: without effect with it", strings.Join(names, ", no "))
	}
}

// quickMode checks what quick mode offers for a child; either: IKEv2 may be spoken with the peer too.
func (c *checker) quickMode(child ike.Child, either bool) {
	c.child = child.Name
	for _, proposal := range child.Proposals {
		c.leftOut("proposal", proposal, unsaid(proposal))
		if n := len(spreadChild(proposal, childGroups(proposal), isakmp.EncapsulationTunnel)); n > math.MaxUint8 {
			c.fail(AboutProposals, "proposal %s makes %d transforms of quick mode, expected at most %d", proposal, n, math.MaxUint8)
		}
	}
	switch n := len(childTerms(child).alternatives(func(crypto.DHID) bool { return true })); {
	case n == 0 && child.Bundle:
		c.fail(AboutProposals, "no bundle is left for IKEv1, expected ESP like aes256gcm16 or aes256-sha256 and AH like sha256 around it")
	case n == 0:
		c.fail(AboutProposals, "no proposal is left for IKEv1, expected one like aes256gcm16 or aes256-sha256")
	case n > math.MaxUint8:
		c.fail(AboutProposals, "each proposal of ESP with each of AH makes %d bundles, expected at most %d", n, math.MaxUint8)
	}
	c.selectors(child.Selectors, either)
}

// selectors insists on one that two IDs can say: a quick mode has no more, and a child one pair of SAs to send by.
func (c *checker) selectors(selectors []policy.Selector, either bool) {
	if len(selectors) > 1 {
		c.fail(AboutSelectors, "%d selectors, %s; IKEv1 negotiates one for each pair of SAs, expected a child for each", len(selectors), describeSelectors(selectors))
	}
	for _, s := range selectors {
		switch err := sayable(s); {
		case err != nil && either:
			c.warn("not negotiated by IKEv1, only by IKEv2: %v", err)
		case err != nil:
			c.fail(AboutSelectors, "%v", err)
		}
	}
}

// leftOut warns of algorithms that cannot be offered.
func (c *checker) leftOut(kind string, p crypto.Proposal, words []string) {
	if len(words) > 0 {
		c.warn("%s %s: IKEv1 has no %s, left out with it", kind, p, strings.Join(words, ", "))
	}
}

// unsaid are the words of a proposal's algorithms that IKEv1 has no number for, and that of an integrity algorithm of IKE whose hash no PRF has: there
// is one hash for both.
func unsaid(p crypto.Proposal) (words []string) {
	for _, t := range p.Transforms() {
		if !saidBy(t, p) {
			words = append(words, t.Keyword())
		}
	}
	return words
}

func saidBy(t crypto.Transform, p crypto.Proposal) bool {
	ok := false
	switch t.Type {
	case crypto.TransformEncr:
		if p.Protocol == crypto.ProtocolIKE {
			_, ok = encryptionOf(crypto.EncrID(t.ID))
		} else {
			_, ok = espTransformOf(crypto.EncrID(t.ID))
		}
	case crypto.TransformInteg:
		if p.Protocol == crypto.ProtocolIKE {
			return slices.ContainsFunc(hashes, func(row hashRow) bool { return row.integ == crypto.IntegID(t.ID) && slices.Contains(p.PRF, row.ours) })
		}
		_, _, ok = authOf(crypto.IntegID(t.ID))
	case crypto.TransformPRF:
		_, ok = hashOf(crypto.PRFID(t.ID))
	case crypto.TransformDH:
		_, ok = groupOf(crypto.DHID(t.ID))
	case crypto.TransformESN:
		return true
	}
	return ok
}
