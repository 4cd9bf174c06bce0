package lab_test

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"sallyport/perf/lab"
)

// Whom the flows of a test are between, besides the hosts: nobody answers for these.
var (
	partnerA, partnerB           = ip("172.16.1.20"), ip("172.16.2.20")
	strangerA, nobody            = ip("172.16.1.200"), ip("203.0.113.9")
	partnersPayload              = []byte("to-partners-in-clear")
	discardPort, echoPort, flows = uint16(9), uint16(7), uint16(256)
)

// datagram is a marked one, which must never be seen on the WAN as it is.
func datagram(from, to netip.Addr, source, destination uint16) []byte {
	return ipv4(from, to, protocolUDP, udp(source, destination, []byte(attackMarker)))
}

// clearDatagram is one that may.
func clearDatagram(from, to netip.Addr, source, destination uint16) []byte {
	return ipv4(from, to, protocolUDP, udp(source, destination, partnersPayload))
}

// flood is traffic of many flows, both ways, that runs until stop.
type flood struct {
	stop func()
	sent func() uint64 // frames to gw-a's LAN so far
}

// floodPace is the time between two rounds of frames, one of each kind.
const floodPace = time.Millisecond

// startFlood sends, from both LANs, flows that are to be protected, passed, blocked and dropped for want of a filter.
func (r *policyRig) startFlood(t *testing.T) *flood {
	t.Helper()
	done := make(chan struct{})
	var senders sync.WaitGroup
	var mu sync.Mutex
	var sent uint64
	var failed error
	send := func(raw *lab.RawPort, round func(n uint16) [][]byte, count func(int)) {
		tick := time.NewTicker(floodPace)
		defer tick.Stop()
		for n := uint16(0); ; n++ {
			frames := round(n % flows)
			for _, f := range frames {
				if err := raw.Send(f); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
			}
			count(len(frames))
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	}
	senders.Go(func() {
		send(r.lan, func(n uint16) [][]byte {
			return [][]byte{
				ether(r.lanMAC, etherIPv4, datagram(r.A.HostAddress, r.B.HostAddress, 20000+n, discardPort)),
				ether(r.lanMAC, etherIPv4, clearDatagram(partnerA, partnerB, 20000+n, discardPort)),
				ether(r.lanMAC, etherIPv4, datagram(r.A.HostAddress, r.B.HostAddress, 20000+n, echoPort)),
				ether(r.lanMAC, etherIPv4, datagram(r.A.HostAddress, nobody, 20000+n, discardPort)),
			}
		}, func(n int) { mu.Lock(); sent += uint64(n); mu.Unlock() })
	})
	senders.Go(func() {
		send(r.farLAN, func(n uint16) [][]byte {
			return [][]byte{
				ether(r.farMAC, etherIPv4, datagram(r.B.HostAddress, r.A.HostAddress, 20000+n, discardPort)),
				ether(r.farMAC, etherIPv4, datagram(r.B.HostAddress, r.A.HostAddress, 20000+n, echoPort)),
				ether(r.farMAC, etherIPv4, clearDatagram(partnerB, partnerA, 20000+n, discardPort)),
				ether(r.farMAC, etherIPv4, datagram(partnerB, strangerA, 20000+n, discardPort)),
			}
		}, func(int) {})
	})
	stop := sync.OnceFunc(func() {
		close(done)
		senders.Wait()
		if failed != nil {
			t.Error(failed)
		}
	})
	t.Cleanup(stop)
	return &flood{stop: stop, sent: func() uint64 { mu.Lock(); defer mu.Unlock(); return sent }}
}
