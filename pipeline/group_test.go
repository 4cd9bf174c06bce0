package pipeline

import (
	"fmt"
	"net/netip"
	"testing"

	"sallyport/policy"
)

var groups = map[string]netip.Addr{"multicast": netip.MustParseAddr("224.0.0.251"), "broadcast": netip.MustParseAddr("192.0.2.255")}

// Multicast and broadcast by filter (C-13, S-105): one test for each action and kind.
func TestPermittedMulticast(t *testing.T)  { permittedGroup(t, "multicast") }
func TestPermittedBroadcast(t *testing.T)  { permittedGroup(t, "broadcast") }
func TestBlockedMulticast(t *testing.T)    { blockedGroup(t, "multicast") }
func TestBlockedBroadcast(t *testing.T)    { blockedGroup(t, "broadcast") }
func TestNegotiatedMulticast(t *testing.T) { negotiatedGroup(t, "multicast") }
func TestNegotiatedBroadcast(t *testing.T) { negotiatedGroup(t, "broadcast") }

// Permitted: delivered to the gateway, which says nothing, and forwarded to no port.
func permittedGroup(t *testing.T, kind string) {
	r := newRig(t, rigOptions{rules: []rule{{name: "group", source: "any", destination: groups[kind].String(), oneWay: true}}})
	for _, p := range []ipv4{udpPacket(peer, groups[kind], 1000, 2000), icmpPacket(peer, groups[kind], icmpEcho, 20), packetOfLength(peer, groups[kind], 89, 60)} {
		o, answers := r.check(wan, fromPeer(p))
		if o.Disposition != packetGroup || len(answers[lan])+len(answers[wan]) != 0 {
			t.Errorf("%+v, answers %v", o, answers)
		}
		r.serveAll()
		r.settle()
		same(t, "sent", append(r.sent(lan), r.sent(wan)...), [][]byte(nil))
	}
	if n := r.ruleHits("group"); n != 3 {
		t.Errorf("the filter counted %d packets, want 3", n)
	}
}

func blockedGroup(t *testing.T, kind string) {
	r := newRig(t, rigOptions{permit: true, rules: []rule{{name: "group", source: "any", destination: groups[kind].String(), block: true, oneWay: true}}})
	r.wantDrop(wan, fromPeer(udpPacket(peer, groups[kind], 1000, 2000)), "filter_block")
	if n := r.ruleHits("group"); n != 1 {
		t.Errorf("the filter counted %d packets, want 1", n)
	}
}

// A filter that names a group cannot negotiate; one that merely covers it drops what is sent to the group and asks for no SA.
func negotiatedGroup(t *testing.T, kind string) {
	set := &policy.Set{Active: "p",
		Policies:      []policy.Policy{{Name: "p", Rules: []policy.Rule{{Name: "r", FilterList: "l", FilterAction: "a", Tunnel: "site", AuthMethods: []string{"psk"}}}}},
		FilterLists:   []policy.FilterList{{Name: "l", Updated: epoch, Filters: []policy.Filter{{Destination: policy.Range(policy.HostRange(groups[kind]))}}}},
		FilterActions: []policy.FilterAction{{Name: "a", Kind: policy.ActionNegotiate, Methods: []string{"aes128gcm16"}}}}
	if _, _, err := policy.Compile(set, policy.Environment{LocalAddresses: []netip.Addr{wanOwn}, Subnets: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}); err == nil {
		t.Error("a filter that negotiates for a group was compiled")
	}
	r := newRig(t, rigOptions{rules: []rule{{name: "all", source: "any", destination: "any", tunnel: "site"}}})
	r.setCell("site", CellHold)
	r.wantDrop(wan, fromPeer(udpPacket(peer, groups[kind], 1000, 2000)), kind)
	group := groups[kind]
	if kind == "broadcast" {
		group = netip.MustParseAddr("10.1.0.255")
	}
	r.wantDrop(lan, fromHost(udpPacket(lanHost, group, 1000, 2000)), kind)
	if len(r.seen.acquired) != 0 {
		t.Errorf("%d SAs were asked for", len(r.seen.acquired))
	}
}

// ruleHits is what the filters of a rule counted.
func (r *rig) ruleHits(name string) (n uint64) {
	for _, f := range r.d.Counters().Filters {
		if f.Entry.Rule == name {
			n += f.Packets
		}
	}
	return n
}

// The borders of multicast, and the last address of subnets of every length (S-104).
func TestGroupBorders(t *testing.T) {
	r := newRig(t, rigOptions{permit: true, rules: []rule{}, lan: "172.20.0.1/24", wan: "192.0.2.1/24", host: netip.MustParseAddr("172.20.0.7"), peer: peer})
	for _, c := range []struct {
		own, destination string
		group            bool
	}{
		{"10.1.0.1/24", "223.255.255.255", false},
		{"10.1.0.1/24", "224.0.0.0", true},
		{"10.1.0.1/24", "239.255.255.255", true},
		{"10.1.0.1/24", "240.0.0.0", false},
		{"10.1.0.1/24", "255.255.255.255", true},
		{"10.1.0.1/24", "10.1.0.254", false},
		{"10.1.0.1/8", "10.255.255.255", true},
		{"10.1.0.1/16", "10.1.255.255", true},
		{"10.1.0.1/24", "10.1.0.255", true},
		{"10.1.0.1/25", "10.1.0.127", true},
		{"10.1.0.1/25", "10.1.0.255", false},
		{"10.1.0.1/30", "10.1.0.3", true},
		{"10.1.0.0/31", "10.1.0.1", false},
		{"10.1.0.1/32", "10.1.0.1", false},
		{"10.1.0.0/31", "0.0.0.0", false},
		{"10.1.0.1/32", "0.0.0.0", false},
	} {
		r.ref.own = addresses{{netip.MustParsePrefix("172.20.0.1/24"), netip.MustParsePrefix(c.own)}, r.ref.own[wan]}
		r.applyRules()
		r.rejudged()
		o, _ := r.check(lan, fromHost(udpPacket(netip.MustParseAddr("172.16.0.9"), netip.MustParseAddr(c.destination), 1000, 2000)))
		if (o.Disposition == packetGroup) != c.group {
			t.Errorf("%s on a port with %s: %+v, want a group: %v", c.destination, c.own, o, c.group)
		}
	}
}

// 0.0.0.0 is nobody's: no broadcast address of a subnet that has none, and no address of a port that has none of IPv4.
func TestNobodysAddress(t *testing.T) {
	r := newRig(t, rigOptions{permit: true, rules: []rule{}})
	near := r.inbound(r.child("site", "aes128gcm16", true))
	r.ref.own = addresses{{}, {netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("10.1.0.1/24"), netip.MustParsePrefix("10.9.0.1/32")}}
	r.applyRules()
	r.rejudged()
	nobody := netip.IPv4Unspecified()
	toAll := fromPeer(udpPacket(stranger, nobody, 1000, 2000))
	copy(toAll, broadcastMAC[:])
	r.wantDrop(wan, toAll, "link_broadcast")
	r.wantDrop(wan, fromPeer(udpPacket(stranger, nobody, 1000, 2000)), "bad_destination")
	sealed := near.encapsulate(udpPacket(farHost, stranger, 1000, 2000), 1)
	copy(sealed[16:20], nobody.AsSlice())
	setHeaderChecksum(sealed)
	r.wantDrop(lan, fromHost(sealed), "bad_destination")
}

// TCP to a group is no TCP: dropped before classification, whatever a filter or exemption would say (S-106).
func TestTCPToGroups(t *testing.T) {
	r := newRig(t, rigOptions{level: policy.Level0, permit: true, rules: []rule{siteRule, {name: "all", source: "any", destination: "any"}}})
	r.wantDrop(wan, fromPeer(tcp(peer, netip.MustParseAddr("224.0.0.1"))), "tcp_multicast")
	r.wantDrop(wan, fromPeer(tcp(peer, netip.MustParseAddr("255.255.255.255"))), "tcp_multicast")
	if n := r.d.Counters().Ports[wan].Drops["tcp_multicast"]; n != 2 {
		t.Errorf("counted %d, want 2", n)
	}
	for _, f := range r.d.Counters().Filters {
		if f.Packets != 0 {
			t.Errorf("%s %s counted it", f.Name, f.Entry.Rule)
		}
	}
}

// To all of an attached subnet nothing is forwarded from elsewhere, in clear or out of a tunnel, whatever the filters say
// (S-107). Two ports of one role do not share the memo of what came from the subnet itself.
func TestDirectedBroadcast(t *testing.T) {
	for _, level := range []policy.ExemptionLevel{policy.Level0, policy.Level3} {
		r := newRig(t, rigOptions{level: level, wanRole: policy.PortsLAN, rules: []rule{
			{name: "all", source: "any", destination: "any"},
			{name: "site", source: "10.1.0.0/16", destination: "10.2.0.0/16", tunnel: "site", ports: policy.PortsLAN},
		}})
		p := udpPacket(netip.MustParseAddr("172.16.0.9"), netip.MustParseAddr("10.1.0.255"), 1000, 2000)
		for range 3 {
			r.wantDrop(wan, fromPeer(p), "directed_broadcast")
			if o, _ := r.check(lan, fromHost(p)); o.Disposition != packetGroup {
				t.Errorf("level %s, from the subnet itself: %+v", level, o)
			}
		}
		near := r.inbound(r.child("site", "aes128gcm16", true))
		r.wantDrop(wan, fromPeer(near.encapsulate(udpPacket(farHost, netip.MustParseAddr("10.1.0.255"), 1000, 2000), 1)), "directed_broadcast")
		if c := r.d.Counters(); c.Ports[wan].Forwarded+c.Ports[lan].Forwarded != 0 {
			t.Errorf("level %s: something was forwarded", level)
		}
	}
}

// A flood to a group leaves the queues to the slow path alone.
func TestGroupFloodLeavesRoom(t *testing.T) {
	r := newRig(t, rigOptions{level: policy.Level1})
	var frames [][]byte
	for i := range 3 * DefaultPuntQueue {
		frames = append(frames, fromPeer(udpPacket(peer, groups["multicast"], uint16(1000+i%5), 2000)))
	}
	r.flood(wan, frames)
	if o, _ := r.check(wan, fromPeer(udpPacket(peer, wanOwn, 500, 500))); o.Disposition != packetIKE || len(r.seen.ike) != 1 {
		t.Errorf("%+v, %d datagrams", o, len(r.seen.ike))
	}
	if p := r.d.Counters().Ports[wan]; p.Drops["punt_full"] != 0 {
		t.Error(fmt.Sprint(p.Drops))
	}
}
