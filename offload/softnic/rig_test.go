package softnic_test

import (
	"fmt"
	"testing"
	"unsafe"

	"sallyport/crypto"
	"sallyport/offload/softnic"
	"sallyport/offload/softnic/internal/program"
	"sallyport/pmd/ethdev"
	"sallyport/pmd/mbuf"
	"sallyport/pmd/mempool"
	"sallyport/pmd/ring"
)

// rig is a port in memory with a software NIC, and the wires at its other side.
type rig struct {
	t        testing.TB
	port     ethdev.Port
	nic      *softnic.NIC
	sessions *program.Sessions
	pool     *mempool.Mempool
	rx, tx   *ring.Ring   // of the first queue
	out      []*ring.Ring // of all
}

var rigs int

const (
	rigSessions = 64
	wireLength  = 256 // frames that the wire holds
)

// newRig makes a port of one queue.
func newRig(t testing.TB, o softnic.Options) *rig {
	t.Helper()
	return newRigOf(t, o, 1)
}

func newRigOf(t testing.TB, o softnic.Options, queues int) *rig {
	t.Helper()
	rigs++
	r := &rig{t: t}
	name := fmt.Sprintf("rig%d", rigs)
	var err error
	if r.pool, err = mempool.CreateMbufPool(name, 1023, ethdev.DataRoom(1500)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := r.pool.InUse(); n != 0 {
			t.Errorf("%d buffers were not freed", n)
		}
		r.pool.Free()
	})
	in := wires(t, name+"rx", queues)
	r.out = wires(t, name+"tx", queues)
	r.rx, r.tx = in[0], r.out[0]
	if r.port, err = ethdev.FromRings(name, in, r.out); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, r.port.Close()) })
	if _, err := ethdev.Setup(r.port, ethdev.PortConfig{Name: name, Pool: r.pool, RxQueues: queues, TxQueues: queues}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, r.port.Stop()) })
	if r.nic, err = softnic.Attach(uint16(r.port), queues, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, r.nic.Detach()) })
	if r.sessions, err = program.NewSessions(uint16(r.port), rigSessions); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := r.sessions.InUse(); n != 0 {
			t.Errorf("%d sessions were not freed", n)
		}
		r.sessions.Free()
	})
	return r
}

// wires makes a ring for each queue of one direction.
func wires(t testing.TB, name string, queues int) []*ring.Ring {
	t.Helper()
	var list []*ring.Ring
	for queue := range queues {
		made, err := ring.Create(fmt.Sprint(name, queue), wireLength)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(made.Free)
		list = append(list, made)
	}
	return list
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// open makes a session, with a rule if it is inbound, for as long as the test runs.
func (r *rig) open(sa program.SA) *program.Session {
	r.t.Helper()
	session, err := r.sessions.Open(sa)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { check(r.t, session.Close()) })
	if !sa.Outbound {
		rule, err := session.Rule()
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { check(r.t, rule.Remove()) })
	}
	return session
}

// mbufs makes packets of frames.
func (r *rig) mbufs(frames ...[]byte) []unsafe.Pointer {
	r.t.Helper()
	packets, err := mbuf.FromFrames(r.pool, frames)
	if err != nil {
		r.t.Fatal(err)
	}
	return packets
}

// send hands frames over, for the session if there is one, and returns what comes out at the wire, and how many did not go out.
func (r *rig) send(session *program.Session, frames ...[]byte) (out [][]byte, kept int) {
	r.t.Helper()
	packets := r.mbufs(frames...)
	if session != nil {
		if err := session.Mark(packets...); err != nil {
			r.t.Fatal(err)
		}
	}
	sent := r.port.TxBurst(0, packets)
	mbuf.FreeBulk(packets[sent:])
	return r.wire(), len(packets) - sent
}

// wire empties the wire that the port sends on.
func (r *rig) wire() [][]byte { return emptied(r.tx) }

func emptied(wire *ring.Ring) [][]byte {
	packets := make([]unsafe.Pointer, wireLength)
	packets = packets[:wire.DequeueBurst(packets)]
	defer mbuf.FreeBulk(packets)
	return mbuf.Frames(packets)
}

// received is a packet as the program gets it.
type received struct {
	frame []byte
	program.Flags
}

// receive puts frames on the wire and returns what the program gets.
func (r *rig) receive(frames ...[]byte) []received {
	r.t.Helper()
	if r.rx.EnqueueBurst(r.mbufs(frames...)) != len(frames) {
		r.t.Fatal("the wire is full")
	}
	packets := make([]unsafe.Pointer, wireLength)
	packets = packets[:r.port.RxBurst(0, packets)]
	defer mbuf.FreeBulk(packets)
	var list []received
	for _, m := range packets {
		list = append(list, received{mbuf.Bytes(m), program.FlagsOf(m)})
	}
	return list
}

// keymat is the same for a suite in all tests, and no octet of it is zero.
func keymat(s crypto.Suite) crypto.Secret {
	keys := make([]byte, s.KeymatLen())
	for i := range keys {
		keys[i] = byte(0x81 + i)
	}
	return crypto.NewSecret(keys)
}
