package peerbench

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"net/netip"

	"sallyport/perf/bench"
	"sallyport/perf/lab"
)

// frames.go makes what ipsec-secgw receives over and over, as many packets of one flow as lab bench has in its source, and the one that VPP's source repeats.

const (
	sourcePackets = 4096
	ipLen         = 20
	udpLen        = 8
	protocolUDP   = 17
	protocolESP   = 50
	inboundSPI    = 105
)

// Of measurements only.
var (
	key    = []byte("a key of 16 byte")
	salt   = []byte("salt")
	remote = netip.MustParsePrefix("10.2.0.0/16")

	nearHost, farHost = protected.Addr().Next(), remote.Addr().Next()
)

// frames are a capture file (classic format) with packets of an inner size, in clear or as ESP.
func frames(direction bench.Direction, size int) (file []byte, err error) {
	for _, field := range []uint32{0xa1b2c3d4, 2 | 4<<16, 0, 0, 65535, 1} { // magic, version 2.4, time zone, accuracy, longest frame, Ethernet
		file = binary.LittleEndian.AppendUint32(file, field)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("peerbench: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("peerbench: %w", err)
	}
	for i := range sourcePackets {
		frame := clearFrame(size)
		if direction == bench.Inbound {
			frame = ethernet(ipv4(routerAddress, gatewayAddress, protocolESP, seal(aead, uint32(i+1), ipv4(farHost, nearHost, protocolUDP, datagram(size-ipLen)))))
		}
		for _, field := range []uint32{0, 0, uint32(len(frame)), uint32(len(frame))} { // time, lengths
			file = binary.LittleEndian.AppendUint32(file, field)
		}
		file = append(file, frame...)
	}
	return file, nil
}

// clearFrame is what a host behind the gateway sends, of an IP length.
func clearFrame(size int) []byte {
	return ethernet(ipv4(nearHost, farHost, protocolUDP, datagram(size-ipLen)))
}

func ethernet(packet []byte) []byte {
	return append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}, packet...)
}

// datagram is one of UDP without a checksum (RFC 768).
func datagram(length int) []byte {
	const port = 1024
	b := make([]byte, length)
	binary.BigEndian.PutUint16(b, port)
	binary.BigEndian.PutUint16(b[2:], port)
	binary.BigEndian.PutUint16(b[4:], uint16(length))
	return b
}

func ipv4(from, to netip.Addr, protocol byte, payload []byte) []byte {
	b := make([]byte, ipLen, ipLen+len(payload))
	b[0], b[6], b[8], b[9] = 0x45, 0x40, 64, protocol
	binary.BigEndian.PutUint16(b[2:], uint16(ipLen+len(payload)))
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	binary.BigEndian.PutUint16(b[10:], lab.HeaderChecksum(b))
	return append(b, payload...)
}

// seal is ESP by AES-GCM around a packet (RFC 4303 section 2, RFC 4106).
func seal(aead cipher.AEAD, number uint32, packet []byte) []byte {
	const nextIPv4 = 4
	plain := append([]byte{}, packet...)
	padding := byte(-(len(plain) + 2) & 3)
	for i := range padding {
		plain = append(plain, i+1)
	}
	plain = append(plain, padding, nextIPv4)
	header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, inboundSPI), number)
	iv := binary.BigEndian.AppendUint64(nil, uint64(number))
	return append(append(header, iv...), aead.Seal(nil, append(append([]byte{}, salt...), iv...), plain, header)...)
}
