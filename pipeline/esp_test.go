package pipeline

import (
	"fmt"
	"testing"

	"sallyport/crypto/cryptodev"
)

// Every suite that a tunnel can have.
var allSuites = func() []string {
	list := []string{"aes128gcm16", "aes192gcm16", "aes256gcm16"}
	for _, cipher := range []string{"aes128", "aes192", "aes256"} {
		for _, integrity := range []string{"sha1", "sha256", "sha384", "sha512"} {
			list = append(list, cipher+"-"+integrity)
		}
	}
	return list
}()

// innerSizes are the lengths of inner packets: all the short ones, where padding and headers meet, then samples up to a
// jumbo frame.
func innerSizes() []int {
	var sizes []int
	for n := ipv4HeaderLen; n < 300; n++ {
		sizes = append(sizes, n)
	}
	for n := 300; n < 9000; n += 331 {
		sizes = append(sizes, n)
	}
	return append(sizes, 8999, 9000)
}

// Fast path and reference agree on every byte, for every suite and size, both ways, plain and in UDP, with the devices
// that a gateway prefers and with the fallback.
func TestESPDifferential(t *testing.T) {
	devices := map[string]*cryptodev.Pool{"default": defaultCrypto, "openssl": fallbackCrypto}
	for device, pool := range devices {
		for _, suite := range allSuites {
			for _, udp := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/udp=%v", device, suite, udp), func(t *testing.T) {
					r := newRig(t, rigOptions{mtu: 9200, crypto: pool})
					differential(r, suite, udp, false)
				})
			}
		}
	}
}

// Extended sequence numbers change what the ICV covers.
func TestESPDifferentialESN(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes256-sha256", "aes128-sha512"} {
		t.Run(suite, func(t *testing.T) {
			differential(newRig(t, rigOptions{mtu: 9200}), suite, false, true)
		})
	}
}

func differential(r *rig, suite string, udp, esn bool) {
	r.t.Helper()
	out, in := r.child("site", suite, false), r.child("site", suite, true)
	for _, c := range []*ChildSA{&out, &in} {
		c.UDPEncap, c.ESN = udp, esn
	}
	far := r.outbound(out)
	near := r.inbound(in)
	for _, size := range innerSizes() {
		sent := r.wantForward(lan, fromHost(packetOfLength(lanHost, farHost, 253, size)), wan)
		r.opened(far, sent, size)
		near.sequence++
		r.wantForward(wan, fromPeer(near.encapsulate(packetOfLength(farHost, lanHost, 253, size), near.sequence)), lan)
	}
	for _, sa := range r.d.SACounters() {
		if sa.Packets == 0 || sa.Packets != sa.Sequence || len(sa.Drops) != 0 {
			r.t.Errorf("counters of SA %#x: %+v", sa.SPI, sa)
		}
	}
}

// opened checks that the far end of an SA accepts what was sent: not only is it what the reference would have sent.
func (r *rig) opened(far *referenceIn, frame []byte, size int) {
	r.t.Helper()
	outer := ipv4(frame[etherHeaderLen:])
	body := outer.payload()
	if far.child.UDPEncap {
		body = body[udpHeaderLen:]
	}
	inner, reason := far.open(outer, body, far.child.UDPEncap)
	if reason != "" || len(inner) != size || checksum(outer[:ipv4HeaderLen]) != 0 {
		r.t.Fatalf("the far end: %q, %d bytes of %d", reason, len(inner), size)
	}
}
