package wholedev

/*
#include <rte_crypto.h>
#include "wholedev.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"unsafe"

	"sallyport/crypto"
)

const (
	ipv4Length, ipv6Length, udpLength = 20, 40, 8

	protocolIPv4, protocolUDP, protocolIPv6, protocolESP, protocolNone = 4, 17, 41, 50, 59
)

var suites = map[C.uint8_t]crypto.Suite{
	C.WHOLEDEV_GCM:        {Encr: crypto.EncrAESGCM16},
	C.WHOLEDEV_CBC_SHA1:   {Encr: crypto.EncrAESCBC, Integ: crypto.IntegHMACSHA1},
	C.WHOLEDEV_CBC_SHA256: {Encr: crypto.EncrAESCBC, Integ: crypto.IntegHMACSHA256},
}

// esp is the SA of a session. Its keys are where a driver has them: in the session's memory.
func esp(s *C.struct_wholedev_session) (*crypto.ESP, error) {
	suite := suites[s.suite]
	suite.KeyBits = 8 * int(s.key_length)
	keymat := unsafe.Slice((*byte)(unsafe.Pointer(&s.keymat[0])), int(s.keymat_length))
	return crypto.NewESP(suite, uint32(s.spi), crypto.NewSecret(append([]byte(nil), keymat...)), crypto.WithESN(s.esn != 0), crypto.WithTunnelMode(true))
}

//export wholedev_work
func wholedev_work(session unsafe.Pointer, mbuf unsafe.Pointer) C.uint8_t {
	s, m := (*C.struct_wholedev_session)(session), (*C.struct_rte_mbuf)(mbuf)
	sa, err := esp(s)
	if err != nil || m.nb_segs != 1 {
		return C.RTE_CRYPTO_OP_STATUS_INVALID_SESSION
	}
	defer sa.Wipe()
	packet := append([]byte(nil), unsafe.Slice((*byte)(unsafe.Add(m.buf_addr, int(m.data_off))), int(m.data_len))...)
	work := open
	if s.outbound != 0 {
		work = seal
	}
	result, err := work(s, sa, packet)
	switch {
	case errors.Is(err, crypto.ErrICV):
		return C.RTE_CRYPTO_OP_STATUS_AUTH_FAILED
	case err != nil:
		return C.RTE_CRYPTO_OP_STATUS_ERROR
	}
	switch Lie(lies.Load()) {
	case Untouched:
		return C.RTE_CRYPTO_OP_STATUS_SUCCESS
	case OtherSPI:
		result[len(outer(s, packet, 0, 0))+int(s.udp)*udpLength] ^= 1
	case Longer:
		result[3]++
	case Turned:
		header := result[:len(outer(s, packet, 0, 0))]
		addresses := header[len(header)-8:]
		if isIPv6(header) {
			addresses = header[len(header)-32:]
		}
		half := len(addresses) / 2
		copy(addresses, append(append([]byte(nil), addresses[half:]...), addresses[:half]...)) // which leaves the checksum of IPv4 as it was
	}
	return put(m, result, s.outbound != 0)
}

// put makes the packet what it has become: outbound it grows to the front by as much as its header, inbound its beginning is gone.
func put(m *C.struct_rte_mbuf, packet []byte, outbound bool) C.uint8_t {
	offset := int(m.data_off) + int(m.data_len) - len(packet)
	if outbound {
		offset = int(m.data_off) - 96 // at least the headers of any tunnel
	}
	if offset < 0 || offset+len(packet) > int(m.buf_len) {
		return C.RTE_CRYPTO_OP_STATUS_ERROR
	}
	m.data_off, m.data_len, m.pkt_len = C.uint16_t(offset), C.uint16_t(len(packet)), C.uint32_t(len(packet))
	copy(unsafe.Slice((*byte)(unsafe.Add(m.buf_addr, offset)), len(packet)), packet)
	return C.RTE_CRYPTO_OP_STATUS_SUCCESS
}

func isIPv6(ip []byte) bool { return ip[0]>>4 == 6 }

// seal makes ESP of an inner packet.
func seal(s *C.struct_wholedev_session, sa *crypto.ESP, inner []byte) ([]byte, error) {
	number := atomic.AddUint64((*uint64)(unsafe.Pointer(&s.next)), 1) - 1 // packets may come by any queue pair
	if s.esn == 0 && number > 1<<32-1 {
		return nil, errors.New("no number left")
	}
	next := uint8(protocolIPv4)
	if isIPv6(inner) {
		next = protocolIPv6
	}
	sealed, err := sa.Seal(number, nil, inner, next)
	if err != nil {
		return nil, err
	}
	if s.udp != 0 {
		udp := make([]byte, udpLength)
		binary.BigEndian.PutUint16(udp, uint16(s.source_port))
		binary.BigEndian.PutUint16(udp[2:], uint16(s.destination_port))
		binary.BigEndian.PutUint16(udp[4:], uint16(udpLength+len(sealed)))
		sealed = append(udp, sealed...)
	}
	return append(outer(s, inner, len(sealed), number), sealed...), nil
}

func trafficClass(ip []byte) uint8 {
	if isIPv6(ip) {
		return ip[0]<<4 | ip[1]>>4
	}
	return ip[1]
}

// outer is the header in front of so many octets (RFC 4301 section 5.1.2).
func outer(s *C.struct_wholedev_session, inner []byte, length int, number uint64) []byte {
	protocol, class := uint8(protocolESP), uint8(s.dscp)<<2
	if s.udp != 0 {
		protocol = protocolUDP
	}
	if s.copy_dscp != 0 {
		class = trafficClass(inner) &^ 3
	}
	if s.ecn != 0 {
		class |= trafficClass(inner) & 3
	}
	source, destination := unsafe.Slice((*byte)(&s.source[0]), 16), unsafe.Slice((*byte)(&s.destination[0]), 16)
	if s.ipv6 != 0 {
		b := make([]byte, ipv6Length)
		b[0], b[1], b[6], b[7] = 0x60|class>>4, class<<4, protocol, uint8(s.ttl)
		binary.BigEndian.PutUint16(b[4:], uint16(length))
		copy(b[8:], source)
		copy(b[24:], destination)
		return b
	}
	df := s.df != 0
	if s.copy_df != 0 {
		df = isIPv6(inner) || inner[6]&0x40 != 0
	}
	b := make([]byte, ipv4Length)
	b[0], b[1], b[8], b[9] = 0x45, class, uint8(s.ttl), protocol
	binary.BigEndian.PutUint16(b[2:], uint16(ipv4Length+length))
	if df {
		b[6] = 0x40
	} else {
		binary.BigEndian.PutUint16(b[4:], uint16(number)) // an ID means something only where the packet may be cut (RFC 6864 section 4)
	}
	copy(b[12:], source[:4])
	copy(b[16:], destination[:4])
	setChecksum(b)
	return b
}

func setChecksum(ip []byte) {
	ip[10], ip[11] = 0, 0
	sum := uint32(0)
	for i := 0; i < 4*int(ip[0]&15); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
}

// open makes an inner packet of ESP.
func open(s *C.struct_wholedev_session, sa *crypto.ESP, packet []byte) ([]byte, error) {
	header := ipv6Length
	if !isIPv6(packet) {
		header = 4 * int(packet[0]&15)
	}
	if s.udp != 0 {
		header += udpLength
	}
	if len(packet) < header+8 {
		return nil, errors.New("shorter than ESP")
	}
	number := wholeNumber(s, binary.BigEndian.Uint32(packet[header+4:]))
	if !isNew(s, number) {
		return nil, errors.New("replayed")
	}
	inner, next, _, err := sa.Open(packet[header:], uint32(number>>32))
	if err != nil {
		return nil, err
	}
	accept(s, number)
	if next == protocolNone || len(inner) == 0 {
		return nil, errors.New("nothing inside")
	}
	return inner, carryMark(s, inner, trafficClass(packet)&3)
}

// carryMark tells the inner packet of congestion outside (RFC 6040 section 4.2).
func carryMark(s *C.struct_wholedev_session, inner []byte, outside uint8) error {
	ecn := trafficClass(inner) & 3
	switch {
	case s.ecn == 0 || ecn == 3 || ecn == 0 && outside != 3:
		return nil
	case ecn == 0:
		return errors.New("congestion that its sender does not hear of")
	case outside != 3 && outside != 1:
		return nil
	}
	if isIPv6(inner) {
		inner[1] = inner[1]&^0x30 | outside<<4
	} else {
		inner[1] = inner[1]&^3 | outside
		setChecksum(inner)
	}
	return nil
}

// ---- the replay window (RFC 4303 section 3.4.3) ----

// wholeNumber is the number nearest to the window whose lower half was sent (RFC 4303 appendix A2).
func wholeNumber(s *C.struct_wholedev_session, low uint32) uint64 {
	if s.esn == 0 {
		return uint64(low)
	}
	bottom := uint64(0)
	if top, window := uint64(s.top), uint64(s.window); top >= window {
		bottom = top - window + 1
	}
	number := bottom&^(1<<32-1) | uint64(low)
	if number < bottom {
		number += 1 << 32
	}
	return number
}

func bit(s *C.struct_wholedev_session, number uint64) (word *C.uint64_t, mask C.uint64_t) {
	return &s.seen[number/64%uint64(len(s.seen))], 1 << (number % 64)
}

func isNew(s *C.struct_wholedev_session, number uint64) bool {
	switch top := uint64(s.top); {
	case number == 0:
		return false
	case number > top || s.window == 0:
		return true
	case top-number >= uint64(s.window):
		return false
	}
	word, mask := bit(s, number)
	return *word&mask == 0
}

func accept(s *C.struct_wholedev_session, number uint64) {
	if most := uint64(64 * len(s.seen)); number > uint64(s.top)+most {
		s.top = C.uint64_t(number - most) // what is between falls out of the window
	}
	for s.top < C.uint64_t(number) {
		s.top++
		word, mask := bit(s, uint64(s.top))
		*word &^= mask
	}
	word, mask := bit(s, number)
	*word |= mask
}
