package pipeline

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
)

var all = rule{name: "all", source: "any", destination: "any"}

// A prepared snapshot changes nothing until it is published, and nothing at all when it is discarded. One at a time is
// prepared.
func TestPrepare(t *testing.T) {
	r := newRig(t, rigOptions{})
	frame := fromHost(tcp(lanHost, netip.MustParseAddr("198.51.100.9")))
	r.wantDrop(lan, frame, "no_filter")
	before, generation := r.d.Counters().Filters, r.d.Generation()
	s := r.snapshot(siteRule, all)
	p, err := r.d.Prepare(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.d.Prepare(s); err == nil {
		t.Error("two snapshots were prepared")
	}
	if err := r.d.Apply(s); err == nil {
		t.Error("applied beside a prepared snapshot")
	}
	same(t, "filters", r.d.Counters().Filters, before)
	if r.d.Generation() != generation {
		t.Error("memos were forgotten")
	}
	r.wantDrop(lan, frame, "no_filter")
	p.Discard()
	p.Publish() // it has had its end
	r.wantDrop(lan, frame, "no_filter")
	if p, err = r.d.Prepare(s); err != nil {
		t.Fatal(err)
	}
	p.Publish()
	p.Discard()
	r.mirror(s)
	r.wantForward(lan, frame, wan)
	if _, err = r.d.Prepare(s); err != nil { // Close frees it
		t.Fatal(err)
	}
}

// A refused snapshot leaves all as it was, and room for the next.
func TestPrepareRefuses(t *testing.T) {
	r := newRig(t, rigOptions{})
	good := r.snapshot(siteRule)
	many := make([]netip.Prefix, 9)
	for i := range many {
		many[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(i + 1)}), 24)
	}
	for want, change := range map[string]func(*Snapshot){
		"without an SPD":     func(s *Snapshot) { s.SPD = nil },
		"no such port":       func(s *Snapshot) { s.Addresses = map[string][]netip.Prefix{"dmz": nil} },
		"at most 8":          func(s *Snapshot) { s.Addresses = map[string][]netip.Prefix{"lan": many} },
		"again on port":      func(s *Snapshot) { s.Addresses = map[string][]netip.Prefix{"lan": many[:1], "wan": many[:1]} },
		"is in no port":      func(s *Snapshot) { s.Addresses = map[string][]netip.Prefix{} },
		"no cell":            func(s *Snapshot) { s.Tunnels = nil },
		"there is no such p": func(s *Snapshot) { s.PortIKE = map[string]bool{"dmz": true} },
	} {
		s := good
		change(&s)
		if _, err := r.d.Prepare(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	r.publish(good)
}

// An address that is added is the gateway's at once, for ARP, filters on "my addresses" and routes; one that is removed is a
// host's like any other, and its neighbours are forgotten (S-019).
func TestAddressChange(t *testing.T) {
	ping := rule{name: "ping", source: "any", destination: "my", protocol: protocolICMP}
	r := newRig(t, rigOptions{rules: []rule{siteRule, ping, {name: "out", source: "any", destination: "10.5.0.0/16"}}})
	own, newcomer := netip.MustParseAddr("10.5.0.1"), netip.MustParseAddr("10.5.0.7")
	request := fromHost(icmpPacket(lanHost, own, icmpEcho, 20))
	entries := len(r.ref.spd.Entries)
	r.wantForward(lan, request, wan) // by the default route
	r.ref.own = addresses{append(r.ref.own[lan][:1:1], netip.MustParsePrefix("10.5.0.1/24")), r.ref.own[wan]}
	r.applyRules(siteRule, ping, rule{name: "out", source: "any", destination: "10.5.0.0/16"})
	if n := len(r.ref.spd.Entries); n != entries+2 { // one filter and its mirror image
		t.Errorf("%d filters with one address more, %d before", n, entries)
	}
	if o, answers := r.check(lan, request); o.Disposition != packetLocal || len(answers[lan]) != 1 {
		t.Errorf("a ping to the new address: %+v, %d answers", o, len(answers[lan]))
	}
	r.announce(lan, newcomer, macB)
	transit := fromPeer(packetOfLength(peer, newcomer, 253, 60))
	r.wantForward(wan, transit, lan)
	r.ref.own = addresses{r.ref.own[lan][:1], r.ref.own[wan]}
	r.applyRules(siteRule, ping, rule{name: "out", source: "any", destination: "10.5.0.0/16"})
	delete(r.ref.neighbours, neighbourKey{Port: lan, Address: newcomer})
	if n := len(r.ref.spd.Entries); n != entries {
		t.Errorf("%d filters after the address is gone, want %d", n, entries)
	}
	r.wantForward(lan, request, wan)
	r.wantForward(wan, transit, wan)
	r.arp(lan, arpMessage{op: arpRequestOp, senderMAC: macB, senderAddr: newcomer, targetAddr: own}, broadcastMAC)
	same(t, "answers to ARP for an address that is gone", r.sent(lan), [][]byte(nil))
	if _, known := r.d.slow.neighbours.table[neighbourKey{Port: lan, Address: newcomer}]; known {
		t.Error("a neighbour of a subnet that is gone is known")
	}
}

// Packets that wait for an SA or a neighbour when a policy is published meet the new policy at once.
func TestHeldPacketsMeetTheNewPolicy(t *testing.T) {
	for name, c := range map[string]struct {
		before, after []rule
		hold          CellState
		frame         []byte
		end           string
	}{
		"held, then blocked":      {[]rule{siteRule}, []rule{{name: "deny", source: "any", destination: "any", block: true}}, CellHold, fromHost(tcp(lanHost, farHost)), "filter_block"},
		"held, then permitted":    {[]rule{siteRule}, []rule{all}, CellHold, fromHost(tcp(lanHost, farHost)), "forwarded"},
		"held, then held again":   {[]rule{siteRule}, []rule{siteRule, all}, CellHold, fromHost(tcp(lanHost, farHost)), "waiting"},
		"neighbour, then blocked": {[]rule{all}, []rule{}, CellClosed, fromPeer(packetOfLength(peer, stranger, 253, 60)), "no_filter"},
	} {
		for _, served := range []bool{true, false} { // or still in the ring
			r := newRig(t, rigOptions{rules: c.before})
			r.setCell("site", c.hold)
			in := lan
			if strings.HasPrefix(name, "neighbour") {
				in = wan
			}
			r.enqueue(0, in, c.frame)
			r.settle()
			if served {
				r.serveAll()
			}
			before := r.tally()
			if before["waiting"] != 1 {
				t.Fatalf("%s: %v", name, before)
			}
			r.applyRules(c.after...)
			r.settle()
			r.serveAll()
			r.settle()
			want := map[string]int{"waiting": -1, c.end: 1}
			if c.end == "waiting" {
				want = map[string]int{}
			}
			same(t, fmt.Sprintf("%s, served %v", name, served), ends(before, r.tally()), want)
		}
	}
}

// A packet that one tunnel brought, and that waits, is not vouched for by the tunnel that has the cell when it goes on.
func TestCellReuse(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{siteRule}})
	old := r.cell("site")
	child := r.child("site", "aes128gcm16", true)
	near := r.inbound(child)
	if o, _ := r.check(wan, fromPeer(near.encapsulate(tcp(farHost, stranger), 1))); o.Disposition != packetNeighbour {
		t.Fatalf("%+v", o)
	}
	if err := r.d.CloseCell(old); err == nil || !strings.Contains(err.Error(), "publish") {
		t.Errorf("closed a cell that filters lead to: %v", err)
	}
	key := neighbourKey{Port: lan, Address: stranger}
	held := r.d.slow.neighbours.table[key].held // it stays out of the new policy's sight: a packet late in a ring
	r.d.slow.neighbours.table[key].held = nil
	r.d.slow.neighbours.held.give(lan, len(held))
	r.applyRules(rule{name: "none", source: "203.0.113.1", destination: "203.0.113.2"})
	if err := r.d.CloseCell(old); err == nil || !strings.Contains(err.Error(), "inbound SA") {
		t.Errorf("closed a cell with an SA: %v", err)
	}
	if err := r.d.RemoveInbound(child.SPI); err != nil {
		t.Fatal(err)
	}
	delete(r.ref.inbound, child.SPI)
	if err := r.d.CloseCell(old); err != nil {
		t.Fatal(err)
	}
	if err := r.d.SetCellState(old, CellHold); err == nil {
		t.Error("a closed cell has a state")
	}
	delete(r.ref.tunnels, "site")
	delete(r.ref.cells, old)
	r.settle()
	for i := range r.cfg.MaxCells - 1 {
		if id := r.cell(fmt.Sprint("fresh ", i)); id == old {
			t.Error("a cell is reused while there is a fresh one")
		}
	}
	if id := r.cell("third"); id != old {
		t.Errorf("third tunnel in cell %d, want %d", id, old)
	}
	if _, err := r.d.OpenCell("fourth"); !errors.Is(err, ErrNoCell) {
		t.Errorf("more tunnels than cells: %v", err)
	}
	r.applyRules(rule{name: "third", source: "10.1.0.0/16", destination: "10.2.0.0/16", tunnel: "third"})
	before := r.tally()
	r.d.mu.Lock()
	r.d.release(held)
	r.d.mu.Unlock()
	r.settle()
	same(t, "the packet of the former tunnel", ends(before, r.tally()), map[string]int{"waiting": -1, "tunnel_closed": 1})
	second := r.inbound(r.child("third", "aes128gcm16", true))
	if o, _ := r.check(wan, fromPeer(second.encapsulate(tcp(farHost, lanHost), 1))); o.Disposition != packetForwarded {
		t.Errorf("the cell's new tunnel: %+v", o)
	}
}

// Policies swapped a hundred times under running workers, with traffic both ways and packets that wait: nothing of the
// protected networks leaves in clear or is let in in clear, and every packet has its end (S-011).
func TestSwapsUnderTraffic(t *testing.T) {
	r := newRig(t, rigOptions{workers: 2, idle: IdleYield})
	in, out := r.child("site", "aes128-sha256", true), r.child("site", "aes128-sha256", false)
	in.Cell, out.Cell = r.cell("site"), r.cell("site")
	near := r.inbound(in)
	r.setCell("site", CellHold)
	cores := allowedCores(t)
	if err := r.d.Start([]int{cores[0], cores[len(cores)-1]}); err != nil {
		t.Fatal(err)
	}
	defer r.d.Stop()
	// all protect or block the sites; other filters and tunnels come and go beside them
	other := rule{name: "other", source: "10.1.0.0/16", destination: "10.3.0.0/16", tunnel: "other"}
	policies := [][]rule{{siteRule}, {siteRule, all}, {siteRule, other, all}, {denyAll}, {siteRule, rule{name: "host", source: "10.1.0.7", destination: "10.2.0.7", block: true}}}
	sites := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.2.0.0/16")}
	clearFrames, escaped := 0, 0
	collect := func() {
		for port := range 2 {
			for _, f := range r.sent(port) {
				ip := ipv4(f[etherHeaderLen:])
				if f[12] != 8 || f[13] != 0 || port == lan && sites[0].Contains(ip.destination()) {
					continue // ARP, and what was decrypted
				}
				clearFrames++
				if sites[0].Contains(ip.source()) && sites[1].Contains(ip.destination()) {
					escaped++
				}
			}
		}
	}
	start := r.d.Counters()
	for swap := range 100 {
		for w := range 2 {
			var lanBurst, wanBurst [][]byte
			for range 8 {
				near.sequence++
				lanBurst = append(lanBurst, fromHost(tcp(lanHost, farHost)), fromHost(tcp(lanHost, netip.MustParseAddr("198.51.100.9"))))
				wanBurst = append(wanBurst, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)), fromPeer(tcp(farHost, lanHost)))
			}
			r.enqueue(w, lan, lanBurst...)
			r.enqueue(w, wan, wanBurst...)
		}
		r.applyRules(policies[swap%len(policies)]...)
		switch swap % 10 {
		case 3:
			r.outbound(out)
		case 8:
			if _, err := r.d.RemoveOutbound(out.Cell, out.SPI); err != nil {
				t.Fatal(err)
			}
		}
		r.serveAll()
		waitFor(t, "the workers to keep up", func() bool {
			collect()
			return r.d.Counters().Ports[lan].Received+8*32 > uint64(swap*32)
		})
	}
	waitFor(t, "the end of every packet", func() bool {
		r.serveAll()
		collect()
		c := r.d.Counters()
		received := c.Ports[lan].Received - start.Ports[lan].Received + c.Ports[wan].Received - start.Ports[wan].Received
		return received == 2*100*32 && c.Conserved() == nil
	})
	if clearFrames == 0 || escaped != 0 {
		t.Errorf("%d frames left in all, %d of them between the sites in clear", clearFrames, escaped)
	}
	if drops := r.d.Counters().Ports[wan].Drops; drops["clear_on_protected"] == 0 {
		t.Errorf("clear packets from the other site: %v", drops)
	}
}

// Ten thousand filters, prepared and published again and again, each with its counter; the log says how long that took.
func TestManyFilters(t *testing.T) {
	var rules []rule
	for i := range 5000 {
		rules = append(rules, rule{name: fmt.Sprintf("r%04d", i), source: "10.1.0.0/16", destination: fmt.Sprintf("172.%d.%d.0/24", 16+i/256, i%256), protocol: 6, port: port(uint16(1 + i))})
	}
	r := newRig(t, rigOptions{})
	s := r.snapshot(rules...)
	for range 3 {
		start := time.Now()
		p, err := r.d.Prepare(s)
		if err != nil {
			t.Fatal(err)
		}
		prepared := time.Since(start)
		start = time.Now()
		p.Publish()
		t.Logf("%d filters: prepared in %v, published in %v", len(s.SPD.Entries), prepared, time.Since(start))
	}
	start := time.Now()
	d := r.d.filters.clone()
	if err := d.use(countedIDs(s.SPD)); err != nil {
		t.Fatal(err)
	}
	t.Logf("counter slots: %v", time.Since(start))
	rows, err := r.d.Table()
	if err != nil || len(rows) != len(s.SPD.Entries) {
		t.Fatalf("%d rows of %d, %v", len(rows), len(s.SPD.Entries), err)
	}
}

// The fast path's table, read back, is the compiled filters in the order of their weight (S-108).
func TestTable(t *testing.T) {
	r := newRig(t, rigOptions{endpoints: map[string]netip.Addr{"gone": netip.MustParseAddr("192.0.2.99")}, rules: []rule{
		siteRule, all,
		{name: "gone", source: "10.1.0.0/16", destination: "10.8.0.0/16", tunnel: "gone"},
		{name: "deny", source: "10.1.0.9", destination: "any", block: true},
		{name: "lan", source: "10.1.0.0/16", destination: "10.7.0.0/16", tunnel: "site", ports: policy.PortsLAN, passthrough: true},
	}})
	rows, err := r.d.Table()
	if err != nil {
		t.Fatal(err)
	}
	var want []TableRow
	for i, e := range r.ref.spd.Entries {
		row := TableRow{EntryID: e.ID, Verdict: e.Verdict.String()}
		if e.Verdict == policy.VerdictProtect || e.Verdict == policy.VerdictRequire {
			row.Tunnel = e.Tunnel
		}
		want = append(want, row)
		if i > 0 && r.ref.spd.Entries[i-1].Weight < e.Weight {
			t.Errorf("filter %d is heavier than the one before", i)
		}
	}
	same(t, "table", rows, want)
}
