package lab

import "encoding/binary"

// OnesSum adds the 16-bit words of runs of octets to a sum, in one's complement (RFC 1071). Each run but the last is of whole words.
func OnesSum(sum uint32, runs ...[]byte) uint16 {
	for _, b := range runs {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// HeaderChecksum is that of an IPv4 header whose field for it is zero (RFC 791 section 3.1).
func HeaderChecksum(header []byte) uint16 { return ^OnesSum(0, header) }
