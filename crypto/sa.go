package crypto

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// What Open and Verify find wrong with a packet, besides ErrICV.
var (
	// ErrShort means fewer octets than the smallest packet of the suite has.
	ErrShort = errors.New("packet too short")
	// ErrAlignment means a ciphertext that is not a whole number of cipher blocks, or of
	// 4 octets where the cipher has none (RFC 4303 section 2.4).
	ErrAlignment = errors.New("ESP ciphertext not aligned")
	// ErrPadding means a pad length beyond the packet or padding other than 1, 2, 3...
	ErrPadding = errors.New("ESP padding wrong")
	// ErrInner means that what a tunnel carries is no IP packet.
	ErrInner = errors.New("inner packet malformed")
	// ErrSPI means a packet of another SA.
	ErrSPI = errors.New("packet of another SA")
	// ErrIPHeader means an IP header, or options or extension headers behind it, that
	// contradict themselves or the packet's length.
	ErrIPHeader = errors.New("IP header malformed")
	// ErrFragment means a piece of a packet: AH covers whole ones only (RFC 4302 section
	// 3.3.4).
	ErrFragment = errors.New("fragment")
	// ErrNoAH means another protocol where the Authentication Header would be.
	ErrNoAH = errors.New("no Authentication Header")
	// ErrAHLength means a Payload Len field that does not fit the suite and IP version.
	ErrAHLength = errors.New("AH length wrong")
)

// SAOption changes how NewESP and NewAH set up the SA.
type SAOption func(*saOptions)

type saOptions struct{ esn, tunnel bool }

// WithESN makes the SA use 64-bit extended sequence numbers (RFC 4303 section
// 2.2.1, RFC 4302 section 2.5.1) when on is true.
func WithESN(on bool) SAOption { return func(o *saOptions) { o.esn = on } }

// WithTunnelMode tells ESP when on is true that payloads are IP packets: Open then cuts
// off traffic flow confidentiality padding behind them (RFC 4303 section 2.7).
func WithTunnelMode(on bool) SAOption { return func(o *saOptions) { o.tunnel = on } }

func newOptions(options []SAOption) (o saOptions) {
	for _, option := range options {
		option(&o)
	}
	return o
}

// checkSequence refuses a number that the packet cannot carry.
func (o saOptions) checkSequence(seq uint64) error {
	if !o.esn && seq>>32 != 0 {
		return fmt.Errorf("sequence number %d beyond 32 bits, rekey or use ESN", seq)
	}
	return nil
}

// The protocol numbers that ESP and AH look for (IANA "Protocol Numbers").
const (
	protocolHopByHop    = 0
	protocolIPv4        = 4
	protocolIPv6        = 41
	protocolRouting     = 43
	protocolFragment    = 44
	protocolAH          = 51
	protocolNone        = 59
	protocolDestination = 60
)

const (
	ipv4HeaderLen = 20
	ipv6HeaderLen = 40
)

// innerPacket is the IP packet at the start of what a tunnel carried. What follows it
// is padding. A packet of protocol 59 is a dummy, to be discarded (RFC 4303 section 2.6),
// and is all padding.
func innerPacket(payload []byte, nextHeader uint8) ([]byte, error) {
	length := 0
	switch {
	case nextHeader == protocolNone:
		return payload, nil
	case nextHeader == protocolIPv4 && len(payload) >= ipv4HeaderLen && payload[0]>>4 == 4:
		length = int(binary.BigEndian.Uint16(payload[2:]))
		if header := int(payload[0]&15) * 4; header < ipv4HeaderLen || length < header {
			return nil, fmt.Errorf("%w: IPv4 header of %d octets in a packet of %d", ErrInner, header, length)
		}
	case nextHeader == protocolIPv6 && len(payload) >= ipv6HeaderLen && payload[0]>>4 == 6:
		length = ipv6HeaderLen + int(binary.BigEndian.Uint16(payload[4:]))
	default:
		return nil, fmt.Errorf("%w: %d octets with next header %d, expected a packet of IPv4 (4), IPv6 (41) or a dummy (59)",
			ErrInner, len(payload), nextHeader)
	}
	if length > len(payload) {
		return nil, fmt.Errorf("%w: its header says %d octets, found %d", ErrInner, length, len(payload))
	}
	return payload[:length], nil
}
