package pipeline

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"
)

// accounts is drops by reason: of ports, of filters by their rules, and of SAs by their SPIs.
type accounts struct {
	ports, filters, sas map[string]dropCounts
}

func (r *rig) accounts() accounts {
	a := accounts{map[string]dropCounts{}, map[string]dropCounts{}, map[string]dropCounts{}}
	add := func(to map[string]dropCounts, name string, drops dropCounts) {
		if len(drops) > 0 {
			to[name] = drops
		}
	}
	c := r.d.Counters()
	for _, p := range c.Ports {
		add(a.ports, p.Name, p.Drops)
	}
	for _, f := range c.Filters {
		name := f.Entry.Rule
		if name == "" {
			name = f.Name
		}
		if a.filters[name] == nil { // a mirrored filter is two
			add(a.filters, name, maps.Clone(f.Drops))
			continue
		}
		for reason, n := range f.Drops {
			a.filters[name][reason] += n
		}
	}
	for _, sa := range c.SAs {
		add(a.sas, fmt.Sprintf("%#x", sa.SPI), sa.Drops)
	}
	return a
}

// S-109: every drop is counted once, at the port the packet came in by, and under the same reason at the filter that had
// decided it and at the SA it belonged to, if there was one.
func TestAccounts(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{siteRule, {name: "deny", source: "10.1.0.66", destination: "any", block: true},
		{name: "rest", source: "10.1.0.0/24", destination: "203.0.113.0/24"}, {name: "failed", source: "10.1.0.0/24", destination: "10.9.0.0/24", tunnel: "failed"}}})
	out, in := r.child("site", "aes128gcm16", false), r.child("site", "aes128-sha256", true)
	out.FirstSequence = 1<<32 - 3
	r.outbound(out)
	near := r.inbound(in)
	r.setCell("failed", CellFailed)
	outside, unresolved := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("10.1.0.99")
	for range 5 {
		r.check(lan, fromHost(tcp(lanHost, farHost))) // the counter ends after 3
		r.wantDrop(lan, fromHost(tcp(netip.MustParseAddr("10.1.0.66"), netip.MustParseAddr("198.51.100.9"))), "filter_block")
		r.wantDrop(lan, fromHost(tcp(lanHost, netip.MustParseAddr("8.8.8.8"))), "no_filter")
		r.wantDrop(lan, fromHost(tcp(lanHost, netip.MustParseAddr("10.9.0.9"))), "blocked_negotiation_failed")
		r.wantDrop(wan, fromPeer(tcp(farHost, lanHost)), "clear_on_protected")
		r.wantDrop(lan, fromHost(tcp(lanOwn, outside)), "bad_source") // no filter is asked
	}
	expired := tcp(lanHost, outside)
	expired[8] = 1
	setHeaderChecksum(expired)
	r.wantDrop(lan, fromHost(expired), "ttl_expired")
	frame := func() []byte {
		near.sequence++
		return fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence))
	}
	good := frame()
	r.wantForward(wan, good, lan)
	r.wantDrop(wan, good, "replay_duplicate")
	r.wantDrop(wan, good, "replay_duplicate")
	forged := frame()
	forged[len(forged)-1] ^= 1
	r.wantDrop(wan, forged, "auth_failed")
	near.sequence++
	r.wantDrop(wan, fromPeer(near.encapsulate(tcp(netip.MustParseAddr("203.0.113.77"), lanHost), near.sequence)), "selector_mismatch")
	near.sequence++
	if o, _ := r.check(wan, fromPeer(near.encapsulate(tcp(farHost, unresolved), near.sequence))); o.Disposition != packetNeighbour {
		t.Fatalf("to a host that nobody knows: %+v", o)
	}
	r.now = r.now.Add(30 * time.Second)
	for range 10 {
		r.serveAll()
		r.now = r.now.Add(30 * time.Second)
	}
	r.settle()
	outSPI, inSPI := fmt.Sprintf("%#x", out.SPI), fmt.Sprintf("%#x", in.SPI)
	got := r.accounts()
	same(t, "ports", got.ports, map[string]dropCounts{
		"lan": {"seq_exhausted": 2, "filter_block": 5, "no_filter": 5, "blocked_negotiation_failed": 5, "bad_source": 5, "ttl_expired": 1},
		"wan": {"clear_on_protected": 5, "replay_duplicate": 2, "auth_failed": 1, "selector_mismatch": 1, "neighbour_silent": 1},
	})
	same(t, "filters", got.filters, map[string]dropCounts{
		"to-site": {"seq_exhausted": 2, "clear_on_protected": 5, "neighbour_silent": 1}, "deny": {"filter_block": 5}, "default action": {"no_filter": 5},
		"failed": {"blocked_negotiation_failed": 5}, "rest": {"ttl_expired": 1},
	})
	same(t, "SAs", got.sas, map[string]dropCounts{outSPI: {"seq_exhausted": 2}, inSPI: {"replay_duplicate": 2, "auth_failed": 1, "selector_mismatch": 1}})
}

// An SA that takes over the number of one that is gone counts its drops from zero.
func TestAccountsOfSuccessiveSAs(t *testing.T) {
	r := newRig(t, rigOptions{})
	for range 3 {
		near := r.inbound(r.child("site", "aes128gcm16", true))
		frame := fromPeer(near.encapsulate(tcp(farHost, lanHost), 1))
		r.wantForward(wan, frame, lan)
		r.wantDrop(wan, frame, "replay_duplicate")
		sas := r.d.SACounters()
		if len(sas) != 1 || len(sas[0].Drops) != 1 || sas[0].Drops["replay_duplicate"] != 1 || r.d.sad.inbound[sas[0].SPI].subject != r.d.cfg.counters() {
			t.Fatalf("%+v, subject %d", sas, r.d.sad.inbound[sas[0].SPI].subject)
		}
		if err := r.d.RemoveInbound(near.child.SPI); err != nil {
			t.Fatal(err)
		}
		delete(r.ref.inbound, near.child.SPI)
		r.settle()
		r.d.mu.Lock()
		r.d.reclaim()
		r.d.mu.Unlock()
	}
}

// A packet that no transmit queue took was its SA's and its filter's all the same.
func TestAccountsOfAFullQueue(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		r := newRig(t, rigOptions{})
		r.outbound(r.child("site", suite, false))
		frames := make([][]byte, 32)
		for i := range frames {
			frames[i] = fromHost(tcp(lanHost, farHost))
		}
		for range 40 { // the ring behind the port holds 1023
			r.enqueue(0, lan, frames...)
			r.settle()
		}
		got, lost := r.accounts(), uint64(40*32-1023)
		drops := dropCounts{"tx_full": lost}
		spi := fmt.Sprintf("%#x", r.d.SACounters()[0].SPI)
		same(t, suite, got, accounts{map[string]dropCounts{"lan": drops}, map[string]dropCounts{"to-site": drops}, map[string]dropCounts{spi: drops}})
		r.sent(wan)
	}
}

// Counts for which there is no room are those of nobody in particular: no drop is lost, and none is another's.
func TestAccountsAreBounded(t *testing.T) {
	var rules []rule
	for i := range 20 {
		rules = append(rules, rule{name: fmt.Sprint("deny", i), source: fmt.Sprintf("10.1.0.%d", 20+i), destination: "any", oneWay: true, block: true})
	}
	r := newRig(t, rigOptions{rules: rules, tally: 16}) // of which 12 are given out
	for range 3 {
		for i := range 20 {
			r.wantDrop(lan, fromHost(tcp(netip.AddrFrom4([4]byte{10, 1, 0, byte(20 + i)}), farHost)), "filter_block")
		}
	}
	c, counted := r.d.Counters(), 0
	for _, f := range c.Filters {
		if n := f.Drops["filter_block"]; n == 3 {
			counted++
		} else if n != 0 {
			t.Errorf("filter %s: %v", f.Entry.Rule, f.Drops)
		}
	}
	if counted != 12 || c.Unattributed["filter_block"] != 3*8 || c.Ports[lan].Drops["filter_block"] != 60 {
		t.Errorf("%d filters with counts, unattributed %v, port %v", counted, c.Unattributed, c.Ports[lan].Drops)
	}
}

// S-109: whatever comes in, in whatever mix, each port accounts for every packet of it whenever the workers are quiet: received is
// forwarded, delivered, dropped for one reason, waiting, or part of another packet.
func TestEveryMixIsConserved(t *testing.T) {
	r := newRig6(t, rigOptions{maxSAs: 64, rules: []rule{siteRule, siteRule6, {name: "deny", source: "10.1.0.66", destination: "203.0.113.0/24", block: true},
		{name: "asked", source: "10.1.0.0/24", destination: "10.9.0.0/24", tunnel: "asked"}, {name: "rest", source: "10.1.0.0/24", destination: "203.0.113.0/24"}}})
	r.outbound(r.formed(form{suite: "aes128gcm16", ah: "sha256"}, false))
	var near []*referenceOut
	for _, f := range everyForm() {
		near = append(near, r.inbound(r.formed(f, true)))
	}
	kinds := append(r.mixes(), func() (int, []byte) {
		i := r.random.IntN(len(near))
		near[i].sequence += uint64(r.random.IntN(2)) // or the same once more
		versions := everyForm()[i].versions()
		return wan, fromWAN(near[i].encapsulate(inner(versions[r.random.IntN(len(versions))], 100, false), max(1, near[i].sequence)))
	})
	for range 400 {
		before := r.d.Counters()
		var burst [2][][]byte
		for range 1 + r.random.IntN(40) {
			port, frame := kinds[r.random.IntN(len(kinds))]()
			if r.random.IntN(4) == 0 {
				frame[r.random.IntN(len(frame))] ^= 1 << r.random.IntN(8)
			}
			burst[port] = append(burst[port], frame)
		}
		for port, frames := range burst {
			r.enqueue(0, port, frames...)
		}
		r.settle()
		c := r.d.Counters()
		if err := c.Conserved(); err != nil {
			t.Fatal(err)
		}
		for port, frames := range burst {
			if got := c.Ports[port].Received - before.Ports[port].Received; got != uint64(len(frames)) {
				t.Fatalf("port %d has received %d packets of %d", port, got, len(frames))
			}
			r.sent(port)
		}
		r.now = r.now.Add(50 * time.Millisecond)
		r.serveAll()
	}
	met := r.tally()
	for _, end := range []string{"forwarded", "delivered", "merged", "filter_block", "no_filter", "clear_on_protected", "replay_duplicate", "auth_failed", "no_inbound_sa", "ip_checksum", "ttl_expired"} {
		if met[end] == 0 {
			t.Errorf("nothing was ever %s; met %v", end, met)
		}
	}
}

// mixes are frames of the kinds that a port gets, sound but for what happens to them on the way, each with its port.
func (r *rig) mixes() []func() (port int, frame []byte) {
	outside := netip.MustParseAddr("203.0.113.9")
	var halves [2][]byte
	return []func() (int, []byte){
		func() (int, []byte) { return lan, fromLAN(inner(4+2*r.random.IntN(2), 60+r.random.IntN(1300), true)) },
		func() (int, []byte) { return lan, fromHost(tcp(lanHost, outside)) },
		func() (int, []byte) { return lan, fromHost(tcp(netip.MustParseAddr("10.1.0.66"), outside)) },
		func() (int, []byte) { return lan, fromHost(tcp(lanHost, netip.MustParseAddr("10.9.0.9"))) }, // no SA yet
		func() (int, []byte) { return lan, fromHost(tcp(lanHost, netip.MustParseAddr("8.8.8.8"))) },
		func() (int, []byte) { return lan, fromHost(icmpPacket(lanHost, lanOwn, icmpEcho, 8)) },
		func() (int, []byte) {
			return lan, fromHost(udpPacket(lanHost, netip.MustParseAddr("10.1.0.255"), 7, 7))
		},
		func() (int, []byte) { return wan, fromPeer(tcp(farHost, lanHost)) },
		func() (int, []byte) { return wan, fromPeer(udpPacket(peer, wanOwn, 500, 500)) },
		func() (int, []byte) {
			return wan, fromPeer(udpPacket(peer, netip.MustParseAddr("224.0.0.5"), 500, 500))
		},
		func() (int, []byte) {
			p := tcp(lanHost, outside)
			p[8] = 1
			setHeaderChecksum(p)
			return lan, fromHost(p)
		},
		func() (int, []byte) { // the halves of a packet, one after the other
			if halves[0] == nil {
				for i := range halves {
					p := packetOfLength(lanHost, outside, protocolUDP, ipv4HeaderLen+64)
					binary.BigEndian.PutUint16(p[4:], uint16(r.random.Uint32()))
					if i == 1 {
						copy(p[4:6], halves[0][etherHeaderLen+4:])
					}
					binary.BigEndian.PutUint16(p[6:], [2]uint16{0x2000, 8}[i])
					setHeaderChecksum(p)
					halves[i] = fromHost(p)
				}
			}
			frame := halves[0]
			halves[0], halves[1] = halves[1], nil
			return lan, frame
		},
	}
}
