package softnic_test

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/offload/softnic/internal/program"
	"sallyport/pmd/mbuf"
)

// patience is how long a test waits for something that happens at once on an idle machine.
const patience = 2 * time.Minute

// TestSessionsUnderTraffic makes and ends sessions while another thread receives their packets: each comes decrypted or as it was sent, never as a bad one.
func TestSessionsUnderTraffic(t *testing.T) {
	r := newRig(t, both)
	var kinds []program.SA
	var frames [][]byte
	for i, suite := range offered() {
		in := sa(suite, false)
		in.SPI, in.Protocol, in.Window = uint32(0x2000+i), i%2 == 0, 0
		kinds = append(kinds, in)
		frames = append(frames, outer(in, 0, seal(t, in, 1, inner(64), 4)))
	}
	var over atomic.Bool
	var worker sync.WaitGroup
	worker.Go(func() {
		for !over.Load() {
			for _, got := range r.receive(frames...) {
				if got.Failed || len(got.frame) == 0 {
					t.Errorf("received %+v", got.Flags)
				}
			}
		}
	})
	defer worker.Wait()
	defer over.Store(true)
	for round := range 200 {
		session, err := r.sessions.Open(kinds[round%len(kinds)])
		if err != nil {
			t.Fatal(err)
		}
		before := r.nic.Counters().RxSecured
		rule, err := session.Rule()
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(patience); r.nic.Counters().RxSecured == before; {
			if time.Now().After(deadline) {
				t.Fatalf("round %d: nothing was decrypted", round)
			}
		}
		check(t, rule.Remove())
		check(t, session.Close())
		noKeys(t, session)
	}
}

// TestQueuesShareNumbers sends by one session on two queues at once: no number comes twice and none is left out.
func TestQueuesShareNumbers(t *testing.T) {
	const queues, bursts, burst = 2, 100, 32
	r := newRigOf(t, both, queues)
	sender := r.open(tunnel(true))
	var wires [queues][][]byte
	var workers sync.WaitGroup
	for queue := range queues {
		workers.Go(func() {
			for range bursts {
				var frames [][]byte
				for range burst {
					frames = append(frames, ethernet(0, inner(8)))
				}
				packets, err := mbuf.FromFrames(r.pool, frames)
				if err != nil || sender.Mark(packets...) != nil {
					t.Error("no packets:", err)
					return
				}
				sent := r.port.TxBurst(uint16(queue), packets)
				mbuf.FreeBulk(packets[sent:])
				wires[queue] = append(wires[queue], emptied(r.out[queue])...)
			}
		})
	}
	workers.Wait()
	seen := map[uint32]bool{}
	for _, wire := range wires {
		for _, frame := range wire {
			seen[binary.BigEndian.Uint32(frame[38:])] = true
		}
	}
	for number := range uint32(queues * bursts * burst) {
		if !seen[number+1] {
			t.Fatalf("number %d is not among the %d", number+1, len(seen))
		}
	}
}
