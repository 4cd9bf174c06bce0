package pipeline

import (
	"fmt"
	"testing"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
)

// Every suite that a tunnel can have.
var allSuites = func() []string {
	var list []string
	for _, cipher := range []string{"aes128", "aes192", "aes256"} {
		list = append(list, cipher+"gcm8", cipher+"gcm12", cipher+"gcm16")
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

// cryptoWays are the ways that a packet of AES-GCM can take: the library itself, cpu-crypto, enqueue and dequeue.
func cryptoWays() map[string]*cryptodev.Pool {
	return map[string]*cryptodev.Pool{"default": defaultCrypto, "cpu": cpuCrypto, "openssl": fallbackCrypto}
}

// A test that believes to take a way must be on it.
func TestCryptoWays(t *testing.T) {
	suite, err := crypto.ParseSuite("aes128gcm16")
	if err != nil {
		t.Fatal(err)
	}
	for way, pool := range cryptoWays() {
		session, err := pool.NewSession(suite, crypto.NewSecret(make([]byte, suite.KeymatLen())), true)
		if err != nil {
			t.Fatal(err)
		}
		if session.Direct != (way == "default") || session.CPU != (way == "cpu") {
			t.Errorf("%s is on %s (direct %t, cpu-crypto %t)", way, session.DeviceName(), session.Direct, session.CPU)
		}
		if err := pool.Free(session); err != nil {
			t.Error(err)
		}
	}
}

// eachWay runs a test for the suites, on each way that can do them: crypto_openssl has whole ICVs of AES-GCM only.
func eachWay(t *testing.T, suites []string, run func(t *testing.T, pool *cryptodev.Pool, suite string)) {
	t.Helper()
	for way, pool := range cryptoWays() {
		can := map[string]bool{}
		for _, device := range pool.Describe() {
			for _, suite := range device.Suites {
				can[suite.String()] = true
			}
		}
		for _, suite := range suites {
			if can[suite] {
				t.Run(way+"/"+suite, func(t *testing.T) { run(t, pool, suite) })
			}
		}
	}
}

// Fast path and reference agree on every byte, for every suite and size, both ways, plain and in UDP, however the packet
// is encrypted.
func TestESPDifferential(t *testing.T) {
	eachWay(t, allSuites, func(t *testing.T, pool *cryptodev.Pool, suite string) {
		for _, udp := range []bool{false, true} {
			t.Run(fmt.Sprintf("udp=%v", udp), func(t *testing.T) {
				differential(newRig(t, rigOptions{mtu: 9200, crypto: pool}), suite, udp, false)
			})
		}
	})
}

// Extended sequence numbers change what the ICV covers.
func TestESPDifferentialESN(t *testing.T) {
	suites := []string{"aes128gcm16", "aes192gcm12", "aes256gcm8", "aes256-sha256", "aes128-sha512"}
	eachWay(t, suites, func(t *testing.T, pool *cryptodev.Pool, suite string) {
		differential(newRig(t, rigOptions{mtu: 9200, crypto: pool}), suite, false, true)
	})
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
	outer := frame[etherHeaderLen:]
	inner, reason := far.unwrap(outer)
	if reason != "" || len(inner) != size || !isIPv6(outer) && checksum(outer[:ipv4(outer).headerLen()]) != 0 {
		r.t.Fatalf("the far end: %q, %d bytes of %d", reason, len(inner), size)
	}
}
