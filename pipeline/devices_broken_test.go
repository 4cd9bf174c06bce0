package pipeline

import (
	"strings"
	"testing"
	"time"

	"sallyport/crypto/cryptodev/faulty"
)

// A device answers, and has failed whatever it was given. No peer brings that about for outbound packets: after 64 of them the device is lost, its SAs go on by the next one with their
// numbers and windows, and all who ask are told why (S-102).
func TestDeviceFailsAll(t *testing.T) { eachLookaside(t, deviceFailsAll) }

func deviceFailsAll(t *testing.T, whole bool) {
	const bound = 64
	r := lookaside(t, 2, whole)
	out, in := r.child("site", "aes128gcm16", false), r.child("site", "aes128gcm16", true)
	keys := [][]byte{keyOf(out), keyOf(in)}
	far, near := r.outbound(out), r.inbound(in)
	r.devices[0].fault.Set(faulty.Broken)
	before := r.tally()
	sent := 0
	for ; !r.d.Counters().Devices[0].Lost; sent++ {
		if sent > bound {
			t.Fatalf("not lost after %d packets", sent)
		}
		r.send(sent, 1)
		r.settle()
	}
	if got := ends(before, r.tally())["crypto_error"]; sent != bound || got != bound || len(r.sent(wan)) != 0 {
		t.Errorf("lost after %d packets, %d of them failed; want %d", sent, got, bound)
	}
	r.tick()
	const why = "has failed 64 outbound packets in sequence"
	if lost, _ := r.told(); lost != 1 || r.seen.offload[0].Why != why || r.seen.offload[0].Device != r.names[0] {
		t.Errorf("told: %+v", r.seen.offload)
	}
	if whole { // the window is lost with the device
		near = r.inbound(r.child("site", "aes128gcm16", true))
	}
	r.tick()
	r.packets(wan)
	r.send(1000, 20)
	r.settle()
	same(t, "by the next device", r.numbers(far), ascending(1000, 20))
	near.sequence++
	r.enqueue(0, wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)))
	r.settle()
	if got := len(r.packets(lan)); got != 1 {
		t.Errorf("%d packets from the other site, want 1", got)
	}
	for _, sa := range r.d.SACounters() {
		said := len(sa.PassedOver) > 0 && strings.Contains(sa.PassedOver[0].Reason, why)
		if sa.Device == r.names[1] && !said {
			t.Errorf("SA %#x, outbound %t, does not say why it is not at the first: %+v", sa.SPI, sa.Outbound, sa.PassedOver)
		}
	}
	if info := r.cfg.Crypto.Describe(); info[len(info)-2].Lost != why {
		t.Errorf("%+v", info)
	}
	r.wantNoKeys(keys...)
}

// Who sends what no device opens, or has a device that fails inbound packets alone, takes none for lost: a good outbound packet now and then, or none at all, and any number of bad
// inbound ones (S-102).
func TestInboundErrorsLoseNoDevice(t *testing.T) { eachLookaside(t, inboundErrorsLoseNoDevice) }

func inboundErrorsLoseNoDevice(t *testing.T, whole bool) {
	r := lookaside(t, 2, whole)
	far, near := r.outbound(r.child("site", "aes128gcm16", false)), r.inbound(r.child("site", "aes128gcm16", true))
	before := r.tally()
	feed := func(n int, change func([]byte)) {
		for range n {
			near.sequence++
			frame := fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence))
			change(frame)
			r.enqueue(0, wan, frame)
		}
		r.settle()
	}
	feed(200, func(frame []byte) { frame[len(frame)-1] ^= 1 })
	r.devices[0].fault.Set(faulty.Broken)
	feed(200, func([]byte) {})
	r.send(0, 40) // fewer than the bound
	r.settle()
	r.devices[0].fault.Set(faulty.None)
	r.send(100, 1)
	r.settle()
	r.devices[0].fault.Set(faulty.Broken)
	feed(200, func([]byte) {})
	r.send(200, 40)
	r.settle()
	r.devices[0].fault.Set(faulty.None)
	r.now = r.now.Add(time.Second)
	r.serveAll()
	got := ends(before, r.tally())
	if failed := got["crypto_error"] + got["auth_failed"]; failed != 680 {
		t.Errorf("%v, want 680 packets failed", got)
	}
	if lost, _ := r.told(); lost != 0 || r.d.Counters().Devices[0].Lost {
		t.Errorf("%+v", r.seen.offload)
	}
	same(t, "the good one", r.numbers(far), []int{100})
}
