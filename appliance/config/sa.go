package config

import (
	"net/netip"
	"time"

	"sallyport/crypto"
	"sallyport/policy"
)

// ManualSA is a Child SA whose keys an operator gave, for a lab (RFC 4301 section 4.5.1). It holds keys, which never print.
type ManualSA struct {
	Name          string
	Local, Remote netip.AddrPort // outer addresses, in transport mode the packets' own; the ports count only with UDP
	UDP           bool           // ESP in UDP (RFC 3948)
	Transport     bool
	Protocol      crypto.Protocol // ProtocolESP or ProtocolAH
	Layer                         // of the protocol
	AH            *Layer          // with ESP: AH around it; nil for none
	ESN           bool
	ReplayWindow  int // packets
	Sequence      uint64
	Encapsulation Encapsulation
}

// Layer is one IPsec header of a manual SA.
type Layer struct {
	Suite         crypto.Suite
	SPIIn, SPIOut uint32
	KeyIn, KeyOut crypto.Secret // in the order of RFC 7296 section 2.17: cipher key, salt, integrity key
}

// Direction is the SPI and the keys of one direction.
func (l *Layer) Direction(inbound bool) (spi uint32, key crypto.Secret) {
	if inbound {
		return l.SPIIn, l.KeyIn
	}
	return l.SPIOut, l.KeyOut
}

// equal reports whether two layers are the same, keys included.
func (l *Layer) equal(other *Layer) bool {
	if l == nil || other == nil {
		return l == other
	}
	return l.Suite == other.Suite && l.SPIIn == other.SPIIn && l.SPIOut == other.SPIOut && l.KeyIn.Equal(other.KeyIn) && l.KeyOut.Equal(other.KeyOut)
}

// Equal reports whether two manual SAs treat every packet alike.
func (s *ManualSA) Equal(other *ManualSA) bool {
	return s.Name == other.Name && s.Local == other.Local && s.Remote == other.Remote && s.UDP == other.UDP && s.Transport == other.Transport &&
		s.Protocol == other.Protocol && s.Layer.equal(&other.Layer) && s.AH.equal(other.AH) && s.ESN == other.ESN &&
		s.ReplayWindow == other.ReplayWindow && s.Sequence == other.Sequence && s.Encapsulation == other.Encapsulation
}

// wipe forgets the keys.
func (s *ManualSA) wipe() {
	for _, layer := range []*Layer{&s.Layer, s.AH} {
		if layer != nil {
			layer.KeyIn.Wipe()
			layer.KeyOut.Wipe()
		}
	}
}

// ManualTunnel is a manual SA in force: what a rule of the active policy sends through it.
type ManualTunnel struct {
	Rule      string // the name of the tunnel in the SPD
	SA        *ManualSA
	Selectors []policy.Selector
}

// Encapsulation is how an SA puts packets into outer ones.
type Encapsulation struct {
	DF            string // of the outer IPv4 header: copy, set or clear
	DSCP          int    // code point of the outer header; -1 copies that of the packet
	ECN           bool   // RFC 6040 normal mode, else compatibility mode
	TTL           uint8  // of the outer header
	FragmentAfter bool   // outer packets are fragmented, else inner ones where that is allowed
	MSSClamp      int    // bytes; 0 is off, -1 what fits the path MTU
	TFCPad        int    // bytes up to which packets are padded; 0 is off
	DummyInterval time.Duration
	PathMTU       bool // ICMP lowers what the SA takes for the path MTU
}

// DefaultEncapsulation is that of a file which says nothing.
func DefaultEncapsulation() Encapsulation {
	return Encapsulation{DF: "copy", DSCP: copyTheInner, ECN: true, TTL: defaultTTL, PathMTU: true}
}
