package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/crypto/cryptodev/faulty"
	"sallyport/crypto/cryptodev/wholedev"
)

// wholeDevice opens a device that does all of ESP, and nothing else, until the test ends.
func wholeDevice(t *testing.T, o wholedev.Options) (*cryptodev.Pool, *wholedev.Device) {
	t.Helper()
	name := fmt.Sprintf("crypto_null_whole%d", lookasideNumber.Add(1))
	device, err := wholedev.Offer(name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(device.Withdraw)
	pool := openLookaside(t, name)
	if err := device.Attach(testWorkers); err != nil {
		t.Fatal(err)
	}
	return pool, device
}

// wholeForms are the forms of tunnels that the device knows.
func wholeForms() (forms []form) {
	for _, f := range inlineForms(true) {
		s, err := crypto.ParseSuite(f.suite)
		if err == nil && (s.Encr == crypto.EncrAESGCM16 || s.Encr == crypto.EncrAESCBC && slices.Contains([]crypto.IntegID{crypto.IntegHMACSHA1, crypto.IntegHMACSHA256}, s.Integ)) {
			forms = append(forms, f)
		}
	}
	return forms
}

// wholeRig is a rig with a pair of SAs in a form, whose packets a device makes and takes as a whole.
func wholeRig(t *testing.T, f form, o rigOptions) (r *rig, near *referenceOut) {
	t.Helper()
	o.crypto, _ = wholeDevice(t, wholedev.Options{})
	o.rules = []rule{siteRule, siteRule6}
	r = newRig6(t, o)
	out, in := r.formed(f, false), r.formed(f, true)
	in.BehindNAT, out.BehindNAT = f.udp, f.udp
	r.outbound(out)
	return r, r.inbound(in)
}

// S-103: a device that does all of ESP puts the bytes on the wire, and behind the gateway, that the reference does, in every form and size.
func TestWholeIsTheSame(t *testing.T) {
	for _, f := range wholeForms() {
		t.Run(f.String(), func(t *testing.T) {
			r, near := wholeRig(t, f, rigOptions{mtu: 9200})
			n := 0
			for _, version := range f.versions() {
				for _, size := range []int{64, 65, 66, 67, 68, 69, 70, 71, 512, 1400, 1500, 8900} {
					n++
					r.wantForward(lan, fromLAN(inner(version, size, true)), wan)
					near.sequence++
					r.wantForward(wan, fromWAN(near.encapsulate(inner(version, size, false), near.sequence)), lan)
				}
			}
			if c := r.d.Counters().Devices[0]; c.Operations != uint64(2*n) || c.Unknown != 0 || c.Held != 0 {
				t.Errorf("%+v, want %d operations", c, 2*n)
			}
			for _, sa := range r.d.SACounters() {
				if !sa.Whole || sa.Packets != uint64(n) || len(sa.Drops) != 0 || sa.Inline.Session {
					t.Errorf("SA %#x: whole %t, %d packets of %d, drops %v, %+v", sa.SPI, sa.Whole, sa.Packets, n, sa.Drops, sa.Inline)
				}
			}
		})
	}
}

// The replay window of such an SA is the device's: what it has seen, and what falls out of its window, is dropped, also what is forged.
func TestWholeWindow(t *testing.T) {
	r, near := wholeRig(t, form{suite: "aes128gcm16"}, rigOptions{})
	packet := func(sequence uint64) []byte { return fromPeer(near.encapsulate(tcp(farHost, lanHost), sequence)) }
	before := r.tally()
	forged := packet(5000)
	forged[len(forged)-1] ^= 1
	r.enqueue(0, wan, packet(2000), packet(2000), packet(2000-DefaultReplayWindow), packet(2001-DefaultReplayWindow), forged, packet(2002))
	r.settle()
	if n := len(r.sent(lan)); n != 3 {
		t.Errorf("%d packets got through, want 3", n)
	}
	same(t, "accounts", ends(before, r.tally()), map[string]int{"forwarded": 3, "crypto_error": 2, "auth_failed": 1})
}

// Numbers are reserved before the device gives them: none is beyond the SA's limit, and who goes on with the SA does so behind all of them.
func TestWholeNumbers(t *testing.T) {
	pool, _ := wholeDevice(t, wholedev.Options{})
	r := newRig(t, rigOptions{crypto: pool})
	child := r.child("site", "aes128gcm16", false)
	child.FirstSequence = 1<<32 - 5
	far := r.outbound(child)
	before := r.tally()
	r.send(0, 9)
	r.settle()
	same(t, "sent", r.numbers(far), ascending(0, 5))
	same(t, "accounts", ends(before, r.tally()), map[string]int{"forwarded": 5, "seq_exhausted": 4})
	if last, err := r.d.RemoveOutbound(child.Cell, child.SPI); err != nil || last < 1<<32-1 {
		t.Errorf("removed: last number %d, %v", last, err)
	}
}

// A packet that grows too long for the path is cut where that is allowed, and refused where it is not, as by the CPU.
func TestWholeTooLong(t *testing.T) {
	for _, f := range []form{{suite: "aes128gcm16"}, {suite: "aes128-sha256", outer6: true}} {
		t.Run(f.String(), func(t *testing.T) {
			r, _ := wholeRig(t, f, rigOptions{mtu: 1300})
			for _, version := range f.versions() {
				for _, size := range []int{1200, 1280, 1290, 1300} {
					r.check(lan, fromLAN(inner(version, size, true)))
				}
			}
		})
	}
}

// A peer that moves is sent to where it is, though the device knows its former address.
func TestWholeMoves(t *testing.T) {
	for _, f := range wholeForms() {
		t.Run(f.String(), func(t *testing.T) {
			pool, _ := wholeDevice(t, wholedev.Options{})
			newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}, crypto: pool}).movesAbout(f)
		})
	}
}

// What the device leaves undone, or does for another SA, does not leave, whatever it says of it (S-102).
func TestWholeLies(t *testing.T) {
	for name, lie := range map[string]wholedev.Lie{"undone": wholedev.Untouched, "another SA": wholedev.OtherSPI, "too long": wholedev.Longer, "addresses": wholedev.Turned} {
		t.Run(name, func(t *testing.T) {
			pool, device := wholeDevice(t, wholedev.Options{})
			r := newRig(t, rigOptions{crypto: pool})
			r.outbound(r.child("site", "aes128gcm16", false))
			near := r.inbound(r.child("site", "aes128gcm16", true))
			device.Lie(lie)
			before := r.tally()
			r.send(0, 20)
			r.settle()
			if frames := r.sent(wan); len(frames) != 0 {
				t.Errorf("%d packets left, the first % x", len(frames), frames[0])
			}
			same(t, "accounts", ends(before, r.tally()), map[string]int{"crypto_error": 20})
			if lie == wholedev.Untouched {
				near.sequence++
				r.enqueue(0, wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)))
				r.settle()
				if frames := r.sent(lan); len(frames) != 0 {
					t.Errorf("%d packets got in", len(frames))
				}
			}
		})
	}
}

// A session of which the driver has written the keys when it fails leaves none behind, whatever it is for (S-102).
func TestSessionsFailLate(t *testing.T) {
	for _, whole := range []bool{false, true} {
		t.Run(fmt.Sprintf("whole %t", whole), func(t *testing.T) {
			l := lookaside(t, 2, whole)
			for _, d := range l.devices {
				d.failSessionsLate(1)
			}
			child := l.child("site", "aes128-sha256", false)
			key := keyOf(child)
			if err := l.d.InstallOutbound(child); err == nil || !strings.Contains(err.Error(), "refused") {
				t.Fatalf("found %v, want a refusal", err)
			}
			if n := faulty.Traces(key); n != 0 {
				t.Errorf("the key is in memory %d times", n)
			}
		})
	}
}

// A device that has room for so many sessions gets no more, and it is said how many are used (S-102).
func TestDeviceIsFull(t *testing.T) {
	for _, whole := range []bool{false, true} {
		t.Run(fmt.Sprintf("whole %t", whole), func(t *testing.T) {
			l := lookaside(t, 2, whole)
			l.devices[0].fault.HasRoomFor(1)
			t.Cleanup(func() { l.devices[0].fault.HasRoomFor(0) })
			first := l.child("site", "aes128gcm16", true)
			l.inbound(first)
			far := l.outbound(l.child("site", "aes128gcm16", false))
			l.send(0, 10)
			l.settle()
			same(t, "sent", l.numbers(far), ascending(0, 10))
			for _, sa := range l.d.SACounters() {
				if at := slices.Index(l.names, sa.Device); at < 0 || (at == 1) != sa.Outbound {
					t.Errorf("outbound %t on %s of %v", sa.Outbound, sa.Device, l.names)
				}
				if !sa.Outbound {
					continue
				}
				const full = "no room for another session: 1 of 1 are used"
				if i := slices.IndexFunc(sa.PassedOver, func(p cryptodev.PassedOver) bool { return p.Whole == whole && p.Reason == full }); i < 0 {
					t.Errorf("passed over %+v, want %q", sa.PassedOver, full)
				}
			}
			if info := l.cfg.Crypto.Describe(); !slices.ContainsFunc(info, func(d cryptodev.DeviceInfo) bool { return d.Name == l.names[0] && d.Most == 1 && d.Sessions == 1 }) {
				t.Errorf("described as %+v", info)
			}
		})
	}
}
