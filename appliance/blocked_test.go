package appliance

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"sallyport/appliance/api"
)

// S-024: after a negotiation that failed nothing else is tried: until it may be
// tried again traffic is dropped and counted as such, and none leaves in clear.
func TestFailedNegotiationBlocks(t *testing.T) {
	for _, start := range []string{"always", "on-demand"} {
		t.Run(start, func(t *testing.T) {
			a := strings.Replace(siteA(), "start: always", "start: "+start, 1)
			b := strings.Replace(siteB(), "psk_file: peer.psk", "psk_file: other.psk", 1)
			r := newRig(t, a, b)
			g := r.gateways[0]
			send := func() { r.send(g, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", "secret") }
			send()
			eventually(t, "the negotiation to fail", func() bool { return strings.Contains(g.logs.String(), "reason=authentication_failed") })
			eventually(t, "packets to be dropped for it", func() bool {
				send()
				return g.drops("blocked_negotiation_failed") > 0
			})
			eventually(t, "another try", func() bool {
				send()
				return strings.Count(g.logs.String(), "reason=authentication_failed") > 1
			})
			if got := r.received(r.gateways[1]); len(got) != 0 {
				t.Errorf("the far side got %v", got)
			}
			if sad := get[api.SAD](r, g, api.PathSAD); len(sad.QuickMode)+len(sad.Soft) != 0 {
				t.Errorf("SAs after a failed negotiation: %+v", sad)
			}

			// The right key ends it.
			if err := os.WriteFile(strings.TrimSuffix(r.gateways[1].path, "sallyport.yaml")+"other.psk", []byte("wq7Lk2mXv9RtZ4pLc8HsJ3nYd6BfG\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			r.change(r.gateways[1], api.PathReload, api.Reload{})
			eventually(t, "a packet through the tunnel", func() bool {
				send()
				return slices.Contains(r.received(r.gateways[1]), "secret")
			})
		})
	}
}

// S-041: with IKE off, for the whole box or at a port, nothing there is answered
// and what is to be negotiated is dropped; filters hold as before, and other ports negotiate.
func TestIKEOff(t *testing.T) {
	withPing := func(text string) string {
		return strings.Replace(text, "active_policy: whole", "active_policy: more", 1)
	}
	for name, c := range map[string]struct {
		text  func(string) string
		tried bool // IKE is answered
	}{
		"whole box": {func(s string) string { return "ike: {enabled: false}\n" + s }, false},
		"this port": {func(s string) string {
			return strings.Replace(s, "addresses: [192.0.2.1/24]", "addresses: [192.0.2.1/24], ike: off", 1)
		}, false},
		"another port": {func(s string) string {
			return strings.Replace(s, "addresses: [10.1.0.1/24]", "addresses: [10.1.0.1/24], ike: off", 1)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := strings.Replace(siteB(), "start: on-demand", "start: always", 1)
			r := newRig(t, c.text(withPing(siteA())), b)
			g := r.gateways[0]
			if c.tried {
				r.awaitChildren("nets")
				return
			}
			eventually(t, "the far side to ask again", func() bool { return strings.Contains(r.gateways[1].logs.String(), "msg=retransmitted") })
			r.send(r.gateways[0], rigWAN, "192.0.2.2:4500", "192.0.2.1:4500", "\x00\x00\x00\x00 to the port behind NAT")
			before := g.drops("no_outbound_sa")
			for i := range 5 {
				r.send(g, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", fmt.Sprint(i))
				r.send(g, rigLAN, "10.1.0.7:1000", "198.51.100.9:80", fmt.Sprint(i))
				r.send(g, rigLAN, "10.1.0.7:1000", "203.0.113.9:80", fmt.Sprint(i))
			}
			eventually(t, "what is to be negotiated to be dropped", func() bool { return g.drops("no_outbound_sa") == before+5 })
			eventually(t, "what is blocked to be dropped", func() bool { return r.ruleHits(g, "web") == 5 })
			eventually(t, "what is permitted to be on the wire", func() bool { return r.onWireTo("203.0.113.9") == 5 })
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, p := range r.wire {
				if p.source.String() == "192.0.2.1" {
					t.Errorf("a packet of protocol %d from port %d on the wire", p.protocol, p.sourcePort)
				}
			}
		})
	}
}

// ruleHits is how many packets the filters of a rule have decided.
func (r *rig) ruleHits(g *rigGateway, rule string) (n uint64) {
	for _, f := range get[[]api.Filter](r, g, api.PathFilters) {
		if f.Rule == rule {
			n += f.Packets
		}
	}
	return n
}

// onWireTo counts the packets to an address between the gateways.
func (r *rig) onWireTo(address string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.wire {
		if p.destination.String() == address {
			n++
		}
	}
	return n
}
