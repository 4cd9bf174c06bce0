package softnic_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"sallyport/offload/softnic"
	"sallyport/offload/softnic/internal/program"
	"sallyport/pmd/mbuf"
)

// TestOthersPass: between packets of sessions others go as they are, and what gets no session stays behind.
func TestOthersPass(t *testing.T) {
	r := newRig(t, both)
	sender := r.open(tunnel(true))
	plain, arp := ethernet(0, inner(9)), append(bytes.Repeat([]byte{0xff}, 12), 8, 6, 0, 1)
	packets := r.mbufs(plain, ethernet(0, inner(1)), arp, plain, ethernet(0, inner(2)))
	for _, i := range []int{1, 2, 4} {
		if err := sender.Mark(packets[i]); err != nil {
			t.Fatal(err)
		}
	}
	sent := r.port.TxBurst(0, packets)
	if sent != 4 || !bytes.Equal(mbuf.Bytes(packets[4]), arp) {
		t.Fatalf("%d sent, and kept\n%x\nexpected what is no IP packet", sent, mbuf.Bytes(packets[4]))
	}
	if again := r.port.TxBurst(0, packets[4:]); again != 0 {
		t.Error("what got no session left at the second attempt")
	}
	mbuf.FreeBulk(packets[4:])
	wire := r.wire()
	if !bytes.Equal(wire[0], plain) || !bytes.Equal(wire[2], plain) {
		t.Errorf("sent\n%x\nexpected others as they were", wire)
	}
	for i, at := range []int{1, 3} {
		payload, _, number, err := reference(t, tunnel(true)).Open(wire[at][34:], 0)
		if err != nil || number != uint32(i+1) || !bytes.Equal(payload, inner(i+1)) {
			t.Errorf("packet %d: number %d, %x, %v", at, number, payload, err)
		}
	}
	if c := r.nic.Counters(); c.TxSecured != 2 || c.TxFailed != 2 {
		t.Errorf("counters %+v", c)
	}
}

// TestDriverTakesFewer: what a full wire does not take goes later, encrypted once.
func TestDriverTakesFewer(t *testing.T) {
	r := newRig(t, both)
	sender := r.open(tunnel(true))
	var frames [][]byte
	for i := range 300 {
		frames = append(frames, ethernet(0, inner(i)))
	}
	packets := r.mbufs(frames...)
	if err := sender.Mark(packets...); err != nil {
		t.Fatal(err)
	}
	var wire [][]byte
	for len(packets) > 0 {
		sent := r.port.TxBurst(0, packets)
		packets = packets[sent:]
		wire = append(wire, r.wire()...)
		if sent == 0 {
			t.Fatal("nothing is taken")
		}
	}
	for i, frame := range wire {
		if payload, _, _, err := reference(t, tunnel(true)).Open(frame[34:], 0); err != nil || !bytes.Equal(payload, inner(i)) {
			t.Fatalf("packet %d: %v", i, err)
		}
	}
}

// TestMetadataOutlivesSession: a packet of a session that is gone does not leave, though another has its place.
func TestMetadataOutlivesSession(t *testing.T) {
	r := newRig(t, both)
	first, err := r.sessions.Open(tunnel(true))
	if err != nil {
		t.Fatal(err)
	}
	packets := r.mbufs(ethernet(0, inner(1)))
	defer mbuf.FreeBulk(packets)
	if err := first.Mark(packets...); err != nil {
		t.Fatal(err)
	}
	check(t, first.Close())
	r.open(tunnel(true))
	if n := r.port.TxBurst(0, packets); n != 0 || r.nic.Counters().TxFailed != 1 {
		t.Errorf("%d packets sent, counters %+v", n, r.nic.Counters())
	}
}

// TestOnlyItsOwn: ESP that no rule names, or that is for the program to judge, comes as it was.
func TestOnlyItsOwn(t *testing.T) {
	r := newRig(t, both)
	in := tunnel(false)
	r.open(in)
	sealed := outer(in, 0, seal(t, in, 1, inner(8), 4))
	elsewhere, stranger, wrapped, fragment := in, in, in, bytes.Clone(sealed)
	elsewhere.Destination = elsewhere.Source
	stranger.SPI++
	wrapped.UDPEncap = true
	fragment[20] |= 0x20
	setChecksum(fragment[14:34])
	for name, row := range map[string]struct {
		frame []byte
		esp   uint64 // counted
	}{
		"other destination": {outer(elsewhere, 0, seal(t, in, 1, inner(8), 4)), 1},
		"other SPI":         {outer(stranger, 0, seal(t, stranger, 1, inner(8), 4)), 1},
		"in UDP":            {outer(wrapped, 0, seal(t, in, 1, inner(8), 4)), 1},
		"short":             {outer(in, 0, seal(t, in, 1, inner(8), 4)[:20]), 1},
		"not aligned":       {outer(in, 0, seal(t, in, 1, inner(8), 4)[1:]), 1},
		"fragment":          {fragment, 0},
		"cut off":           {sealed[:len(sealed)-1], 0},
		"no ESP":            {ethernet(0, inner(8)), 0},
		"IKE":               {outer(wrapped, 0, append(make([]byte, 4), seal(t, in, 1, inner(8), 4)...)), 0},
	} {
		before := r.nic.Counters().RxPassed
		got := r.receive(row.frame)
		if len(got) != 1 || got[0].Flags != (program.Flags{}) || !bytes.Equal(got[0].frame, row.frame) {
			t.Errorf("%s: %+v", name, got)
		}
		if counted := r.nic.Counters().RxPassed - before; counted != row.esp {
			t.Errorf("%s: counted %d times", name, counted)
		}
	}
	if got := r.receive(sealed); !got[0].Secured || got[0].Failed {
		t.Errorf("its own: %+v", got[0].Flags)
	}
}

// TestRules: one for a destination and SPI, to an inbound session of that SPI.
func TestRules(t *testing.T) {
	r := newRig(t, both)
	in := tunnel(false)
	session := r.open(in)
	if _, err := session.Rule(); err == nil {
		t.Error("a second rule for the same packets was taken")
	}
	if _, err := r.open(tunnel(true)).Rule(); err == nil {
		t.Error("a rule to an outbound session was taken")
	}
	if n := r.nic.Counters().FlowsLive; n != 1 {
		t.Errorf("%d rules", n)
	}
}

// TestRefuses: what a session cannot have.
func TestRefuses(t *testing.T) {
	r := newRig(t, softnic.Options{InlineCrypto: true, Suites: offered()[:1]})
	for name, change := range map[string]func(*program.SA){
		"protocol": func(s *program.SA) { s.Protocol = true },
		"ESN":      func(s *program.SA) { s.ESN = true },
		"suite":    func(s *program.SA) { s.Suite = offered()[1]; s.Keymat = keymat(s.Suite) },
		"DSCP":     func(s *program.SA) { s.CopyDSCP = true },
	} {
		asked := sa(offered()[0], false)
		change(&asked)
		if _, err := r.sessions.Open(asked); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := softnic.Attach(uint16(r.port), 1, both); err == nil {
		t.Error("a port has two NICs")
	}
	if r.sessions.InUse() != 0 {
		t.Error("refused sessions hold memory")
	}
}

// TestDamagedPackets has frames of all kinds changed and cut at random, for both directions. What comes of them does not matter, but that it stays inside (with -asan too).
func TestDamagedPackets(t *testing.T) {
	r := newRig(t, both)
	random := rand.New(rand.NewPCG(1, 2))
	var frames [][]byte
	var senders []*program.Session
	for i, suite := range offered() {
		for form := range 16 {
			out := sa(suite, form&1 != 0)
			out.SPI, out.UDPEncap, out.Transport, out.Protocol = uint32(0x1000+100*i+form), form&2 != 0, form&4 != 0, form&8 != 0
			if len(senders) >= rigSessions/2-1 {
				continue
			}
			in := out
			out.Outbound = true
			senders = append(senders, r.open(out))
			r.open(in)
			frames = append(frames, outer(in, form%3, seal(t, in, 5, inner(form), 4)), ethernet(form%3, inner(form)))
		}
	}
	for range 400 {
		var batch [][]byte
		for range 64 {
			batch = append(batch, damaged(random, frames[random.IntN(len(frames))]))
		}
		r.receive(batch...)
		packets := r.mbufs(batch...)
		for _, m := range packets {
			if err := senders[random.IntN(len(senders))].Mark(m); err != nil {
				t.Fatal(err)
			}
		}
		sent := r.port.TxBurst(0, packets)
		mbuf.FreeBulk(packets[sent:])
		r.wire()
	}
}

// damaged changes some octets of a copy, mostly in the headers, and cuts it off now and then.
func damaged(random *rand.Rand, frame []byte) []byte {
	frame = bytes.Clone(frame)
	for range random.IntN(4) {
		at := random.IntN(len(frame))
		if random.IntN(2) == 0 {
			at = random.IntN(min(70, len(frame)))
		}
		frame[at] = byte(random.Uint32())
	}
	if random.IntN(4) == 0 {
		frame = frame[:random.IntN(len(frame)+1)]
	}
	return slices.Clip(frame)
}

// BenchmarkSession makes and ends a session with its rule.
func BenchmarkSession(b *testing.B) {
	r := newRig(b, both)
	in := tunnel(false)
	for b.Loop() {
		session, err := r.sessions.Open(in)
		if err != nil {
			b.Fatal(err)
		}
		rule, err := session.Rule()
		if err != nil {
			b.Fatal(err)
		}
		check(b, rule.Remove())
		check(b, session.Close())
	}
}
