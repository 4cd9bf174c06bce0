package ikev1

import (
	"fmt"
	"slices"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// layer is one protocol of a pair of IPsec SAs. A pair has one, ESP or AH; a bundle has two, AH around ESP, negotiated under one number in one
// quick mode (RFC 2408 4.2): each has SPIs and keys of its own, and neither is of any use alone.
type layer struct {
	protocol      crypto.Protocol
	suite         crypto.Suite
	esn           bool
	spiIn, spiOut uint32
	keyIn, keyOut crypto.Secret // until installed
}

// layer is what was chosen for one protocol, with our SPI of it.
func (h *childHalf) layer(protocol crypto.Protocol, spi uint32) layer {
	return layer{protocol: protocol, suite: h.suite, esn: h.esn, spiIn: spi, spiOut: h.spi}
}

// layers are what the choice is made of: the one that the pair goes by, and of a bundle the AH around it.
func (c phase2Choice) layers(spis childSPIs) (inner layer, around *layer) {
	if c.esp == nil {
		return c.ah.layer(crypto.ProtocolAH, spis.ah), nil
	}
	if c.ah != nil {
		ah := c.ah.layer(crypto.ProtocolAH, spis.ah)
		around = &ah
	}
	return c.esp.layer(crypto.ProtocolESP, spis.esp), around
}

// layers are those of a pair, from the outside in.
func (c *childSA) layers() []*layer {
	if c.around == nil {
		return []*layer{&c.layer}
	}
	return []*layer{c.around, &c.layer}
}

// deriveKeys makes the keys of a pair: of each direction of each protocol by the SPI that its receiver chose (RFC 2409 5.5).
func (c *childSA) deriveKeys(k *phase1Keys, q quickTranscript) {
	for _, l := range c.layers() {
		protocol, n := isakmp.ProtocolID(l.protocol), l.suite.KeymatLen()
		l.keyIn, l.keyOut = k.keymat(q, protocol, l.spiIn, n), k.keymat(q, protocol, l.spiOut, n)
	}
}

// hand gives away the key of one direction, with its SPI.
func (l *layer) hand(inbound bool) (spi uint32, key crypto.Secret) {
	from := &l.keyOut
	if spi = l.spiOut; inbound {
		spi, from = l.spiIn, &l.keyIn
	}
	key, *from = *from, crypto.Secret{}
	return spi, key
}

// proposal is the algorithms as they would stand in the configuration.
func (l *layer) proposal(group crypto.DHID) crypto.Proposal {
	p := crypto.Proposal{Protocol: l.protocol}
	if !l.suite.AH() {
		p.Ciphers = []crypto.Cipher{{Encr: l.suite.Encr, KeyBits: l.suite.KeyBits}}
	}
	if l.suite.Integ != crypto.IntegNone {
		p.Integ = []crypto.IntegID{l.suite.Integ}
	}
	if group != crypto.DHNone {
		p.DH = []crypto.DHID{group}
	}
	if l.esn {
		p.ESN = []crypto.ESNID{crypto.ESNYes}
	}
	return p
}

// deletes tell the peer that our SAs of a pair have ended: a payload is for one protocol (RFC 2408 3.15).
func (c *childSA) deletes() (payloads []isakmp.Payload) {
	for _, l := range c.layers() {
		payloads = append(payloads, isakmp.DeleteSAs(isakmp.ProtocolID(l.protocol), l.spiIn))
	}
	return payloads
}

// named reports whether the peer calls one of the SAs by which we send so.
func (c *childSA) named(protocol isakmp.ProtocolID, spi uint32) bool {
	return slices.ContainsFunc(c.layers(), func(l *layer) bool { return isakmp.ProtocolID(l.protocol) == protocol && l.spiOut == spi })
}

// spisIn are ours.
func (c *childSA) spisIn() childSPIs {
	spis := childSPIs{esp: c.spiIn, ah: c.spiIn}
	if c.around != nil {
		spis.ah = c.around.spiIn
	}
	return spis
}

// unused insists on SPIs of the peer's that name no other SA of it.
func (p *peer) unused(c phase2Choice) error {
	inner, around := c.layers(childSPIs{})
	for _, l := range []*layer{around, &inner} {
		if l != nil && p.byPeerSPI(isakmp.ProtocolID(l.protocol), l.spiOut) != nil {
			return fmt.Errorf("peer's SPI %#08x of %v is in use, expected a new one", l.spiOut, l.protocol)
		}
	}
	return nil
}

// reserveSPIs takes from the data plane what the SAs of a quick mode will go by here: one SPI, of whichever protocol it will be, and of a bundle one for
// each.
func (s *slot) reserveSPIs() (spis childSPIs, err error) {
	e, name := s.peer.engine, s.peer.cfg.Name
	if spis.esp, err = e.cfg.AllocateSPI(name, s.cfg.Name); err == nil && s.cfg.Bundle {
		if spis.ah, err = e.cfg.AllocateSPI(name, s.cfg.Name); err != nil {
			e.release(childSPIs{ah: spis.esp, esp: spis.esp})
		}
	} else {
		spis.ah = spis.esp
	}
	if err != nil {
		e.fact(ike.Fact{Kind: ike.Refused, Reason: ike.RefuseSPI, Peer: name, Child: s.cfg.Name, Detail: err.Error()})
		return childSPIs{}, failf(ike.FailNoAdditionalSAs, "no SPI: %v", err)
	}
	return spis, nil
}

// release gives back SPIs by which nothing is installed.
func (e *Engine) release(spis childSPIs) {
	e.effect(ike.ReleaseSPI{SPI: spis.esp})
	if spis.ah != spis.esp {
		e.effect(ike.ReleaseSPI{SPI: spis.ah})
	}
}
