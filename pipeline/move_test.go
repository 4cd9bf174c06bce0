package pipeline

import (
	"net/netip"
	"testing"
)

// One of the two ends has moved (RFC 4555): an outbound SA of every form goes on from and to where they are now, in plain ESP, in AH, whose ICV covers the
// addresses, and in UDP, over both outer IP versions, with the numbers and keys that it had. What goes through another SA meanwhile stays as it is. In
// transport mode the addresses are those of the packets themselves: such an SA is left as it is, and says so.
func TestEveryFormIsMoved(t *testing.T) {
	for _, f := range everyForm() {
		t.Run(f.String(), func(t *testing.T) {
			newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}}).movesAbout(f)
		})
	}
}

// movesAbout moves either end of an SA of a form, back and forth.
func (r *rig) movesAbout(f form) {
	t := r.t
	t.Helper()
	version := f.versions()[0]
	out := r.formed(f, false)
	far := r.outbound(out)
	moves := [][2]string{{"192.0.2.77", "198.51.100.77"}, {"192.0.2.77", "198.51.100.78"}, {"192.0.2.78", "198.51.100.78"}}
	if f.outer6 {
		moves = [][2]string{{"2001:db8:f::77", "2001:db8:77::77"}, {"2001:db8:f::77", "2001:db8:77::78"}, {"2001:db8:f::78", "2001:db8:77::78"}}
	}
	moves = append(moves, [2]string{out.Local.Addr().String(), out.Remote.Addr().String()})
	var last uint64
	for _, to := range moves {
		local, remote := netip.MustParseAddr(to[0]), netip.MustParseAddr(to[1])
		err := r.d.MoveOutbound(out.Cell, out.SPI, netip.AddrPortFrom(local, 4500), netip.AddrPortFrom(remote, 4500))
		if f.transport {
			if home := local == out.Local.Addr(); (err != nil) == home {
				t.Errorf("moved from %s to %s: %v", local, remote, err)
			}
			local, remote = out.Local.Addr(), out.Remote.Addr()
		} else if err != nil {
			t.Fatal(err)
		}
		r.enqueue(0, lan, fromLAN(inner(version, 100, true)))
		r.settle()
		sent := r.sent(wan)
		if len(sent) != 1 {
			t.Fatalf("%d packets sent, want 1", len(sent))
		}
		ip := sent[0][etherHeaderLen:]
		if tuple := tupleOf(ip); tuple.Source != local || tuple.Destination != remote {
			t.Errorf("sent from %s to %s, want %s to %s", tuple.Source, tuple.Destination, local, remote)
		}
		if !isIPv6(ip) && checksum(ip[:ipv4HeaderLen]) != 0 {
			t.Errorf("IPv4 header % x", ip[:ipv4HeaderLen])
		}
		if _, reason := far.unwrap(ip); reason != "" {
			t.Errorf("from %s to %s: the peer drops it as %s", local, remote, reason)
		}
		sequence := r.d.SACounters()[0].Sequence
		if sequence != last+1 {
			t.Errorf("number %d after %d", sequence, last)
		}
		last = sequence
	}
}
