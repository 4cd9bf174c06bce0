package crypto

import (
	"encoding/binary"
	"fmt"
)

const (
	espHeaderLen  = 8 // SPI, sequence number
	espTrailerLen = 2 // pad length, next header
)

// ESP is one direction of an ESP SA (RFC 4303): the reference for the fast path.
// It keeps no sequence number and no replay window; both are the caller's.
type ESP struct {
	saOptions
	suite      Suite
	spi        uint32
	protection protection
}

// NewESP makes an SA from key material in the order of RFC 7296 section 2.17: cipher
// key, salt, integrity key. It keeps copies of the keys until Wipe.
func NewESP(s Suite, spi uint32, keymat Secret, options ...SAOption) (*ESP, error) {
	protection, err := newProtection(s, keymat)
	if err != nil {
		return nil, fmt.Errorf("ESP SA %#08x: %w", spi, err)
	}
	return &ESP{newOptions(options), s, spi, protection}, nil
}

// Wipe clears the salt and the integrity key and drops the cipher, whose key
// schedule is out of reach. The SA is unusable afterwards.
func (e *ESP) Wipe() { e.protection.wipe() }

// DeriveIV is the IV rule of the fast path. AEAD and counter mode: the 64-bit sequence
// number. CBC: the sequence number, padded with zero octets to a block, encrypted under
// the SA's key. NULL: none.
func (e *ESP) DeriveIV(seq uint64) []byte { return e.protection.deriveIV(seq) }

// Seal makes the packet from the SPI to the ICV. With a nil iv DeriveIV gives it.
// Padding is the least that aligns the packet. Traffic flow confidentiality padding is
// part of the payload, which the caller has made longer.
func (e *ESP) Seal(seq uint64, iv, payload []byte, nextHeader uint8) ([]byte, error) {
	if err := e.checkSequence(seq); err != nil {
		return nil, fmt.Errorf("ESP SA %#08x: %w", e.spi, err)
	}
	if iv == nil {
		iv = e.DeriveIV(seq)
	}
	if len(iv) != e.suite.IVLen() {
		return nil, fmt.Errorf("ESP SA %#08x: IV of %d octets, %s takes %d", e.spi, len(iv), e.suite, e.suite.IVLen())
	}
	header := make([]byte, espHeaderLen)
	binary.BigEndian.PutUint32(header, e.spi)
	binary.BigEndian.PutUint32(header[4:], uint32(seq))

	plaintext := appendTrailer(append([]byte(nil), payload...), e.suite.BlockSize(), nextHeader)
	before, after := e.authenticated(header, uint32(seq>>32))
	return e.protection.seal(header, before, iv, plaintext, after), nil
}

// Open checks and decrypts a packet that starts with the SPI and ends with the
// ICV. SeqHigh is the upper half of the sequence number as the replay window
// infers it (RFC 4303 appendix A), 0 without ESN. The checks run in the order
// length, SPI, ICV, padding, inner packet (in tunnel mode), and the error wraps the one
// that failed.
func (e *ESP) Open(packet []byte, seqHigh uint32) (payload []byte, nextHeader uint8, seq uint32, err error) {
	if err := e.checkLength(len(packet)); err != nil {
		return nil, 0, 0, err
	}
	if spi := binary.BigEndian.Uint32(packet); spi != e.spi {
		return nil, 0, 0, fmt.Errorf("%w: SPI %#08x, expected %#08x", ErrSPI, spi, e.spi)
	}
	seq = binary.BigEndian.Uint32(packet[4:])
	before, after := e.authenticated(packet[:espHeaderLen], seqHigh)
	plaintext, err := e.protection.open(before, packet[espHeaderLen:], after)
	if err != nil {
		return nil, 0, 0, fmt.Errorf("ESP SA %#08x sequence number %d: %w", e.spi, seq, err)
	}
	payload, nextHeader, err = splitTrailer(plaintext)
	if err == nil && e.tunnel {
		payload, err = innerPacket(payload, nextHeader)
	}
	if err != nil {
		return nil, 0, 0, fmt.Errorf("ESP SA %#08x sequence number %d: %w", e.spi, seq, err)
	}
	return payload, nextHeader, seq, nil
}

func (e *ESP) checkLength(length int) error {
	fixed, block := espHeaderLen+e.suite.IVLen()+e.suite.ICVLen(), e.suite.BlockSize()
	if length < fixed+block {
		return fmt.Errorf("%w: %d octets, %s needs %d at least", ErrShort, length, e.suite, fixed+block)
	}
	if text := length - fixed; text%block != 0 {
		return fmt.Errorf("%w: %d octets, expected a multiple of %d", ErrAlignment, text, block)
	}
	return nil
}

// authenticated gives the octets that the ICV covers in front of the IV and behind
// the ciphertext. With ESN the upper half of the sequence number is covered but not
// sent: a combined-mode cipher has it between SPI and lower half (RFC 4106 section
// 5), an HMAC behind the next header field (RFC 4303 section 2.2.1).
func (e *ESP) authenticated(header []byte, seqHigh uint32) (before, after []byte) {
	if !e.esn {
		return header, nil
	}
	high := binary.BigEndian.AppendUint32(nil, seqHigh)
	if !e.suite.AEAD() {
		return header, high
	}
	return join(join(header[:4], high), header[4:]), nil
}

// appendTrailer adds padding 1, 2, 3..., the pad length and the next header, so
// that the whole is a multiple of block (RFC 4303 section 2.4).
func appendTrailer(plaintext []byte, block int, nextHeader uint8) []byte {
	padLen := (block - (len(plaintext)+espTrailerLen)%block) % block
	for i := 1; i <= padLen; i++ {
		plaintext = append(plaintext, byte(i))
	}
	return append(plaintext, byte(padLen), nextHeader)
}

// splitTrailer undoes appendTrailer for any pad length.
func splitTrailer(plaintext []byte) (payload []byte, nextHeader uint8, err error) {
	end := len(plaintext) - espTrailerLen
	padLen, nextHeader := int(plaintext[end]), plaintext[end+1]
	if padLen > end {
		return nil, 0, fmt.Errorf("%w: pad length %d, only %d octets before it", ErrPadding, padLen, end)
	}
	for i, octet := range plaintext[end-padLen : end] {
		if int(octet) != i+1 {
			return nil, 0, fmt.Errorf("%w: octet %d is %d, expected %d", ErrPadding, i+1, octet, i+1)
		}
	}
	return plaintext[:end-padLen], nextHeader, nil
}
