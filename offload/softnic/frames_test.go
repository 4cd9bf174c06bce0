package softnic_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"sallyport/crypto"
	"sallyport/offload/softnic/internal/program"
)

var (
	local4, remote4 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	local6, remote6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
)

const (
	protocolUDP = 17
	protocolESP = 50
)

// firstVLAN is that of the outermost tag; further ones count up.
const firstVLAN = 7

// ethernet puts a header in front of an IP packet, with as many VLAN tags.
func ethernet(tags int, ip []byte) []byte {
	frame := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}
	for i := range tags {
		frame = append(frame, 0x81, 0, 0, byte(firstVLAN+i))
	}
	if ip[0]>>4 == 6 {
		frame = append(frame, 0x86, 0xdd)
	} else {
		frame = append(frame, 8, 0)
	}
	return append(frame, ip...)
}

// ipPacket makes an IP packet around a payload.
func ipPacket(from, to netip.Addr, protocol byte, payload []byte) []byte {
	var ip []byte
	if from.Is6() {
		ip = append(make([]byte, 0, 40), 0x60, 0, 0, 0)
		ip = binary.BigEndian.AppendUint16(ip, uint16(len(payload)))
		ip = append(ip, protocol, 64)
		ip = append(append(ip, from.AsSlice()...), to.AsSlice()...)
		return append(ip, payload...)
	}
	ip = append(make([]byte, 0, 20), 0x45, 0)
	ip = binary.BigEndian.AppendUint16(ip, uint16(20+len(payload)))
	ip = append(ip, 0, 0, 0x40, 0, 64, protocol, 0, 0)
	ip = append(append(ip, from.AsSlice()...), to.AsSlice()...)
	setChecksum(ip)
	return append(ip, payload...)
}

func setChecksum(ip []byte) {
	ip[10], ip[11] = 0, 0
	sum := uint32(0)
	for i := 0; i < int(ip[0]&15)*4; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
}

// inUDP wraps ESP for a NAT (RFC 3948).
func inUDP(esp []byte) []byte {
	udp := binary.BigEndian.AppendUint16(nil, 4500)
	udp = binary.BigEndian.AppendUint16(udp, 4500)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(esp)))
	return append(append(udp, 0, 0), esp...)
}

// outer carries ESP between the ends of an SA.
func outer(sa program.SA, tags int, esp []byte) []byte {
	protocol := byte(protocolESP)
	if sa.UDPEncap {
		esp, protocol = inUDP(esp), protocolUDP
	}
	ip := ipPacket(sa.Source.Addr(), sa.Destination.Addr(), protocol, esp)
	if sa.UDPEncap && ip[0]>>4 == 6 {
		setUDPChecksum(ip)
	}
	return ethernet(tags, ip)
}

// setUDPChecksum is for IPv6 (RFC 8200 section 8.1).
func setUDPChecksum(ip []byte) {
	udp := ip[40:]
	udp[6], udp[7] = 0, 0
	sum := uint32(len(udp)) + protocolUDP
	for _, part := range [][]byte{ip[8:40], udp} {
		for i, octet := range part {
			sum += uint32(octet) << (8 * (1 - i&1))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(udp[6:], ^uint16(sum))
}

// reference is the SA by package crypto.
func reference(t testing.TB, sa program.SA) *crypto.ESP {
	t.Helper()
	esp, err := crypto.NewESP(sa.Suite, sa.SPI, sa.Keymat, crypto.WithESN(sa.ESN), crypto.WithTunnelMode(!sa.Transport))
	if err != nil {
		t.Fatal(err)
	}
	return esp
}

func seal(t testing.TB, sa program.SA, number uint64, payload []byte, next byte) []byte {
	t.Helper()
	packet, err := reference(t, sa).Seal(number, nil, payload, next)
	if err != nil {
		t.Fatal(err)
	}
	return packet
}

// unsealed is what seal encrypts: with header, IV and trailer, and room for the ICV.
func unsealed(t testing.TB, sa program.SA, number uint64, payload []byte, next byte) []byte {
	t.Helper()
	packet := binary.BigEndian.AppendUint32(nil, sa.SPI)
	packet = binary.BigEndian.AppendUint32(packet, uint32(number))
	packet = append(packet, reference(t, sa).DeriveIV(number)...)
	packet = append(packet, payload...)
	block, padding := sa.Suite.BlockSize(), byte(0)
	for (len(payload)+2+int(padding))%block != 0 {
		padding++
		packet = append(packet, padding)
	}
	packet = append(packet, padding, next)
	return append(packet, make([]byte, sa.Suite.ICVLen())...)
}

// inner is a packet of a host to another.
func inner(length int) []byte {
	payload := make([]byte, length)
	for i := range payload {
		payload[i] = byte(i)
	}
	return ipPacket(netip.MustParseAddr("10.1.0.9"), netip.MustParseAddr("10.2.0.9"), protocolUDP, payload)
}
