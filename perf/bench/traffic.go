package bench

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"

	"sallyport/crypto"
)

// The network around the gateway: hosts of 10.1.0.0/16 behind a router on the protected link, those of 10.128.0.0/9
// behind the peer on the unprotected one, a /25 for each tunnel.
var (
	lanAddress = netip.MustParsePrefix("192.168.1.1/24")
	lanRouter  = netip.MustParseAddr("192.168.1.2")
	wanAddress = netip.MustParsePrefix("192.0.2.1/24")
	wanPeer    = netip.MustParseAddr("192.0.2.2")

	lanHosts    = netip.MustParsePrefix("10.1.0.0/16")
	remoteHosts = netip.MustParsePrefix("10.128.0.0/9")

	neighbourMAC = net.HardwareAddr{0x02, 0, 0, 0, 0, 2}
)

const (
	maxTunnels   = 60000 // of the 65,536 /25 networks in remoteHosts
	hostsPerLAN  = 50000
	firstPort    = 1024
	maxFlows     = hostsPerLAN * 32
	minPass      = 4096 // packets in a file: more than a replay window of the default size
	burst        = 32
	etherLen     = 14
	ipv4Len      = 20
	udpLen       = 8
	protocolUDP  = 17
	protocolESP  = 50
	nextIPv4     = 4
	espHeaderLen = 8
)

// remoteNetwork is the prefix behind the peer that tunnel t protects.
func remoteNetwork(t int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(128 + t>>9), byte(t >> 1), byte(t << 7)}), 25)
}

// remote is what tunnel t protects.
func (l load) remote(t int) netip.Prefix {
	if l.site != nil {
		return remoteHosts
	}
	return remoteNetwork(t)
}

// pass is the number of packets in the file of a load: whole bursts, each flow equally often.
func (l load) pass() int {
	n := l.flows
	for n%burst != 0 || n < minPass {
		n += l.flows
	}
	return n
}

// flow is the flow of packet i. Flows take turns in random order, the same in each pass, so that neither caches nor their
// prefetchers know which comes next.
func (l load) flow(i int) int { return l.order[i%l.flows] }

// randomOrder is a permutation of so many flows, the same one each time.
func randomOrder(flows int) []int { return rand.New(rand.NewPCG(9, 8)).Perm(flows) }

// innerPacket is packet i of the file before protection. An inbound packet goes the other way.
func (l load) innerPacket(i int) []byte {
	if l.site != nil {
		return l.site.packet(i)
	}
	flow := l.flow(i)
	host := 1 + flow%hostsPerLAN
	local := [4]byte{10, 1, byte(host >> 8), byte(host)}
	remote := remoteNetwork(flow % l.tunnels).Addr().As4()
	remote[3]++
	localPort, remotePort := uint16(firstPort+flow/hostsPerLAN), uint16(firstPort)
	if l.direction == Inbound {
		local, remote, localPort, remotePort = remote, local, remotePort, localPort
	}
	b := appendIPv4(make([]byte, 0, l.size), l.size, protocolUDP, local, remote)
	b = binary.BigEndian.AppendUint16(b, localPort)
	b = binary.BigEndian.AppendUint16(b, remotePort)
	b = binary.BigEndian.AppendUint16(b, uint16(l.size-ipv4Len))
	b = append(b, 0, 0) // no checksum (RFC 768)
	for len(b) < l.size {
		b = append(b, byte(len(b)))
	}
	return b
}

// appendIPv4 adds a header with DF set for a packet of length bytes (RFC 791 section 3.1).
func appendIPv4(b []byte, length int, protocol byte, source, destination [4]byte) []byte {
	start := len(b)
	b = append(b, 0x45, 0, byte(length>>8), byte(length), 0, 0, 0x40, 0, 64, protocol, 0, 0)
	b = append(append(b, source[:]...), destination[:]...)
	sum := uint32(0)
	for i := start; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(b[start+10:], ^uint16(sum))
	return b
}

// sealer makes the peer's packets with the reference implementation.
type sealer struct {
	load load
	sas  []*crypto.ESP
	sent []uint64 // sequence numbers used
}

func newSealer(l load, spis []uint32, keymat crypto.Secret) (*sealer, error) {
	s := &sealer{load: l, sent: make([]uint64, len(spis))}
	for _, spi := range spis {
		sa, err := crypto.NewESP(l.suite, spi, keymat)
		if err != nil {
			return nil, err
		}
		s.sas = append(s.sas, sa)
	}
	return s, nil
}

// esp is packet i of the file from the SPI to the ICV.
func (s *sealer) esp(i int) ([]byte, error) {
	tunnel := s.load.flow(i) % s.load.tunnels
	s.sent[tunnel]++
	return s.sas[tunnel].Seal(s.sent[tunnel], nil, s.load.innerPacket(i), nextIPv4)
}

// createFile makes a capture file (classic format) without frames: enough for the driver to make a port of it.
func createFile(name string) error {
	var header []byte
	// magic (microseconds), version 2.4, time zone, accuracy, longest frame, Ethernet
	for _, field := range []uint32{0xa1b2c3d4, 2 | 4<<16, 0, 0, 65535, 1} {
		header = binary.LittleEndian.AppendUint32(header, field)
	}
	if err := os.WriteFile(name, header, 0o600); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}

// appendFrames adds the frames of one pass to a file of createFile. Without a sealer they are in clear.
func (l load) appendFrames(name string, mac net.HardwareAddr, s *sealer) (err error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := bufio.NewWriterSize(file, 1<<20)
	var frame []byte
	for i := range l.pass() {
		frame = append(frame[:0], mac...)
		frame = append(frame, neighbourMAC...)
		frame = append(frame, 0x08, 0x00) // IPv4
		if s == nil {
			frame = append(frame, l.innerPacket(i)...)
		} else {
			esp, err := s.esp(i)
			if err != nil {
				return fmt.Errorf("bench: packet %d of %s: %w", i, l, err)
			}
			frame = appendIPv4(frame, ipv4Len+len(esp), protocolESP, wanPeer.As4(), wanAddress.Addr().As4())
			frame = append(frame, esp...)
		}
		var record []byte
		for _, field := range []uint32{0, 0, uint32(len(frame)), uint32(len(frame))} { // time, lengths
			record = binary.LittleEndian.AppendUint32(record, field)
		}
		_, _ = w.Write(record)
		_, _ = w.Write(frame)
	}
	if err := w.Flush(); err != nil { // the error of any write before it
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}
