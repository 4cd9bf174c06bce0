package crypto

import (
	"encoding/binary"
	"fmt"
	"math"
)

// ipHeaders says where the headers of an IP packet are that stand before AH.
type ipHeaders struct {
	version    int
	extensions []extension // IPv6
	end        int         // behind them all: where AH is or goes
	protocolAt int         // of the octet that says which protocol starts at end
}

// extension is an IPv6 extension header.
type extension struct {
	protocol   uint8
	start, end int
	protocolAt int // of the octet that says which header this is
}

// parseHeaders reads the IP header with its options or extension headers up to the first
// header of another kind. The packet must be whole, and as long as it says.
func parseHeaders(packet []byte) (*ipHeaders, error) {
	switch {
	case len(packet) >= ipv4HeaderLen && packet[0]>>4 == 4:
		return parseIPv4(packet)
	case len(packet) >= ipv6HeaderLen && packet[0]>>4 == 6:
		return parseIPv6(packet)
	}
	return nil, fmt.Errorf("%w: expected a whole header of IPv4 or IPv6, found %d octets", ErrIPHeader, len(packet))
}

func parseIPv4(packet []byte) (*ipHeaders, error) {
	h := &ipHeaders{version: 4, end: int(packet[0]&15) * 4, protocolAt: 9}
	if total := int(binary.BigEndian.Uint16(packet[2:])); total != len(packet) || h.end < ipv4HeaderLen || h.end > total {
		return nil, fmt.Errorf("%w: IPv4 header of %d octets, total length %d, found %d octets", ErrIPHeader, h.end, total, len(packet))
	}
	const offsetAndMore = 0x3fff // fragment offset and the More Fragments flag
	if fragment := binary.BigEndian.Uint16(packet[6:]); fragment&offsetAndMore != 0 {
		return nil, fmt.Errorf("%w: flags and offset %#04x", ErrFragment, fragment)
	}
	return h, checkOptions(packet[ipv4HeaderLen:h.end], ipv4OptionEnd, ipv4OptionNop, 0)
}

func parseIPv6(packet []byte) (*ipHeaders, error) {
	if length := ipv6HeaderLen + int(binary.BigEndian.Uint16(packet[4:])); length != len(packet) {
		return nil, fmt.Errorf("%w: IPv6 payload length makes %d octets, found %d", ErrIPHeader, length, len(packet))
	}
	h := &ipHeaders{version: 6, end: ipv6HeaderLen, protocolAt: 6}
	for {
		e := extension{protocol: packet[h.protocolAt], start: h.end, protocolAt: h.protocolAt}
		switch e.protocol {
		case protocolHopByHop, protocolRouting, protocolDestination:
		case protocolFragment:
			return nil, fmt.Errorf("%w: fragment header at octet %d", ErrFragment, h.end)
		default:
			return h, nil
		}
		if err := e.parse(packet); err != nil {
			return nil, err
		}
		h.extensions = append(h.extensions, e)
		h.end, h.protocolAt = e.end, e.start
	}
}

// parse finds the end of the extension header and checks what AH has to read in it.
func (e *extension) parse(packet []byte) error {
	left := len(packet) - e.start
	if left < 8 || left < (int(packet[e.start+1])+1)*8 {
		return fmt.Errorf("%w: extension header %d at octet %d does not fit into %d octets", ErrIPHeader, e.protocol, e.start, len(packet))
	}
	e.end = e.start + (int(packet[e.start+1])+1)*8
	body := packet[e.start:e.end]
	if e.protocol != protocolRouting {
		return checkOptions(body[2:], -1, ipv6OptionPad1, 2)
	}
	kind, segmentsLeft, segments := body[2], int(body[3]), (len(body)-8)/16
	if segmentsLeft == 0 {
		return nil // its way is behind it: nothing in it changes any more
	}
	if (kind != 0 && kind != 2) || len(body)%16 != 8 || segmentsLeft > segments {
		return fmt.Errorf("%w: routing header of type %d with %d of %d segments left, expected type 0 or 2", ErrIPHeader, kind, segmentsLeft, segments)
	}
	return nil
}

// The options of one octet.
const (
	ipv4OptionEnd  = 0
	ipv4OptionNop  = 1
	ipv6OptionPad1 = 0
)

// checkOptions walks options of type, length and data, where the length counts all but
// the given number of octets. An end option (-1: there is none) ends the walk.
func checkOptions(options []byte, end, single, uncounted int) error {
	for at := 0; at < len(options); {
		kind := int(options[at])
		if kind == end {
			return nil
		}
		if kind == single {
			at++
			continue
		}
		if len(options)-at < 2 || int(options[at+1])+uncounted < 2 || int(options[at+1])+uncounted > len(options)-at {
			return fmt.Errorf("%w: option %d at octet %d of %d has a wrong length", ErrIPHeader, kind, at, len(options))
		}
		at += int(options[at+1]) + uncounted
	}
	return nil
}

// dropTrailingDestination takes the destination options that no routing header follows
// for part of the payload: they are for the last destination, behind AH.
func (h *ipHeaders) dropTrailingDestination() {
	for n := len(h.extensions); n > 0 && h.extensions[n-1].protocol == protocolDestination; n-- {
		last := h.extensions[n-1]
		h.extensions, h.end, h.protocolAt = h.extensions[:n-1], last.start, last.protocolAt
	}
}

// setLength writes the length that the packet has, and the IPv4 header checksum.
func (h *ipHeaders) setLength(packet []byte) error {
	field, length := packet[2:], len(packet)
	if h.version == 6 {
		field, length = packet[4:], len(packet)-ipv6HeaderLen
	}
	if length > math.MaxUint16 {
		return fmt.Errorf("packet of %d octets, an IPv%d header can say %d at most", length, h.version, math.MaxUint16)
	}
	binary.BigEndian.PutUint16(field, uint16(length))
	if h.version == 4 {
		clear(packet[10:12])
		binary.BigEndian.PutUint16(packet[10:], internetChecksum(packet[:packet[0]&15*4]))
	}
	return nil
}

// internetChecksum is that of RFC 1071 over whole 16-bit words.
func internetChecksum(b []byte) uint16 {
	sum := uint32(0)
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum>>16 + sum)
}
