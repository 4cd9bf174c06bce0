package bench

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/crypto"
)

func testLoad(t *testing.T, direction Direction, size, flows, tunnels int) load {
	t.Helper()
	suite, err := crypto.ParseSuite("aes128gcm16")
	if err != nil {
		t.Fatal(err)
	}
	return load{suite: suite, direction: direction, size: size, flows: flows, tunnels: tunnels, order: randomOrder(flows)}
}

func TestPassIsWholeBurstsAndFlows(t *testing.T) {
	for _, flows := range []int{1, 7, 32, 1000, 4097, 100000} {
		n := load{flows: flows}.pass()
		if n%burst != 0 || n%flows != 0 || n < minPass {
			t.Errorf("%d flows: a pass of %d packets, expected a multiple of %d and of the flows, at least %d", flows, n, burst, minPass)
		}
	}
}

// TestInnerPackets checks lengths, checksums and that there are as many flows as said, in both directions.
func TestInnerPackets(t *testing.T) {
	for _, direction := range []Direction{Outbound, Inbound} {
		l := testLoad(t, direction, 64, 100000, 3)
		flows := map[[12]byte]bool{}
		for i := range l.pass() {
			p := l.innerPacket(i)
			if len(p) != 64 || int(binary.BigEndian.Uint16(p[2:])) != 64 || headerSum(p) != 0xffff {
				t.Fatalf("packet %d: %x", i, p)
			}
			flows[[12]byte(p[12:24])] = true
		}
		if len(flows) != l.flows {
			t.Errorf("%s: %d flows, expected %d", direction, len(flows), l.flows)
		}
	}
}

func headerSum(p []byte) uint32 {
	sum := uint32(0)
	for i := 0; i < ipv4Len; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	return sum&0xffff + sum>>16
}

// TestSealedFile reads the file back and opens every packet of it, in the order of its SA.
func TestSealedFile(t *testing.T) {
	l := testLoad(t, Inbound, 512, 64, 2)
	spis := []uint32{0x1000, 0x2000}
	keymat := func() crypto.Secret {
		return crypto.NewSecret(bytes.Repeat([]byte{7}, l.suite.KeymatLen()))
	}
	peer, err := newSealer(l, spis, keymat())
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "in.pcap")
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	if err := createFile(name); err != nil {
		t.Fatal(err)
	}
	if err := l.appendFrames(name, mac, peer); err != nil {
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
		spi := spis[l.flow(i)%2]
		esp, err := crypto.NewESP(l.suite, spi, keymat())
		if err != nil {
			t.Fatal(err)
		}
		inner, next, seq, err := esp.Open(frame[etherLen+ipv4Len:], 0)
		if err != nil || next != nextIPv4 || !bytes.Equal(inner, l.innerPacket(i)) || seq != last[spi]+1 {
			t.Fatalf("packet %d: %v, next header %d, sequence number %d after %d", i, err, next, seq, last[spi])
		}
		last[spi] = seq
	}
	if len(file) != 0 {
		t.Errorf("%d bytes behind the last packet", len(file))
	}
}

func TestOptionsSayAllThatIsWrong(t *testing.T) {
	o := Options{
		Algorithms: []string{"rot13"}, Directions: []Direction{"sideways"}, Sizes: []int{27}, Flows: []int{0}, Tunnels: -1, Windows: -1,
	}
	err := Run(t.Context(), o)
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"rot13", "sideways", "27 bytes", "0 flows", "-1 tunnels", "-1 windows"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
}

func TestSpread(t *testing.T) {
	rounds := func(cycles ...uint64) (list []round) {
		for _, c := range cycles {
			list = append(list, round{gateway: measured{1, c}})
		}
		return list
	}
	gateway := func(r round) float64 { return r.gateway.perPacket() }
	for _, c := range []struct {
		rounds []round
		want   spread
	}{
		{rounds(5), spread{5, 5, 5}},
		{rounds(9, 1), spread{5, 1, 9}},
		{rounds(3, 100, 1), spread{3, 1, 100}},
	} {
		if got := spreadOf(c.rounds, gateway); got != c.want {
			t.Errorf("found %v, expected %v", got, c.want)
		}
	}
}
