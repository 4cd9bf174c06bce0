package appliance

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sallyport/appliance/api"
)

// softSite is a gateway whose LAN, which may be seen in the open (rig.tap), speaks to a file server that knows no IPsec. All
// hosts beside its ports answer ARP and nothing else.
func softSite() string {
	return head("gw-a", "203.0.113.1/25", "192.0.2.1", "192.0.2.66", "on-demand") + `filter_lists:
  - {name: smb, updated: 2026-11-21, filters: [{source: 203.0.113.0/25, destination: 192.0.2.66, protocol: udp, destination_port: 445}]}
filter_actions:
  - {name: try, action: negotiate, fallback_clear: true, fallback_clear_on_wan: true}
policies:
  - name: site
    rules:
      - {name: smb, filter_list: smb, filter_action: try, peer: far}
active_policy: site
`
}

// openOnWire are the payloads of a host's datagrams that have left in clear, in order.
func (r *rig) openOnWire(source string) (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.wire {
		if p.protocol == protoUDP && p.source == netip.MustParseAddr(source) {
			list = append(list, string(p.payload))
		}
	}
	return list
}

// firstMessages is how many messages of IKE the gateway has sent.
func (r *rig) firstMessages() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.wire {
		if p.source == netip.MustParseAddr("192.0.2.1") && p.port == 500 {
			n++
		}
	}
	return n
}

// sessions is how many crypto sessions there are, on whatever device.
func sessions() (n int) {
	for _, device := range testCrypto.Describe() {
		n += device.Sessions
	}
	return n
}

// sendMany sends numbered datagrams, no faster than the gateway takes them.
func (r *rig) sendMany(g *rigGateway, from, to string, count int) {
	r.t.Helper()
	const batch = 500
	for sent := 0; sent < count; sent += batch {
		before := g.received()
		for i := range batch {
			r.send(g, rigLAN, from, to, fmt.Sprint(sent+i))
		}
		eventually(r.t, "the gateway to take a batch", func() bool { return g.received() >= before+batch })
	}
}

// A whole gateway and a host that knows no IPsec. 10,000 packets: those that wait leave in clear and in order after four
// messages, the rest was dropped and counted. Then the host's own packets come in, another port's do not; a datagram to our
// IKE port ends all that at once, and every view says what passed.
// S-044, S-046, S-049, S-051, S-053, S-054, S-055, S-101
func TestClearTextThroughAWholeGateway(t *testing.T) {
	const lan, server = "203.0.113.7", "192.0.2.66"
	r := newRig(t, softSite()+"# card: both\n")
	g := r.gateways[0]
	idle := sessions()
	soft := func() []api.SoftSA { return get[api.SAD](r, g, api.PathSAD).Soft }
	if len(soft()) != 0 { // S-048
		t.Fatal("a soft SA before anything was sent")
	}
	const packets, kept = 10_000, 64
	r.sendMany(g, lan+":40000", server+":445", packets)
	r.send(g, rigWAN, server+":445", lan+":40000", "before its time")
	eventually(t, "a soft SA", func() bool { return len(soft()) == 1 })
	if n := r.firstMessages(); n != 4 {
		t.Errorf("%d first messages, expected 4", n)
	}
	eventually(t, "what was kept to leave in clear", func() bool { return len(r.openOnWire(lan)) >= kept })
	for i, payload := range r.openOnWire(lan) {
		if payload != fmt.Sprint(i) {
			t.Fatalf("packet %d in clear is number %s", i, payload)
		}
	}
	if n := g.drops("hold_full") + g.drops("punt_full"); n != packets-kept { // the second where the slow path is slower than the test
		t.Errorf("%d dropped for want of room, expected %d", n, packets-kept)
	}

	r.send(g, rigWAN, server+":445", lan+":40000", "in clear")
	eventually(t, "the server's packet to come in", func() bool {
		for _, payload := range r.received(g) {
			if payload == "before its time" {
				t.Fatal("a clear packet came in before the soft SA")
			}
			if payload == "in clear" {
				return true
			}
		}
		return false
	})
	r.send(g, rigLAN, lan+":40000", server+":22", "another port")
	r.send(g, rigLAN, "203.0.113.8:40000", server+":445", "another host")
	eventually(t, "another port to be dropped", func() bool { return g.drops("no_filter") == 1 })
	eventually(t, "the first use in the log", func() bool { return strings.Contains(g.logs.String(), "msg=soft_used") })
	sa := soft()[0]
	if sa.Peer != "far" || sa.Operation != "none" || sa.Protection != "CLEAR" || sa.SPI+sa.Keys != "" || sa.PacketsSent != kept || sa.PacketsReceived == 0 || sa.Remaining > 300 {
		t.Errorf("soft SA %+v", sa)
	}
	if n := sessions(); n != idle { // S-101
		t.Errorf("%d crypto sessions, %d before the soft SA", n, idle)
	}
	if did := g.card.Counters(); did.SessionsMade+did.SessionsRefused+did.TxSecured+did.TxFailed+did.RxSecured != 0 { // S-101
		t.Errorf("the NIC was asked for soft SAs: %+v", did)
	}
	explained := get[api.Explanation](r, g, api.PathExplain, "src", lan, "dst", server, "proto", "udp", "sport", "40000", "dport", "445")
	if explained.SoftSA == nil || explained.Action != "forward" || explained.Disagreement != "" {
		t.Errorf("explain: %+v", explained)
	}
	explained = get[api.Explanation](r, g, api.PathExplain, "src", server, "dst", lan, "proto", "udp", "sport", "445", "dport", "40000", "in", "smb")
	if explained.SoftSA != nil || explained.Fallback != "" {
		t.Errorf("explain, of what comes in protected: %+v", explained)
	}
	valid(t, "sa", "a soft SA", raw(g, "GET", api.PathSAD, nil))

	r.send(g, rigWAN, server+":500", "192.0.2.1:500", "does anybody here speak IKE?")
	eventually(t, "the soft SA to be gone", func() bool { return len(soft()) == 0 })
	before := len(r.openOnWire(lan))
	r.send(g, rigLAN, lan+":40000", server+":445", "no more")
	eventually(t, "what is sent now to wait", func() bool { return g.plane.Counters().Ports[rigLAN].Waiting > 0 })
	messages := r.firstMessages()
	eventually(t, "IKE to be tried again", func() bool { return r.firstMessages() > messages })
	if now := r.openOnWire(lan); len(now) != before {
		t.Errorf("in clear after the host spoke: %q", now[before:])
	}
	why := get[api.Why](r, g, api.PathWhy, "peer", "far")
	if why.Fallback == nil || why.Fallback.Refused != "heard" || !strings.Contains(why.Fallback.Text, "refused for") {
		t.Errorf("why: %+v", why.Fallback)
	}
	r.change(g, api.PathApply, api.Apply{Text: string(g.running().text) + "soft_sa: deny\n"})
	if why = get[api.Why](r, g, api.PathWhy, "peer", "far"); why.Fallback == nil || why.Fallback.Refused != "denied" {
		t.Errorf("why, with soft_sa: deny: %+v", why.Fallback)
	}
	explained = get[api.Explanation](r, g, api.PathExplain, "src", lan, "dst", server, "proto", "udp", "sport", "40000", "dport", "445")
	if !strings.Contains(explained.Fallback, "soft_sa: deny") {
		t.Errorf("explain, with soft_sa: deny: %q", explained.Fallback)
	}
	text := metricsOf(t, g)
	for _, want := range []string{
		"sallyport_soft_sas 0\n", "sallyport_soft_waiting 0\n", "sallyport_soft_alarm 0\n", "sallyport_soft_created_total 1\n", "sallyport_offload_skipped_soft_total 1\n",
		`sallyport_soft_ended_total{reason="heard"} 1`, `sallyport_soft_ended_total{reason="expired"} 0`, `sallyport_soft_clear_packets_total{direction="outbound"} 64`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("expected %q among the metrics", want)
		}
	}
	for _, record := range []string{"msg=soft_created", "msg=soft_removed", "reason=heard"} {
		if !strings.Contains(g.logs.String(), record) {
			t.Errorf("no %s in the log", record)
		}
	}
}

// Who sends first gets the same: its packets are dropped while it is asked by IKE, and let in when it has not answered. After
// a flush that begins anew; who takes it down reads what that has ended.
// S-044, S-048
func TestAHostThatSendsFirst(t *testing.T) {
	const lan, server = "203.0.113.7", "192.0.2.66"
	r := newRig(t, softSite())
	g := r.gateways[0]
	soft := func() int { return len(get[api.SAD](r, g, api.PathSAD).Soft) }
	if soft() != 0 { // S-048
		t.Fatal("a soft SA before anything was sent")
	}
	r.send(g, rigWAN, server+":445", lan+":40000", "first")
	eventually(t, "the clear packet to be dropped", func() bool { return g.plane.Counters().Ports[rigWAN].Drops["clear_on_protected"] == 1 })
	eventually(t, "a soft SA", func() bool { return soft() == 1 })
	if n := r.firstMessages(); n != 4 {
		t.Errorf("%d first messages, expected 4", n)
	}
	r.send(g, rigWAN, server+":445", lan+":40000", "second")
	eventually(t, "the next one to come in", func() bool { return slices.Contains(r.received(g), "second") })
	if slices.Contains(r.received(g), "first") {
		t.Error("the first packet came in too")
	}
	var flushed api.FlushedSAs
	if err := g.api.Post(t.Context(), api.PathFlushSAs, api.FlushSAs{Soft: true}, &flushed); err != nil || flushed.Soft != 1 || soft() != 0 {
		t.Errorf("flushed %+v, %v", flushed, err)
	}
	r.send(g, rigWAN, server+":445", lan+":40000", "third")
	eventually(t, "the clear packet to be dropped again", func() bool { return g.plane.Counters().Ports[rigWAN].Drops["clear_on_protected"] == 2 })
	eventually(t, "four messages more", func() bool { return r.firstMessages() == 8 })
	eventually(t, "a soft SA again", func() bool { return soft() == 1 })
	outcomes, err := g.api.Act(t.Context(), api.PathDown, api.Action{Name: "far", Wait: 60})
	if err != nil || len(outcomes) != 1 || outcomes[0].Soft != 1 || outcomes[0].Result != api.ResultClosed || soft() != 0 {
		t.Errorf("down: %+v, %v", outcomes, err)
	}
	explained := get[api.Explanation](r, g, api.PathExplain, "src", lan, "dst", server, "proto", "udp", "dport", "445")
	if explained.CellState != "closed" || !strings.Contains(explained.Fallback, "closed until `sallyport up`") {
		t.Errorf("explain: %+v", explained)
	}
	if why := get[api.Why](r, g, api.PathWhy, "peer", "far"); why.Fallback == nil || !strings.Contains(why.Fallback.Text, "closed until") {
		t.Errorf("why: %+v", why.Fallback)
	}
	if outcomes, err = g.api.Act(t.Context(), api.PathDown, api.Action{Name: "far", Wait: 60}); err != nil || outcomes[0].Soft != 0 || outcomes[0].Result != api.ResultWasDown {
		t.Errorf("down again: %+v, %v", outcomes, err)
	}
}
