package pipeline

import (
	"encoding/binary"
	"errors"

	"sallyport/crypto"
)

// The reference for AH (RFC 4302).

const (
	ahHeaderLen  = 12  // up to the sequence number
	ahHeadersMax = 256 // bytes in front of AH that the fast path keeps a copy of
)

// ahLen is the length of an Authentication Header: a multiple of 4 bytes, in IPv6 of 8 (RFC 4302 section 2.2).
func ahLen(s crypto.Suite, ipv6 bool) int {
	n, unit := ahHeaderLen+s.IVLen()+s.ICVLen(), 4
	if ipv6 {
		unit = 8
	}
	return (n + unit - 1) / unit * unit
}

// ahSPI is the SPI in the SA's Authentication Header, and ahLayer the rest of what AH needs.
func (c *ChildSA) ahSPI() uint32 {
	if c.AH != nil {
		return c.AH.SPI
	}
	return c.SPI
}

func (c *ChildSA) ahLayer() AHLayer {
	if c.AH != nil {
		return *c.AH
	}
	return AHLayer{SPI: c.SPI, Suite: c.Suite, Keymat: c.Keymat, ReplayWindow: c.ReplayWindow, ESN: c.ESN}
}

// openAH follows RFC 4302 section 3.4; what a bundle has inside, openESP.
func (sa *referenceIn) openAH(ip []byte) (inner []byte, reason string) {
	layer, headers := sa.child.ahLayer(), headersOf(ip)
	body := ip[headers:]
	length := 8 + 4*int(body[1])
	switch {
	case headers > ahHeadersMax, isIPv6(ip) && ipv6(ip).fragmentHeader() != headers:
		return nil, "ah_headers"
	case length != ahLen(layer.Suite, isIPv6(ip)) && length != ahLen(layer.Suite, true): // IPv4 peers may pad as for IPv6
		return nil, "ah_length"
	case length > len(body):
		return nil, "ah_truncated"
	}
	sequence, reason := sa.ahWindow.expect(binary.BigEndian.Uint32(body[8:]), layer.ESN)
	if reason != "" {
		return nil, reason
	}
	without, next, _, err := sa.ah.Verify(ip, uint32(sequence>>32))
	switch {
	case errors.Is(err, crypto.ErrICV):
		return nil, "auth_failed"
	case err != nil:
		panic(err) // everything else was checked
	}
	sa.ahWindow.accept(sequence)
	payload := without[headers:]
	switch {
	case sa.esp == nil:
		return sa.content(without, headers, payload, next)
	case next != protocolESP || len(payload) < espHeaderLen || binary.BigEndian.Uint32(payload) != sa.child.SPI:
		return nil, "bundle"
	}
	return sa.openESP(without, payload)
}
