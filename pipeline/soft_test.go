package pipeline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"sallyport/policy"
)

// The traffic of the tests of soft SAs: a peer that knows no IPsec, asked at port 445 and at port 80 by two filters with
// fallback (S-025) and at the others by one without.
var (
	filesRule  = rule{name: "files", source: "10.1.0.0/16", destination: "10.2.0.0/16", protocol: protocolTCP, port: policy.PortRange{First: 445, Last: 445}, tunnel: "site", fallback: true}
	webRule    = rule{name: "web", source: "10.1.0.0/16", destination: "10.2.0.0/16", protocol: protocolTCP, port: policy.PortRange{First: 80, Last: 80}, tunnel: "site", fallback: true}
	filesRule6 = rule{name: "files6", source: "2001:db8:1::/48", destination: "2001:db8:2::/48", protocol: protocolTCP, port: policy.PortRange{First: 445, Last: 445}, tunnel: "site", fallback: true}
	webRule6   = rule{name: "web6", source: "2001:db8:1::/48", destination: "2001:db8:2::/48", protocol: protocolTCP, port: policy.PortRange{First: 80, Last: 80}, tunnel: "site", fallback: true}
	softRules  = []rule{filesRule, webRule, filesRule6, webRule6, siteRule, siteRule6}
)

// softSide is one IP version of the tests.
type softSide struct {
	local, remote netip.Addr
	files, web    string
	tcp           func(source, destination netip.Addr, from, to uint16) []byte
}

var softSides = map[string]softSide{
	"IPv4": {lanHost, farHost, "files", "web", func(s, d netip.Addr, from, to uint16) []byte { return withPorts(tcp(s, d), from, to) }},
	"IPv6": {lanHost6, farHost6, "files6", "web6", func(s, d netip.Addr, from, to uint16) []byte {
		p := udp6(s, d, from, to, 16)
		p[6] = protocolTCP
		return p
	}},
}

func withPorts(p ipv4, from, to uint16) []byte {
	binary.BigEndian.PutUint16(p[ipv4HeaderLen:], from)
	binary.BigEndian.PutUint16(p[ipv4HeaderLen+2:], to)
	return p
}

func (s *softSide) fromHost(ip []byte) []byte {
	return etherFrame(lanMAC[:], hostMAC[:], etherTypeOf(ip), ip)
}
func (s *softSide) fromPeer(ip []byte) []byte {
	return etherFrame(wanMAC[:], peerMAC[:], etherTypeOf(ip), ip)
}

// softOf is the soft SA of a rule between two addresses.
func (r *rig) softOf(name string, local, remote netip.Addr) (s SoftSA) {
	r.t.Helper()
	s.Local, s.Remote = local, remote
	for i := range r.ref.spd.Entries {
		e := &r.ref.spd.Entries[i]
		switch {
		case e.Rule != name:
		case e.Verdict == policy.VerdictProtect && e.Source.Contains(local) && e.Destination.Contains(remote):
			s.Entry = e.ID
		case e.Verdict == policy.VerdictRequire && e.Source.Contains(remote) && e.Destination.Contains(local):
			s.Mirror = e.ID
		}
	}
	if s.Entry == 0 || s.Mirror == 0 {
		r.t.Fatalf("rule %q has no filter between %s and %s", name, local, remote)
	}
	return s
}

// addSoft adds soft SAs on both sides: one bump of the generation for all.
func (r *rig) addSoft(sas ...SoftSA) {
	r.t.Helper()
	generation := r.d.Generation()
	if err := r.d.AddSoft(sas); err != nil {
		r.t.Fatal(err)
	}
	if n := r.d.Generation() - generation; n != 1 {
		r.t.Fatalf("%d generations for one call", n)
	}
	for _, s := range sas {
		r.ref.soft[softTraffic{s.Entry, s.Local, s.Remote}] = true
		r.ref.soft[softTraffic{s.Mirror, s.Remote, s.Local}] = true
	}
}

func (r *rig) removeSoft(sas ...SoftSA) (passed []SoftCounters) {
	r.t.Helper()
	generation := r.d.Generation()
	passed = r.d.RemoveSoft(sas)
	if n := r.d.Generation() - generation; n != 1 {
		r.t.Fatalf("%d generations for one call", n)
	}
	for _, s := range sas {
		delete(r.ref.soft, softTraffic{s.Entry, s.Local, s.Remote})
		delete(r.ref.soft, softTraffic{s.Mirror, s.Remote, s.Local})
	}
	return passed
}

// live are the soft SAs by which something may pass.
func (r *rig) live() []SoftSA {
	list := []SoftSA{}
	for _, c := range r.d.SoftCounters() {
		if !c.Ended {
			list = append(list, c.SoftSA)
		}
	}
	return list
}

func (r *rig) wantHeld(port int, frame []byte) {
	r.t.Helper()
	if o, _ := r.check(port, frame); o.Disposition != packetAcquire {
		r.t.Fatalf("frame % x: %+v, want it held", frame, o)
	}
}

// A soft SA lets the traffic of its filter pass in clear, both ways and remembered, and nothing else: not another port of the
// same peer, which another filter with fallback has (S-049, C-05), nor another host, nor what a heavier filter blocks. What
// waited leaves in order. Each direction is counted, and at the filter too.
func TestSoftSA(t *testing.T) { // S-046
	for version, s := range softSides {
		t.Run(version, func(t *testing.T) {
			heavier := rule{name: "heavier", source: s.local.String(), destination: s.remote.String(), protocol: protocolTCP, from: policy.PortRange{First: 66, Last: 66}, port: policy.PortRange{First: 445, Last: 445}, block: true}
			r := newRig6(t, rigOptions{rules: append([]rule{heavier}, softRules...)})
			r.setCell("site", CellHold)
			another := s.local.Next()
			out := func(from, to uint16) []byte { return s.fromHost(s.tcp(s.local, s.remote, from, to)) }
			in := func(from, to uint16) []byte { return s.fromPeer(s.tcp(s.remote, s.local, from, to)) }
			var waited [][]byte
			for from := range uint16(5) {
				r.wantHeld(lan, out(1000+from, 445))
				waited = append(waited, s.tcp(s.local, s.remote, 1000+from, 445))
				r.wantHeld(lan, s.fromHost(s.tcp(another, s.remote, 1000+from, 445)))
			}
			r.wantDrop(wan, in(445, 1000), "clear_on_protected")
			soft := r.softOf(s.files, s.local, s.remote)
			same(t, "asked for", []uint32{r.seen.asked[0].Entry, r.seen.asked[1].Entry}, []uint32{soft.Entry, soft.Entry})
			if len(r.seen.acquired) != 2 {
				t.Errorf("asked %d times for two selectors: %+v", len(r.seen.asked), r.seen.asked)
			}

			r.addSoft(soft)
			r.settle()
			for i, f := range r.sent(wan) {
				same(t, "released in clear", f[etherHeaderLen:], decrementHops(waited[i]))
			}
			if c := r.d.Counters(); c.Ports[lan].Waiting != 5 || c.Ports[lan].Forwarded != 5 || c.OffloadSkippedSoft != 1 {
				t.Errorf("%+v, %d skipped", c.Ports[lan], c.OffloadSkippedSoft)
			}
			for range 3 {
				r.wantForward(lan, out(2000, 445), wan)
				r.wantForward(wan, in(445, 2000), lan)
				r.wantDrop(lan, out(66, 445), "filter_block")
				r.wantDrop(wan, in(445, 66), "filter_block")
				r.wantHeld(lan, out(2000, 80))
				r.wantHeld(lan, out(2000, 22))
				r.wantDrop(wan, in(80, 2000), "clear_on_protected")
				r.wantDrop(wan, in(22, 2000), "clear_on_protected")
				r.wantHeld(lan, s.fromHost(s.tcp(another, s.remote, 2000, 445)))
				r.wantDrop(wan, s.fromPeer(s.tcp(s.remote, another, 445, 2000)), "clear_on_protected")
				r.wantDrop(wan, s.fromPeer(s.tcp(s.remote.Next(), s.local, 445, 2000)), "clear_on_protected")
				// from the wrong side: nobody out there is one of ours
				if o, _ := r.check(wan, s.fromPeer(s.tcp(s.local, s.remote, 2000, 445))); o.Reason != "protect_from_unprotected" {
					t.Fatalf("%+v", o)
				}
			}
			size := uint64(len(waited[0]))
			same(t, "counted", r.d.SoftCounters(), []SoftCounters{{SoftSA: soft, Out: FilterHits{8, 8 * size}, In: FilterHits{3, 3 * size}}})
			if n := r.ruleHits(s.files); n != 11+10 { // beside what passed what was dropped, and nothing of what waits
				t.Errorf("%d at the filter", n)
			}
			flows := r.d.Flows(1000)
			if i := slices.IndexFunc(flows, func(f Flow) bool { return f.Soft && f.Source == s.local && f.Action == "forward" }); i < 0 || flows[i].Filter.ID != soft.Entry {
				t.Errorf("no flow by a soft SA among %+v", flows)
			}
			trace, err := r.d.Explain(Query{Port: "lan", Packet: policy.Packet{Source: s.local, Destination: s.remote, Protocol: protocolTCP, SourcePort: 5, DestinationPort: 445, HasPorts: true}})
			if err != nil || trace.Soft == nil || *trace.Soft != soft || trace.Action != "forward" || trace.Entry == nil || trace.Entry.ID != soft.Entry {
				t.Errorf("%+v, %v", trace, err)
			}

			hits := r.ruleHits(s.files)
			same(t, "passed", r.removeSoft(soft), []SoftCounters{{SoftSA: soft, Out: FilterHits{8, 8 * size}, In: FilterHits{3, 3 * size}}})
			if n := r.ruleHits(s.files); n != hits {
				t.Errorf("%d at the filter after the end, %d before", n, hits)
			}
			r.settle()
			r.serveAll()
			if n := r.ruleHits(s.files); n != hits {
				t.Errorf("%d at the filter when the counters are free again, %d before", n, hits)
			}
			r.wantHeld(lan, out(2000, 445))
			r.wantDrop(wan, in(445, 2000), "clear_on_protected")
			same(t, "unknown by now", r.d.RemoveSoft([]SoftSA{soft}), []SoftCounters{})
			same(t, "left", r.d.SoftCounters(), []SoftCounters{})
		})
	}
}

// Before offload comes the question what kind of SA it is: for soft SAs and their traffic no session is made and no operation
// queued, on any device; each is counted as skipped. The SA that takes their place has both.
func TestSoftSAIsNotOffloaded(t *testing.T) { // S-051, S-101
	r := newRig(t, rigOptions{rules: []rule{filesRule}, crypto: fallbackCrypto})
	r.setCell("site", CellHold)
	sessions := func() (n int) {
		for _, device := range r.cfg.Crypto.Describe() {
			n += device.Sessions
		}
		return n
	}
	before := sessions()
	var sas []SoftSA
	for remote := farHost; len(sas) < 5; remote = remote.Next() {
		sas = append(sas, r.softOf("files", lanHost, remote))
	}
	r.addSoft(sas...)
	if err := r.d.AddSoft(sas); err != nil { // which are there
		t.Fatal(err)
	}
	for range 50 {
		for _, s := range sas {
			r.wantForward(lan, fromHost(withPorts(tcp(s.Local, s.Remote), 7, 445)), wan)
			r.wantForward(wan, fromPeer(withPorts(tcp(s.Remote, s.Local), 445, 7)), lan)
		}
	}
	if n, operations := sessions(), r.d.operations(); n != before || operations != 0 || r.d.Counters().OffloadSkippedSoft != 5 {
		t.Errorf("%d sessions, %d before, %d operations, %d skipped", n, before, operations, r.d.Counters().OffloadSkippedSoft)
	}
	r.ref.soft = map[softTraffic]bool{}
	far := r.outbound(r.child("site", "aes128gcm16", false))
	r.opened(far, r.wantForward(lan, fromHost(withPorts(tcp(lanHost, farHost), 7, 445)), wan), 60)
	if n, operations := sessions(), r.d.operations(); n != before+1 || operations != 1 {
		t.Errorf("with an SA: %d sessions, %d before, %d operations", n, before, operations)
	}
}

// An SA of its tunnel ends a soft SA at once: nothing of its traffic passes in clear any more, from the first packet on, and
// none revives when the SA is gone (S-051). While a tunnel has failed or is closed none is asked.
func TestSoftSAEndsWithTheFirstSA(t *testing.T) {
	for _, first := range []string{"inbound", "outbound"} {
		r := newRig(t, rigOptions{rules: []rule{filesRule, siteRule}})
		r.setCell("site", CellHold)
		soft := r.softOf("files", lanHost, farHost)
		out, in := fromHost(withPorts(tcp(lanHost, farHost), 7, 445)), fromPeer(withPorts(tcp(farHost, lanHost), 445, 7))
		r.addSoft(soft)
		r.wantForward(lan, out, wan)
		r.wantForward(wan, in, lan)
		for state, reason := range map[CellState]string{CellFailed: "blocked_negotiation_failed", CellClosed: "no_outbound_sa"} {
			r.setCell("site", state)
			r.wantDrop(lan, out, reason)
			r.wantDrop(wan, in, "clear_on_protected")
			r.setCell("site", CellHold)
			r.wantForward(lan, out, wan)
			r.wantForward(wan, in, lan)
		}
		r.ref.soft = map[softTraffic]bool{}
		child := r.child("site", "aes128gcm16", first == "inbound")
		generation := r.d.Generation()
		wantNew := func() {
			if r.d.Generation() == generation {
				t.Errorf("%s SA: what the flow caches remember is still in force", first)
			}
		}
		if first == "inbound" {
			r.inbound(child)
			wantNew()
			r.wantHeld(lan, out)
		} else {
			far := r.outbound(child)
			wantNew()
			r.opened(far, r.wantForward(lan, out, wan), 60)
			if err := r.d.AddSoft([]SoftSA{soft}); err == nil {
				t.Error("a soft SA for a tunnel that has an SA")
			}
		}
		r.wantDrop(wan, in, "clear_on_protected")
		same(t, "left", r.live(), []SoftSA{})
		if first == "outbound" {
			if _, err := r.d.RemoveOutbound(child.Cell, child.SPI); err != nil {
				t.Fatal(err)
			}
			r.ref.cells[child.Cell].out = nil
			r.wantHeld(lan, out)
			r.wantDrop(wan, in, "clear_on_protected")
		}
	}
}

// A policy ends the soft SAs of filters that it does not have, or has without fallback, whoever counts in their place; the
// others pass on. A packet that waited for a soft SA's next hop is judged by the new policy.
func TestSoftSAsAcrossPolicies(t *testing.T) { // S-042
	r := newRig(t, rigOptions{rules: []rule{filesRule, webRule}})
	r.setCell("site", CellHold)
	files, web := r.softOf("files", lanHost, farHost), r.softOf("web", lanHost, farHost)
	r.addSoft(files, web)
	toFiles, toWeb := fromHost(withPorts(tcp(lanHost, farHost), 7, 445)), fromHost(withPorts(tcp(lanHost, farHost), 7, 80))
	r.wantForward(lan, toFiles, wan)
	r.wantForward(lan, toWeb, wan)
	generation := r.d.Generation()
	r.applyRules(filesRule)
	if n := r.d.Generation() - generation; n != 1 {
		t.Errorf("%d generations for a policy", n)
	}
	r.wantForward(lan, toFiles, wan)
	r.wantDrop(lan, toWeb, "no_filter")
	same(t, "left", r.live(), []SoftSA{files})
	without := filesRule
	without.fallback = false
	r.ref.soft = map[softTraffic]bool{}
	r.applyRules(without)
	r.wantHeld(lan, toFiles)
	same(t, "left", r.live(), []SoftSA{})
	r.applyRules(filesRule, webRule)
	r.rejudged()
	r.wantHeld(lan, toFiles)
	r.wantHeld(lan, toWeb)
}

// What a soft SA cannot be, and that a call with one such changes nothing.
func TestSoftSARefused(t *testing.T) {
	ours := rule{name: "ours", source: "any", destination: "any", protocol: protocolUDP, tunnel: "site", fallback: true}
	r := newRig6(t, rigOptions{rules: append([]rule{ours}, softRules...), soft: 8})
	r.setCell("site", CellHold)
	good, plain := r.softOf("files", lanHost, farHost), r.softOf("to-site", lanHost, farHost)
	anybody := r.softOf("ours", lanHost, farHost)
	between := func(s SoftSA, local, remote netip.Addr) SoftSA { s.Local, s.Remote = local, remote; return s }
	generation := r.d.Generation()
	for name, bad := range map[string]SoftSA{
		"no fallback":          plain,
		"no filter":            {Entry: 1, Mirror: good.Mirror, Local: lanHost, Remote: farHost},
		"no mirror":            {Entry: good.Entry, Mirror: 1, Local: lanHost, Remote: farHost},
		"another's mirror":     {Entry: good.Entry, Mirror: plain.Mirror, Local: lanHost, Remote: farHost},
		"the wrong way round":  {Entry: good.Mirror, Mirror: good.Entry, Local: lanHost, Remote: farHost},
		"addresses elsewhere":  between(good, lanHost, peer),
		"another IP version":   between(good, lanHost6, farHost6),
		"no addresses":         between(good, netip.Addr{}, netip.Addr{}),
		"a group":              between(anybody, lanHost, netip.MustParseAddr("224.0.0.9")),
		"everybody":            between(anybody, lanHost, netip.MustParseAddr("255.255.255.255")),
		"the gateway":          between(anybody, lanHost, wanOwn),
		"a host and itself":    between(anybody, lanHost, lanHost),
		"IPv4 in IPv6's guise": between(good, netip.AddrFrom16(lanHost.As16()), netip.AddrFrom16(farHost.As16())),
	} {
		if err := r.d.AddSoft([]SoftSA{good, bad}); err == nil {
			t.Errorf("%s: %+v was taken", name, bad)
		}
	}
	var many []SoftSA
	for remote := farHost; len(many) < 9; remote = remote.Next() {
		many = append(many, between(good, lanHost, remote))
	}
	if err := r.d.AddSoft(many); !errors.Is(err, ErrSoftFull) { // S-090
		t.Errorf("9 of at most 8: %v", err)
	}
	if n := len(r.d.SoftCounters()); n != 0 || r.d.Generation() != generation {
		t.Errorf("%d soft SAs, generation %d, was %d", n, r.d.Generation(), generation)
	}
	r.wantHeld(lan, fromHost(withPorts(tcp(lanHost, farHost), 7, 445)))

	// at the cap, again and again: places and counters come back, and what was counted stays
	for range 20 {
		r.addSoft(many[:8]...)
		r.settle()
		r.sent(wan) // what was held
		for _, s := range many[:8] {
			r.wantForward(lan, fromHost(withPorts(tcp(lanHost, s.Remote), 7, 445)), wan)
		}
		r.removeSoft(many[:8]...)
		r.settle()
	}
	if n := r.ruleHits("files"); n != 1+20*8 { // the one that was held counts when it goes on
		t.Errorf("%d at the filter, want %d", n, 1+20*8)
	}
}

// manySoft is so many soft SAs of the filter of file servers, one for each remote host.
func (r *rig) manySoft(n int) (many []SoftSA) {
	r.t.Helper()
	one := r.softOf("files", lanHost, farHost)
	for one.Remote = netip.MustParseAddr("10.2.0.1"); len(many) < n; one.Remote = one.Remote.Next() {
		many = append(many, one)
	}
	return many
}

// A whole table ends by one call, in which its flows are forgotten once. What was counted is told, each soft SA that is named twice once, and is settled
// later a part at a time, so that the slow path never waits for all of it.
// S-048, S-090
func TestAFullTableOfSoftSAsEnds(t *testing.T) {
	r := newRig6(t, rigOptions{rules: softRules, soft: DefaultMaxSoft})
	r.setCell("site", CellHold)
	all := r.manySoft(DefaultMaxSoft)
	r.addSoft(all...)
	r.wantForward(lan, fromHost(withPorts(tcp(lanHost, all[4000].Remote), 7, 445)), wan)
	generation := r.d.Generation()
	removed := r.d.RemoveSoft(slices.Concat(all, all[:300]))
	if n := r.d.Generation() - generation; n != 1 || len(removed) != len(all) {
		t.Fatalf("%d generations, and %d of %d soft SAs removed", n, len(removed), len(all))
	}
	for i, c := range removed {
		if c.SoftSA != all[i] || (c.Out.Packets == 1) != (i == 4000) || c.In.Packets != 0 {
			t.Errorf("%d: %+v", i, c)
		}
	}
	if left := 2*len(all) - len(r.d.soft.bySlot); left > gravesAtOnce*waysInGrave {
		t.Errorf("%d directions were settled at once", left)
	}
	clear(r.ref.soft)
	r.wantHeld(lan, fromHost(withPorts(tcp(lanHost, all[4000].Remote), 7, 445)))
	for left := len(r.d.soft.bySlot); left > 0; {
		r.settle()
		r.d.mu.Lock()
		r.d.reclaim()
		now := len(r.d.soft.bySlot)
		r.d.mu.Unlock()
		if now == left || left-now > gravesAtOnce*waysInGrave {
			t.Fatalf("%d of %d directions were settled at once", left-now, left)
		}
		left = now
	}
	if n := r.ruleHits("files"); n != 1 { // what waits counts when it goes on
		t.Errorf("%d at the filter, want 1", n)
	}
}

// BenchmarkSoftSAsEnd is what the end of a full table takes, by one call and one by one.
func BenchmarkSoftSAsEnd(b *testing.B) {
	r := newRig6(b, rigOptions{rules: softRules, soft: DefaultMaxSoft})
	r.setCell("site", CellHold)
	all := r.manySoft(DefaultMaxSoft)
	for name, n := range map[string]int{"AtOnce": len(all), "Each": 1} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				r.addSoft(all...)
				b.StartTimer()
				for some := range slices.Chunk(all, n) {
					r.d.RemoveSoft(some)
				}
				b.StopTimer()
				r.settle()
				r.d.mu.Lock()
				for len(r.d.graves.graves) > 0 {
					r.d.reclaim()
				}
				r.d.mu.Unlock()
				b.StartTimer()
			}
		})
	}
}

// Groups have no soft SA (S-052); inbound none leads to an unprotected port, and the gateway itself speaks in clear where it
// may: it answers an echo request that came by one, and not once that has ended.
func TestSoftSAOfTheGatewayItself(t *testing.T) {
	own := rule{name: "own", source: "192.0.2.1/32", destination: "192.0.2.0/24", protocol: protocolICMP, tunnel: "own", fallback: true}
	astray := rule{name: "astray", source: "198.51.100.0/24", destination: "10.2.0.0/16", tunnel: "site", fallback: true}
	own6 := rule{name: "own6", source: wanOwn6.String(), destination: "2001:db8:f::/64", protocol: protocolICMPv6, tunnel: "own", fallback: true}
	r := newRig6(t, rigOptions{rules: []rule{own, own6, astray}})
	r.setCell("own", CellHold)
	r.setCell("site", CellHold)
	request := fromPeer(icmpPacket(peer, wanOwn, icmpEcho, 8))
	r.wantDrop(wan, request, "clear_on_protected")
	r.addSoft(r.softOf("own", wanOwn, peer), r.softOf("astray", netip.MustParseAddr("198.51.100.9"), farHost))
	o, answers := r.check(wan, request)
	if o.Disposition != packetLocal || len(answers[wan]) != 1 {
		t.Fatalf("%+v, %d answers", o, len(answers[wan]))
	}
	got := ipv4(answers[wan][0][etherHeaderLen:])
	if got.source() != wanOwn || got.destination() != peer || got.protocol() != protocolICMP || got.payload()[0] != 0 {
		t.Errorf("answer % x", got)
	}
	r.wantDrop(wan, fromPeer(tcp(farHost, netip.MustParseAddr("198.51.100.9"))), "clear_to_unprotected")
	r.wantDrop(lan, fromHost(packetOfLength(lanHost, netip.MustParseAddr("10.2.255.255"), 253, 60)), "no_filter")
	r.removeSoft(r.softOf("own", wanOwn, peer))
	r.wantDrop(wan, request, "clear_on_protected")
}

// Soft SAs come and go at random under random packets of both versions, in clear and by tunnels, from every side: the fast
// path does what the reference does.
func TestSoftSADifferential(t *testing.T) {
	heavier := rule{name: "heavier", source: "10.1.0.0/16", destination: "10.2.0.9/32", protocol: protocolTCP, block: true}
	other := rule{name: "other", source: "10.0.0.0/8", destination: "10.3.0.0/16", tunnel: "other", fallback: true, ports: policy.PortsAll}
	r := newRig6(t, rigOptions{rules: append([]rule{heavier, other}, softRules...), soft: 16, vlans: [2]uint16{5, 6}})
	r.setCell("site", CellHold)
	r.setCell("other", CellHold)
	near := r.inbound(r.child("spoke", "aes128gcm16", true))
	hosts := func(s string) (all []netip.Addr) {
		for a := netip.MustParseAddr(s); len(all) < 4; a = a.Next() {
			all = append(all, a)
		}
		return all
	}
	v4 := append(hosts("10.1.0.6"), append(hosts("10.2.0.6"), append(hosts("10.3.0.6"), wanOwn, netip.MustParseAddr("224.0.0.5"))...)...)
	v6 := append(hosts("2001:db8:1::6"), append(hosts("2001:db8:2::6"), netip.MustParseAddr("ff05::9"))...)
	rules := []struct {
		name          string
		local, remote []netip.Addr
	}{{"files", v4[:4], v4[4:8]}, {"web", v4[:4], v4[4:8]}, {"other", v4[:8], v4[8:12]}, {"files6", v6[:4], v6[4:8]}, {"web6", v6[:4], v6[4:8]}}
	var live []SoftSA
	pick := func(from []netip.Addr) netip.Addr { return from[r.random.IntN(len(from))] }
	passed := map[string]int{}
	sequence := uint64(0)
	for range 3000 {
		if r.random.IntN(12) == 0 {
			x := rules[r.random.IntN(len(rules))]
			s := r.softOf(x.name, pick(x.local), pick(x.remote))
			switch i := slices.Index(live, s); {
			case i >= 0 || len(live) == 16:
				i = max(i, 0)
				r.removeSoft(live[i])
				live = slices.Delete(live, i, i+1)
			default:
				r.addSoft(s)
				live = append(live, s)
			}
			r.settle()
			r.sent(lan)
			r.sent(wan)
		}
		if r.random.IntN(100) == 0 {
			r.setCell("site", []CellState{CellHold, CellHold, CellFailed, CellClosed}[r.random.IntN(4)])
		}
		from, to := []uint16{445, 80, 7}[r.random.IntN(3)], []uint16{445, 80, 7}[r.random.IntN(3)]
		source, destination := pick(v4), pick(v4)
		port, frame := r.random.IntN(2), []byte(nil)
		if len(live) > 0 && r.random.IntN(2) == 0 { // near what passes
			s := live[r.random.IntN(len(live))]
			source, destination, from, to = s.Local, s.Remote, 7, []uint16{445, 80}[r.random.IntN(2)]
			if port == wan {
				source, destination, from, to = destination, source, to, from
			}
		} else if r.random.IntN(3) == 0 {
			source, destination = pick(v6), pick(v6)
		}
		side := softSides["IPv4"]
		if source.Is6() {
			side = softSides["IPv6"]
		}
		ip := side.tcp(source, destination, from, to)
		switch {
		case port == lan:
			frame = etherFrame(lanMAC[:], hostMAC[:], etherTypeOf(ip), ip)
		case r.random.IntN(4) == 0 && !isIPv6(ip):
			sequence++
			frame = fromPeer(near.encapsulate(ipv4(ip), sequence))
		default:
			frame = etherFrame(wanMAC[:], peerMAC[:], etherTypeOf(ip), ip)
		}
		o, _ := r.check(port, frame)
		passed[fmt.Sprintf("%d %s", port, o.Disposition)]++
	}
	for _, end := range []string{"0 forwarded", "1 forwarded", "0 acquire", "0 dropped", "1 dropped"} {
		if passed[end] == 0 {
			t.Errorf("no packet ended as %q: %v", end, passed)
		}
	}
}

// What comes in clear for a tunnel that waits for its SA is dropped as ever, and asks for the SA once in a tick, however many
// packets come and whether their drop is remembered or not (S-044, S-090). The ring to the slow path stays free for others.
func TestInboundClearAsks(t *testing.T) {
	for version, s := range softSides {
		t.Run(version, func(t *testing.T) {
			r := newRig6(t, rigOptions{rules: softRules})
			frame := func(from uint16) []byte { return s.fromPeer(s.tcp(s.remote, s.local, from, 1000)) }
			r.wantDrop(wan, frame(445), "clear_on_protected")
			r.setCell("site", CellHold)
			for tick := range 3 {
				r.now = r.now.Add(slowPathTick)
				r.serveAll() // the tick
				for from := range uint16(200) {
					r.enqueue(0, wan, frame(from%4), frame(445))
					r.settle()
				}
				r.serveAll()
				if len(r.seen.asked) != tick+1 {
					t.Fatalf("asked %d times after %d ticks: %+v", len(r.seen.asked), tick+1, r.seen.asked)
				}
			}
			soft := r.softOf("to-site", lanHost, farHost)
			if version == "IPv6" {
				soft = r.softOf("to-site6", lanHost6, farHost6)
			}
			same(t, "asked", r.seen.asked[0], Acquire{Cell: r.cell("site"), Entry: soft.Mirror, Inbound: true,
				Packet: policy.Packet{Source: s.remote, Destination: s.local, Protocol: protocolTCP, SourcePort: 0, DestinationPort: 1000, HasPorts: true}})
			if n := r.d.Counters().Ports[wan].Drops["clear_on_protected"]; n != 1+3*400 {
				t.Errorf("%d drops counted, want %d", n, 1+3*400)
			}
			for _, state := range []CellState{CellFailed, CellClosed} {
				r.setCell("site", state)
				r.now = r.now.Add(slowPathTick)
				r.serveAll()
				r.wantDrop(wan, frame(445), "clear_on_protected")
			}
			r.setCell("site", CellHold)
			r.outbound(r.child("site", "aes128gcm16", false))
			r.now = r.now.Add(slowPathTick)
			r.serveAll()
			r.wantDrop(wan, frame(445), "clear_on_protected")
			if len(r.seen.asked) != 3 {
				t.Errorf("asked for a tunnel that is up, closed or has failed: %+v", r.seen.asked[3:])
			}
		})
	}
}

// Who sends to a group by a filter with fallback is named to whoever makes soft SAs, once in a tick; no SA is asked for, and
// groups of filters without fallback are nobody's business (S-052).
func TestGroupsAreTold(t *testing.T) {
	for _, fallback := range []bool{true, false} {
		groups := rule{name: "groups", source: "10.1.0.0/16", destination: "any", protocol: protocolUDP, tunnel: "site", fallback: fallback}
		r := newRig6(t, rigOptions{rules: []rule{groups}})
		r.setCell("site", CellHold)
		another := lanHost.Next()
		for range 2 {
			r.now = r.now.Add(slowPathTick)
			r.serveAll()
			for range 20 {
				r.wantDrop(lan, fromHost(udpPacket(lanHost, netip.MustParseAddr("224.0.0.251"), 5353, 5353)), "multicast")
				r.wantDrop(lan, fromHost(udpPacket(another, netip.MustParseAddr("224.0.0.251"), 5353, 5353)), "multicast")
			}
		}
		var want []Group
		if fallback {
			for _, from := range []netip.Addr{lanHost, another, lanHost, another} {
				want = append(want, Group{Cell: r.cell("site"), Entry: r.seen.groups[0].Entry, Source: netip.AddrPortFrom(from, 5353), Protocol: protocolUDP})
			}
		}
		same(t, "told", r.seen.groups, want)
		if len(r.seen.asked) != 0 {
			t.Errorf("asked for %+v", r.seen.asked)
		}
	}
}

// Whoever sends to a group is told of, however many do so at once, and once is enough: senders do not hide each other. Where there are more than there is room to tell of, it is
// said that there are, and what comes in clear still finds room (S-052).
func TestEveryGroupSenderIsTold(t *testing.T) {
	groups := rule{name: "groups", source: "10.1.0.0/16", destination: "any", protocol: protocolUDP, tunnel: "site", fallback: true}
	many := func(n int) (frames [][]byte) {
		for i := range n {
			source := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
			if source == lanOwn || byte(i) == 0 || byte(i) == 255 {
				source = netip.AddrFrom4([4]byte{10, 1, 200, byte(2 + i>>8)})
			}
			frames = append(frames, fromHost(udpPacket(source, netip.MustParseAddr("224.0.0.251"), uint16(5353+i%3), 5353)))
		}
		return frames
	}
	r := newRig6(t, rigOptions{rules: []rule{groups}, buffers: 16383})
	half := r.d.cfg.puntQueue() / 2
	r.setCell("site", CellHold)
	for _, port := range []uint16{1, 2, 3} { // of one address by all ports
		r.enqueue(0, lan, fromHost(udpPacket(lanHost, netip.MustParseAddr("224.0.0.251"), port, 5353)))
	}
	few := many(half / 2)
	r.flood(lan, few)
	r.settle()
	r.serveAll()
	told := map[netip.AddrPort]bool{}
	for _, g := range r.seen.groups {
		told[g.Source] = true
	}
	for _, f := range append(few, fromHost(udpPacket(lanHost, netip.MustParseAddr("224.0.0.251"), 2, 5353))) {
		p := tupleOf(f[etherHeaderLen:])
		if !told[netip.AddrPortFrom(p.Source, p.SourcePort)] {
			t.Errorf("nobody has heard of %s port %d", p.Source, p.SourcePort)
		}
	}
	if len(told) != len(r.seen.groups) || told[netip.AddrPort{}] {
		t.Errorf("%d events for %d senders", len(r.seen.groups), len(told))
	}

	r.seen.groups = nil
	r.now = r.now.Add(slowPathTick)
	r.serveAll()
	r.flood(lan, many(1000))
	r.enqueue(0, wan, fromPeer(udpPacket(farHost, lanHost, 7, 7)))
	r.settle()
	r.serveAll()
	if n := len(r.seen.groups); n != half+1 || !slices.Contains(r.seen.groups, Group{}) {
		t.Errorf("%d events, want %d and that there are more", n, half)
	}
	r.serveAll()
	if n := len(r.seen.groups); n != half+1 {
		t.Errorf("%d events without cause", n-half-1)
	}
}

// What came protected never leaves in clear: a packet out of another tunnel waits for its SA, as if there were no fallback, and with a soft SA it is dropped, remembered or
// not, while our own side's passes. Nor does what the gateway answers to it. S-046.
func TestSoftSACarriesNothingFromATunnel(t *testing.T) {
	for version, s := range softSides {
		t.Run(version, func(t *testing.T) {
			r := newRig6(t, rigOptions{rules: softRules})
			r.setCell("site", CellHold)
			spoke := r.child("spoke", "aes128gcm16", true)
			spoke.Selectors = nil
			for _, any := range []policy.AddrRange{policy.AnyIPv4(), policy.AnyIPv6()} {
				spoke.Selectors = append(spoke.Selectors, policy.Selector{Local: any, Remote: any, LocalPort: policy.AnyPort, RemotePort: policy.AnyPort})
			}
			near := r.inbound(spoke)
			sealed := func(from uint16) []byte {
				near.sequence++
				return fromPeer(near.encapsulate(s.tcp(s.local, s.remote, from, 445), near.sequence))
			}
			r.wantHeld(wan, sealed(1))
			if a := r.seen.asked[0]; !a.Protected || a.Inbound {
				t.Errorf("asked: %+v", a)
			}
			r.wantHeld(lan, s.fromHost(s.tcp(s.local, s.remote, 1, 445)))
			if a := r.seen.asked[1]; a.Protected {
				t.Errorf("asked: %+v", a)
			}
			r.addSoft(r.softOf(s.files, s.local, s.remote))
			r.settle()
			if n := len(r.sent(wan)); n != 1 {
				t.Errorf("%d packets went on in clear, want the one of our side", n)
			}
			for range 3 {
				r.wantDrop(wan, sealed(2), "clear_to_unprotected")
				r.wantForward(lan, s.fromHost(s.tcp(s.local, s.remote, 2, 445)), wan)
			}
		})
	}
}

// The last packets of a soft SA are in what is said of it at its end, and of each packet that waited for its neighbour one is counted.
func TestSoftSAsLastPackets(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{filesRule}, routes: []Route{{To: netip.MustParsePrefix("10.2.9.0/24"), Via: netip.MustParseAddr("192.0.2.77")}}})
	r.setCell("site", CellHold)
	behind := netip.MustParseAddr("10.2.9.7") // a next hop that is not known yet
	soft, other := r.softOf("files", lanHost, behind), r.softOf("files", lanHost, farHost)
	r.addSoft(soft, other)
	frame := func(to netip.Addr) []byte { return fromHost(withPorts(tcp(lanHost, to), 7, 445)) }
	size := uint64(len(tcp(lanHost, behind)))
	hits := func() FilterHits {
		for _, c := range r.d.SoftCounters() {
			if c.SoftSA == soft {
				return c.Out
			}
		}
		return FilterHits{}
	}
	r.enqueue(0, lan, frame(behind), frame(behind))
	r.settle()
	r.serveAll()
	same(t, "while they wait", hits(), FilterHits{})
	r.settle()
	r.sent(wan)
	r.enqueue(0, wan, arpMessage{op: arpReplyOp, senderMAC: macB, senderAddr: netip.MustParseAddr("192.0.2.77"), targetMAC: wanMAC, targetAddr: wanOwn}.frame(wanMAC))
	r.settle()
	r.serveAll()
	r.settle()
	same(t, "when they have gone on", hits(), FilterHits{2, 2 * size})
	same(t, "at the filter", r.ruleHits("files"), uint64(2))
	if n := len(r.sent(wan)); n != 2 {
		t.Errorf("%d packets left, want 2", n)
	}
	r.enqueue(0, lan, frame(farHost))
	r.settle()
	same(t, "what they carried", r.removeSoft(soft, other), []SoftCounters{{SoftSA: soft, Out: FilterHits{2, 2 * size}}, {SoftSA: other, Out: FilterHits{1, size}}})
	r.sent(wan)
}

// Whatever ends a soft SA, what passed by it is told once, to the last packet: also where the data plane ended it by itself, and long after its counters are another's.
// S-055
func TestEveryEndTellsWhatPassed(t *testing.T) {
	size := uint64(len(tcp(lanHost, farHost)))
	for name, end := range map[string]func(*rig){
		"an inbound SA":    func(r *rig) { r.inbound(r.child("site", "aes128gcm16", true)) },
		"an outbound SA":   func(r *rig) { r.outbound(r.child("site", "aes128gcm16", false)) },
		"a policy without": func(r *rig) { r.applyRules(webRule) },
		"an address that is ours": func(r *rig) {
			s := r.snapshot(filesRule, webRule)
			s.Addresses[r.cfg.Ports[wan].Name] = append(slices.Clone(r.ref.own[wan]), netip.PrefixFrom(farHost, 32))
			r.publish(s)
		},
		"whoever has it, as usual": func(*rig) {},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{rules: []rule{filesRule, webRule}})
			r.setCell("site", CellHold)
			soft := r.softOf("files", lanHost, farHost)
			r.addSoft(soft)
			for range 3 {
				r.wantForward(lan, fromHost(withPorts(tcp(lanHost, farHost), 7, 445)), wan)
			}
			r.wantForward(wan, fromPeer(withPorts(tcp(farHost, lanHost), 445, 7)), lan)
			passed := []SoftCounters{{SoftSA: soft, Out: FilterHits{3, 3 * size}, In: FilterHits{1, size}}}

			end(r)
			for range 3 { // turns of the workers, in which its counters are given back
				r.settle()
				r.serveAll()
			}
			before := r.d.SoftCounters()
			if ended := before[0].Ended; ended != (name != "whoever has it, as usual") {
				t.Errorf("ended: %t", ended)
			}
			before[0].Ended = false
			same(t, "until somebody asks", before, passed)
			same(t, "what passed", r.d.RemoveSoft([]SoftSA{soft}), passed)
			same(t, "once", r.d.RemoveSoft([]SoftSA{soft}), []SoftCounters{})
			same(t, "left", r.d.SoftCounters(), []SoftCounters{})
		})
	}
}

// The gateway's own answer to what a tunnel brought has the SA negotiated that it needs, and is no reason for a soft SA.
// S-046
func TestAnswersToATunnelAskProtected(t *testing.T) {
	back := rule{name: "back", source: lanOwn.String(), destination: "10.3.0.0/16", tunnel: "site", fallback: true}
	r := newRig(t, rigOptions{rules: []rule{back, {name: "spoke", source: "10.3.0.0/16", destination: "10.1.0.0/16"}}})
	r.setCell("site", CellHold)
	spoke := r.child("spoke", "aes128gcm16", true)
	spoke.Selectors = []policy.Selector{{Local: policy.AnyIPv4(), Remote: policy.AnyIPv4(), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}
	near := r.inbound(spoke)
	inner := tcp(netip.MustParseAddr("10.3.0.5"), lanHost)
	inner[8] = 1
	setHeaderChecksum(inner)
	near.sequence++
	r.enqueue(0, wan, fromPeer(near.encapsulate(inner, near.sequence)))
	r.settle()
	r.serveAll()
	r.settle()
	r.serveAll()
	if len(r.seen.asked) != 1 || !r.seen.asked[0].Protected || r.seen.asked[0].Packet.Source != lanOwn {
		t.Errorf("asked: %+v", r.seen.asked)
	}
}
