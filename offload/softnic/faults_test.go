package softnic_test

import (
	"bytes"
	"testing"

	"sallyport/crypto"
	"sallyport/offload/softnic"
	"sallyport/offload/softnic/internal/program"
)

// both are a NIC that offers all.
var both = softnic.Options{InlineCrypto: true, InlineProtocol: true}

// tunnel is an SA of inline protocol.
func tunnel(outbound bool) program.SA {
	made := sa(offered()[0], false)
	made.Protocol, made.Outbound = true, outbound
	return made
}

func (r *rig) inject(f softnic.Fault) {
	r.t.Helper()
	if err := r.nic.Inject(f); err != nil {
		r.t.Fatal(err)
	}
}

// TestLack: an algorithm that is reported and refused.
func TestLack(t *testing.T) {
	r := newRig(t, both)
	r.inject(softnic.Fault{Lack: offered()[:1]})
	if n := program.Algorithms(uint16(r.port), true, true, false); n != 4 {
		t.Errorf("%d algorithms reported, expected all 4", n)
	}
	if _, err := r.sessions.Open(tunnel(true)); err == nil {
		t.Error("a session of what is lacking was made")
	}
	other := sa(offered()[1], false)
	r.open(other)
	if c := r.nic.Counters(); c.SessionsRefused != 1 || c.SessionsMade != 1 || c.SessionsLive != 1 || c.FlowsLive != 1 {
		t.Errorf("counters %+v", c)
	}
	r.inject(softnic.Fault{})
	r.open(tunnel(true))
	if err := r.nic.Inject(softnic.Fault{Lack: []crypto.Suite{{}}}); err == nil {
		t.Error("a fault with a suite that no NIC has was taken")
	}
}

// TestSessionsFail: every third, and all when there is no room.
func TestSessionsFail(t *testing.T) {
	r := newRig(t, softnic.Options{InlineProtocol: true, Sessions: 5})
	r.inject(softnic.Fault{FailSessions: 3})
	for i := 1; i <= 6; i++ {
		session, err := r.sessions.Open(tunnel(true))
		if (err != nil) != (i%3 == 0) {
			t.Errorf("session %d: %v", i, err)
		}
		if err == nil {
			defer func() { check(t, session.Close()) }()
		}
	}
	r.inject(softnic.Fault{Full: true})
	if _, err := r.sessions.Open(tunnel(true)); err == nil {
		t.Error("a session was made where there was no room")
	}
	r.inject(softnic.Fault{})
	r.open(tunnel(true))
	if _, err := r.sessions.Open(tunnel(true)); err == nil {
		t.Error("a session was made beyond the capacity")
	}
	if c := r.nic.Counters(); c.SessionsLive != 5 || c.SessionsMade != 5 || c.SessionsRefused != 4 {
		t.Errorf("counters %+v", c)
	}
	if r.sessions.InUse() != 5 {
		t.Errorf("%d sessions hold memory", r.sessions.InUse())
	}
}

// TestMangle: the peer finds every other packet damaged, and good ones are reported as bad.
func TestMangle(t *testing.T) {
	r := newRig(t, both)
	sender := r.open(tunnel(true))
	in := tunnel(false)
	r.open(in)
	r.inject(softnic.Fault{Mangle: 2})
	var frames, sealed [][]byte
	for i := range 8 {
		frames = append(frames, ethernet(0, inner(i)))
		sealed = append(sealed, outer(in, 0, seal(t, in, uint64(1+i), inner(i), 4)))
	}
	wire, _ := r.send(sender, frames...)
	for i, frame := range wire {
		if _, _, _, err := reference(t, in).Open(frame[34:], 0); (err != nil) != (i%2 == 1) {
			t.Errorf("packet %d sent: %v", i, err)
		}
	}
	for i, got := range r.receive(sealed...) {
		if !got.Secured || got.Failed != (i%2 == 1) {
			t.Errorf("packet %d received: %+v", i, got.Flags)
		}
	}
	if c := r.nic.Counters(); c.RxFailed != 4 || c.RxSecured != 4 || c.TxSecured != 8 {
		t.Errorf("counters %+v", c)
	}
}

// TestUndecrypted: every third packet of a session comes as it was sent, in order.
func TestUndecrypted(t *testing.T) {
	r := newRig(t, both)
	in := tunnel(false)
	r.open(in)
	r.inject(softnic.Fault{Undecrypted: 3})
	var sealed [][]byte
	for i := range 9 {
		sealed = append(sealed, outer(in, 0, seal(t, in, uint64(1+i), inner(i), 4)))
	}
	for i, got := range r.receive(sealed...) {
		want := ethernet(0, inner(i))
		if i%3 == 2 {
			want = sealed[i]
		}
		if got.Secured == (i%3 == 2) || !bytes.Equal(got.frame, want) {
			t.Errorf("packet %d: %+v\n%x", i, got.Flags, got.frame)
		}
	}
	if c := r.nic.Counters(); c.RxPassed != 3 || c.RxSecured != 6 {
		t.Errorf("counters %+v", c)
	}
}

// TestVanished: nothing is done, nothing leaves in clear, no key stays, and it comes back.
func TestVanished(t *testing.T) {
	r := newRig(t, both)
	out, in := tunnel(true), tunnel(false)
	sender := r.open(out)
	r.open(in)
	doomed, err := r.sessions.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	marked := r.mbufs(ethernet(0, inner(1)))
	if err := sender.Mark(marked...); err != nil {
		t.Fatal(err)
	}
	r.inject(softnic.Fault{Vanished: true})
	if wire, kept := r.send(sender, ethernet(0, inner(1)), ethernet(0, inner(2))); len(wire) != 0 || kept != 2 {
		t.Errorf("%d packets left in clear, %d were kept", len(wire), kept)
	}
	if n := r.port.TxBurst(0, marked); n != 0 || len(r.wire()) != 0 {
		t.Error("what was to be encrypted before left in clear")
	}
	sealed := outer(in, 0, seal(t, in, 1, inner(1), 4))
	if got := r.receive(sealed); len(got) != 1 || got[0].Flags != (program.Flags{}) || !bytes.Equal(got[0].frame, sealed) {
		t.Errorf("received %+v", got)
	}
	if _, err := r.sessions.Open(out); err == nil {
		t.Error("a session was made")
	}
	if err := doomed.Close(); err == nil {
		t.Error("a session was closed without an error")
	}
	noKeys(t, doomed)
	r.inject(softnic.Fault{})
	check(t, doomed.Close())
	if n := r.port.TxBurst(0, marked); n != 1 || len(r.wire()) != 1 {
		t.Error("what waited for it does not go")
	}
	if got := r.receive(sealed); !got[0].Secured || got[0].Failed {
		t.Errorf("received %+v", got[0].Flags)
	}
}

// TestVanishedWithRules: a session ends while its rule cannot be removed.
func TestVanishedWithRules(t *testing.T) {
	r := newRig(t, both)
	in := tunnel(false)
	session, err := r.sessions.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	rule, err := session.Rule()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Close(); err == nil {
		t.Fatal("a session that a rule leads to was closed")
	}
	r.inject(softnic.Fault{Vanished: true})
	if err := rule.Remove(); err == nil {
		t.Error("a rule was removed without an error")
	}
	if err := session.Close(); err == nil {
		t.Error("a session was closed without an error")
	}
	noKeys(t, session)
	r.inject(softnic.Fault{})
	sealed := outer(in, 0, seal(t, in, 1, inner(1), 4))
	if got := r.receive(sealed); got[0].Secured || !bytes.Equal(got[0].frame, sealed) {
		t.Errorf("received %+v without a session", got[0].Flags)
	}
	check(t, rule.Remove())
	check(t, session.Close())
}

// header is what rte_security has in front of what is the NIC's.
const header = 64

func noKeys(t testing.TB, session *program.Session) {
	t.Helper()
	if memory := session.Memory(); bytes.Count(memory[header:], []byte{0}) != len(memory)-header {
		t.Error("the memory of a closed session is not wiped")
	}
}

// TestKeysAreWiped looks into the memory of sessions of every suite, before and after.
func TestKeysAreWiped(t *testing.T) {
	r := newRig(t, both)
	for _, suite := range offered() {
		for _, protocol := range []bool{false, true} {
			for _, outbound := range []bool{false, true} {
				made := sa(suite, false)
				made.Protocol, made.Outbound = protocol, outbound
				session, err := r.sessions.Open(made)
				if err != nil {
					t.Fatal(err)
				}
				// The key is the first round's, or without GCM inbound the last one's.
				if !bytes.Contains(session.Memory(), keymat(suite).Bytes()[:16]) {
					t.Errorf("%s: no key where it is looked for", suite)
				}
				check(t, session.Close())
				noKeys(t, session)
			}
		}
	}
}
