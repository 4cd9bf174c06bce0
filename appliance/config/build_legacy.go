package config

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/crypto"
)

// legacy refuses weak algorithms that nobody asked for, and warns of those that somebody did.
func (b *builder) legacy(key, user, weak string) {
	if b.raw.Legacy {
		b.warn("%s uses %s, which no longer protects: legacy_algorithms lets it", user, weak)
		return
	}
	b.add(key, "expected algorithms that still protect, found %s, which does not: use %s, or write legacy_algorithms: true at the top of the file for a peer that has nothing better", weak, better(key, weak))
}

// better names what protects in place of weak algorithms, of each kind that is among them. What IKE itself is offered may have to be said in IKEv1, which
// has no GCM for that.
func better(key, weak string) string {
	cipher := "aes128gcm16"
	if strings.Contains(key, ".ike_proposals") || strings.Contains(key, ".key_exchange_methods") {
		cipher = "aes128"
	}
	var words []string
	for _, word := range strings.Split(weak, " and ") {
		instead := cipher
		switch {
		case strings.HasPrefix(word, "prf"):
			instead = "prfsha256"
		case word == "md5" || word == "sha1":
			instead = "sha256"
		case strings.Contains(word, "modp") || strings.Contains(word, "ecp"):
			instead = "ecp256 or modp2048"
		}
		if !slices.Contains(words, instead) {
			words = append(words, instead)
		}
	}
	return strings.Join(words, " and ")
}

func (b *builder) legacySuite(key, sa string, suite crypto.Suite) {
	if suite.Legacy() {
		b.legacy(key, fmt.Sprintf("SA %q", sa), suite.String())
	}
}

// strength refuses weak algorithms in proposals, and warns of an order that prefers the weaker one: the peer takes what it can.
func (b *builder) strength(key, user string, proposals []crypto.Proposal) {
	for i, proposal := range proposals {
		if weak := proposal.Legacy(); len(weak) > 0 {
			b.legacy(fmt.Sprintf("%s[%d]", key, i), user, strings.Join(weak, " and "))
		}
	}
	if weak, strong := crypto.WeakFirst(proposals); weak != "" {
		b.warn("%s: weak_first: %s prefers %s to %s, write the stronger one first", key, user, weak, strong)
	}
}
