package bench

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"sallyport/perf/lab"
)

const (
	burst        = 32
	etherLen     = 14
	ipv4Len      = 20
	ipv6Len      = 40
	udpLen       = 8
	protocolIPv4 = 4
	protocolUDP  = 17
	protocolIPv6 = 41
	protocolESP  = 50
	espHeaderLen = 8
)

// innerPacket is packet i of a worker's file before protection. An inbound packet goes the other way.
func (l load) innerPacket(worker, i int) []byte {
	if l.site != nil {
		return l.site.packet(i)
	}
	flow := worker*l.flows + l.flow(i)
	source, destination := host(l.lan(), 1+flow%hostsPerLAN), host(l.remote(), flow%l.networks()*networkSize+1)
	sourcePort, destinationPort := uint16(firstPort+flow/hostsPerLAN), uint16(firstPort)
	if l.direction == Inbound {
		source, destination, sourcePort, destinationPort = destination, source, destinationPort, sourcePort
	}
	size := l.sizeOf(i)
	b := appendIP(make([]byte, 0, size), size, protocolUDP, source, destination)
	headers := len(b)
	b = appendUDP(b, size-headers, sourcePort, destinationPort)
	for len(b) < size {
		b = append(b, byte(len(b)))
	}
	if l.inner6 {
		setUDPChecksum(b)
	}
	return b
}

// appendUDP adds a header without checksum for a datagram of length bytes (RFC 768).
func appendUDP(b []byte, length int, source, destination uint16) []byte {
	for _, field := range []uint16{source, destination, uint16(length), 0} {
		b = binary.BigEndian.AppendUint16(b, field)
	}
	return b
}

// appendIP adds a header for a packet of length bytes: of IPv4 with DF set (RFC 791 section 3.1), or of IPv6 (RFC 8200
// section 3).
func appendIP(b []byte, length int, protocol byte, source, destination netip.Addr) []byte {
	if source.Is6() {
		b = append(b, 0x60, 0, 0, 0, byte((length-ipv6Len)>>8), byte(length-ipv6Len), protocol, 64)
		return append(append(b, source.AsSlice()...), destination.AsSlice()...)
	}
	start := len(b)
	b = append(b, 0x45, 0, byte(length>>8), byte(length), 0, 0, 0x40, 0, 64, protocol, 0, 0)
	b = append(append(b, source.AsSlice()...), destination.AsSlice()...)
	binary.BigEndian.PutUint16(b[start+10:], lab.HeaderChecksum(b[start:]))
	return b
}

// setUDPChecksum fills in what UDP over IPv6 may not leave out (RFC 8200 section 8.1).
func setUDPChecksum(packet []byte) {
	udp := packet[ipv6Len:]
	sum := ^lab.OnesSum(uint32(len(udp))+protocolUDP, packet[8:]) // addresses and datagram; the pseudo-header's other fields
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], sum)
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

// appendFrames adds the frames of one pass of a worker to a file of createFile. Without a sealer they are in clear.
func (l load) appendFrames(name string, worker int, mac net.HardwareAddr, s *sealer) (err error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := bufio.NewWriterSize(file, 1<<20)
	var frame []byte
	for i := range l.pass() {
		packet, err := l.packet(worker, i, s)
		if err != nil {
			return fmt.Errorf("bench: packet %d of %s: %w", i, l, err)
		}
		frame = append(append(frame[:0], mac...), neighbourMAC...)
		frame = append(binary.BigEndian.AppendUint16(frame, etherType(packet)), packet...)
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

func (l load) packet(worker, i int, s *sealer) ([]byte, error) {
	if s == nil {
		return l.innerPacket(worker, i), nil
	}
	return s.packet(i)
}

func etherType(packet []byte) uint16 {
	if packet[0]>>4 == 6 {
		return 0x86dd
	}
	return 0x0800
}
