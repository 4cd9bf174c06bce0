package ike

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike/wire"
	"sallyport/policy"
)

// wide gives a side's child so many selectors that messages about it do not fit into one fragment: 8 to 32 octets each, twice.
func wide(count, size int) func(*Config) {
	return func(c *Config) {
		p := &c.Peers[0]
		p.FragmentSize = size
		var list []policy.Selector
		for i := range count {
			list = append(list, selector(fmt.Sprintf("10.1.%d.0/24", i), fmt.Sprintf("10.2.%d.0/24", i)))
		}
		if p.Local == addrB {
			list = mirrored(list)
		}
		p.Children[0].Selectors = list
	}
}

// fragmentOf is the SKF payload of the i-th packet in flight.
func (l *link) fragmentOf(i int) *wire.Fragment {
	l.t.Helper()
	m, err := wire.Parse(l.wire[i].payload)
	if err != nil || wire.Find[*wire.Fragment](m.Payloads) == nil {
		l.t.Fatalf("packet %d in flight is no fragment: %v, %v", i, m, err)
	}
	return wire.Find[*wire.Fragment](m.Payloads)
}

// a: IKE_AUTH in four fragments; b: its answer in three.
func TestFragments(t *testing.T) {
	l := join(t, wide(40, 576), wide(40, 576))
	l.begin()
	l.deliver(0)
	l.deliver(0)
	l.expectWire(slices.Repeat([]string{"a: IKE_AUTH request 1"}, 4)...)
	for i := range 4 {
		f := l.fragmentOf(i)
		if int(f.Number) != i+1 || f.Total != 4 || (f.FirstPayload == wire.PayloadNone) != (i > 0) {
			t.Errorf("fragment %d is %v with first payload %v", i+1, f, f.FirstPayload)
		}
		if n := l.wire[i].octets(); n > 576 || i < 3 && n != 576 {
			t.Errorf("fragment %d makes an IP datagram of %d octets, expected 576", i+1, n)
		}
	}
	for range 4 {
		l.deliver(0)
	}
	l.expectWire(slices.Repeat([]string{"b: IKE_AUTH response 1"}, 3)...)
	l.run()
	l.established("net")
	for _, what := range []Rekey{rekeyChild, rekeyIKE, rekeyChild} { // the IKE SA that takes over goes on as it was agreed
		l.a.rekey(what)
		l.advance(time.Minute)
		l.established("net")
	}
	for _, n := range []*end{l.a, l.b} {
		for _, s := range answers(n.effects) {
			if octets := (packet{payload: s.Payload, source: s.Local, dest: s.Remote}).octets(); octets > 576 {
				t.Errorf("%s sent an IP datagram of %d octets", n.name, octets)
			}
		}
	}
}

// Whatever the cipher pads to and the IP version takes, a fragment is as long as it may be and no longer.
func TestFragmentLengths(t *testing.T) {
	for _, suite := range []string{"aes128gcm16-prfsha256-curve25519", "aes256-sha512-curve25519", "aes128-sha1-prfsha256-curve25519"} {
		for _, six := range []bool{false, true} {
			for size := 1280; size < 1300; size += 3 {
				change := func(c *Config) {
					wide(128, size)(c)
					c.Peers[0].IKEProposals = ikeProposals(t, suite)
					if six {
						local, remote := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
						if c.Peers[0].Local == addrB {
							local, remote = remote, local
						}
						c.Peers[0].Local, c.Peers[0].Remote = local, remote
					}
				}
				l := join(t, change, change)
				l.begin()
				l.deliver(0)
				l.deliver(0)
				if n := l.wire[0].octets(); n > size || n <= size-16 {
					t.Errorf("%s, IPv6 %t: IP datagrams of %d octets, expected %d or as near as the cipher's blocks allow", suite, six, n, size)
				}
				l.mtu = size
				l.run()
				l.established("net")
			}
		}
	}
}

// Both ends have to want it, and a message that fits goes in one piece.
func TestFragmentationIsAgreed(t *testing.T) {
	for name, c := range map[string]struct{ a, b, count int }{
		"a does not":  {-1, 576, 40},
		"b does not":  {576, -1, 40},
		"it fits":     {576, 576, 1},
		"nobody asks": {0, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := join(t, wide(c.count, c.a), wide(c.count, c.b))
			l.begin()
			l.run()
			l.established("net")
			for _, s := range append(answers(l.a.effects), answers(l.b.effects)...) {
				if h, _ := wire.ParseHeader(s.Payload); h.NextPayload == wire.PayloadFragment {
					t.Errorf("a fragment of %v", h.Exchange)
				}
			}
		})
	}
	// One that comes all the same is dropped.
	l := join(t, wide(40, 576), wide(40, -1))
	l.begin()
	l.deliver(0)
	l.deliver(0)
	sa := l.a.engine.byName["b"].sas[0]
	sa.fragmentation = true
	cut := &sealed{header: sa.tasks.active.message.Header, first: sa.tasks.active.message.first, plain: sa.tasks.active.message.plain, keys: sa.keys}
	if err := sa.cut(cut); err != nil {
		t.Fatal(err)
	}
	l.b.step(Datagram{Local: at(addrB, 500), Remote: at(addrA, 500), Payload: cut.datagrams[0]})
	l.b.expect(Dropped, DropFragment, 1)
}

// authInFlight brings a link to where the fragments of a's IKE_AUTH are in flight, and gives them.
func authInFlight(t *testing.T, changeB func(*Config)) (*link, []packet) {
	l := join(t, wide(40, 576), func(c *Config) {
		wide(40, 576)(c)
		if changeB != nil {
			changeB(c)
		}
	})
	l.begin()
	l.deliver(0)
	l.deliver(0)
	pieces := l.wire
	l.wire = nil
	return l, pieces
}

// Only what is authentic is kept, once; a smaller total is dropped and a larger one begins anew (RFC 7383 2.6).
func TestReassembly(t *testing.T) {
	l, pieces := authInFlight(t, nil)
	sa := l.a.engine.byName["b"].sas[0]
	active := sa.tasks.active
	recut := func(size int) []packet {
		sa.path = 0
		sa.peer.cfg.FragmentSize = size
		s := &sealed{header: active.message.Header, first: active.message.first, plain: active.message.plain, keys: sa.keys}
		if err := sa.cut(s); err != nil {
			t.Fatal(err)
		}
		var list []packet
		for _, b := range s.datagrams {
			p := pieces[0]
			p.payload = b
			list = append(list, p)
		}
		return list
	}
	longer := recut(700)
	if len(longer) != 3 {
		t.Fatalf("%d fragments, expected 3", len(longer))
	}
	responder := func() *ikeSA { return l.b.engine.inits[digestOf(Datagram{Payload: sa.initRequest})] }

	forged := pieces[1]
	forged.payload = slices.Clone(forged.payload)
	forged.payload[40] ^= 1
	l.arrive(forged)
	l.b.expect(Dropped, DropIntegrity, 1)
	if responder().tasks.parts.request != nil {
		t.Error("a forged fragment is kept")
	}
	l.arrive(longer[0])
	l.arrive(pieces[1]) // a larger total
	r := responder().tasks.parts.request
	if r.total != 4 || r.missing != 3 || l.b.engine.queued != r.octets {
		t.Errorf("total %d, %d missing, %d octets of %d queued; expected the shorter fragments alone", r.total, r.missing, r.octets, l.b.engine.queued)
	}
	l.arrive(longer[2])
	l.arrive(pieces[1])
	l.b.expect(Dropped, DropFragment, 2)
	for _, i := range []int{3, 0} {
		l.arrive(pieces[i])
	}
	if len(l.wire) != 0 || r.missing != 1 {
		t.Errorf("%d answers with %d fragments missing", len(l.wire), r.missing)
	}
	l.arrive(pieces[2])
	if len(l.wire) != 3 || l.b.engine.queued != 0 {
		t.Errorf("%d datagrams in answer, %d octets queued, expected 3 and none", len(l.wire), l.b.engine.queued)
	}
	l.run()
	l.established("net")
}

// The chain of payloads is the same at both ends, however it travelled: what authenticates messages whole relies on it (RFC 9242 3.3.2).
func TestPlaintextOfFragments(t *testing.T) {
	l, pieces := authInFlight(t, nil)
	sent := l.a.engine.byName["b"].sas[0].tasks.active.message
	receiver := l.b.engine.inits[digestOf(Datagram{Payload: l.a.engine.byName["b"].sas[0].initRequest})]
	for i, p := range slices.Backward(pieces) {
		m, err := receiver.open(Datagram{Local: p.dest, Remote: p.source, Payload: p.payload})
		if i > 0 {
			if err != errIncomplete {
				t.Fatalf("fragment %d: %v", i+1, err)
			}
			continue
		}
		if err != nil || m.first != sent.first || !bytes.Equal(m.plain, sent.plain) || len(m.plain) < 1000 || m.digest != digestOf(Datagram{Payload: p.payload}) {
			t.Errorf("%d octets from %v on, %v; expected the %d from %v on that were sent", len(m.plain), m.first, err, len(sent.plain), sent.first)
		}
	}
}

// The response is sent again, whole, when the first fragment of the request comes again, and for no other (RFC 7383 2.6.1).
func TestFragmentedRequestAgain(t *testing.T) {
	l, pieces := authInFlight(t, nil)
	for _, p := range pieces {
		l.arrive(p)
	}
	first := l.wire
	for i, p := range pieces {
		l.wire = nil
		l.arrive(p)
		if i > 0 && len(l.wire) != 0 {
			t.Errorf("fragment %d again: %d datagrams in answer, expected none", i+1, len(l.wire))
		}
		if i == 0 && !slices.EqualFunc(l.wire, first, func(x, y packet) bool { return bytes.Equal(x.payload, y.payload) }) {
			t.Errorf("the first fragment again: another answer than the first time")
		}
	}
	l.b.expect(Dropped, "", 0)
	forged := pieces[0]
	forged.payload = slices.Clone(forged.payload)
	forged.payload[len(forged.payload)-1] ^= 1
	l.arrive(forged)
	if len(l.wire) != 0 {
		t.Error("answer to a forged fragment")
	}
	l.wire = first
	l.run()
	l.established("net")
}

// A path that carries less than we thought: requests are cut shorter after some sendings, responses as short as the request was or when they are asked
// for again and again (RFC 7383 2.5.2).
func TestNarrowPath(t *testing.T) {
	nets := func(count int, net, other string) (list []policy.Selector) {
		for i := range count {
			list = append(list, selector(fmt.Sprintf(net, i), other))
		}
		return list
	}
	few := func(c *Config) { c.Peers[0].Children[0].Selectors = nets(1, "10.1.%d.0/16", "10.2.0.0/16") }
	many := func(c *Config) { c.Peers[0].Children[0].Selectors = nets(60, "10.2.%d.0/24", "10.1.0.0/16") }
	for name, c := range map[string]struct{ a, b func(*Config) }{"neither fits": {wide(60, 0), wide(60, 0)}, "the request fits": {few, many}} {
		t.Run(name, func(t *testing.T) {
			l := join(t, c.a, c.b)
			l.mtu = 600
			l.begin()
			l.advance(10 * time.Second)
			l.established("net")
			l.b.rekey(rekeyChild)
			l.advance(10 * time.Second)
			l.established("net")
			for _, n := range []*end{l.a, l.b} {
				if sent := answers(n.effects); (packet{payload: sent[len(sent)-1].Payload}).octets() > 576 {
					t.Errorf("%s has not learnt what the path carries", n.name)
				}
			}
		})
	}
}

// A set of fragments that claims more than there can be costs nothing, and what waits is bounded in octets and in time.
func TestFragmentLimits(t *testing.T) {
	l, pieces := authInFlight(t, nil)
	claim := pieces[0]
	claim.payload = slices.Clone(claim.payload)
	copy(claim.payload[wire.HeaderLength+4:], []byte{0, 1, 0xff, 0xff})
	l.arrive(claim)
	l.b.expect(Dropped, DropMalformed, 1)
	if l.b.engine.queued != 0 {
		t.Errorf("%d octets queued", l.b.engine.queued)
	}

	l, pieces = authInFlight(t, func(c *Config) { c.Limits.HalfOpenTimeout = time.Hour })
	l.arrive(pieces[0])
	for _, c := range []struct {
		after time.Duration
		kept  bool
	}{{29 * time.Second, true}, {2 * time.Second, false}} {
		l.now = l.now.Add(c.after)
		l.b.step(Tick{})
		if queued := l.b.engine.queued; (queued > 0) != c.kept {
			t.Errorf("%d octets queued %v later, kept: expected %t", queued, c.after, c.kept)
		}
	}

	for name, limit := range map[string]func(*Config){
		"one message": func(c *Config) { c.Limits.FragmentOctets = 1000 },
		"in all":      func(c *Config) { c.Limits.FragmentOctetsAll = 2000 }, // half of which is for half-open ones
	} {
		t.Run(name, func(t *testing.T) {
			l, pieces := authInFlight(t, limit)
			for range 10 {
				for _, p := range pieces {
					l.arrive(p)
				}
			}
			if n := l.b.engine.queued; n > 1000 || n < 500 {
				t.Errorf("%d octets queued, expected at most 1000", n)
			}
			if l.b.count(Refused, RefuseFragments) == 0 {
				t.Error("no fact about it")
			}
			l.advance(2 * time.Minute)
			if n := l.b.engine.queued; n > 1000 {
				t.Errorf("%d octets queued", n)
			}
		})
	}
}

// What is queued goes with its IKE SA.
func TestFragmentsOfAClosedSA(t *testing.T) {
	l := up(t, wide(40, 576), wide(40, 576))
	l.a.rekey(rekeyChild)
	l.b.rekey(rekeyChild)
	l.deliver(0)
	last := len(l.wire) - 1
	l.deliver(last)
	if l.a.engine.queued == 0 || l.b.engine.queued == 0 {
		t.Fatal("nothing queued")
	}
	for _, n := range []*end{l.a, l.b} {
		for _, sa := range n.engine.sas {
			n.engine.now = l.now
			sa.close(DeletedDead)
		}
		if n.engine.queued != 0 {
			t.Errorf("%s: %d octets queued without an IKE SA", n.name, n.engine.queued)
		}
	}
}

func TestFragmentSizeIsValidated(t *testing.T) {
	for size, good := range map[int]bool{-1: true, 0: true, 576: true, 1280: true, 16384: true, 1: false, 575: false, 16385: false} {
		c := sideA(t)
		c.Peers[0].PSK = crypto.NewSecret([]byte("x"))
		c.Peers[0].FragmentSize = size
		if err := ValidatePeers(c.Peers); (err == nil) != good {
			t.Errorf("%d: %v", size, err)
		}
	}
}
