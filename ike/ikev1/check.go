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

// Check holds peers that may speak IKEv1 against what it can say. Warnings are what is left out, or has no effect with it; the error, joined, is what
// leaves a peer, or a child, with nothing to negotiate by. A peer without proposals gets [DefaultIKEProposals].
func Check(peers []ike.Peer) (warnings []string, err error) {
	var errs []error
	for i, p := range peers {
		if len(p.IKEProposals) == 0 {
			p.IKEProposals = DefaultIKEProposals()
		}
		c := checker{where: fmt.Sprintf("peer %q", p.Name)}
		c.authentication(p.Complete(), peers[:i])
		c.mainMode(p.IKEProposals)
		c.ineffective(p)
		for _, child := range p.Complete().Children {
			c.child(p.Name, child)
		}
		warnings, errs = append(warnings, c.warnings...), append(errs, c.errs...)
	}
	return warnings, errors.Join(errs...)
}

// checker collects what is found of one peer.
type checker struct {
	where    string
	warnings []string
	errs     []error
}

func (c *checker) warn(format string, args ...any) {
	c.warnings = append(c.warnings, fmt.Sprintf("%s: "+format, append([]any{c.where}, args...)...))
}

func (c *checker) fail(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("%s: "+format, append([]any{c.where}, args...)...))
}

// authentication checks how both ends prove who they are. Main mode looks a pre-shared key up by addresses alone (RFC 2409 5.4).
func (c *checker) authentication(p ike.Peer, others []ike.Peer) {
	if _, err := authMethods(&p); err != nil {
		c.fail("%w", err)
	}
	if p.PPK != nil && p.PPK.Required {
		c.fail("a postquantum preshared key is required, and IKEv1 has none")
	}
	for _, other := range others {
		if p.LocalAuth == ike.AuthPSK && other.LocalAuth == ike.AuthPSK && p.Local == other.Local && p.Remote == other.Remote && !p.PSK.Equal(other.PSK) {
			c.fail("another pre-shared key than that of peer %q, which has the same addresses: IKEv1 finds the key by them, expected one key", other.Name)
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
		c.fail("no IKE proposal is left for IKEv1, expected one with AES in CBC mode, a hash and a group of MODP or ECP: aes256-sha256-modp2048")
	case n > math.MaxUint8:
		c.fail("the IKE proposals make %d transforms of main mode, expected at most %d", n, math.MaxUint8)
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

// child checks what quick mode offers for a child.
func (c *checker) child(peer string, child ike.Child) {
	defer func(where string) { c.where = where }(c.where)
	c.where = fmt.Sprintf("peer %q: child %q", peer, child.Name)
	sayableProposals := 0
	for _, p := range child.Proposals {
		c.leftOut("proposal", p, unsaid(p))
		n := len(spreadChild(p, childGroups(p), isakmp.EncapsulationTunnel))
		if n > 0 {
			sayableProposals++
		}
		if n > math.MaxUint8 {
			c.fail("proposal %s makes %d transforms of quick mode, expected at most %d", p, n, math.MaxUint8)
		}
	}
	if sayableProposals == 0 {
		c.fail("no proposal is left for IKEv1, expected one like aes256gcm16 or aes256-sha256")
	}
	c.selectors(child.Selectors)
}

func (c *checker) selectors(selectors []policy.Selector) {
	left := 0
	for _, s := range selectors {
		if err := sayable(s); err != nil {
			c.warn("left out with IKEv1: %v", err)
		} else {
			left++
		}
	}
	if left == 0 && len(selectors) > 0 {
		c.fail("none of its %d selectors can be said by IKEv1", len(selectors))
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
