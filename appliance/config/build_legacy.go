package config

import (
	"fmt"
	"strings"

	"sallyport/crypto"
)

// legacy refuses weak algorithms that nobody asked for, and warns of those that somebody did.
func (b *builder) legacy(key, user, weak string) {
	if b.raw.Legacy {
		b.warn("%s uses %s, which no longer protects: legacy_algorithms lets it", user, weak)
		return
	}
	b.add(key, "expected algorithms that still protect, found %s, which does not: use aes128gcm16, or write legacy_algorithms: true at the top of the file for a peer that has nothing better", weak)
}

func (b *builder) legacySuite(key, sa string, suite crypto.Suite) {
	if suite.Legacy() {
		b.legacy(key, fmt.Sprintf("SA %q", sa), suite.String())
	}
}

func (b *builder) legacyProposal(key, user string, proposal crypto.Proposal) {
	if weak := proposal.Legacy(); len(weak) > 0 {
		b.legacy(key, user, strings.Join(weak, " and "))
	}
}
