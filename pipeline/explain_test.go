package pipeline

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"sallyport/policy"
)

// explained is what Explain should say of a packet that ended so.
func explained(o outcome) (action, reason, waits string) {
	switch o.Disposition {
	case packetDropped:
		return "drop", o.Reason, ""
	case packetForwarded:
		return "forward", "", ""
	case packetNeighbour:
		return "forward", "", "neighbour"
	case packetAcquire:
		return "protect", "", "sa"
	}
	return string(o.Disposition), "", ""
}

// explainRules is a random policy with a tunnel that is up, one that is wanted and one that failed.
func explainRules(random *rand.Rand) []rule {
	rules := append(randomRules(random), rule{name: "site", source: "10.1.0.0/24", destination: "10.2.0.0/24", tunnel: "site"})
	for i, tunnel := range []string{"wanted", "failed"} {
		rules = append(rules, rule{name: tunnel, source: randomNets[random.IntN(4)] + "0/24", destination: fmt.Sprintf("%s%d", randomNets[2+i], random.IntN(8)+2), tunnel: tunnel})
	}
	return rules
}

// explainTargets is where random packets go beside the hosts of the random policies.
var explainTargets = []netip.Addr{lanOwn, wanOwn, netip.MustParseAddr("224.0.0.9"), netip.MustParseAddr("10.1.0.255"), netip.MustParseAddr("192.0.2.255"),
	netip.MustParseAddr("255.255.255.255"), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("241.1.1.1")}

func explainPacket(random *rand.Rand) ipv4 {
	destination := randomHost(random)
	if random.IntN(4) == 0 {
		destination = explainTargets[random.IntN(len(explainTargets))]
	}
	p := packetOfLength(randomHost(random), destination, []uint8{6, 17, 17, 253, 41, 46}[random.IntN(6)], 60)
	if hasPorts(p.protocol()) && random.IntN(3) > 0 {
		ports := []uint16{88, 500, 501, 5676}
		setPorts(p, ports[random.IntN(4)], ports[random.IntN(4)])
	}
	return p
}

// What Explain says of 10,000 random packets is what the fast path then does with them, and by the filter that it names; the
// question itself leaves no trace.
func TestExplain(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{}, flows: 64})
	r.random = rand.New(rand.NewPCG(4, 4)) // whatever rigs there were before
	wide := siteSelectors(func(s *policySelector) { s.Local, s.Remote = anyIPv4, anyIPv4 })
	in, out := r.child("site", "aes128gcm16", true), r.child("site", "aes128gcm16", false)
	in.Selectors = wide // the outbound one keeps to the sites: mismatches are explained too
	near := r.inbound(in)
	r.outbound(out)
	r.setCell("wanted", CellHold)
	r.setCell("failed", CellFailed)
	told := map[string]int{}
	for i := range 10000 {
		if i%100 == 0 {
			r.options.level = policy.ExemptionLevel(r.random.IntN(4))
			r.options.permit = r.random.IntN(4) == 0
			r.applyRules(explainRules(r.random)...)
			r.rejudged()
		}
		p := explainPacket(r.random)
		port := r.random.IntN(2)
		q := Query{Packet: packetOf(p), Port: r.cfg.Ports[port].Name}
		frame := [][]byte{fromHost(p), fromPeer(p)}[port]
		if r.random.IntN(4) == 0 {
			near.sequence++
			q.Port, q.InTunnel, port = "wan", "site", wan
			frame = fromPeer(near.encapsulate(p, near.sequence))
		}
		before := ""
		if i%10 == 0 {
			before = r.traces()
		}
		trace, err := r.d.Explain(q)
		if err != nil {
			t.Fatal(err)
		}
		if before != "" && r.traces() != before {
			t.Fatalf("%+v: the question was counted or remembered", q)
		}
		o, _ := r.check(port, frame)
		r.compareTrace(q, trace, o)
		told[trace.Action+" "+trace.Reason+trace.Waits]++
	}
	for _, end := range []string{"forward ", "forward neighbour", "protect ", "protect sa", "local ", "group ", "ike ", "drop filter_block", "drop no_filter", "drop blocked_negotiation_failed",
		"drop clear_on_protected", "drop selector_mismatch", "drop directed_broadcast", "drop bad_source", "drop tcp_multicast", "drop protocol_41", "drop protect_from_unprotected"} {
		if told[end] < 5 {
			t.Errorf("only %d packets ended as %q: %v", told[end], end, told)
		}
	}
}

// traces is everything that a packet would have changed.
func (r *rig) traces() string {
	c := r.d.Counters()
	return fmt.Sprint(c.Ports, c.Filters, len(r.d.Flows(1000)))
}

// compareTrace holds an explanation against what became of the packet.
func (r *rig) compareTrace(q Query, trace Trace, o outcome) {
	r.t.Helper()
	action, reason, waits := explained(o)
	if trace.Action == "protect" && action == "forward" { // into the tunnel
		action = "protect"
	}
	if trace.Action != action || trace.Reason != reason || trace.Waits != waits {
		r.t.Fatalf("%+v\n explained %+v\n it ended  %+v", q, trace, o)
	}
	if o.Disposition == packetForwarded && (trace.OutPort != r.cfg.Ports[o.Port].Name || trace.Neighbour != macString(o.Frame[:6])) {
		r.t.Fatalf("%+v left by port %d to %s, explained %+v", q, o.Port, macString(o.Frame[:6]), trace)
	}
	if trace.Action == "protect" && trace.Waits == "" && trace.OutboundSPI != r.ref.cells[r.cell("site")].out.child.SPI {
		r.t.Fatalf("%+v: SPI %#x", q, trace.OutboundSPI)
	}
	if trace.Entry != nil {
		if e, ok := r.ref.spd.Match(q.Packet, r.cfg.Ports[map[string]int{"lan": lan, "wan": wan}[q.Port]].Role); !ok || e.ID != trace.Entry.ID {
			r.t.Fatalf("%+v: decided by %+v, the first that matches is %+v", q, trace.Entry, e)
		}
	}
	if x, ok := r.ref.spd.Exempt(q.Packet); trace.Exemption != nil && (!ok || x.ID != trace.Exemption.ID) {
		r.t.Fatalf("%+v: exempt by %+v, want %+v", q, trace.Exemption, x)
	}
}

func macString(b []byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5])
}

// Explain shows what the flow caches hold for the packet, and whether that is still believed.
func TestExplainCached(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{siteRule}})
	p := tcp(lanHost, netip.MustParseAddr("198.51.100.9"))
	q := Query{Packet: packetOf(p), Port: "lan"}
	explain := func() Trace {
		t.Helper()
		trace, err := r.d.Explain(q)
		if err != nil {
			t.Fatal(err)
		}
		return trace
	}
	same(t, "before the packet", explain().Cached, []CachedFlow(nil))
	r.wantDrop(lan, fromHost(p), "no_filter")
	same(t, "after it", explain().Cached, []CachedFlow{{Action: "drop", Reason: "no_filter", Current: true}})
	r.applyRules(siteRule, all)
	trace := explain()
	same(t, "under another policy", trace.Cached, []CachedFlow{{Action: "drop", Reason: "no_filter"}})
	if trace.Action != "forward" || trace.Entry.Rule != "all" || trace.OutPort != "wan" || trace.NextHop != peer {
		t.Errorf("%+v", trace)
	}
	for _, bad := range []Query{{Packet: q.Packet, Port: "dmz"}, {Packet: q.Packet, Port: "lan", InTunnel: "none"}, {Port: "lan"}} {
		if _, err := r.d.Explain(bad); err == nil {
			t.Errorf("%+v was explained", bad)
		}
	}
	r.cell("site")
	if trace, err := r.d.Explain(Query{Packet: packetOf(tcp(lanOwn, farHost)), Port: LocalPort}); err != nil || trace.Action != "drop" || trace.Reason != "no_outbound_sa" || trace.CellState != "closed" {
		t.Errorf("a packet of the gateway: %+v, %v", trace, err)
	}
}
