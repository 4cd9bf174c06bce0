package softnic_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/offload"
	"sallyport/offload/softnic"
	"sallyport/pipeline"
)

// keeper is package offload's planner, which makes the sessions as in a gateway, and looks whether keys stay where sessions were.
type keeper struct {
	*offload.Planner
	t      *testing.T
	keys   map[unsafe.Pointer][]byte // of open sessions
	closed int
}

// holds tells whether the memory of a session has its key, which is the first round key of AES too.
func (k *keeper) holds(session unsafe.Pointer, key []byte) bool {
	const most = 1024 // the head of a session, where the software NIC has its keys
	return bytes.Contains(unsafe.Slice((*byte)(session), most), key)
}

func (k *keeper) Open(port uint16, sa *pipeline.InlineSA) (pipeline.InlineSession, error) {
	session, err := k.Planner.Open(port, sa)
	if err == nil {
		k.keys[session.Handle] = bytes.Clone(sa.Keymat.Bytes()[:sa.Suite.KeyLen()])
		if !k.holds(session.Handle, k.keys[session.Handle]) {
			k.t.Error("the memory of a session does not have its key: this test looks in the wrong place")
		}
	}
	return session, err
}

func (k *keeper) Close(session pipeline.InlineSession) error {
	err := k.Planner.Close(session)
	if err == nil && k.holds(session.Handle, k.keys[session.Handle]) {
		k.t.Error("a session was closed and its memory has the key still")
	}
	delete(k.keys, session.Handle)
	k.closed++
	return err
}

// newPlanned makes a gateway with a NIC, whose sessions are made as in a gateway; with wans of VLANs, if there are any.
func newPlanned(t *testing.T, site int, o softnic.Options, pool *cryptodev.Pool, vlans ...uint16) (*gateway, *keeper) {
	t.Helper()
	return newOrdered(t, site, o, pool, nil, vlans...)
}

// newOrdered makes one with an order of classes.
func newOrdered(t *testing.T, site int, o softnic.Options, pool *cryptodev.Pool, order []offload.Class, vlans ...uint16) (*gateway, *keeper) {
	t.Helper()
	k := &keeper{t: t, keys: map[unsafe.Pointer][]byte{}}
	g := newGatewayBy(t, site, &o, false, pool, func(g *gateway) pipeline.Inline {
		var err error
		ports := []offload.Port{{Name: "wan", WAN: true, ID: g.wan, Driver: "net_ring", Socket: cryptodev.SocketAny}}
		for i, vlan := range vlans {
			if i > 0 {
				ports = append(ports, ports[0])
				ports[i].Name = "wan2"
			}
			ports[i].VLAN = vlan
		}
		k.Planner, err = offload.New(offload.Config{Order: order, Ports: ports, Crypto: pool, Sessions: 64})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if len(k.keys) != 0 {
				t.Errorf("%d sessions were not closed", len(k.keys))
			}
			check(t, k.Stop())
		})
		return k
	}, vlans...)
	return g, k
}

// clear tells whether a frame shows a packet of a host: no ESP, or what such a packet holds.
func clear(frame, packet []byte) bool {
	const protocol, inside = 14 + 9, 14 + 20
	return len(frame) <= protocol || frame[protocol] != 50 || len(packet) >= inside+16 && bytes.Contains(frame, packet[inside:inside+16])
}

// exchange sends so many packets each way, of which all have to arrive and none to be in clear between the gateways.
func exchange(t *testing.T, here, there *gateway, n int) {
	t.Helper()
	out, back := here.burst(4, n), there.burst(4, n)
	wire := here.pass(lan, out...)
	for _, frame := range wire {
		if clear(frame, out[0]) {
			t.Errorf("in clear: % x", frame)
		}
	}
	if went, came := len(there.pass(wan, wire...)), len(here.pass(wan, there.pass(lan, back...)...)); went != n || came != n {
		t.Errorf("%d and %d packets of %d have arrived", went, came, n)
	}
}

// rekey makes a new pair of SAs and ends the former one. It returns what the gateway says of the two, in the order in which they were made.
func rekey(here, there *gateway, suite string, number uint32) [2]pipeline.SACounters {
	here.t.Helper()
	spi := func(number uint32) uint32 { return 0x10001000 + number<<8 + 2*number }
	join(here, there, suiteOf(here.t, suite), spi(number), func(*pipeline.ChildSA) {})
	if number > 0 {
		check(here.t, here.d.RemoveInbound(spi(number-1)+1))
		check(here.t, there.d.RemoveInbound(spi(number-1)))
	}
	var made [2]pipeline.SACounters
	for _, sa := range here.d.SACounters() {
		if sa.SPI == spi(number) || sa.SPI == spi(number)+1 {
			made[sa.SPI-spi(number)] = sa
		}
	}
	return made
}

// S-102: what a NIC has not though it says so, what it fails now and then, and what it has no room for, goes by the CPU from the next rekey on, and by the NIC again
// when that has mended. No packet is lost or leaves in clear, the refusal is said and counted, and no key stays in the memory of a session.
func TestFaultsOfSessionsUnderTraffic(t *testing.T) {
	pool := newCrypto(t)
	for name, x := range map[string]struct {
		fault  softnic.Fault
		failed func(session int) bool // of those that are asked for while there is the fault
	}{
		"lack":        {softnic.Fault{Lack: []crypto.Suite{suiteOf(t, "aes128gcm16")}}, func(int) bool { return true }},
		"every third": {softnic.Fault{FailSessions: 3}, func(session int) bool { return session%3 == 0 }},
		"full":        {softnic.Fault{Full: true}, func(int) bool { return true }},
	} {
		for _, kind := range []softnic.Options{{InlineCrypto: true}, {InlineProtocol: true}} {
			t.Run(fmt.Sprintf("%s/protocol=%t", name, kind.InlineProtocol), func(t *testing.T) {
				inline, k := newPlanned(t, 1, kind, pool)
				far := newGateway(t, 2, nil, false, pool)
				asked, refused := 0, 0
				turn := func(number uint32, faulty bool) {
					t.Helper()
					for _, sa := range rekey(inline, far, "aes128gcm16", number) {
						failed := false
						if faulty {
							asked++
							failed = x.failed(asked)
						}
						if failed {
							refused++
						}
						if sa.Inline.Session == failed || failed && !strings.Contains(sa.Inline.Refused, "the driver refused the session though it says that it can") {
							t.Errorf("rekey %d, outbound %t: %+v, want a refusal: %t", number, sa.Outbound, sa.Inline, failed)
						}
						if chosen := k.Explain(&sa); (chosen.Plan == offload.CPUCrypto) != failed {
							t.Errorf("rekey %d, outbound %t: goes by %+v, want the CPU: %t", number, sa.Outbound, chosen, failed)
						}
					}
					exchange(t, inline, far, 16)
					inline.rest()
				}
				turn(0, false)
				check(t, inline.nic.Inject(x.fault))
				for number := range uint32(4) {
					turn(1+number, true)
				}
				check(t, inline.nic.Inject(softnic.Fault{}))
				turn(5, false)
				if c := inline.nic.Counters(); c.SessionsRefused != uint64(refused) || c.SessionsLive > 4 || c.TxFailed+c.RxFailed != 0 {
					t.Errorf("the NIC counts %+v, want %d refusals", c, refused)
				}
				if k.closed == 0 {
					t.Error("no session was closed")
				}
			})
		}
	}
}

// A NIC with room for one pair of SAs, which is not enough while the next takes its place: some are the CPU's, and nothing is lost.
func TestRoomUnderTraffic(t *testing.T) {
	pool := newCrypto(t)
	for _, kind := range []softnic.Options{{InlineCrypto: true, Sessions: 2}, {InlineProtocol: true, Sessions: 2}} {
		inline, k := newPlanned(t, 1, kind, pool)
		far := newGateway(t, 2, nil, false, pool)
		for number := range uint32(6) {
			rekey(inline, far, "aes128gcm16", number)
			exchange(t, inline, far, 16)
			inline.rest()
		}
		if c := inline.nic.Counters(); c.SessionsRefused == 0 || c.SessionsMade < 6 || c.SessionsLive > 2 || k.closed == 0 {
			t.Errorf("the NIC counts %+v", c)
		}
	}
}

// What a NIC with inline protocol damages is dropped, there or here, for its ICV. What it leaves as it came is dropped too, since nobody else has its window; nothing
// of either is in clear.
func TestFaultsOfPacketsByInlineProtocol(t *testing.T) {
	const n = 36 // of which every third and every fourth are whole numbers
	pool := newCrypto(t)
	inline, _ := newPlanned(t, 1, softnic.Options{InlineProtocol: true}, pool)
	far := newGateway(t, 2, nil, false, pool)
	rekey(inline, far, "aes128gcm16", 0)
	exchange(t, inline, far, n)
	for _, x := range []struct {
		fault      softnic.Fault
		went, came int
		reason     string // of drops here
	}{
		{softnic.Fault{Mangle: 4}, n - n/4, n - n/4, "auth_failed"},
		{softnic.Fault{Undecrypted: 3}, n, n - n/3, "inline_window"},
	} {
		check(t, inline.nic.Inject(x.fault))
		out := inline.burst(4, n)
		wire := inline.pass(lan, out...)
		for _, frame := range wire {
			if clear(frame, out[0]) {
				t.Errorf("%+v: in clear: % x", x.fault, frame)
			}
		}
		went, came := len(far.pass(wan, wire...)), len(inline.pass(wan, far.pass(lan, far.burst(4, n)...)...))
		drops := inline.d.Counters().Ports[wan].Drops
		if went != x.went || came != x.came || drops[x.reason] != uint64(n-x.came) {
			t.Errorf("%+v: %d and %d packets of %d have arrived, want %d and %d; drops here: %v", x.fault, went, came, n, x.went, x.came, drops)
		}
	}
	check(t, inline.nic.Inject(softnic.Fault{}))
	exchange(t, inline, far, n)
}

// The NIC forgets the key of an SA that has moved away, and of one that is gone before it has arrived.
func TestKeysOfSAsThatMove(t *testing.T) {
	pool := newCrypto(t)
	for _, kind := range []softnic.Options{{InlineCrypto: true}, {InlineProtocol: true}} {
		inline, k := newPlanned(t, 1, kind, pool)
		far := newGateway(t, 2, nil, false, pool)
		rekey(inline, far, "aes128gcm16", 0)
		exchange(t, inline, far, 16)
		for _, outbound := range []bool{true, false} {
			moved, err := inline.d.Relocate(inline.cell, outbound, pipeline.PlaceCPU, true)
			if err != nil || len(moved) != 1 || moved[0].Err != nil || moved[0].Rekey != (kind.InlineProtocol && !outbound) {
				t.Fatalf("%+v, %v", moved, err)
			}
		}
		exchange(t, inline, far, 16)
		for number := range uint32(2) { // what the second takes the place of is freed with it
			rekey(inline, far, "aes128gcm16", 1+number)
			exchange(t, inline, far, 16)
			inline.rest()
		}
		if len(k.keys) != 0 || k.closed != 2 {
			t.Errorf("%+v: %d sessions are open and %d closed, want 0 and 2", kind, len(k.keys), k.closed)
		}
	}
}
