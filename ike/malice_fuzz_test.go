package ike

import (
	"slices"
	"testing"
	"time"

	"sallyport/ike/wire"
)

// FuzzMalice gives b the keys and no rules: edits change the payloads of its messages before they are sealed, and of what it begins them with in
// clear, while a script of FuzzLink's operations goes on. When b has been replaced by one that keeps to the rules, the tunnel must stand, alone, and
// a hold nothing else.
func FuzzMalice(f *testing.F) {
	scripts := [][]byte{
		{0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0},                         // first exchanges, child rekeyed by both
		{1, 0, 0, 0, 0, 10, 0, 0, 0, 0, 11, 0, 0, 0, 0},                          // the IKE SA
		{2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0}, // in fragments
		{4, 0, 0, 0, 0, 0, 0, 12, 0, 0, 13, 0, 0, 14, 0, 0, 16, 0, 0},            // certificates; deletes, down and up
		{8, 0, 0, 0, 0, 8, 0, 0, 0, 0, 9, 0, 0, 6, 0, 0, 6, 0, 0},                // AH; liveness
		{16, 0, 0, 0, 0, 8, 9, 0, 0, 0, 0, 0, 10, 0, 0, 11, 0, 0},                // transport mode
		{32, 0, 0, 0, 0, 0, 0, 8, 9, 0, 0, 0, 0, 0, 10, 0, 0, 11, 0, 0},          // a Child SA for each worker
		{64, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 9, 0, 0},                           // childless
		{128, 0, 0, 0, 0, 0xd7, 0, 0, 0, 0, 0xd6, 0, 0, 0, 0, 0},                 // addresses that change
		{asStranger, 0, 0, 0, 0, 0, 0, 8, 0, 0, 9, 0, 0, 10, 0, 0, 11, 0, 0},     // to one that answers by the default response rule
	}
	edits := [][]byte{{}, {0, 0, 0, 1, 17, 9}, {0, 0, 0, 2, 40, 0}, {3, 1, 200, 3, 0, 41}, {4, 1, 0, 5, 1, 0}, {6, 2, 0, 0, 0, 0, 1, 30, 255}}
	for _, script := range scripts {
		for _, edit := range edits {
			f.Add(script, edit)
		}
	}
	f.Fuzz(func(t *testing.T, script, edits []byte) {
		playMalice(t, script[:min(len(script), 60)], edits) // more would take too long for one run
	})
}

func playMalice(t *testing.T, script, edits []byte) {
	var first byte
	if len(script) > 0 {
		first, script = script[0], script[1:]
	}
	if first&asStranger == asStranger {
		playMaliciousStranger(t, script, edits)
		return
	}
	change := func(c *Config) {
		for bit, change := range []func(*Config){
			1: wide(40, 576), 3: with(ahProposals(t, "sha256-esn")), 4: inTransport, 5: forWorkers(2),
			6: func(c *Config) { c.Peers[0].ChildLimit, c.Peers[0].Childless = 2, true },
			7: func(c *Config) {
				if !c.Peers[0].Children[0].Transport {
					mobile(c)
					c.Peers[0].Redirect = true
				}
			},
		} {
			if change != nil && first&(1<<bit) != 0 {
				change(c)
			}
		}
	}
	certificates := func(ours, peers string) func(*Config) {
		if first&4 == 0 {
			return change
		}
		return both(change, certified(ours, peers))
	}
	l := join(t, certificates("p256", "ed25519"), both(certificates("ed25519", "p256"), func(c *Config) {
		if first&1 != 0 {
			c.Peers[0].Children[0].Start = StartAlways
		}
	}))
	l.a.base, l.b.base = l.a.cfg, l.b.cfg
	l.edit(l.b, edits)
	l.begin()
	for _, op := range script {
		l.op(op)
	}
	l.twist, l.wire = nil, nil
	for _, n := range []*end{l.a, l.b} {
		n.noSPI, n.refuseIn, n.refuseOut = false, false, false
	}
	l.b.cfg.Peers = l.b.base.Peers
	l.b.boot(l.b.cfg)
	l.b.step(Tick{})
	l.a.restore()
	l.a.step(Initiate{Peer: "b"})
	l.b.step(Initiate{Peer: "a"})
	l.advance(7 * time.Minute) // for who may find another path there are 80 s and responderPatience
	l.run()
	l.consistent()
	if e := l.a.engine; len(e.sas) != 1 || e.timers.Len() > 20 || e.queued != 0 || len(l.a.cells) == 0 {
		t.Errorf("a holds %d IKE SAs, %d timers, %d octets of fragments, %d outbound SAs", len(e.sas), e.timers.Len(), e.queued, len(l.a.cells))
	}
	if t.Failed() {
		t.Fatalf("a:\n%sb:\n%s", l.a.story(), l.b.story())
	}
}

// playMaliciousStranger has the one without rules be a stranger, a, to whom b answers by the default response rule. Once it has gone b holds nothing.
func playMaliciousStranger(t *testing.T, script, edits []byte) {
	l := join(t, hosts, answering(template(t)))
	l.a.base, l.b.base = l.a.cfg, l.b.cfg
	l.edit(l.a, edits)
	l.begin()
	for _, op := range script {
		l.op(op)
	}
	l.twist, l.wire = nil, nil
	l.a.cfg.Peers = l.a.base.Peers
	l.a.boot(l.a.cfg)
	l.a.step(Tick{})
	l.strangerIsWell()
	if e := l.b.engine; len(e.sas) != 1 || e.timers.Len() > 20 || e.queued != 0 {
		t.Errorf("b holds %d IKE SAs, %d timers, %d octets of fragments", len(e.sas), e.timers.Len(), e.queued)
	}
	l.a.step(Terminate{Peer: "b"})
	l.advance(10 * time.Minute)
	l.nobodyLeft()
	if t.Failed() {
		t.Fatalf("a:\n%sb:\n%s", l.a.story(), l.b.story())
	}
}

// edit has each three octets change the payloads of a message of an end's before it is sealed.
func (l *link) edit(by *end, edits []byte) {
	l.twist = func(from *end, payload []byte) []byte {
		if from != by || len(edits) < 3 {
			return payload
		}
		edit := edits[:3]
		edits = edits[3:]
		return from.rewrite(payload, func(_ wire.Header, first wire.PayloadType, plain []byte) (wire.PayloadType, []byte) {
			return edited(first, plain, edit)
		})
	}
}

// edited applies three octets to a chain of payloads: what, where, and with which octet.
func edited(first wire.PayloadType, plain, edit []byte) (wire.PayloadType, []byte) {
	at, value := int(edit[1]), edit[2]
	chain := chainOf(first, plain)
	if len(chain) == 0 {
		return wire.PayloadType(value), plain
	}
	which := at % len(chain)
	switch edit[0] % 8 {
	case 1: // an octet of any payload
		plain = slices.Clone(plain)
		plain[(at*2+int(value&1))%len(plain)] ^= value | 1
		return first, plain
	case 2:
		return first, plain[:at*len(plain)/256]
	case 3: // a payload of any type
		chain = slices.Insert(chain, which, aPayload{kind: wire.PayloadType(value), critical: value&1 != 0, body: []byte{0, 0, 0, value}})
	case 4:
		chain = slices.Insert(chain, which, chain[which])
	case 5:
		chain = slices.Delete(chain, which, which+1)
	case 6: // a notification of any type
		chain = append(chain, aPayload{kind: wire.PayloadNotify, body: []byte{0, 0, edit[1] & 0x41, value}})
	case 7:
		return wire.PayloadNotify, []byte{0, 0, 0, 8, 0, 0, edit[1] & 0x41, value}
	}
	return written(chain)
}
