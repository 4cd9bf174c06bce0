package bench

import (
	"cmp"
	"fmt"
	"math/rand/v2"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
)

// load is what one row measures.
type load struct {
	suite     crypto.Suite // of ESP, or of AH
	direction Direction
	encapsulation
	size    int // bytes of an inner packet; 0: the simple IMIX
	flows   int // of each worker
	tunnels int
	source  int     // packets in a file, at least; 0: largeSource
	order   []int   // in which the flows take turns
	workers int     // each with a file and SAs of its own
	site    *site   // its filters and packets, where a policy of many filters is measured
	target  float64 // of the ratio to the floor; 0: none
	lead    int     // windows without a measurement before each of the gateway's: after them its tables are where they are in a gateway at work
	// viaDevice has the floor's crypto done by the crypto device, where libIPSec_MB would be called directly.
	viaDevice bool
	// class is where crypto_aesni_mb does the gateway's crypto; 0: whatever the gateway has by itself does it.
	class cryptodev.Class
	// nic gives the wan port a NIC that does the gateway's ESP; nil: none.
	nic func(port uint16, queues int) (NIC, error)
}

// encapsulation is what surrounds an inner packet beside what the suite says. The zero value is ESP between IPv4 addresses
// around IPv4.
type encapsulation struct {
	udp            bool // ESP in UDP (RFC 3948)
	inner6, outer6 bool
}

func version(six bool) string {
	if six {
		return "IPv6"
	}
	return "IPv4"
}

func (l load) encapsulationText() string {
	protocol := "ESP"
	switch {
	case l.suite.AH():
		protocol = "AH"
	case l.udp:
		protocol = "ESP in UDP"
	}
	return fmt.Sprintf("%s in %s, %s", version(l.inner6), version(l.outer6), protocol)
}

func (l load) sizeText() string {
	if l.size == 0 {
		return "IMIX"
	}
	return fmt.Sprint(l.size)
}

func (l load) String() string {
	text := fmt.Sprintf("%s %s %s bytes %d flows", l.direction, l.suite, l.sizeText(), l.flows)
	if l.encapsulation != (encapsulation{}) || l.suite.AH() {
		text += " " + l.encapsulationText()
	}
	switch l.class {
	case cryptodev.ClassCPU:
		text += " cpu-crypto"
	case cryptodev.ClassSoftware:
		text += " lookaside"
	}
	if l.nic != nil {
		text += " inline"
	}
	if l.tunnels > 1 {
		text += fmt.Sprintf(" %d tunnels", l.tunnels)
	}
	if l.workers > 1 {
		text += fmt.Sprintf(" %d workers", l.workers)
	}
	return text
}

// mtu is that of both ports, in bytes of an IP packet. The longest packets of the IMIX do not fit the usual one once they
// are protected.
func (l load) mtu() int {
	if l.size == 0 {
		return imixMTU
	}
	return mtu
}

// The simple IMIX: of 12 Ethernet frames 7 have 64 bytes, 4 have 594 and 1 has 1518, with 14 bytes of header and 4 of the
// checksum, which no file has. 96 packets are whole bursts and have each size as often as they should.
const (
	imixPeriod  = 96
	imixMTU     = 1600
	frameAround = 18
)

var imixFrames = [...]struct{ size, of12 int }{{64, 7}, {594, 4}, {1518, 1}}

// imix is the sizes of 96 inner packets in random order, the same one each time.
var imix = func() (sizes []int) {
	for _, f := range imixFrames {
		for range f.of12 * imixPeriod / 12 {
			sizes = append(sizes, f.size-frameAround)
		}
	}
	rand.New(rand.NewPCG(7, 41)).Shuffle(len(sizes), func(i, j int) { sizes[i], sizes[j] = sizes[j], sizes[i] })
	return sizes
}()

// sizeOf is the length of the inner packet with the number i.
func (l load) sizeOf(i int) int {
	if l.size == 0 {
		return imix[i%imixPeriod]
	}
	return l.size
}

// period is the number of packets after which the sizes come again: whole bursts.
func (l load) period() int {
	if l.size == 0 {
		return imixPeriod
	}
	return burst
}

// meanSize is that of the inner packets, in bytes.
func (l load) meanSize() float64 {
	sum := 0
	for i := range l.period() {
		sum += l.sizeOf(i)
	}
	return float64(sum) / float64(l.period())
}

// How many packets a file has at least. net_pcap copies each of them into a buffer, which costs whatever it takes to read the
// file's own: where a network card writes packets to memory, no core pays for that.
//
// A large source of packets of 1400 bytes has 6 MB, which no cache of a core's own holds. Where other tenants of the machine
// compete for the next one, the copy costs more in the gateway's windows, whose tables are in that cache too, than in the floor's:
// the ratio then measures the neighbours. A small source stays in the core's own cache, as what a card has just written does.
const (
	smallSource = 512
	largeSource = 4096
)

// pass is the number of packets in a file of the load: whole periods, each flow equally often.
func (l load) pass() int {
	least := cmp.Or(l.source, largeSource)
	n := l.flows
	for n%l.period() != 0 || n < least {
		n += l.flows
	}
	return n
}

// flow is the flow of packet i. Flows take turns in random order, the same in each pass, so that neither caches nor their
// prefetchers know which comes next.
func (l load) flow(i int) int { return l.order[i%l.flows] }

// What a gateway for the load needs: buffers, SAs and memos of flows.
func (l load) packets() int { return l.workers * (l.pass() + sparePackets) }
func (l load) sas() int     { return l.workers * l.tunnels }
func (l load) flowMemos() int {
	return powerOfTwo(max(flowMemosToFlow*l.flows, leastFlowMemos))
}

// randomOrder is a permutation of so many flows, the same one each time.
func randomOrder(flows int) []int { return rand.New(rand.NewPCG(9, 8)).Perm(flows) }
