package pipeline

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"sallyport/policy"
)

// What comes past a card that has the window.

// Packets of an SA with inline protocol come in fragments, which no card opens: that takes no port for lost, whoever repeats a captured packet so, and has the SA negotiated anew
// once. The next ones have the CPU's window for an hour, so that what a path cuts comes through (S-102).
func TestInlineCutOnTheWay(t *testing.T) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	c := &card{protocol: true}
	r := newRig(t, rigOptions{card: c})
	near := r.inbound(r.child("site", "aes128gcm16", true))
	next := func() []byte {
		near.sequence++
		return near.encapsulate(big(false, farHost, lanHost, 1000, int(near.sequence)), near.sequence)
	}
	cut := func(packet []byte) {
		for _, f := range pieces(slices.Clone(packet), 600) {
			r.enqueue(0, wan, fromPeer(f))
		}
	}
	captured := next()
	r.enqueue(0, wan, fromPeer(slices.Clone(captured)))
	r.settle()
	if got := len(r.packets(lan)); got != 1 || c.opened != 1 {
		t.Fatalf("%d packets, %d by the card", got, c.opened)
	}
	start := r.now
	after := func(d time.Duration) func() bool { return func() bool { return r.now.Sub(start) >= d } }
	r.until("three seconds on", 100*time.Millisecond, func() { cut(captured); cut(next()) }, after(3*time.Second))
	same(t, "to the lan", len(r.packets(lan)), 0)
	same(t, "told", r.seen.expired, []string{fmt.Sprintf("cell %d spi %d outbound false hard false", near.child.Cell, near.child.SPI)})
	if lost, _ := r.told(); lost > 0 {
		t.Errorf("taken for lost: %+v", r.seen.offload)
	}
	near = r.inbound(r.child("site", "aes128gcm16", true))
	for range 5 {
		cut(next())
	}
	r.settle()
	same(t, "to the lan by the next SA", len(r.packets(lan)), 5)
	protocol := func() bool { return r.d.sad.inbound[near.child.SPI].inline.Protocol }
	if protocol() {
		t.Error("the next SA is the card's too")
	}
	// an operator who wants it there all the same is told why not, and until when
	until := r.d.sad.shunned[near.child.Cell].UTC().Format(time.RFC3339)
	said := func(text string) bool {
		return strings.Contains(text, "came past the NIC") && strings.Contains(text, until)
	}
	moved, err := r.d.Relocate(near.child.Cell, false, PlaceInlineProtocol, true)
	r.rests()
	if err != nil || len(moved) == 0 {
		t.Fatalf("%+v, %v", moved, err)
	}
	for _, m := range moved {
		if m.SPI == near.child.SPI && (m.Rekey || m.Err == nil || !said(m.Err.Error())) {
			t.Errorf("asked for inline protocol: %+v, want it to say until %s", m, until)
		}
	}
	r.until("an hour on", 5*time.Minute, nil, after(shunInline+time.Minute))
	if near = r.inbound(r.child("site", "aes128gcm16", true)); !protocol() {
		t.Errorf("after an hour: %+v", r.d.sad.inbound[near.child.SPI].inline)
	}
}

// A card that leaves the packets of one SA and opens those of another, another worker's, is there. When it opens none it is lost.
func TestInlineOpensForAnother(t *testing.T) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	left := uint32(0)
	c := &card{protocol: true}
	c.leave = func(frame []byte) bool {
		at, _ := espAt(frame)
		return at != 0 && binary.BigEndian.Uint32(frame[at:]) == left
	}
	r := newRig(t, rigOptions{card: c, workers: 2})
	a, b := r.inbound(r.child("site", "aes128gcm16", true)), r.inbound(r.child("site", "aes128gcm16", true))
	left = b.child.SPI
	feed := func(sa *referenceOut, worker int) {
		sa.sequence++
		r.enqueue(worker, wan, fromPeer(sa.encapsulate(tcp(farHost, lanHost), sa.sequence)))
	}
	start := r.now
	r.until("three seconds on", 100*time.Millisecond, func() { feed(a, 0); feed(b, 1); r.settle() }, func() bool { return r.now.Sub(start) >= 3*time.Second })
	if lost, _ := r.told(); lost > 0 || c.opened != 30 {
		t.Errorf("%d packets opened, taken for lost: %+v", c.opened, r.seen.offload)
	}
	r.until("lost", 100*time.Millisecond, func() { feed(b, 1); r.settle() }, func() bool { lost, _ := r.told(); return lost == 1 })
}

// The route to a peer turns to another VLAN of the port, or to another port, and what comes by it is nobody's to open until IKE has made the next SA, which may take its time. The NIC
// is there all the while: it opens what still comes by the former way, and the next SA's by the new one. When it leaves that too it is lost.
func TestInlineByAnotherWay(t *testing.T) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	for name, vlans := range map[string][2]uint16{"VLAN": {10, 20}, "port": {}} {
		t.Run(name, func(t *testing.T) {
			c := &card{protocol: true}
			r := newRig(t, rigOptions{card: c, vlans: vlans, wanRole: policy.PortsLAN})
			r.routeBy(wan)
			in := func() *referenceOut {
				child := r.child("site", "aes128gcm16", true)
				child.Remote = distant
				return r.inbound(child)
			}
			feed := func(near *referenceOut, port int) {
				near.sequence++
				packet := near.encapsulate(tcp(farHost, lanHost), near.sequence)
				if port == wan {
					r.enqueue(0, wan, fromPeer(packet))
				} else {
					r.enqueue(0, lan, etherFrame(lanMAC[:], hostMAC[:], etherTypeIPv4, packet))
				}
			}
			near := in()
			// this NIC looks at the tag
			byPort := func(frame []byte) int {
				if vlans == [2]uint16{} || binary.BigEndian.Uint16(frame[14:]) == vlans[wan] {
					return wan
				}
				return lan
			}
			c.leave = func(frame []byte) bool { return vlans[wan] != 0 && byPort(frame) == lan }
			feed(near, wan)
			r.settle()
			same(t, "by the former way", len(r.packets(lan)), 1)
			r.routeBy(lan)
			before, start := r.tally(), r.now
			r.until("three seconds on", 100*time.Millisecond, func() { feed(near, lan) }, func() bool { return r.now.Sub(start) >= 3*time.Second })
			r.wantEnds("by the new way", before, map[string]int{"inline_window": 30})
			same(t, "asked for others", r.seen.expired, []string{fmt.Sprintf("cell %d spi %d outbound false hard false", near.child.Cell, near.child.SPI)})
			if lost, _ := r.told(); lost > 0 {
				t.Errorf("taken for lost: %+v", r.seen.offload)
			}
			r.packets(lan)
			feed(near, wan)
			r.settle()
			same(t, "by the former way, later", len(r.packets(lan)), 1)
			next := in()
			c.leave = func(frame []byte) bool { return vlans[wan] != 0 && byPort(frame) == wan }
			feed(next, lan)
			r.settle()
			same(t, "by the next SA", len(r.packets(lan)), 1)
			if !r.d.sad.inbound[next.child.SPI].inline.Protocol || c.opened != 3 {
				t.Errorf("%+v, %d packets by the card", r.d.sad.inbound[next.child.SPI].inline, c.opened)
			}
			c.leave = func([]byte) bool { return true }
			r.until("lost", 100*time.Millisecond, func() { feed(next, lan) }, func() bool { lost, _ := r.told(); return lost == 1 })
		})
	}
}

// With ESN the high half of what comes past the card is inferred from what that has opened: it is authentic, and told, after 2^32 packets as before (S-102).
func TestInlineWindowIsTheCardsESN(t *testing.T) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	c := &card{protocol: true, leave: func([]byte) bool { return true }}
	r := newRig(t, rigOptions{card: c})
	child := r.child("site", "aes128gcm16", true)
	child.ESN = true
	near := r.inbound(child)
	const opened = 5<<32 - 100_000 // as many were lost on the way
	r.d.sad.inbound[near.child.SPI].hasOpened(opened)
	same(t, "packets by the card", r.inbounds()[0].Inline.Packets, uint64(opened))
	before := r.tally()
	for n := range uint64(4) {
		r.enqueue(0, wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), 5<<32-2+n)))
	}
	r.settle()
	r.serveAll()
	r.settle()
	r.wantEnds("past the card", before, map[string]int{"inline_window": 4})
	same(t, "told", len(r.seen.expired), 1)
}

// What is too short for a header is dropped before anyone reads one, also of an SA of another worker's.
func TestInlineTooShort(t *testing.T) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	c := &card{protocol: true, leave: func([]byte) bool { return true }}
	r := newRig(t, rigOptions{card: c, workers: 2})
	r.inbound(r.child("site", "aes128gcm16", true)) // worker 0's
	near := r.inbound(r.child("site", "aes128gcm16", true))
	c.tamper = func(m unsafe.Pointer) { opened(m, false, uint64(near.child.SPI)) }
	before := r.tally()
	for length := range ipv4HeaderLen {
		r.enqueue(0, wan, fromPeer(tcp(farHost, lanHost)[:length]))
	}
	r.settle()
	r.wantEnds("short ones", before, map[string]int{"no_payload": 1, "inner_header": ipv4HeaderLen - 1})
	same(t, "handed over", r.d.Counters().Ports[wan].HandedOver, uint64(0))
}
