package ike

import (
	"runtime"
	"testing"
	"time"

	"sallyport/ike/wire"
)

// forgetting keeps what the test itself remembers from growing.
func (l *link) forgetting() {
	for _, n := range []*end{l.a, l.b} {
		n.facts, n.effects = nil, nil
		clear(n.keysSeen)
		clear(n.firsts)
		clear(n.everInbound)
		clear(n.heard)
		clear(n.sentBy)
	}
}

// An authenticated peer opens IKE SA after IKE SA and never says that it has started anew.
func TestIKESAsOfAPeerAreLimited(t *testing.T) {
	l := up(t, nil, nil)
	silent := func(from *end, payload []byte) []byte {
		return from.rewrite(payload, func(h wire.Header, first wire.PayloadType, plain []byte) (wire.PayloadType, []byte) {
			chain := chainOf(first, plain)
			for i, p := range chain {
				if p.kind == wire.PayloadNotify && string(p.body[2:4]) == "\x40\x00" { // INITIAL_CONTACT
					chain = append(chain[:i:i], chain[i+1:]...)
					break
				}
			}
			return written(chain)
		})
	}
	for i := range 100 {
		cfg := l.a.cfg
		cfg.Random = seeded(byte(50 + i))
		l.a.boot(cfg) // has forgotten all, and does not say so
		l.twist = silent
		l.wire = nil
		l.a.step(Tick{})
		for range 8 {
			if len(l.wire) > 0 {
				l.deliver(0)
			}
		}
		if n := len(l.b.engine.sas); n > l.b.engine.limits.IKEPerPeer+1 {
			t.Fatalf("%d IKE SAs of one peer", n)
		}
	}
	if l.b.count(Refused, RefuseIKESAs) == 0 {
		t.Errorf("the limit was never reached: %d IKE SAs", len(l.b.engine.sas))
	}
	l.twist = nil
	l.advance(5 * time.Minute)
	l.run()
	outcome{children: []string{"net"}, mayLose: true}.check(l)
}

// A peer that never stops: rekeys of Child SAs and of the IKE SA as fast as it can, its deletes with them or not; requests for Child SAs; empty
// INFORMATIONALs; first fragments. Whatever it does, what is kept is bounded, and what has been kept is let go.
func TestPeerThatNeverStops(t *testing.T) {
	noDelete := func(l *link) func(*end, []byte) []byte {
		return func(from *end, payload []byte) []byte {
			if h, err := wire.ParseHeader(payload); from == l.a && err == nil && h.Exchange == wire.ExchangeInformational {
				return nil
			}
			return payload
		}
	}
	for name, c := range map[string]struct {
		twist func(*link) func(*end, []byte) []byte
		do    func(*link)
	}{
		"rekeys of the child":     {nil, func(l *link) { l.a.rekey(rekeyChild); l.run() }},
		"rekeys of the IKE SA":    {nil, func(l *link) { l.a.rekey(rekeyIKE); l.run() }},
		"both":                    {nil, func(l *link) { l.a.rekey(rekeyChild); l.a.rekey(rekeyIKE); l.run() }},
		"rekeys without a delete": {noDelete, func(l *link) { l.a.rekey(rekeyChild); l.run(); l.a.forgetRequest() }},
		"IKE rekeys, no delete":   {noDelete, func(l *link) { l.a.rekey(rekeyIKE); l.run(); l.a.forgetRequest() }},
		"INFORMATIONAL":           {nil, func(l *link) { l.ask(wire.ExchangeInformational) }},
		"deletes of what is not": {nil, func(l *link) {
			l.ask(wire.ExchangeInformational, &wire.Delete{Protocol: wire.ProtocolESP, SPIs: []uint32{0x1234567, 0x1234568}})
		}},
		"unknown critical payload": {nil, func(l *link) { l.ask(wire.ExchangeInformational, &wire.Unknown{Type: 200, Critical: true}) }},
	} {
		t.Run(name, func(t *testing.T) {
			l := up(t, neverAsk, func(c *Config) { neverAsk(c); c.Limits.Requests = 1 << 20 })
			play := func(times int) {
				for range times {
					c.do(l)
					l.wire = nil
					l.forgetting()
					l.now = l.now.Add(time.Millisecond)
					limits, e := &l.b.engine.limits, l.b.engine
					if len(e.sas) > limits.IKEPerPeer+1 || len(l.b.allocated) > 2*limits.ChildrenPerIKE+1 || e.timers.Len() > 8*limits.ChildrenPerIKE {
						t.Fatalf("b holds %d IKE SAs, %d SPIs, %d timers", len(e.sas), len(l.b.allocated), e.timers.Len())
					}
				}
			}
			if c.twist != nil {
				l.twist = c.twist(l)
			}
			play(300)
			before := heapInUse()
			play(1500)
			if grown := int64(heapInUse()) - int64(before); grown > 512<<10 {
				t.Errorf("%d octets more after five times as many", grown)
			}
			l.twist = nil
			l.a.boot(l.a.cfg)
			l.a.step(Tick{})
			l.advance(10 * time.Minute)
			l.run()
			outcome{children: []string{"net"}, mayLose: true}.check(l)
		})
	}
}

// neverAsk leaves liveness to the test.
func neverAsk(c *Config) { c.Peers[0].DPDDelay = -1 }

// forgetRequest has an end go on as if it had never made the request that was lost.
func (n *end) forgetRequest() {
	for _, sa := range n.engine.sas {
		if sa.tasks.active != nil {
			n.engine.timers.Stop(&sa.tasks.retry)
			sa.tasks.nextSend = sa.tasks.active.id
			sa.tasks.active = nil
		}
	}
}

// heapInUse is what is in use, in octets.
func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
