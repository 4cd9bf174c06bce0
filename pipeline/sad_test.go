package pipeline

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sallyport/crypto"
)

// Rekey is make before break (S-079): the new inbound SA is added, the outbound one replaced, the old inbound one removed.
// Nothing is lost in either direction and no packet leaves in clear.
func TestRekey(t *testing.T) {
	r := newRig(t, rigOptions{})
	oldIn, oldOut := r.child("site", "aes128gcm16", true), r.child("site", "aes128gcm16", false)
	near := r.inbound(oldIn)
	far := r.outbound(oldOut)
	both := func(from *referenceOut, to *referenceIn) {
		t.Helper()
		out := r.wantForward(lan, fromHost(tcp(lanHost, farHost)), wan)
		r.opened(to, out, 60)
		from.sequence++
		r.wantForward(wan, fromPeer(from.encapsulate(tcp(farHost, lanHost), from.sequence)), lan)
	}
	both(near, far)
	newIn, newOut := r.child("site", "aes256-sha256", true), r.child("site", "aes256-sha256", false)
	nextNear := r.inbound(newIn)
	both(near, far)
	nextFar := r.outbound(newOut)
	both(near, nextFar) // the peer has not moved yet
	both(nextNear, nextFar)
	both(near, nextFar)
	if _, err := r.d.RemoveOutbound(oldOut.Cell, oldOut.SPI); err != nil { // replaced: nothing left to remove
		t.Fatal(err)
	}
	if err := r.d.RemoveInbound(oldIn.SPI); err != nil {
		t.Fatal(err)
	}
	delete(r.ref.inbound, oldIn.SPI)
	both(nextNear, nextFar)
	r.wantDrop(wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), 100)), "no_inbound_sa")
	const sent = 4 // to nextFar
	if last, err := r.d.RemoveOutbound(newOut.Cell, newOut.SPI); err != nil || last < sent || last > sent+inHand {
		t.Fatalf("removed after %d packets: last number %d, %v", sent, last, err)
	}
	r.ref.cells[newOut.Cell].out = nil
	r.wantDrop(lan, fromHost(tcp(lanHost, farHost)), "no_outbound_sa")
}

// S-080, RFC 4303 section 3.3.3: the last sequence number is sent once and none after it, and IKE hears of it before.
func TestSequenceExhaustion(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		r := newRig(t, rigOptions{})
		child := r.child("site", suite, false)
		child.FirstSequence = 1<<32 - 20
		far := r.outbound(child)
		seen := map[uint32]bool{}
		var burst [][]byte
		for range 30 {
			burst = append(burst, fromHost(tcp(lanHost, farHost)))
		}
		for range 3 {
			r.enqueue(0, lan, burst...)
			r.settle()
		}
		for _, f := range r.sent(wan) {
			esp := ipv4(f[etherHeaderLen:]).payload()
			_, _, sequence, err := far.esp.Open(esp, 0)
			if err != nil || seen[sequence] || sequence < 1<<32-20 {
				t.Fatalf("%s: sequence number %d, %v, seen before: %v", suite, sequence, err, seen[sequence])
			}
			seen[sequence] = true
		}
		if drops := r.d.Counters().Ports[lan].Drops["seq_exhausted"]; len(seen) != 20 || drops != 70 {
			t.Errorf("%s: %d sent and %d dropped, want 20 and 70", suite, len(seen), drops)
		}
		r.serveAll()
		name := fmt.Sprintf("cell %d spi %d outbound true hard ", child.Cell, child.SPI)
		same(t, "expired", r.seen.expired, []string{name + "false", name + "true"})
	}
}

// An SA costs at most 512 bytes of DPDK memory beside its session, at the default replay window.
func TestSAMemory(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.inbound(r.child("site", "aes128gcm16", true))
	r.outbound(r.child("site", "aes256-sha512", false))
	for _, sa := range r.d.SACounters() {
		if sa.Memory == 0 || sa.Memory > 512 {
			t.Errorf("SA %#x, outbound %v: %d bytes", sa.SPI, sa.Outbound, sa.Memory)
		}
	}
}

// Traffic never leaves in clear and never enters in clear while policies are swapped under it (S-011, S-039).
func TestPolicySwap(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.outbound(r.child("site", "aes128gcm16", false))
	all := rule{name: "all", source: "any", destination: "any"}
	deny := rule{name: "deny", source: "10.1.0.7", destination: "10.2.0.7", block: true}
	policies := [][]rule{{siteRule}, {siteRule, all}, {siteRule, deny}, {all}, {}, {siteRule}}
	before := r.d.Generation()
	for i := range 100 {
		r.applyRules(policies[i%len(policies)]...)
		for range 2 {
			o, _ := r.check(lan, fromHost(tcp(lanHost, farHost)))
			clearAllowed := i%len(policies) == 3
			if o.Disposition == packetForwarded && o.Frame[etherHeaderLen+9] != protocolESP && !clearAllowed {
				t.Fatalf("policy %d: left in clear", i%len(policies))
			}
			r.check(wan, fromPeer(tcp(farHost, lanHost)))
		}
	}
	if got := r.d.Generation() - before; got < 100 {
		t.Errorf("%d generations for 100 policies", got)
	}
}

// Filter counters belong to filters: they survive policies without the filter and are not inherited.
func TestFilterCountersSurvive(t *testing.T) {
	out := rule{name: "out", source: "10.1.0.0/24", destination: "198.51.100.0/24", oneWay: true}
	other := rule{name: "other", source: "10.1.0.0/24", destination: "203.0.113.0/24", oneWay: true}
	r := newRig(t, rigOptions{rules: []rule{out}})
	send := func(to string) { r.check(lan, fromHost(tcp(lanHost, netip.MustParseAddr(to)))) }
	count := func(name string) (n uint64) {
		c := r.d.Counters()
		for _, f := range c.Filters {
			if f.Entry.Rule == name {
				n += f.Packets
			}
		}
		return n
	}
	send("198.51.100.9")
	send("198.51.100.9")
	r.applyRules(other)
	send("203.0.113.9")
	if count("out") != 0 || count("other") != 1 {
		t.Errorf("out %d, other %d", count("out"), count("other"))
	}
	r.applyRules(other, out)
	send("198.51.100.9")
	if count("out") != 3 || count("other") != 1 {
		t.Errorf("out %d, other %d; want 3 and 1", count("out"), count("other"))
	}
}

// When all slots have been given out, the one of the filter that has been gone longest is next, and counts from zero.
func TestFilterSlotsAreReused(t *testing.T) {
	f := newFilterSlots(firstFilterSlot + 3)
	counted := map[uint32]uint64{}
	use := func(ids ...uint32) error {
		err := f.use(ids)
		f.begin(func(slot uint32) slotCount { return slotCount{FilterHits: FilterHits{Packets: counted[slot]}} })
		return err
	}
	if err := errors.Join(use(1, 2, 3), use(2), use(2, 1)); err != nil {
		t.Fatal(err)
	}
	slot3 := f.byID[3].slot
	counted[slot3] = 7
	if err := use(2, 1, 4); err != nil {
		t.Fatal(err)
	}
	_, kept := f.byID[3]
	if s := f.byID[4]; s.slot != slot3 || s.base.Packets != 7 || kept {
		t.Errorf("filter 4: %+v, want slot %d from 7 on", s, slot3)
	}
	if err := use(1, 2, 3, 4); err == nil {
		t.Error("4 filters in 3 slots")
	}
}

// A policy that cannot be applied leaves the counters of the one that stays, also when it would have needed their slots.
func TestCountersAfterARefusedPolicy(t *testing.T) {
	r := newRig(t, rigOptions{})
	ids := countedIDs(r.d.policy.spd)
	r.d.filters = newFilterSlots(firstFilterSlot + uint32(len(ids)))
	if err := r.d.filters.use(ids); err != nil {
		t.Fatal(err)
	}
	before := r.d.Counters().Filters
	other := r.snapshot(rule{name: "other", source: "10.1.0.0/24", destination: "198.51.100.0/24"}).SPD
	other.Entries[0].Ports = 0 // for no port: the classifier refuses it
	if err := r.d.Apply(Snapshot{SPD: other}); err == nil {
		t.Fatal("a filter for no port was applied")
	}
	same(t, "filters", r.d.Counters().Filters, before)
}

// A peer that no route reaches, hub and spoke, and the ways out of a tunnel.
func TestTunnelRouting(t *testing.T) {
	spoke := rule{name: "to-spoke", source: "10.2.0.0/16", destination: "10.3.0.0/16", tunnel: "spoke"}
	back := rule{name: "loop", source: "10.2.0.0/16", destination: "10.9.0.0/16", tunnel: "site"}
	r := newRig(t, rigOptions{rules: []rule{siteRule, spoke, {name: "leak", source: "10.2.0.0/16", destination: "198.51.100.0/24"}}})
	in := r.child("site", "aes128gcm16", true)
	in.Selectors = siteSelectors(func(s *policySelector) { s.Local = anyIPv4 })
	near := r.inbound(in)
	out := r.child("spoke", "aes128-sha256", false)
	out.Selectors = siteSelectors(func(s *policySelector) { s.Local, s.Remote = anyIPv4, anyIPv4 })
	far := r.outbound(out)
	send := func(destination string) outcome {
		near.sequence++
		o, _ := r.check(wan, fromPeer(near.encapsulate(tcp(farHost, netip.MustParseAddr(destination)), near.sequence)))
		return o
	}
	o := send("10.3.0.9") // from one tunnel into another
	if o.Disposition != packetForwarded {
		t.Fatalf("hub and spoke: %+v", o)
	}
	if inner := r.reveal(far, o.Frame); inner.destination() != netip.MustParseAddr("10.3.0.9") || inner.ttl() != 63 {
		t.Errorf("hub and spoke: % x", inner)
	}
	send("198.51.100.9")
	r.applyRules(siteRule, spoke, back)
	if o := send("10.9.0.9"); o.Reason != "protect_from_unprotected" {
		t.Errorf("back into the same tunnel: %+v", o)
	}
	// Required, decrypted, but routed out on the unprotected side.
	r.applyRules(rule{name: "far-side", source: "192.168.0.0/16", destination: "10.2.0.0/16", tunnel: "site"})
	if o := send("192.168.7.7"); o.Reason != "clear_to_unprotected" {
		t.Errorf("routed to the unprotected side: %+v", o)
	}
}

// An outbound SA whose peer has no route sends nothing, and sends as soon as there is one.
func TestPeerWithoutRoute(t *testing.T) {
	r := newRig(t, rigOptions{})
	child := r.child("site", "aes128gcm16", false)
	child.Remote = netip.MustParseAddrPort("203.0.113.5:4500")
	spd := r.ref.spd
	apply := func(routes ...Route) {
		t.Helper()
		if err := r.d.Apply(Snapshot{SPD: spd, Routes: routes, Tunnels: r.ref.tunnels}); err != nil {
			t.Fatal(err)
		}
		r.ref.routes, _ = resolveRoutes(r.ref.own, routes)
	}
	apply()
	r.outbound(child)
	before := r.tally()
	r.enqueue(0, lan, fromHost(tcp(lanHost, farHost)))
	r.settle()
	r.serveAll()
	r.settle()
	same(t, "without a route", ends(before, r.tally()), map[string]int{"no_route": 1})
	same(t, "sent", append(r.sent(lan), r.sent(wan)...), [][]byte(nil))
	apply(Route{To: netip.MustParsePrefix("203.0.113.0/24"), Via: peer})
	r.wantForward(lan, fromHost(tcp(lanHost, farHost)), wan)
}

// What cannot be installed is refused with a reason, and leaves no session behind.
func TestRefusals(t *testing.T) {
	r := newRig(t, rigOptions{})
	good := r.child("site", "aes128gcm16", true)
	for name, c := range map[string]struct {
		change func(*ChildSA)
		want   string
	}{
		"cell":      {func(c *ChildSA) { c.Cell = 9 }, "OpenCell"},
		"SPI":       {func(c *ChildSA) { c.SPI ^= 1 << 20 }, "reserved"},
		"address":   {func(c *ChildSA) { c.Local = netip.MustParseAddrPort("[2001:db8::1]:1") }, "two of IPv4 or two of IPv6"},
		"selectors": {func(c *ChildSA) { c.Selectors = nil }, "selector"},
		"window":    {func(c *ChildSA) { c.ReplayWindow = 1 << 20 }, "replay window"},
		"keys":      {func(c *ChildSA) { c.Keymat = crypto.NewSecret(make([]byte, 5)) }, "key material"},
		"suite":     {func(c *ChildSA) { c.Suite.KeyBits = 100 }, "100"},
	} {
		child := good
		c.change(&child)
		if err := r.d.InstallInbound(child); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := r.d.InstallInbound(good); err != nil {
		t.Fatal(err)
	}
	if err := r.d.InstallInbound(good); err == nil {
		t.Error("installed twice")
	}
	if err := r.d.RemoveInbound(12345); err == nil {
		t.Error("removed an SA that is not there")
	}
	text := fmt.Sprintf("%+v %#v", good, r.d.SACounters())
	if strings.Contains(text, fmt.Sprintf("%x", good.Keymat.Bytes())) || strings.Contains(text, fmt.Sprint(good.Keymat.Bytes())) {
		t.Error("a key was printed")
	}
	if err := r.d.Apply(Snapshot{SPD: r.ref.spd, Tunnels: nil}); err == nil || !strings.Contains(err.Error(), "no cell") {
		t.Errorf("a tunnel without a cell: %v", err)
	}
	if err := r.d.Apply(Snapshot{SPD: r.ref.spd, Tunnels: r.ref.tunnels, Routes: []Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("203.0.113.1")}}}); err == nil {
		t.Error("a next hop on no port")
	}
	r.wantDrop(lan, fromHost(tcp(lanHost, farHost)), "no_outbound_sa") // the old snapshot holds
}
