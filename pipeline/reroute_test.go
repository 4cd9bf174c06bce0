package pipeline

import (
	"fmt"
	"net/netip"
	"testing"

	"sallyport/policy"
)

// distant is a peer that both ports can lead to.
var distant = netip.MustParseAddrPort("203.0.113.9:4500")

// routeBy has the routes lead to the distant peer by a port.
func (r *rig) routeBy(port int) {
	r.t.Helper()
	s := r.snapshot(r.options.rules...)
	if port == lan {
		s.Routes = append(s.Routes, Route{To: netip.PrefixFrom(distant.Addr(), 32), Via: r.options.host})
	}
	r.publish(s)
}

// toDistant is an outbound SA to the distant peer, at a NIC if it can be, and what its packets are watched by.
func (r *rig) toDistant() *seenOnWire {
	child := r.child("site", "aes128gcm16", false)
	child.Remote = distant
	return r.watch(r.outbound(child))
}

// The routes come to lead to a peer by another port, and back. What that port's NIC can do it does, else the CPU; nothing is lost, nothing comes late or twice, and no NIC keeps a
// session that is no use to it.
func TestOutboundFollowsRoutes(t *testing.T) {
	eachCard(t, func(t *testing.T, protocol bool) {
		for _, bare := range []bool{false, true} {
			t.Run(fmt.Sprint("other port without a NIC ", bare), func(t *testing.T) {
				c := &card{protocol: protocol}
				r, _ := everywhere(t, rigOptions{card: c})
				c.bare = func(port uint16) bool { return bare && port == uint16(r.wire(lan).port) }
				r.routeBy(wan)
				wire := r.toDistant()
				sent := 0
				feed := func(n int) {
					r.send(sent, n)
					sent += n
					r.turns(1)
				}
				look := func() { wire.lookAt(lan); wire.lookAt(wan) }
				for turn, to := range []int{wan, lan, wan, lan} {
					look() // before the card has other sessions
					r.routeBy(to)
					for range 3 {
						feed(20)
						r.tick()
					}
					r.settle()
					look()
					r.rest()
					left := c.left
					feed(20)
					r.settle()
					if got := wire.lookAt(to); got != 20 {
						t.Errorf("turn %d: %d packets of 20 left by port %d", turn, got, to)
					}
					byNIC := 20
					if bare && to == lan {
						byNIC = 0
					}
					sa := r.d.SACounters()[0]
					if c.left-left != byNIC || sa.Inline.Session != (byNIC > 0) || len(c.sessions) != byNIC/20 {
						t.Errorf("turn %d: the card was left %d packets of %d, has %d sessions; %+v", turn, c.left-left, byNIC, len(c.sessions), sa.Inline)
					}
					if byNIC > 0 && c.session(true, 0).port != uint16(r.wire(to).port) {
						t.Errorf("turn %d: the session is at port %d", turn, c.session(true, 0).port)
					}
				}
				if len(wire.inside) != sent || wire.late > 0 || len(r.seen.expired) != 0 {
					t.Errorf("%d packets of %d, %d behind the window, asked for others: %v", len(wire.inside), sent, wire.late, r.seen.expired)
				}
			})
		}
	})
}

// An operator's wish for a port holds where the routes lead back to one that can: meanwhile the order decides. A route that goes away altogether changes nothing, and one that
// changes while the SA is on its way is seen when it has arrived.
func TestOutboundFollowsRoutesLater(t *testing.T) {
	c := &card{}
	r, _ := everywhere(t, rigOptions{card: c})
	c.bare = func(port uint16) bool { return port == uint16(r.wire(lan).port) }
	wire := r.toDistant()
	at := func(want Place) {
		t.Helper()
		r.rest()
		r.send(len(wire.inside), 10)
		r.settle()
		wire.lookAt(lan)
		wire.lookAt(wan)
		if got := r.d.placeOut(r.d.sad.outboundOf(r.cell("site"))[0]); got != want {
			t.Errorf("at %s, want %s", got, want)
		}
	}
	r.goTo(true, PlaceInlineCrypto)
	at(PlaceInlineCrypto)
	r.routeBy(lan)
	at(PlaceCPU)
	r.routeBy(wan)
	at(PlaceInlineCrypto)
	made := c.made
	s := r.snapshot(r.options.rules...)
	s.Routes = nil
	r.publish(s)
	r.rest()
	r.routeBy(wan)
	at(PlaceInlineCrypto)
	if c.made != made {
		t.Errorf("%d sessions were made for a route that went and came", c.made-made)
	}
	r.goTo(true, PlaceCPU)
	r.turnBy(lan, wan) // is nothing to one that is to be at the CPU
	at(PlaceCPU)
	r.goTo(true, PlaceInline)
	r.turnBy(lan, wan, lan)
	at(PlaceCPU)
	if len(c.sessions) != 0 {
		t.Errorf("%d sessions are left", len(c.sessions))
	}
	r.turnBy(wan)
	at(PlaceInlineCrypto)
	if wire.late > 0 || len(wire.inside) != 70 {
		t.Errorf("%d packets of 70, %d behind the window", len(wire.inside), wire.late)
	}
}

// turnBy has the routes change so fast that no SA comes to rest.
func (r *rig) turnBy(ports ...int) {
	r.t.Helper()
	for _, port := range ports {
		r.routeBy(port)
	}
}

// Inbound the NIC of the port that leads to the peer is to open what comes; what still comes by the other port the CPU opens, in the same window. A window that a NIC has cannot
// go along: IKE is asked, once, for the next SA, which is there.
func TestInboundFollowsRoutes(t *testing.T) {
	eachCard(t, func(t *testing.T, protocol bool) {
		c := &card{protocol: protocol}
		r, _ := everywhere(t, rigOptions{card: c})
		r.routeBy(wan)
		in := func() *referenceOut {
			child := r.child("site", "aes128gcm16", true)
			child.Remote = distant
			return r.inbound(child)
		}
		near := in()
		var frames [][]byte
		feed := func(n int) (got int) {
			for range n {
				near.sequence++
				frames = append(frames, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)))
				r.enqueue(0, wan, frames[len(frames)-1])
				r.turns(1)
				got += len(r.packets(lan))
			}
			r.settle()
			return got + len(r.packets(lan))
		}
		want := func(got, wanted int, what string) {
			t.Helper()
			if got != wanted {
				t.Errorf("%s: %d, want %d", what, got, wanted)
			}
		}
		want(feed(20), 20, "packets at first")
		want(c.opened, 20, "opened by the NIC")
		r.routeBy(lan)
		got := 0
		for range 4 {
			got += feed(10)
			r.tick()
		}
		want(got, 40, "packets while it moves")
		r.rest()
		want(feed(20), 20, "packets by the former port")
		if protocol {
			r.routeBy(wan)
			r.routeBy(lan)
			same(t, "asked for others", r.seen.expired, []string{fmt.Sprintf("cell %d spi %d outbound false hard false", r.cell("site"), near.child.SPI)})
			near, frames = in(), nil
		} else {
			same(t, "asked for others", len(r.seen.expired), 0)
		}
		if s := c.session(false, near.child.SPI); s == nil || s.port != uint16(r.wire(lan).port) {
			t.Fatalf("session %+v, want one at the other port", s)
		}
		if protocol {
			return
		}
		opened := c.opened
		near.sequence++
		frames = append(frames, etherFrame(lanMAC[:], hostMAC[:], etherTypeIPv4, near.encapsulate(tcp(farHost, lanHost), near.sequence)))
		r.enqueue(0, lan, frames[len(frames)-1])
		r.settle()
		want(len(r.packets(lan)), 1, "packets by the other port")
		want(c.opened-opened, 1, "opened by its NIC")
		before := r.tally()
		for _, frame := range frames[:len(frames)-1] {
			r.enqueue(0, wan, frame)
			r.settle()
		}
		same(t, "once more", ends(before, r.tally()), map[string]int{"replay_duplicate": len(frames) - 1})
	})
}

// An inbound SA that would go where it is does not move.
func TestInboundIsThere(t *testing.T) {
	c := &card{bare: func(uint16) bool { return true }}
	r, _ := everywhere(t, rigOptions{card: c})
	r.inbound(r.child("site", "aes128gcm16", true))
	if m := r.relocate("site", false, PlaceAuto); m.Err != nil || m.Rekey || m.From != PlaceCPU || m.To != PlaceCPU || len(r.d.sad.moving) != 0 {
		t.Errorf("%+v, %d moves", m, len(r.d.sad.moving))
	}
}

// A peer behind a NAT that moves behind another port takes both its SAs along.
func TestPeerMovesToAnotherPort(t *testing.T) {
	c := &card{}
	r, _ := everywhere(t, rigOptions{card: c, wanRole: policy.PortsLAN})
	out, in := r.child("site", "aes128gcm16", false), r.child("site", "aes128gcm16", true)
	out.UDPEncap, in.UDPEncap = true, true
	r.outbound(out)
	near := r.inbound(in)
	near.sequence++
	r.enqueue(0, wan, fromAddress(fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)), netip.AddrPortFrom(lanHost, 4500)))
	r.settle()
	r.serveAll()
	r.rest()
	if len(r.seen.moved) != 1 || c.opened != 1 {
		t.Fatalf("moved: %v, %d packets opened by the NIC", r.seen.moved, c.opened)
	}
	for outbound, spi := range map[bool]uint32{true: out.SPI, false: in.SPI} {
		if s := c.session(outbound, spi); s == nil || s.port != uint16(r.wire(lan).port) {
			t.Errorf("outbound %t: session %+v, want one at the other port", outbound, s)
		}
	}
	if len(c.sessions) != 2 {
		t.Errorf("%d sessions, want 2", len(c.sessions))
	}
}
