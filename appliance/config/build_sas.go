package config

import (
	"crypto/sha256"
	"fmt"
	"math"
	"net/netip"

	"sallyport/crypto"
	"sallyport/policy"
)

const (
	minReplay  = 32 // packets, RFC 4303 section 3.4.3
	portNATT   = 4500
	maxUDPPort = 65535
	maxSeq32   = 1<<32 - 1
)

// manualSAs makes the SAs whose keys are in the file or beside it. Only a lab may have them: their keys never change, and
// nobody proves who he is.
func (b *builder) manualSAs() {
	b.sas = map[string]int{}
	if len(b.raw.SAs) == 0 {
		return
	}
	switch {
	case !b.raw.Lab:
		b.add("sas", "expected no SAs with keys of your own, which are for a lab only, because their keys never change: write lab: true at the top of the file, or negotiate with a peer, found %d of them", len(b.raw.SAs))
	case !b.options.Lab:
		b.add("sas", "expected no SAs with keys of your own, which are for a lab only, found %d of them: a lab can run them with --lab", len(b.raw.SAs))
	}
	seen := newSeenSAs()
	for i := range b.raw.SAs {
		raw, key := &b.raw.SAs[i], fmt.Sprintf("sas[%d]", i)
		b.name(key+".name", raw.Name, seen.names)
		b.sas[raw.Name] = i
		b.config.plan.sas = append(b.config.plan.sas, b.manualSA(key, raw, seen))
	}
	b.warnManual(seen)
}

// seenSAs is what no two manual SAs may have in common, each with the key of who has it.
type seenSAs struct {
	names, slots, outbound map[string]string
	inFile                 bool                         // a key stands in the configuration itself
	senders                map[[sha256.Size]byte]string // by digest of the key that an SA sends by
}

func newSeenSAs() *seenSAs {
	return &seenSAs{names: map[string]string{}, slots: map[string]string{}, outbound: map[string]string{}, senders: map[[sha256.Size]byte]string{}}
}

func (b *builder) manualSA(key string, raw *fileSA, seen *seenSAs) ManualSA {
	local, remote := netip.Addr(raw.Local), netip.Addr(raw.Remote)
	sa := ManualSA{
		Name: raw.Name, Local: netip.AddrPortFrom(local, 0), Remote: netip.AddrPortFrom(remote, 0), Transport: raw.Mode == modeTransport,
		Protocol: crypto.ProtocolESP, ESN: raw.ESN, Sequence: uint64(raw.Sequence),
		ReplayWindow:  b.within(key+".replay_window", raw.ReplayWindow, minReplay, maxReplay, "packets"),
		Encapsulation: b.encapsulation(key+".encapsulation", &raw.Encapsulation),
	}
	if raw.Protocol == "ah" {
		sa.Protocol = crypto.ProtocolAH
	}
	b.saEnds(key, &sa)
	if sa.Protocol == crypto.ProtocolAH && sa.Encapsulation.DummyInterval > 0 {
		b.add(key+".encapsulation.dummy_interval", "expected off with protocol: ah: only ESP has dummy packets (RFC 4303 section 2.6)")
	}
	b.padding(key+".encapsulation.tfc_pad", &raw.Encapsulation, sa.Transport, map[bool]string{true: "protocol: ah"}[sa.Protocol == crypto.ProtocolAH])
	b.saUDP(key, raw, &sa)
	b.saLayers(key, raw, &sa)
	b.saSPIs(key, raw, &sa, seen)
	b.saKeys(key, raw, &sa, seen)
	b.saLimits(key, raw)
	return sa
}

// saEnds checks the addresses. In tunnel mode this end is the gateway; in transport mode it may be a host behind it.
func (b *builder) saEnds(key string, sa *ManualSA) {
	local, remote := sa.Local.Addr(), sa.Remote.Addr()
	b.sameVersion(key, local, remote)
	if !sa.Transport {
		b.endpoints(key, local, remote)
	} else if local.IsValid() && local == remote {
		b.add(key+".remote", "expected the address of another host, found %s, which is local too", remote)
	}
}

// sameVersion checks that both ends of a tunnel have one IP version.
func (b *builder) sameVersion(key string, local, remote netip.Addr) {
	if local.IsValid() && remote.IsValid() && local.Is4() != remote.Is4() {
		b.add(key+".remote", "expected an address of the IP version of local, %s, found %s", local, remote)
	}
}

// saUDP is ESP in UDP, which AH cannot be (S-091).
func (b *builder) saUDP(key string, raw *fileSA, sa *ManualSA) {
	if !b.has(key + ".udp") {
		return
	}
	if sa.Protocol == crypto.ProtocolAH || raw.AH != "" {
		b.add(key+".udp", "expected no UDP encapsulation with AH, which cannot cross a NAT: its integrity check covers the addresses that a NAT changes (RFC 3715 section 2.1); use ESP alone")
	}
	port := b.within(key+".udp.remote_port", raw.UDP.RemotePort, 1, maxUDPPort, "as UDP port")
	sa.UDP = true
	sa.Local, sa.Remote = netip.AddrPortFrom(sa.Local.Addr(), portNATT), netip.AddrPortFrom(sa.Remote.Addr(), uint16(port))
}

// saLayers reads the algorithms: of ESP or AH, and of AH around ESP.
func (b *builder) saLayers(key string, raw *fileSA, sa *ManualSA) {
	var err error
	parse, kind := crypto.ParseSuite, "ESP"
	if sa.Protocol == crypto.ProtocolAH {
		parse, kind = crypto.ParseAHSuite, "AH"
	}
	if raw.Algorithm != "" {
		if sa.Suite, err = parse(raw.Algorithm); err != nil {
			b.add(key+".algorithm", "expected an algorithm of %s: %s", kind, oneLine(err))
		}
	} else if b.has(key + ".algorithm") {
		b.add(key+".algorithm", "expected an algorithm of %s, found nothing", kind)
	}
	b.legacySuite(key+".algorithm", raw.Name, sa.Suite)
	if raw.AH == "" {
		return
	}
	sa.AH = &Layer{}
	if sa.Protocol == crypto.ProtocolAH {
		b.add(key+".ah", "expected AH around ESP only, found it with protocol: ah")
		return
	}
	if sa.AH.Suite, err = crypto.ParseAHSuite(raw.AH); err != nil {
		b.add(key+".ah", "expected an algorithm of AH: %s", oneLine(err))
	}
	b.legacySuite(key+".ah", raw.Name, sa.AH.Suite)
}

// saSPIs checks the SPIs. The low bits of an inbound one are its place in the SAD, which is for one SA only.
func (b *builder) saSPIs(key string, raw *fileSA, sa *ManualSA, seen *seenSAs) {
	sa.SPIIn, sa.SPIOut = uint32(raw.SPIIn), uint32(raw.SPIOut)
	b.inboundSPI(key+".spi_in", sa.SPIIn, seen)
	b.outboundSPI(key+".spi_out", sa, sa.Protocol, sa.SPIOut, seen)
	given := b.has(key+".ah_spi_in") || b.has(key+".ah_spi_out")
	switch {
	case sa.AH == nil && given:
		b.add(key+".ah_spi_in", "expected an SPI of AH only with ah: ALGORITHM, which puts AH around ESP, found none")
	case sa.AH != nil && (raw.AHSPIIn == 0 || raw.AHSPIOut == 0):
		b.add(key+".ah_spi_in", "is missing: expected ah_spi_in and ah_spi_out for the AH that is around ESP")
	case sa.AH != nil:
		sa.AH.SPIIn, sa.AH.SPIOut = uint32(raw.AHSPIIn), uint32(raw.AHSPIOut)
		b.inboundSPI(key+".ah_spi_in", sa.AH.SPIIn, seen)
		b.outboundSPI(key+".ah_spi_out", sa, crypto.ProtocolAH, sa.AH.SPIOut, seen)
	}
}

func (b *builder) inboundSPI(key string, spi uint32, seen *seenSAs) {
	slots := uint32(b.config.Dataplane.MaxSAs)
	if spi == 0 || slots == 0 || slots&(slots-1) != 0 { // reported
		return
	}
	slot := fmt.Sprintf("%#x", spi&(slots-1))
	if other := seen.slots[slot]; other != "" {
		b.add(key, "expected an SPI whose remainder by dataplane.max_sas (%d) is its own, found %#08x, whose remainder %s is that of %s: choose another", slots, spi, slot, other)
	}
	seen.slots[slot] = key
}

// outboundSPI checks that the other end can tell its SAs apart: by destination, protocol and SPI (RFC 4301 section 4.1).
func (b *builder) outboundSPI(key string, sa *ManualSA, protocol crypto.Protocol, spi uint32, seen *seenSAs) {
	if spi == 0 || !sa.Remote.IsValid() {
		return
	}
	name := fmt.Sprintf("%s %s %#x", sa.Remote.Addr(), protocol, spi)
	if other := seen.outbound[name]; other != "" {
		b.add(key, "expected an SPI that no other SA to %s has, found %#08x, which %s has already", sa.Remote.Addr(), spi, other)
	}
	seen.outbound[name] = key
}

// saLimits checks what the 32-bit or 64-bit sequence numbers of the SA can count.
func (b *builder) saLimits(key string, raw *fileSA) {
	if !raw.ESN && uint64(raw.Sequence) > maxSeq32 {
		b.add(key+".sequence", "expected a number of 32 bits, because esn is false, found %d", raw.Sequence)
	}
	if uint64(raw.Sequence) == math.MaxUint64 {
		b.add(key+".sequence", "expected at most %d, because the number above it ends the SA, found %d", uint64(math.MaxUint64-1), raw.Sequence)
	}
}

// transportTraffic checks that transport mode is for packets between its two ends, whose addresses it leaves as they are.
func (b *builder) transportTraffic(out *compilation) {
	for _, t := range out.Manual {
		if t.SA.Transport {
			b.between(t.Rule, fmt.Sprintf("SA %q", t.SA.Name), t.SA.Local.Addr(), t.SA.Remote.Addr(), t.Selectors)
		}
	}
	for _, p := range out.peers {
		for _, c := range p.Children {
			if c.Transport {
				b.between(c.Name, fmt.Sprintf("its SA with peer %q", p.Name), p.Local, p.Remote, c.Selectors)
			}
		}
	}
}

// between refuses traffic of a rule that is not between two addresses.
func (b *builder) between(rule, sa string, local, remote netip.Addr, traffic []policy.Selector) {
	for _, s := range traffic {
		if s.Local != policy.HostRange(local) || s.Remote != policy.HostRange(remote) {
			b.add(b.ruleKey(rule)+".filter_list", "expected filters from %s to %s only, because %s is of transport mode, which leaves the addresses of packets as they are, found %s: use mode: tunnel for other traffic", local, remote, sa, s)
			return
		}
	}
}

// warnManual says what keys by hand mean, once for all.
func (b *builder) warnManual(seen *seenSAs) {
	var names []string
	for i := range b.raw.SAs {
		names = append(names, b.raw.SAs[i].Name)
	}
	b.warn("SAs with keys of your own (%s): their keys never change, and every start sends the same sequence numbers again, which AES-GCM and other counter modes do not survive: for a lab only", listed(names))
	if seen.inFile {
		b.warn("keys of SAs stand in %s, and in its backups: whoever reads one has them; key_file keeps them apart", b.path)
	}
	for i := range b.config.plan.sas {
		if sa := &b.config.plan.sas[i]; sa.KeyIn.Len() > 0 && sa.KeyIn.Equal(sa.KeyOut) {
			b.warn("SA %q has one key for both directions, which counter modes such as AES-GCM do not survive", sa.Name)
		}
	}
}
