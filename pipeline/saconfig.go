package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/policy"
)

// From a ChildSA to what a worker needs of it.

// spis are the SPIs that packets of the SA carry: two in a bundle.
func (c *ChildSA) spis() []uint32 {
	if c.AH == nil {
		return []uint32{c.SPI}
	}
	return []uint32{c.SPI, c.AH.SPI}
}

func (c *ChildSA) isAH() bool { return c.Protocol == crypto.ProtocolAH }

// checkChild refuses what no packet could be made of, and fills in what has a default.
func (d *Dataplane) checkChild(child *ChildSA) error {
	if err := d.checkCell(child.Cell); err != nil {
		return err
	}
	if err := errors.Join(child.checkForm(), child.checkSelectors(), child.checkLayers(), child.Encapsulation.validate()); err != nil {
		return fmt.Errorf("pipeline: SA %#08x of %s: %w", child.SPI, d.cellName(child.Cell), err)
	}
	if child.Worker < 0 || child.Worker > d.cfg.Workers {
		return fmt.Errorf("pipeline: SA %#08x of %s: worker %d, want 1 to %d, or 0 for any", child.SPI, d.cellName(child.Cell), child.Worker, d.cfg.Workers)
	}
	if d.cfg.Crypto == nil {
		return fmt.Errorf("pipeline: SA %#08x of %s: the data plane has no crypto devices", child.SPI, d.cellName(child.Cell))
	}
	return nil
}

func (c *ChildSA) checkForm() error {
	local, remote := c.Local.Addr(), c.Remote.Addr()
	switch {
	case c.Protocol != 0 && c.Protocol != crypto.ProtocolESP && !c.isAH():
		return fmt.Errorf("protocol %s: want ESP or AH", c.Protocol)
	case !local.IsValid() || local.Is4In6() || remote.Is4In6() || local.Is4() != remote.Is4():
		return fmt.Errorf("outer addresses %s and %s: want two of IPv4 or two of IPv6", local, remote)
	case c.UDPEncap && (c.isAH() || c.AH != nil): // RFC 3948 section 1, RFC 3715 section 2.1
		return errors.New("AH in UDP: AH protects the addresses that a NAT changes; use ESP alone across a NAT")
	case c.isAH() && c.Encapsulation.DummyEvery > 0:
		return errors.New("dummy packets by AH: only ESP has them (RFC 4303 section 2.6)")
	case c.isAH() && c.AH != nil:
		return errors.New("AH around AH: want it around ESP (RFC 4301 section 4.4.1)")
	}
	return nil
}

func (c *ChildSA) checkSelectors() error {
	if len(c.Selectors) == 0 {
		return errors.New("no selector")
	}
	for _, s := range c.Selectors {
		if s.Local.Validate() != nil || s.Remote.Validate() != nil || s.Local.Is4() != s.Remote.Is4() {
			return fmt.Errorf("selectors %v: want address ranges, both of one IP version", c.Selectors)
		}
	}
	return nil
}

func (c *ChildSA) checkLayers() error {
	if err := checkLayer(c.Suite, c.isAH(), &c.ReplayWindow); err != nil || c.AH == nil {
		return err
	}
	outer := *c.AH
	c.AH = &outer // its window may be filled in
	return checkLayer(outer.Suite, true, &c.AH.ReplayWindow)
}

// checkLayer checks a suite for its protocol. A window has bits of 32 packets each time.
func checkLayer(s crypto.Suite, ah bool, window *int) error {
	if *window < 0 || *window > C.SP_WINDOW_MAX {
		return fmt.Errorf("replay window of %d packets, want up to %d", *window, C.SP_WINDOW_MAX)
	}
	if *window == 0 {
		*window = DefaultReplayWindow
	}
	*window = (*window + 31) / 32 * 32
	if err := s.Validate(); err != nil {
		return err
	}
	if s.AH() != ah {
		return fmt.Errorf("algorithms %s are not for this protocol: AH has integrity alone, ESP a cipher too, be it null", s)
	}
	return nil
}

// newSessions gives an SA what it holds beside its memory: the keys of its layers in crypto sessions, and a number for its
// drops.
func (d *Dataplane) newSessions(sa *association, encrypt bool) (err error) {
	child, place, tunnel := &sa.child, d.sad.placeOf(sa.child.Cell, encrypt), d.cellName(sa.child.Cell)
	whole := child.whole(encrypt, child.FirstSequence, "")
	if sa.session, err = d.newSession(child, child.Suite, child.Keymat, child.ESN, encrypt, append(place.only(), whole...)...); err != nil && place != PlaceAuto {
		place = PlaceAuto // as if there had been no wish, rather than no SA
		sa.session, err = d.newSession(child, child.Suite, child.Keymat, child.ESN, encrypt, whole...)
	}
	if err != nil {
		return err
	}
	if child.AH != nil {
		if sa.ah, err = d.newSession(child, child.AH.Suite, child.AH.Keymat, child.AH.ESN, encrypt); err != nil {
			d.giveSessionsBack(sa, nil)
			return err
		}
	}
	sa.subject = d.sad.subjects.take()
	if child.movable() {
		sa.key = child.Keymat.Clone()
	}
	sa.toward = d.portToward(child.Remote.Addr())
	if d.openInline(sa, encrypt, place, numbers{child.FirstSequence, child.FirstSequence}); place.inline() && sa.inline.Handle == nil {
		d.goByOrder(sa, encrypt, whole)
	}
	if d.cellName(child.Cell) != tunnel {
		sa.freeSessions(d, nil)
		return fmt.Errorf("pipeline: SA %#08x: tunnel %q has ended meanwhile", child.SPI, tunnel)
	}
	return nil
}

// goByOrder gives an SA that cannot be in its port, where an operator wants it, what it would have had without him. Without room for that it keeps the CPU's session.
func (d *Dataplane) goByOrder(sa *association, encrypt bool, whole []cryptodev.SessionOption) {
	child := &sa.child
	session, err := d.newSession(child, child.Suite, child.Keymat, child.ESN, encrypt, whole...)
	if err != nil {
		return
	}
	session, sa.session = sa.session, session
	d.giveSessionsBack(&association{session: session}, nil)
	d.openInline(sa, encrypt, PlaceAuto, numbers{child.FirstSequence, child.FirstSequence})
}

func (d *Dataplane) newSession(child *ChildSA, suite crypto.Suite, keymat crypto.Secret, esn, encrypt bool, of ...cryptodev.SessionOption) (session *cryptodev.Session, err error) {
	d.unlocked(func() {
		session, err = d.cfg.Crypto.NewSession(suite, keymat, encrypt, append(of, cryptodev.WithESN(esn))...)
	})
	if err != nil {
		return nil, fmt.Errorf("pipeline: SA %#08x of %s: %w", child.SPI, d.cellName(child.Cell), err)
	}
	return session, nil
}

// withConfig lends create the C form of an SA. Afterwards the salt is wiped and the keys are forgotten: they live in the
// sessions, and those of an SA that may move in its association.
func (d *Dataplane) withConfig(sa *association, outbound bool, create func(*C.struct_sp_sa_config, *C.char) int32) error {
	child := &sa.child
	selectors, selectors6 := selectorsToC(child.Selectors, outbound), selectors6ToC(child.Selectors, outbound)
	var pin runtime.Pinner
	defer pin.Unpin()
	configs := make([]C.struct_sp_sa_config, 2) // of the SA, and of the AH around it
	config, outer := &configs[0], &configs[1]
	pin.Pin(config)
	*config = child.toC(outbound)
	config.subject = C.uint32_t(sa.subject)
	config.selectors, config.n_selectors = pinned(&pin, selectors), C.uint32_t(len(selectors))
	config.selectors6, config.n_selectors6 = pinned(&pin, selectors6), C.uint32_t(len(selectors6))
	*outer = *config
	d.fillInline(config, &sa.inline)
	config.soft_packets, config.soft_bytes = C.uint64_t(child.Soft.Packets), C.uint64_t(child.Soft.Bytes)
	config.hard_packets, config.hard_bytes = C.uint64_t(child.Hard.Packets), C.uint64_t(child.Hard.Bytes)
	config.follow = flag(child.UDPEncap && !child.BehindNAT)
	setLayer(config, child.SPI, child.Suite, child.Keymat, sa.session, child.ReplayWindow)
	if child.isAH() {
		config.protocol = C.SP_SA_AH
	}
	if child.AH != nil {
		setLayer(outer, child.AH.SPI, child.AH.Suite, child.AH.Keymat, sa.ah, child.AH.ReplayWindow)
		outer.protocol, outer.partner = C.SP_SA_AH, C.uint32_t(child.SPI)
		config.ah, config.partner = outer, C.uint32_t(child.AH.SPI)
	}
	text := make([]byte, errorTextLen)
	rc := create(config, (*C.char)(unsafe.Pointer(&text[0])))
	clear(configs)
	runtime.KeepAlive(configs)
	child.forgetKeys()
	switch {
	case rc == 0:
		return nil
	case text[0] != 0:
		return fmt.Errorf("pipeline: SA %#08x of %s: %s", child.SPI, d.cellName(child.Cell), cString(text))
	}
	return fmt.Errorf("pipeline: SA %#08x of %s: %w", child.SPI, d.cellName(child.Cell), syscall.Errno(-rc))
}

// toC is what both layers of an SA have.
func (c *ChildSA) toC(outbound bool) C.struct_sp_sa_config {
	source, destination := c.Local, c.Remote
	if !outbound {
		source, destination = destination, source
	}
	config := C.struct_sp_sa_config{
		source:           outerAddress(source.Addr()),
		destination:      outerAddress(destination.Addr()),
		source_port:      C.uint16_t(source.Port()),
		destination_port: C.uint16_t(destination.Port()),
		cell:             C.uint16_t(c.Cell),
		udp:              flag(c.UDPEncap),
		transport:        flag(c.Transport),
		encapsulation:    c.Encapsulation.toC(),
	}
	if c.Local.Addr().Is6() {
		config.outer = C.SP_IPV6
	}
	return config
}

// setLayer fills in what belongs to ESP or AH by itself.
func setLayer(config *C.struct_sp_sa_config, spi uint32, suite crypto.Suite, keymat crypto.Secret, session *cryptodev.Session, window int) {
	config.spi = C.uint32_t(spi)
	config.session, config.gcm = session.Handle, session.GCM
	if config.room = session.Room; config.room != nil {
		config.room_size = cryptodev.RoomSize
	}
	config.kind, config.cipher, config.device = sessionKind(session), cipherShape(suite), C.uint8_t(session.Device)
	config.key_length = C.uint8_t(suite.KeyLen())
	config.iv_length, config.icv_length, config.block = C.uint8_t(suite.IVLen()), C.uint8_t(suite.ICVLen()), C.uint8_t(max(suite.BlockSize(), 4))
	config.esn, config.window = flag(session.ESN), C.uint16_t(window)
	key := suite.KeyLen()
	if suite.AH() {
		key = suite.IntegKeyLen()
	}
	salt := keymat.Bytes()[key:][:suite.SaltLen()]
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&config.salt_be)), 4), salt)
}

// forgetKeys leaves a copy that has none, and shares nothing with the caller's.
func (c *ChildSA) forgetKeys() {
	c.Keymat = crypto.Secret{}
	c.Selectors = slices.Clone(c.Selectors)
	if c.AH != nil {
		c.AH.Keymat = crypto.Secret{}
	}
}

// outerAddress is an address as it stands in a packet.
func outerAddress(a netip.Addr) (out [16]C.uint8_t) {
	for i, octet := range a.AsSlice() {
		out[i] = C.uint8_t(octet)
	}
	return out
}

// pairToC is a source and a destination as the classifier compares them.
func pairToC(source, destination netip.Addr) C.struct_sp_pair {
	if source.Is4() {
		return C.struct_sp_pair{addresses: [4]C.uint64_t{C.uint64_t(ipv4Number(source)) | C.uint64_t(ipv4Number(destination))<<32}}
	}
	s, d := source.As16(), destination.As16()
	half := func(b []byte) C.uint64_t { return C.uint64_t(binary.NativeEndian.Uint64(b)) }
	return C.struct_sp_pair{addresses: [4]C.uint64_t{half(s[:8]), half(s[8:]), half(d[:8]), half(d[8:])}, ip: C.SP_IPV6}
}

// whole lets a crypto device do all of ESP, outbound from a first number on, where AH does not go around it and nothing else is said against it.
func (c *ChildSA) whole(outbound bool, first uint64, against string) []cryptodev.SessionOption {
	if !c.movable() {
		return nil
	}
	sa := c.inlineSA(outbound, 0)
	if outbound {
		sa.beginAt(first)
	}
	sa.NoProtocol = cmp.Or(sa.NoProtocol, against)
	return []cryptodev.SessionOption{cryptodev.Of(sa.ESP())}
}

func sessionKind(s *cryptodev.Session) C.uint8_t {
	switch {
	case s.Whole:
		return C.SP_SA_WHOLE_ASYNC
	case s.Direct:
		return C.SP_SA_AEAD_DIRECT
	case s.Job:
		return C.SP_SA_JOB
	case s.CPU:
		return C.SP_SA_AEAD_CPU
	case s.Suite.AEAD() && s.Suite.Encr != crypto.EncrNullAESGMAC:
		return C.SP_SA_AEAD_ASYNC
	}
	return C.SP_SA_CHAIN_ASYNC
}

// cipherShape is what a suite makes of IV, nonce and associated data.
func cipherShape(s crypto.Suite) C.uint8_t {
	switch s.Encr {
	case crypto.EncrAESCBC, crypto.Encr3DES, crypto.EncrDES:
		return C.SP_CIPHER_CBC
	case crypto.EncrAESCTR:
		return C.SP_CIPHER_CTR
	case crypto.EncrNullAESGMAC:
		return C.SP_CIPHER_GMAC
	case crypto.EncrAESCCM8, crypto.EncrAESCCM12, crypto.EncrAESCCM16:
		return C.SP_CIPHER_CCM
	}
	switch {
	case s.AEAD():
		return C.SP_CIPHER_GCM
	case s.AH() && s.IVLen() > 0:
		return C.SP_CIPHER_GMAC_AH
	}
	return C.SP_CIPHER_NULL
}

// selectorsOf are the selectors of one IP version.
func selectorsOf(all []policy.Selector, version int) []policy.Selector {
	return slices.DeleteFunc(slices.Clone(all), func(s policy.Selector) bool { return s.Local.Is4() != (version == 4) })
}

// turned is the selector with the packet's source as the local side, for either direction of an SA.
func turned(s policy.Selector, outbound bool) policy.Selector {
	sends, typed := s.Sends(outbound)
	if !outbound {
		s.Local, s.LocalPort, s.Remote, s.RemotePort = s.Remote, s.RemotePort, s.Local, s.LocalPort
	}
	switch {
	case !typed:
	case sends == policy.AnyPort:
		s.LocalPort, s.RemotePort = policy.AnyPort, policy.AnyPort
	case sends == policy.OpaquePort: // none: no ICMP has this protocol
		s.LocalPort, s.RemotePort, s.Protocol = icmpTyped, icmpTyped, protocolReserved
	default:
		s.LocalPort, s.RemotePort = sends, icmpTyped
	}
	return s
}

// icmpTyped marks a selector that limits the types of ICMP, by the place of its destination port; protocolReserved is no packet's.
var icmpTyped = policy.PortRange{First: C.SP_ICMP_TYPED, Last: C.SP_ICMP_TYPED}

const protocolReserved = 255 // IANA

// selectorsToC turns IPv4 selectors into those of the SA's own direction, selectors6ToC those of IPv6.
func selectorsToC(all []policy.Selector, outbound bool) []C.struct_sp_selector {
	var list []C.struct_sp_selector
	for _, s := range selectorsOf(all, 4) {
		s = turned(s, outbound)
		list = append(list, C.struct_sp_selector{
			source_first: ipv4Number(s.Local.First), source_last: ipv4Number(s.Local.Last),
			destination_first: ipv4Number(s.Remote.First), destination_last: ipv4Number(s.Remote.Last),
			source_port_first: C.uint16_t(s.LocalPort.First), source_port_last: C.uint16_t(s.LocalPort.Last),
			destination_port_first: C.uint16_t(s.RemotePort.First), destination_port_last: C.uint16_t(s.RemotePort.Last),
			protocol: C.uint8_t(s.Protocol),
		})
	}
	return list
}

func selectors6ToC(all []policy.Selector, outbound bool) []C.struct_sp_selector6 {
	var list []C.struct_sp_selector6
	for _, s := range selectorsOf(all, 6) {
		s = turned(s, outbound)
		list = append(list, C.struct_sp_selector6{
			source_first: ipv6Halves(s.Local.First), source_last: ipv6Halves(s.Local.Last),
			destination_first: ipv6Halves(s.Remote.First), destination_last: ipv6Halves(s.Remote.Last),
			source_port_first: C.uint16_t(s.LocalPort.First), source_port_last: C.uint16_t(s.LocalPort.Last),
			destination_port_first: C.uint16_t(s.RemotePort.First), destination_port_last: C.uint16_t(s.RemotePort.Last),
			protocol: C.uint8_t(s.Protocol),
		})
	}
	return list
}

func ipv6Halves(a netip.Addr) [2]C.uint64_t {
	b := a.As16()
	return [2]C.uint64_t{C.uint64_t(binary.BigEndian.Uint64(b[:8])), C.uint64_t(binary.BigEndian.Uint64(b[8:]))}
}
