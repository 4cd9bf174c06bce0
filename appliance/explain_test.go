package appliance

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"sallyport/appliance/api"
	"sallyport/pipeline"
	"sallyport/policy"
)

// crossing has filters of every action that overlap, so that weights decide.
func crossing() string {
	return head("gw-a", "10.1.0.1/24", "192.0.2.1", "192.0.2.2", "on-demand") + `filter_lists:
  - {name: nets, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 10.2.0.0/24}]}
  - {name: open, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 203.0.113.0/24}]}
  - {name: mail, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 203.0.113.0/25, protocol: tcp, destination_port: 25}]}
  - {name: relay, updated: 2026-11-21, filters: [{source: 10.1.0.8, destination: 203.0.113.0/25, protocol: tcp, destination_port: 1-1023, mirrored: false}]}
  - {name: rest, updated: 2026-11-21, filters: [{source: any, destination: 10.1.0.128-10.1.0.200, protocol: udp}]}
  - {name: six-in-four, updated: 2026-11-21, filters: [{source: any, destination: 10.1.0.0/24, protocol: 41}]}
filter_actions:
  - {name: protect, action: negotiate, esp_proposals: [aes128gcm16]}
  - {name: pass, action: permit}
  - {name: drop, action: block}
policies:
  - name: crossing
    rules:
      - {name: nets, filter_list: nets, filter_action: protect, peer: far}
      - {name: open, filter_list: open, filter_action: pass}
      - {name: mail, filter_list: mail, filter_action: drop}
      - {name: relay, filter_list: relay, filter_action: pass, ports: lan}
      - {name: rest, filter_list: rest, filter_action: drop}
      - {name: six-in-four, filter_list: six-in-four, filter_action: drop}
active_policy: crossing
`
}

// outcome counts what became of packets, by the port they came in by.
type outcome struct {
	drops     map[string]uint64 // by port and reason
	forwarded map[string]uint64
	filters   map[string]uint64 // hits
}

func newOutcome() outcome {
	return outcome{map[string]uint64{}, map[string]uint64{}, map[string]uint64{}}
}

// happened is what the gateway has counted so far.
func (r *rig) happened(g *rigGateway) outcome {
	o := newOutcome()
	for _, p := range g.plane.Counters().Ports {
		if p.Name == pipeline.LocalPort {
			continue
		}
		o.forwarded[p.Name] += p.Forwarded
		for reason, n := range p.Drops {
			o.drops[p.Name+" "+reason] += n
		}
	}
	for _, f := range get[[]api.Filter](r, g, api.PathFilters) {
		if f.ID != 0 {
			o.filters[fmt.Sprintf("%s/%s/%v/%s", f.Rule, f.Filter, f.Mirror, f.Verdict)] += f.Packets
		}
	}
	return o
}

func (g *rigGateway) received() (n uint64) {
	for _, p := range g.plane.Counters().Ports {
		if p.Name != pipeline.LocalPort {
			n += p.Received
		}
	}
	return n
}

// What explain says of 10,000 random packets, before any of them is sent, is what
// the fast path then does: the same drops by reason, the same forwarding, and the
// same hits of every filter. Policy and data plane never disagree.
func TestExplainIsWhatHappens(t *testing.T) {
	r := newRig(t, crossing())
	g := r.gateways[0]
	// Without the peer there is no SA to wait for.
	if err := g.api.Post(t.Context(), api.PathDown, api.Action{Peer: "far"}, nil); err != nil {
		t.Fatal(err)
	}
	r.meetNeighbours(g, "10.1.0.7", "10.1.0.8", "10.1.0.128", "10.1.0.150", "10.1.0.201")
	random := rand.New(rand.NewPCG(7, 11))
	pick := func(from ...string) netip.Addr { return netip.MustParseAddr(from[random.IntN(len(from))]) }
	inside := []string{"10.1.0.7", "10.1.0.8", "10.1.0.128", "10.1.0.150", "10.1.0.201", "10.2.0.7", "10.2.0.200"}
	outside := []string{"203.0.113.5", "203.0.113.200", "198.51.100.4", "10.2.0.9", "192.0.2.9"}
	ports := []uint16{25, 53, 80, 443, 500, 1023, 1024, 4500}
	before, said := r.happened(g), newOutcome()
	const packets, batch = 10000, 250
	for done := 0; done < packets; done += batch {
		received := g.received()
		for range batch {
			p := policy.Packet{Source: pick(inside...), Destination: pick(outside...), Protocol: []uint8{6, 17, 41, 47, 132}[random.IntN(5)]}
			port, name := rigLAN, "lan"
			if random.IntN(2) == 0 {
				p.Source, p.Destination, port, name = p.Destination, p.Source, rigWAN, "wan"
			}
			if p.Protocol == 6 || p.Protocol == 17 || p.Protocol == 132 {
				p.HasPorts, p.SourcePort, p.DestinationPort = true, ports[random.IntN(len(ports))], ports[random.IntN(len(ports))]
			}
			r.foretell(g, p, name, &said)
			r.mu.Lock()
			r.waiting = append(r.waiting, injection{g, port, packetFrame(g.ports[port].mac, p)})
			r.mu.Unlock()
		}
		eventually(t, "the packets to be taken", func() bool { return g.received() >= received+batch })
	}
	eventually(t, "every packet to have its end", func() bool { c := g.plane.Counters(); return c.Conserved() == nil })
	after := r.happened(g)
	compareCounts(t, "drops", said.drops, before.drops, after.drops)
	compareCounts(t, "forwarded", said.forwarded, before.forwarded, after.forwarded)
	compareCounts(t, "hits", said.filters, before.filters, after.filters)
	if len(said.drops) < 4 || said.forwarded["lan"] == 0 || said.forwarded["wan"] == 0 || len(said.filters) < 8 {
		t.Errorf("the packets have met too little: %+v", said)
	}
}

// meetNeighbours has packets of TCP cross the gateway both ways until it knows
// the MAC addresses of hosts and router: none has to wait from then on.
func (r *rig) meetNeighbours(g *rigGateway, hosts ...string) {
	r.t.Helper()
	outside := netip.MustParseAddr("203.0.113.200")
	for _, host := range hosts {
		p := policy.Packet{Source: outside, Destination: netip.MustParseAddr(host), Protocol: 6, SourcePort: 1, DestinationPort: 2, HasPorts: true}
		back := policy.Packet{Source: p.Destination, Destination: outside, Protocol: 6, SourcePort: 2, DestinationPort: 1, HasPorts: true}
		before := len(r.received(g))
		r.mu.Lock()
		r.waiting = append(r.waiting, injection{g, rigWAN, packetFrame(g.ports[rigWAN].mac, p)}, injection{g, rigLAN, packetFrame(g.ports[rigLAN].mac, back)})
		r.mu.Unlock()
		eventually(r.t, "both packets to arrive", func() bool { return len(r.received(g)) == before+2 })
	}
}

// foretell notes what explain says of a packet.
func (r *rig) foretell(g *rigGateway, p policy.Packet, port string, said *outcome) {
	r.t.Helper()
	ask := url.Values{"src": {p.Source.String()}, "dst": {p.Destination.String()}, "proto": {fmt.Sprint(p.Protocol)}, "in": {port}}
	if p.HasPorts {
		ask.Set("sport", fmt.Sprint(p.SourcePort))
		ask.Set("dport", fmt.Sprint(p.DestinationPort))
	}
	x, err := g.explain(r.t.Context(), ask)
	if err != nil {
		r.t.Fatalf("%v: %v", ask, err)
	}
	if x.Disagreement != "" {
		r.t.Fatalf("%s: %s", x.Packet, x.Disagreement)
	}
	switch x.Action {
	case "drop":
		said.drops[port+" "+x.Reason]++
	case "forward":
		said.forwarded[port]++
	default:
		r.t.Fatalf("%s: %s", x.Packet, x.Action)
	}
	if x.Winner != nil {
		said.filters[fmt.Sprintf("%s/%s/%v/%s", x.Winner.Rule, x.Winner.Filter, x.Winner.Mirror, x.Winner.Verdict)]++
	}
}

func compareCounts(t *testing.T, what string, said, before, after map[string]uint64) {
	t.Helper()
	keys := maps.Clone(said)
	maps.Copy(keys, after)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if did := after[key] - before[key]; said[key] != did {
			t.Errorf("%s of %s: explain said %d, the fast path did %d", what, key, said[key], did)
		}
	}
}

// Explain names what decides with its place in the file, the SA that the packet
// would use, the port, the next hop, and what the caches hold.
func TestExplainNamesWhatIsUsed(t *testing.T) {
	r := newRig(t, siteA(), siteB())
	g := r.gateways[0]
	r.awaitChildren("nets")
	r.send(g, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", "to be cached")
	eventually(t, "a packet through the tunnel", func() bool { return len(r.received(r.gateways[1])) == 1 })
	x := get[api.Explanation](r, g, api.PathExplain, "src", "10.1.0.7", "dst", "10.2.0.7", "proto", "udp", "sport", "1000", "dport", "2000")
	if x.Action != "protect" || x.Verdict != "protect" || x.Port != "lan" || x.OutPort != "wan" || x.NextHop != "192.0.2.2" || x.Tunnel != "nets" || x.CellState != "up" {
		t.Errorf("unexpected: %+v", x)
	}
	if x.Winner == nil || x.Winner.Rule != "nets" || !strings.Contains(x.Winner.Origin, "sallyport.yaml:") || !strings.Contains(x.Winner.RuleOrigin, "sallyport.yaml:") {
		t.Errorf("expected rule nets with its lines, found %+v", x.Winner)
	}
	if x.SA == nil || x.SA.Child != "nets" || x.SA.Direction != "outbound" {
		t.Errorf("expected the outbound SA of nets, found %+v", x.SA)
	}
	if len(x.Cached) != 1 || !x.Cached[0].Current || x.Cached[0].Action != "protect" {
		t.Errorf("expected the flow in the cache, found %+v", x.Cached)
	}
	if len(x.Exemptions) != 17 {
		t.Errorf("expected all 17 exemptions to be considered, found %d", len(x.Exemptions))
	}

	// The same traffic from outside in clear, and through the tunnel.
	x = get[api.Explanation](r, g, api.PathExplain, "src", "10.2.0.7", "dst", "10.1.0.7", "proto", "udp", "sport", "2000", "dport", "1000", "in", "wan")
	if x.Action != "drop" || x.Reason != "clear_on_protected" {
		t.Errorf("in clear: %s %s", x.Action, x.Reason)
	}
	x = get[api.Explanation](r, g, api.PathExplain, "src", "10.2.0.7", "dst", "10.1.0.7", "proto", "udp", "sport", "2000", "dport", "1000", "in", "nets")
	if x.Action != "forward" || x.InTunnel != "nets" || x.OutPort != "lan" {
		t.Errorf("through the tunnel: %+v", x)
	}
	x = get[api.Explanation](r, g, api.PathExplain, "src", "192.0.2.2", "dst", "192.0.2.1", "proto", "udp", "sport", "500", "dport", "500")
	if x.Exempted != "ike-inbound" || x.Action != "ike" {
		t.Errorf("IKE: %+v", x)
	}
	for _, wrong := range []string{"", "src=10.1.0.7", "src=x&dst=10.2.0.7&proto=udp", "src=10.1.0.7&dst=2001:db8::1&proto=udp&dport=1", "src=10.1.0.7&dst=10.2.0.7&proto=any",
		"src=10.1.0.7&dst=10.2.0.7&proto=tcp", "src=10.1.0.7&dst=10.2.0.7&proto=tcp&dport=65536", "src=10.1.0.7&dst=10.2.0.7&proto=icmp&dport=7",
		"src=10.1.0.7&dst=10.2.0.7&proto=icmp&in=dmz", "src=10.1.0.7&dst=10.2.0.7&proto=icmp&form=in"} {
		ask, err := url.ParseQuery(wrong)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.api.Get(t.Context(), api.PathExplain, ask, &x); err == nil || !strings.Contains(err.Error(), "expected") {
			t.Errorf("%q: expected to be refused, found %v", wrong, err)
		}
	}
}
