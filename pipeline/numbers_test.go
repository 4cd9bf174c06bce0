package pipeline

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
)

// No nonce of AES-GCM is ever used twice under a key: packets that stand alone in their burst are framed ahead of their encryption, and what becomes of those around them
// changes no number. Here some are too long and go back or are cut, some have no hop left, and one SA ends in the middle; all SAs alternate, so that most runs are of one packet.
func TestNumbersOfPacketsFramedAhead(t *testing.T) {
	forms := []form{{suite: "aes128gcm16"}, {suite: "aes256gcm8", esn: true}, {suite: "aes192gcm12", udp: true}, {suite: "aes128gcm16", outer6: true}, {suite: "aes256gcm16"}}
	var rules []rule
	for i := range forms {
		rules = append(rules, rule{name: fmt.Sprint("to ", i), source: "10.1.0.0/16", destination: fmt.Sprintf("10.%d.0.0/16", 100+i), tunnel: fmt.Sprint("tunnel ", i)})
	}
	for _, workers := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			r := newRig6(t, rigOptions{rules: rules, maxSAs: 64, workers: workers})
			peers := map[uint32]*numberedPeer{}
			for i, f := range forms {
				out := r.formed(f, false)
				out.Cell, out.Selectors = r.cell(rules[i].tunnel), siteSelectors(func(s *policySelector) { s.Local, s.Remote = anyIPv4, anyIPv4 })
				if i == len(forms)-1 {
					out.Hard = Lifetime{Packets: 100}
				}
				peers[out.SPI] = &numberedPeer{far: r.outbound(out), used: map[uint64]bool{}}
			}
			for range 100 {
				var frames [][]byte
				for range 1 + r.random.IntN(40) {
					frames = append(frames, fromHost(oddPacket(r, r.random.IntN(len(forms)))))
				}
				r.enqueue(r.random.IntN(workers), lan, frames...)
				r.settle()
				for _, frame := range r.sent(wan) {
					takeNumbered(t, peers, frame[etherHeaderLen:], workers == 1)
				}
				r.serveAll() // ICMP of what was refused
				r.settle()
				r.sent(lan)
			}
			for spi, p := range peers {
				if len(p.used) < 50 {
					t.Errorf("SPI %08x: %d packets, expected 50 at least", spi, len(p.used))
				}
			}
		})
	}
}

// numberedPeer is the other end of an outbound SA, and the nonces that it has seen.
type numberedPeer struct {
	far  *referenceIn
	used map[uint64]bool
	last uint64
}

// takeNumbered opens a packet of ESP whose nonce nobody has used; inOrder: nor one after it.
func takeNumbered(t *testing.T, peers map[uint32]*numberedPeer, ip []byte, inOrder bool) {
	t.Helper()
	esp := ip[headersOf(ip):]
	if !isIPv6(ip) && ip[9] == protocolUDP {
		esp = esp[udpHeaderLen:]
	}
	spi, number := binary.BigEndian.Uint32(esp), binary.BigEndian.Uint64(esp[espHeaderLen:])
	p := peers[spi]
	if p == nil {
		t.Fatalf("left by no SA: % x", ip)
	}
	if p.used[number] || inOrder && number <= p.last {
		t.Fatalf("SPI %08x: number %d after %d, its nonce used before: %t", spi, number, p.last, p.used[number])
	}
	p.used[number], p.last = true, number
	if _, reason := p.far.unwrap(ip); reason != "" && reason != "fragment" { // of what was cut
		t.Fatalf("SPI %08x: number %d: the far end says %q", spi, number, reason)
	}
}

// oddPacket is one for a tunnel: mostly sound, of any length; one time in eight each its hops are over, or it is too long for the tunnel, and may be cut or not.
func oddPacket(r *rig, tunnel int) ipv4 {
	far := netip.AddrFrom4([4]byte{10, byte(100 + tunnel), 0, 1})
	size := 20 + r.random.IntN(1300)
	odd := r.random.IntN(8)
	if odd < 2 {
		size = 1500
	}
	p := packetOfLength(lanHost, far, 253, size)
	switch odd {
	case 1:
		p[6] &^= 0x40
	case 2:
		p[8] = 1
	}
	setHeaderChecksum(p)
	return p
}
