package traffic

/*
#include <stdlib.h>
#include "traffic.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
)

const (
	protocolESP = 50
	protocolUDP = 17
	portNATT    = 4500
	outerTTL    = 64
)

// ciphers are the suites' kinds, for C; what is not here is AES-GCM, or integrity alone.
var ciphers = map[crypto.EncrID]C.uint8_t{
	crypto.EncrAESCBC: C.TRAFFIC_CBC, crypto.Encr3DES: C.TRAFFIC_CBC, crypto.EncrDES: C.TRAFFIC_CBC, crypto.EncrAESCTR: C.TRAFFIC_CTR,
	crypto.EncrNull: C.TRAFFIC_NULL, crypto.EncrNullAESGMAC: C.TRAFFIC_GMAC,
	crypto.EncrAESCCM8: C.TRAFFIC_CCM, crypto.EncrAESCCM12: C.TRAFFIC_CCM, crypto.EncrAESCCM16: C.TRAFFIC_CCM, crypto.EncrChaCha20Poly1305: C.TRAFFIC_CHACHA,
}

// sas are the SAs of all tunnels in one direction, for C.
type sas struct {
	table    *C.struct_traffic_sas
	places   uint64
	sessions []*cryptodev.Session
	devices  *cryptodev.Pool
}

// numbers keep the devices of testers of one process apart.
var numbers atomic.Uint32

// openDevices opens what stands for libIPSec_MB, which does the crypto.
func openDevices(tunnels int) (*cryptodev.Pool, error) {
	number := numbers.Add(1)
	return cryptodev.Open(cryptodev.Options{
		Devices:    []string{fmt.Sprintf("crypto_aesni_gcm_traffic%d", number), fmt.Sprintf("crypto_aesni_mb_traffic%d", number)},
		QueuePairs: 1, Sessions: 2 * tunnels, Socket: cryptodev.SocketAny,
	})
}

// newSAs makes those by which the peer sends, or those by which the gateway does.
func newSAs(tunnels []Tunnel, toGateway bool, devices *cryptodev.Pool) (s *sas, err error) {
	places := uint64(4)
	for places < 2*uint64(len(tunnels)) {
		places *= 2
	}
	s = &sas{devices: devices, places: places}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.table = (*C.struct_traffic_sas)(C.traffic_memory(C.sizeof_struct_traffic_sas)); s.table == nil {
		return s, errNoMemory
	}
	s.table.sas = (*C.struct_traffic_sa)(C.traffic_memory(s.octets(len(tunnels))))
	s.table.spis = (*C.struct_traffic_spi)(C.traffic_memory(s.spiOctets()))
	if s.table.sas == nil || s.table.spis == nil {
		return s, errNoMemory
	}
	s.table.n, s.table.mask = C.uint32_t(len(tunnels)), C.uint32_t(places-1)
	spis := unsafe.Slice(s.table.spis, places)
	for i := range tunnels {
		if err := s.add(&tunnels[i], i, toGateway, &s.list()[i]); err != nil {
			return s, fmt.Errorf("tunnel %s: %w", tunnels[i].Name, err)
		}
		spi := bigEndian32(tunnels[i].spi(toGateway))
		at := spi * 0x9e3779b1 >> 7
		for spis[at&uint32(places-1)].index != 0 {
			at++
		}
		spis[at&uint32(places-1)] = C.struct_traffic_spi{spi_be: C.uint32_t(spi), index: C.uint32_t(i + 1)}
	}
	return s, nil
}

func (t *Tunnel) spi(toGateway bool) uint32 {
	if toGateway {
		return t.ToGateway.SPI
	}
	return t.FromGateway.SPI
}

func (s *sas) octets(n int) C.uint64_t { return C.uint64_t(n) * C.sizeof_struct_traffic_sa }
func (s *sas) spiOctets() C.uint64_t   { return C.uint64_t(s.places) * C.sizeof_struct_traffic_spi }

func (s *sas) list() []C.struct_traffic_sa { return unsafe.Slice(s.table.sas, s.table.n) }

func (s *sas) add(t *Tunnel, number int, toGateway bool, to *C.struct_traffic_sa) error {
	keys := t.FromGateway
	if toGateway {
		keys = t.ToGateway
	}
	session, err := s.devices.NewSession(t.Suite, keys.Key, toGateway)
	if err != nil {
		return err
	}
	s.sessions = append(s.sessions, session)
	if !session.Direct && !session.Job {
		return fmt.Errorf("%s: libIPSec_MB does not have it, expected another suite", t.Suite)
	}
	to.session, to.gcm = session.Handle, session.GCM
	to.cipher = ciphers[t.Suite.Encr]
	to.spi_be, to.tunnel = C.uint32_t(bigEndian32(keys.SPI)), C.uint32_t(number)
	to.sequence = C.uint64_t(keys.Sequence)
	to.salt_length, to.iv_length = C.uint8_t(t.Suite.SaltLen()), C.uint8_t(t.Suite.IVLen())
	to.icv_length, to.block = C.uint8_t(t.Suite.ICVLen()), C.uint8_t(t.Suite.BlockSize())
	copyOctets(to.salt[:], keys.Key.Bytes()[t.Suite.KeyLen():][:t.Suite.SaltLen()])
	to.udp, to.ipv6 = flag(t.UDP), flag(t.Peer.Is6())
	copyAddress(to.from[:], t.Gateway)
	header := t.outerHeader()
	to.outer_length = C.uint8_t(len(header))
	copyOctets(to.outer[:], header)
	return nil
}

// outerHeader is what the peer's packets have in front of ESP, without lengths and checksum.
func (t *Tunnel) outerHeader() []byte {
	next := byte(protocolESP)
	if t.UDP {
		next = protocolUDP
	}
	var b []byte
	if t.Peer.Is6() {
		b = []byte{0x60, 0, 0, 0, 0, 0, next, outerTTL}
	} else {
		b = []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, outerTTL, next, 0, 0}
	}
	b = append(append(b, t.Peer.AsSlice()...), t.Gateway.AsSlice()...)
	if t.UDP {
		// Without a checksum, as ESP in UDP has it (RFC 3948 section 2.1); IPv6 allows that for tunnels (RFC 6935).
		b = binary.BigEndian.AppendUint16(b, portNATT)
		b = binary.BigEndian.AppendUint16(b, portNATT)
		b = append(b, 0, 0, 0, 0)
	}
	return b
}

// close wipes the SAs. No loop runs.
func (s *sas) close() error {
	var errs []error
	for _, session := range s.sessions {
		errs = append(errs, s.devices.Free(session))
	}
	if s.table != nil {
		C.traffic_memory_free(unsafe.Pointer(s.table.sas), s.octets(int(s.table.n)), 1)
		C.traffic_memory_free(unsafe.Pointer(s.table.spis), s.spiOctets(), 0)
		C.traffic_memory_free(unsafe.Pointer(s.table), C.sizeof_struct_traffic_sas, 0)
		s.table = nil
	}
	return errors.Join(errs...)
}

// left is how many packets the SA with the fewest numbers left can send.
func (s *sas) left() uint64 {
	least := uint64(1)<<32 - 1
	for _, sa := range s.list() {
		least = min(least, 1<<32-1-uint64(sa.sequence))
	}
	return least
}

// last is the highest number that an SA has sent.
func (s *sas) last() (number uint64) {
	for _, sa := range s.list() {
		number = max(number, uint64(sa.sequence))
	}
	return number
}

func flag(on bool) C.uint8_t {
	if on {
		return 1
	}
	return 0
}

var errNoMemory = errors.New("no memory for tables, expected more of it or fewer flows and tunnels")
