package ikev1

import (
	"testing"
	"time"

	"sallyport/ike"
	"sallyport/policy"
)

// S-064: the two ends differ in one of the items that quick mode settles: it fails at both with a reason, whoever begins, and there is nothing that traffic could leave or
// come in by. Lifetimes do not have to be equal, the shorter one counts (RFC 2407 4.5.4, TestShorterLifetime); neither does what lies within the other's.
func TestQuickModeMismatch(t *testing.T) {
	proposals := func(texts ...string) func(*ike.Config) {
		return func(c *ike.Config) { c.Peers[0].Children[0].Proposals = childProposals(t, texts...) }
	}
	traffic := func(s policy.Selector) func(*ike.Config) {
		return func(c *ike.Config) { c.Peers[0].Children[0].Selectors = []policy.Selector{s} }
	}
	port := func(s policy.Selector, n uint16) policy.Selector {
		s.RemotePort = policy.PortRange{First: n, Last: n}
		return s
	}
	for _, test := range []struct {
		name   string
		a, b   func(*ike.Config)
		reason ike.Reason
	}{
		{"encryption", proposals("aes128-sha256"), proposals("3des-sha256"), ike.FailProposal},
		{"length of its key", proposals("aes128-sha256"), proposals("aes256-sha256"), ike.FailProposal},
		{"hash", proposals("aes128-sha256"), proposals("aes128-sha384"), ike.FailProposal},
		{"AH and ESP", proposals("AH sha256"), proposals("aes128-sha256"), ike.FailProposal},
		{"ESP and both", proposals("aes128-sha256"), usualBundle(t), ike.FailProposal},
		{"AH and both", proposals("AH sha256"), usualBundle(t), ike.FailProposal},
		{"transport and tunnel", inTransport, hosts, ike.FailProposal},
		{"perfect forward secrecy", proposals("aes128-sha256-ecp256"), proposals("aes128-sha256"), ike.FailProposal},
		{"its group", proposals("aes128-sha256-ecp256"), proposals("aes128-sha256-ecp384"), ike.FailProposal},
		{"network of one end", nil, traffic(selector(t, "10.2.0.0/24", "10.9.0.0/24")), ike.FailSelectors},
		{"network of the other", nil, traffic(selector(t, "10.9.0.0/24", "10.1.0.0/24")), ike.FailSelectors},
		{"protocol", traffic(selector(t, "10.1.0.0/24", "10.2.0.0/24", 6)), traffic(selector(t, "10.2.0.0/24", "10.1.0.0/24", 17)), ike.FailSelectors},
		{"port", traffic(port(selector(t, "10.1.0.0/24", "10.2.0.0/24", 6), 80)), traffic(port(selector(t, "10.2.0.0/24", "10.1.0.0/24", 6), 81)), ike.FailSelectors},
	} {
		for _, aBegins := range []bool{true, false} {
			l := join(t, test.a, test.b)
			first := l.a
			if !aBegins {
				first = l.b
			}
			first.step(ike.Initiate{Peer: first.other().name})
			l.advance(20 * time.Second)
			for _, n := range []*end{l.a, l.b} {
				if n.count(ike.Failed, test.reason) == 0 {
					t.Errorf("%s: %s does not say %s:\n%s", test.name, n.name, test.reason, n.story())
				}
				if len(n.inbound)+len(n.outbound)+len(n.cells)+n.count(ike.ChildEstablished, "") != 0 {
					t.Errorf("%s: %s has %d inbound and %d outbound SAs", test.name, n.name, len(n.inbound), len(n.outbound))
				}
			}
			l.settled(len(l.a.engine.sas), 0)
		}
	}
}
