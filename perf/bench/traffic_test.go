package bench

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sallyport/crypto"
	"sallyport/perf/lab"
)

func testLoad(t *testing.T, direction Direction, size, flows, tunnels int) load {
	t.Helper()
	return load{suite: cheapest, direction: direction, size: size, flows: flows, tunnels: tunnels, order: randomOrder(flows), workers: 1}
}

func TestPassIsWholeBurstsAndFlows(t *testing.T) {
	for _, source := range []int{0, minSource, 500, smallSource, maxSource} {
		for _, flows := range []int{1, 7, 32, 1000, 4097, 100000} {
			n, least := load{size: 64, flows: flows, source: source}.pass(), cmp.Or(source, largeSource)
			if n%burst != 0 || n%flows != 0 || n < least {
				t.Errorf("%d flows: a pass of %d packets, expected a multiple of %d and of the flows, at least %d", flows, n, burst, least)
			}
		}
	}
	if n := (load{flows: 1, source: smallSource}).pass(); n != 6*imixPeriod {
		t.Errorf("a pass of %d packets of the IMIX, expected the first whole periods of %d from %d on", n, imixPeriod, smallSource)
	}
}

// A pass of the IMIX has 7 packets of 46 bytes and 4 of 576 for each of 1500.
func TestIMIX(t *testing.T) {
	l := testLoad(t, Outbound, 0, 5, 1)
	found := map[int]int{}
	for i := range l.pass() {
		found[len(l.innerPacket(0, i))]++
	}
	twelfth := l.pass() / 12
	if want := map[int]int{46: 7 * twelfth, 576: 4 * twelfth, 1500: twelfth}; !reflect.DeepEqual(found, want) || l.pass()%burst != 0 {
		t.Errorf("a pass of %d packets with %v of each length, expected %v", l.pass(), found, want)
	}
}

// TestInnerPackets checks lengths, checksums and that there are as many flows as said, in both directions and both IP versions,
// of each worker its own.
func TestInnerPackets(t *testing.T) {
	for _, direction := range []Direction{Outbound, Inbound} {
		for _, six := range []bool{false, true} {
			l := testLoad(t, direction, 64, 10000, 3)
			l.inner6, l.workers = six, 2
			flows := map[string]bool{}
			for worker := range l.workers {
				for i := range l.pass() {
					flows[checkInnerPacket(t, l.innerPacket(worker, i), six)] = true
				}
			}
			if len(flows) != l.flows*l.workers {
				t.Errorf("%s: %d flows, expected %d", direction, len(flows), l.flows*l.workers)
			}
		}
	}
}

// checkInnerPacket returns the packet's addresses and ports.
func checkInnerPacket(t *testing.T, p []byte, six bool) string {
	t.Helper()
	if !six {
		if len(p) != 64 || p[0] != 0x45 || int(binary.BigEndian.Uint16(p[2:])) != 64 || lab.OnesSum(0, p[:ipv4Len]) != 0xffff {
			t.Fatalf("packet %x", p)
		}
		return string(p[12:24])
	}
	if len(p) != 64 || p[0] != 0x60 || int(binary.BigEndian.Uint16(p[4:])) != 64-ipv6Len || lab.OnesSum(64-ipv6Len+protocolUDP, p[8:]) != 0xffff {
		t.Fatalf("packet %x", p)
	}
	return string(p[8:44])
}

// Each tunnel has as many of the flows as any other, and its range holds their addresses and no other's.
func TestFlowsOfTunnels(t *testing.T) {
	l := testLoad(t, Outbound, 64, 1000, 30)
	for i := range l.pass() {
		destination, _ := netip.AddrFromSlice(l.innerPacket(0, i)[16:20])
		for tunnel := range l.tunnels {
			if holds := l.protected(tunnel).Contains(destination); holds != (tunnel == l.tunnel(l.flow(i))) {
				t.Fatalf("packet %d to %s is of tunnel %d; tunnel %d has %s", i, destination, l.tunnel(l.flow(i)), tunnel, l.protected(tunnel))
			}
		}
	}
	flows := make([]int, l.tunnels)
	for flow := range l.flows {
		flows[l.tunnel(flow)]++
	}
	if slices.Max(flows)-slices.Min(flows) > 1 {
		t.Errorf("flows of each tunnel: %v", flows)
	}
}

// TestSealedFile reads files back and opens every packet of them, in the order of its SA, with everything that can be around it.
func TestSealedFile(t *testing.T) {
	ah := crypto.Suite{Integ: crypto.IntegHMACSHA256}
	for _, c := range []struct {
		suite crypto.Suite
		encapsulation
	}{{suite: cheapest}, {suite: ah}, {cheapest, encapsulation{udp: true}}, {cheapest, encapsulation{inner6: true}}, {cheapest, encapsulation{outer6: true}}} {
		l := testLoad(t, Inbound, 512, 64, 2)
		l.suite, l.encapsulation = c.suite, c.encapsulation
		t.Run(l.encapsulationText(), func(t *testing.T) { checkSealedFile(t, l) })
	}
}

func checkSealedFile(t *testing.T, l load) {
	spis := []uint32{0x1000, 0x2000}
	keymat := crypto.NewSecret(bytes.Repeat([]byte{7}, l.suite.KeymatLen()))
	peer, err := newSealer(l, 0, spis, keymat)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "in.pcap")
	if err := createFile(name); err != nil {
		t.Fatal(err)
	}
	if err := l.appendFrames(name, 0, net.HardwareAddr{2, 0, 0, 0, 0, 1}, peer); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	file = file[24:]
	last := map[uint32]uint32{}
	for i := range l.pass() {
		length := binary.LittleEndian.Uint32(file[8:])
		frame := file[16:][:length]
		file = file[16+length:]
		spi := spis[l.tunnel(l.flow(i))]
		inner, seq := openPacket(t, l, spi, keymat, frame[etherLen:])
		if !bytes.Equal(inner, l.innerPacket(0, i)) || seq != last[spi]+1 {
			t.Fatalf("packet %d: sequence number %d after %d, %x", i, seq, last[spi], inner)
		}
		last[spi] = seq
	}
	if len(file) != 0 {
		t.Errorf("%d bytes behind the last packet", len(file))
	}
}

// openPacket returns the inner packet of one for the gateway.
func openPacket(t *testing.T, l load, spi uint32, keymat crypto.Secret, packet []byte) (inner []byte, seq uint32) {
	t.Helper()
	var next uint8
	if l.suite.AH() {
		ah, err := crypto.NewAH(l.suite, spi, keymat)
		if err != nil {
			t.Fatal(err)
		}
		without, next, seq, err := ah.Verify(packet, 0)
		if err != nil || next != protocolIPv4 {
			t.Fatalf("%v, next header %d", err, next)
		}
		return without[ipv4Len:], seq
	}
	esp, err := crypto.NewESP(l.suite, spi, keymat)
	if err != nil {
		t.Fatal(err)
	}
	if inner, next, seq, err = esp.Open(packet[l.inFront():], 0); err != nil || next != l.innerProtocol() {
		t.Fatalf("%v, next header %d", err, next)
	}
	return inner, seq
}

func TestOptionsSayAllThatIsWrong(t *testing.T) {
	o := Options{
		Tables: []string{"periodic"}, Algorithms: []string{"rot13"}, Directions: []Direction{"sideways"}, Sizes: []int{27}, Flows: []int{0}, Filters: []int{0}, Tunnels: -1, Windows: -1, SourcePackets: 63,
	}
	err := Run(t.Context(), o)
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"periodic", "rot13", "sideways", "27 bytes", "0 flows", "0 filters", "-1 tunnels", "-1 windows", "63 packets"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
}

func TestSpread(t *testing.T) {
	rounds := func(cycles ...float64) (list []round) {
		for _, c := range cycles {
			list = append(list, round{gateway: measured{1, c}})
		}
		return list
	}
	for _, c := range []struct {
		rounds []round
		want   spread
	}{
		{rounds(5), spread{[]float64{5}, 5, 5, 5}},
		{rounds(9, 1), spread{[]float64{9, 1}, 5, 1, 9}},
		{rounds(3, 100, 1), spread{[]float64{3, 100, 1}, 3, 1, 100}},
	} {
		if got := spreadOf(c.rounds, round.perPacket); !reflect.DeepEqual(got, c.want) {
			t.Errorf("found %v, expected %v", got, c.want)
		}
	}
}

// Two workers that take 2 and 4 cycles for a packet take 4/3 cycles together, however many packets each has done.
func TestTogether(t *testing.T) {
	var cores []*thread
	for range 2 {
		core := &thread{work: make(chan func()), done: make(chan struct{})}
		go func() {
			for f := range core.work {
				f()
			}
		}()
		defer close(core.work)
		cores = append(cores, core)
	}
	each := []measured{{packets: 50, cycles: 100}, {packets: 30, cycles: 120}}
	got, err := together(cores, func(worker int) (measured, error) { return each[worker], nil })
	if err != nil || got.packets != 80 || math.Abs(got.perPacket()-4./3) > 1e-9 {
		t.Errorf("%v, %v", got, err)
	}
}
