package crypto

import (
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"slices"
)

// AH is one direction of an AH SA (RFC 4302): the reference for the fast path. It
// keeps no sequence number and no replay window; both are the caller's. Tunnel and
// transport mode are alike to it: the caller makes the packet that AH goes into.
type AH struct {
	saOptions
	suite Suite
	spi   uint32
	key   Secret
	mac   func(key []byte) mac // nil: AES-GMAC
	gmac  *gmac
}

// The fields of the Authentication Header in front of the ICV (RFC 4302 section 2).
const (
	ahFixedLen   = 12
	ahLengthAt   = 1
	ahSPIAt      = 4
	ahSequenceAt = 8
)

// NewAH makes an SA from its integrity key, followed by the salt for AES-GMAC. It keeps
// copies of the keys until Wipe.
func NewAH(s Suite, spi uint32, keymat Secret, options ...SAOption) (*AH, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("AH SA %#08x: %w", spi, err)
	}
	if !s.AH() {
		return nil, fmt.Errorf("AH SA %#08x: %s has a cipher, expected an integrity algorithm alone", spi, s)
	}
	if err := s.CheckKeymat(keymat); err != nil {
		return nil, fmt.Errorf("AH SA %#08x: %w", spi, err)
	}
	a := &AH{saOptions: newOptions(options), suite: s, spi: spi, mac: s.integ().mac}
	key, salt := keymat.Bytes()[:s.IntegKeyLen()], keymat.Bytes()[s.IntegKeyLen():]
	if a.mac == nil {
		a.gmac = newGMAC(key, salt)
	} else {
		a.key = copySecret(key)
	}
	return a, nil
}

// Wipe clears the key, or the salt and drops the cipher. The SA is unusable afterwards.
func (a *AH) Wipe() {
	a.key.Wipe()
	a.mac = nil
	if a.gmac != nil {
		a.gmac.wipe()
	}
}

// Protect puts the Authentication Header into a complete IP packet without one: behind
// the IPv4 header and its options; behind the IPv6 header and the extension headers that
// routers read, destination options only if a routing header follows them (RFC 4302
// section 3.1.1). The IV of AES-GMAC is the 64-bit sequence number. ICV padding is zero.
func (a *AH) Protect(packet []byte, seq uint64) ([]byte, error) {
	if err := a.checkSequence(seq); err != nil {
		return nil, fmt.Errorf("AH SA %#08x: %w", a.spi, err)
	}
	h, err := parseHeaders(packet)
	if err != nil {
		return nil, fmt.Errorf("AH SA %#08x: %w", a.spi, err)
	}
	h.dropTrailingDestination()
	header := make([]byte, a.headerLen(h.version))
	header[0] = packet[h.protocolAt]
	header[ahLengthAt] = byte(len(header)/4 - 2)
	binary.BigEndian.PutUint32(header[ahSPIAt:], a.spi)
	binary.BigEndian.PutUint32(header[ahSequenceAt:], uint32(seq))

	protected := slices.Concat(packet[:h.end], header, packet[h.end:])
	protected[h.protocolAt] = protocolAH
	if err := h.setLength(protected); err != nil {
		return nil, fmt.Errorf("AH SA %#08x: %w", a.spi, err)
	}
	field := protected[h.end+ahFixedLen:]
	if a.gmac != nil {
		binary.BigEndian.PutUint64(field, seq)
	}
	copy(field[a.suite.IVLen():], a.icv(protected, h, uint32(seq>>32)))
	return protected, nil
}

// Verify checks a complete IP packet whose first header that is not an option or
// extension is AH, and gives it without that header, with the lengths and the IPv4
// checksum that this makes, and AH's next header and sequence number. SeqHigh is the upper
// half of the sequence number as the replay window infers it (RFC 4302 appendix B), 0
// without ESN. The checks run in the order IP header, fragment, AH's presence, its length,
// SPI, ICV, and the error wraps the one that failed.
func (a *AH) Verify(packet []byte, seqHigh uint32) (without []byte, nextHeader uint8, seq uint32, err error) {
	h, err := parseHeaders(packet)
	if err != nil {
		return nil, 0, 0, fmt.Errorf("AH SA %#08x: %w", a.spi, err)
	}
	length, err := a.checkHeader(packet, h)
	if err != nil {
		return nil, 0, 0, err
	}
	header := packet[h.end : h.end+length]
	seq = binary.BigEndian.Uint32(header[ahSequenceAt:])
	icv := header[ahFixedLen+a.suite.IVLen():][:a.suite.ICVLen()]
	if subtle.ConstantTimeCompare(icv, a.icv(packet, h, seqHigh)) != 1 {
		return nil, 0, 0, fmt.Errorf("AH SA %#08x sequence number %d: %w", a.spi, seq, ErrICV)
	}
	nextHeader = header[0]
	without = slices.Concat(packet[:h.end], packet[h.end+length:])
	without[h.protocolAt] = nextHeader
	return without, nextHeader, seq, h.setLength(without) // shorter: always fits
}

// checkHeader finds the Authentication Header of this SA where the other headers end, and
// its length.
func (a *AH) checkHeader(packet []byte, h *ipHeaders) (length int, err error) {
	rest := packet[h.end:]
	if protocol := packet[h.protocolAt]; protocol != protocolAH {
		return 0, fmt.Errorf("%w: protocol %d, expected %d", ErrNoAH, protocol, protocolAH)
	}
	if len(rest) < ahFixedLen {
		return 0, fmt.Errorf("%w: %d octets behind the IP header, AH has %d at least", ErrShort, len(rest), ahFixedLen)
	}
	length = (int(rest[ahLengthAt]) + 2) * 4
	if length > len(rest) {
		return 0, fmt.Errorf("%w: %d octets behind the IP header, AH has %d", ErrShort, len(rest), length)
	}
	if spi := binary.BigEndian.Uint32(rest[ahSPIAt:]); spi != a.spi {
		return 0, fmt.Errorf("%w: SPI %#08x, expected %#08x", ErrSPI, spi, a.spi)
	}
	// Some peers pad to 8 octets in IPv4 as well, which RFC 4302 section 2.6 has no use for.
	if want := a.headerLen(h.version); length != want && length != a.headerLen(6) {
		return 0, fmt.Errorf("%w: %d octets, %s in IPv%d has %d", ErrAHLength, length, a.suite, h.version, want)
	}
	return length, nil
}

// headerLen is the length of the whole header: a multiple of 4 octets in IPv4 and of 8 in
// IPv6 (RFC 4302 section 2.6).
func (a *AH) headerLen(version int) int {
	length := ahFixedLen + a.suite.IVLen() + a.suite.ICVLen()
	multiple := 4
	if version == 6 {
		multiple = 8
	}
	return (length + multiple - 1) / multiple * multiple
}

// icv covers the packet with its mutable fields and the ICV set to zero, ICV padding as it
// is, and with ESN the upper half of the sequence number behind the packet (RFC 4302
// section 3.3.3). The IV of AES-GMAC, which is part of the ICV field, is zero there too.
func (a *AH) icv(packet []byte, h *ipHeaders, seqHigh uint32) []byte {
	covered := slices.Clone(packet)
	h.clearMutable(covered)
	field := covered[h.end+ahFixedLen:][:a.suite.IVLen()+a.suite.ICVLen()]
	iv := slices.Clone(packet[h.end+ahFixedLen:][:a.suite.IVLen()])
	clear(field)
	var high []byte
	if a.esn {
		high = binary.BigEndian.AppendUint32(nil, seqHigh)
	}
	if a.gmac != nil {
		return a.gmac.tag(iv, covered, high)
	}
	return sum(a.mac(a.key.Bytes()), a.suite.ICVLen(), covered, high)
}
