package pipeline

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
)

// Two workers send by one SA and receive by another, while both are moved to and fro a hundred times: each number is used once, nothing leaves in clear, no packet gets through
// twice, and the accounts add up.
func TestMovesBesideWorkers(t *testing.T) {
	const moves = 100
	c := &card{}
	r, _ := everywhere(t, rigOptions{workers: 2, card: c})
	far, near := r.outbound(r.child("site", "aes128gcm16", false)), r.inbound(r.child("site", "aes128gcm16", true))
	var stop atomic.Bool
	var running sync.WaitGroup
	for worker := range 2 {
		running.Go(func() {
			for !stop.Load() {
				if _, err := r.d.RunBurst(worker); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	defer running.Wait()
	defer stop.Store(true)
	numbers, replayed, sent := map[uint32]bool{}, 0, 0
	var frames [][]byte
	drain := func() {
		for _, frame := range r.sent(wan) {
			body := ipv4(frame[etherHeaderLen:]).payload()
			number := binary.BigEndian.Uint32(body[4:])
			if _, _, _, err := far.esp.Open(append([]byte(nil), body...), 0); err != nil || ipv4(frame[etherHeaderLen:]).protocol() != protocolESP || numbers[number] {
				t.Fatalf("number %d: %v, twice %t", number, err, numbers[number])
			}
			numbers[number] = true
		}
	}
	received := map[uint32]bool{}
	take := func() {
		for _, frame := range r.sent(lan) {
			i := binary.BigEndian.Uint32(frame[etherHeaderLen+ipv4HeaderLen:])
			if received[i] {
				t.Fatalf("packet %d got through twice", i)
			}
			received[i] = true
		}
	}
	feed := func() {
		for worker := range 2 {
			var out, in [][]byte
			for range 16 {
				out = append(out, fromHost(tcp(lanHost, farHost)))
				near.sequence++
				p := packetOfLength(farHost, lanHost, 253, 60)
				binary.BigEndian.PutUint32(p[ipv4HeaderLen:], uint32(near.sequence))
				in = append(in, fromPeer(near.encapsulate(p, near.sequence)))
			}
			in = append(in, in[3]) // once more: at most one of the two
			replayed++
			frames = append(frames, in...)
			r.enqueue(worker, lan, out...)
			r.enqueue(worker, wan, in...)
			sent += len(out)
		}
	}
	places := map[bool][]Place{
		true:  {PlaceLookasideCrypto, PlaceInlineCrypto, PlaceCPU, PlaceLookasideProtocol, PlaceInlineCrypto, PlaceLookasideProtocol, PlaceLookasideCrypto, PlaceCPU},
		false: {PlaceLookasideCrypto, PlaceInlineCrypto, PlaceCPU, PlaceInlineCrypto, PlaceLookasideCrypto, PlaceCPU},
	}
	done := map[bool]int{}
	for turn := 0; done[true] < moves || done[false] < moves; turn++ {
		if turn > 1_000_000 {
			t.Fatalf("%v moves only", done)
		}
		before := r.d.Counters()
		// A worker that is not given a CPU keeps what it has received: the pool too must have room.
		if before.Ports[lan].Received+before.Ports[wan].Received+512 > uint64(sent+len(frames)) && r.pool.Available() >= 256 {
			feed()
		}
		r.d.mu.Lock()
		r.d.settleMoves()
		r.d.mu.Unlock()
		r.serveAll()
		drain()
		take()
		for _, outbound := range []bool{true, false} {
			if m := r.relocate("site", outbound, places[outbound][done[outbound]%len(places[outbound])]); m.Err == nil {
				done[outbound]++
			}
		}
	}
	stop.Store(true)
	running.Wait()
	for range 5 {
		r.settle()
		r.tick()
		drain()
		take()
	}
	counters := r.d.Counters()
	if full := int(counters.Ports[lan].Drops["crypto_queue_full"]); len(numbers)+full != sent { // the device has little room
		t.Errorf("%d packets left of %d, drops %v", len(numbers), sent, counters.Ports[lan].Drops)
	}
	drops := counters.Ports[wan].Drops
	if late := int(drops["replay_old"] + drops["inline_session"] + drops["crypto_queue_full"]); len(received)+late+int(drops["replay_duplicate"]) != len(frames) || int(drops["replay_duplicate"]) > replayed {
		t.Errorf("%d packets of %d came in, %d of them twice; drops %v", len(received), len(frames), replayed, drops)
	}
	if err := counters.Conserved(); err != nil {
		t.Error(err)
	}
}
