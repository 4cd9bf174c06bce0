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
	"math"
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

// sas are the SAs of all tunnels in one direction, for C. They come and go while loops run: see struct traffic_sas.
type sas struct {
	table     *C.struct_traffic_sas
	places    uint64 // of the table of SPIs
	tunnels   int
	toGateway bool
	devices   *cryptodev.Pool
	sessions  []*cryptodev.Session // by number of the SA
	numbers   map[uint32]uint32    // of SAs, by SPI
	free      []uint32             // numbers of SAs that are none
}

// numbers keep the devices of testers of one process apart.
var numbers atomic.Uint32

// openDevices opens what stands for libIPSec_MB, which does the crypto, for so many SAs of each direction.
func openDevices(sas int) (*cryptodev.Pool, error) {
	number := numbers.Add(1)
	return cryptodev.Open(cryptodev.Options{
		Devices:    []string{fmt.Sprintf("crypto_aesni_gcm_traffic%d", number), fmt.Sprintf("crypto_aesni_mb_traffic%d", number)},
		QueuePairs: 1, Sessions: 2 * sas, Socket: cryptodev.SocketAny,
	})
}

// newSAs has room for those by which the peer sends, or those by which the gateway does: of so many tunnels, and so many at once.
func newSAs(tunnels, most int, toGateway bool, devices *cryptodev.Pool) (s *sas, err error) {
	places := uint64(4)
	for places < 2*uint64(most) {
		places *= 2
	}
	s = &sas{devices: devices, places: places, tunnels: tunnels, toGateway: toGateway, sessions: make([]*cryptodev.Session, most), numbers: map[uint32]uint32{}}
	if s.table = (*C.struct_traffic_sas)(C.traffic_memory(C.sizeof_struct_traffic_sas)); s.table == nil {
		return s, errNoMemory
	}
	s.table.n, s.table.mask = C.uint32_t(most), C.uint32_t(places-1)
	s.table.sas = (*C.struct_traffic_sa)(C.traffic_memory(s.octets()))
	s.table.spis = (*C.uint64_t)(C.traffic_memory(s.spiOctets()))
	s.table.of = (**C.struct_traffic_sa)(C.traffic_memory(s.ofOctets()))
	if s.table.sas == nil || s.table.spis == nil || s.table.of == nil {
		return s, errors.Join(errNoMemory, s.close())
	}
	for number := most - 1; number >= 0; number-- {
		s.free = append(s.free, uint32(number))
	}
	return s, nil
}

func (s *sas) octets() C.uint64_t    { return C.uint64_t(s.table.n) * C.sizeof_struct_traffic_sa }
func (s *sas) spiOctets() C.uint64_t { return C.uint64_t(s.places) * C.sizeof_uint64_t }
func (s *sas) ofOctets() C.uint64_t {
	return C.uint64_t(s.tunnels) * C.uint64_t(unsafe.Sizeof(s.table))
}

func (s *sas) list() []C.struct_traffic_sa { return unsafe.Slice(s.table.sas, s.table.n) }

// of are the SAs by which to send into each tunnel.
func (s *sas) of() []unsafe.Pointer {
	return unsafe.Slice((*unsafe.Pointer)(unsafe.Pointer(s.table.of)), s.tunnels)
}

// add makes an SA of a tunnel, which is found by its SPI from now on.
func (s *sas) add(t *Tunnel, tunnel int, keys SA) error {
	if _, there := s.numbers[keys.SPI]; there {
		return fmt.Errorf("SPI %#x: expected one that no other SA has", keys.SPI)
	}
	if len(s.free) == 0 {
		return fmt.Errorf("more than %d SAs at once: expected no more than two of each tunnel", s.table.n)
	}
	number := s.free[len(s.free)-1]
	session, err := s.devices.NewSession(t.Suite, keys.Key, s.toGateway, cryptodev.WithESN(t.ESN))
	if err != nil {
		return err
	}
	if !session.Direct && !session.Job {
		return errors.Join(fmt.Errorf("%s: libIPSec_MB does not have it, expected another suite", t.Suite), s.devices.Free(session))
	}
	s.free = s.free[:len(s.free)-1]
	s.sessions[number], s.numbers[keys.SPI] = session, number
	to := &s.list()[number]
	*to = C.struct_traffic_sa{}
	to.session, to.gcm = session.Handle, session.GCM
	to.cipher = ciphers[t.Suite.Encr]
	to.spi_be, to.tunnel = C.uint32_t(bigEndian32(keys.SPI)), C.uint32_t(tunnel)
	to.sequence = C.uint64_t(keys.Sequence)
	to.salt_length, to.iv_length = C.uint8_t(t.Suite.SaltLen()), C.uint8_t(t.Suite.IVLen())
	to.icv_length, to.block = C.uint8_t(t.Suite.ICVLen()), C.uint8_t(t.Suite.BlockSize())
	copyOctets(to.salt[:], keys.Key.Bytes()[t.Suite.KeyLen():][:t.Suite.SaltLen()])
	to.esn, to.udp, to.ipv6 = flag(t.ESN), flag(t.UDP), flag(t.Peer.Is6())
	copyAddress(to.from[:], t.Gateway)
	header := t.outerHeader()
	to.outer_length = C.uint8_t(len(header))
	copyOctets(to.outer[:], header)
	s.publish(bigEndian32(keys.SPI), number)
	return nil
}

// gone is the number of an SA in a place whose SPI was taken out.
const gone = C.TRAFFIC_GONE

// place is that of an SPI in the table, or if it is not there the one for it.
func (s *sas) place(spi uint32) *uint64 {
	spis, mask := unsafe.Slice((*uint64)(unsafe.Pointer(s.table.spis)), s.places), uint32(s.places-1)
	var vacant *uint64
	for step, at := uint64(0), spi*0x9e3779b1>>7; step < s.places; step, at = step+1, at+1 {
		place := &spis[at&mask]
		switch number := uint32(*place >> 32); {
		case number == 0 && vacant == nil:
			return place
		case number == 0:
			return vacant
		case number == gone && vacant == nil:
			vacant = place
		case number != gone && uint32(*place) == spi:
			return place
		}
	}
	return vacant
}

func (s *sas) publish(spi, number uint32) {
	atomic.StoreUint64(s.place(spi), uint64(number+1)<<32|uint64(spi))
}

// withdraw takes an SPI out of the table. Where the search ended behind it, it ends in its place, and before it.
func (s *sas) withdraw(spi uint32) {
	spis, mask := unsafe.Slice((*uint64)(unsafe.Pointer(s.table.spis)), s.places), uint32(s.places-1)
	at := spi * 0x9e3779b1 >> 7
	for place := s.place(spi); &spis[at&mask] != place; {
		at++
	}
	if spis[(at+1)&mask]>>32 != 0 {
		atomic.StoreUint64(&spis[at&mask], gone<<32)
		return
	}
	atomic.StoreUint64(&spis[at&mask], 0)
	for at--; spis[at&mask]>>32 == gone; at-- {
		atomic.StoreUint64(&spis[at&mask], 0)
	}
}

// use has a tunnel's packets sent by an SA from now on; 0 is by none.
func (s *sas) use(tunnel int, spi uint32) {
	var sa unsafe.Pointer
	if number, there := s.numbers[spi]; there {
		sa = unsafe.Pointer(&s.list()[number])
	}
	atomic.StorePointer(&s.of()[tunnel], sa)
}

// used says whether a tunnel's packets are sent by an SA.
func (s *sas) used(tunnel int, spi uint32) bool {
	number, there := s.numbers[spi]
	return there && s.of()[tunnel] == unsafe.Pointer(&s.list()[number])
}

// remove ends an SA that no tunnel uses. What it gives back is given back by whoever calls what it returns: when no loop can have it any more.
func (s *sas) remove(spi uint32) (release func() error) {
	number, there := s.numbers[spi]
	if !there {
		return func() error { return nil }
	}
	delete(s.numbers, spi)
	s.withdraw(bigEndian32(spi))
	return func() error {
		err := s.devices.Free(s.sessions[number])
		s.sessions[number], s.list()[number] = nil, C.struct_traffic_sa{}
		s.free = append(s.free, number)
		return err
	}
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
		if session != nil {
			errs = append(errs, s.devices.Free(session))
		}
	}
	s.sessions = nil
	if s.table != nil {
		C.traffic_memory_free(unsafe.Pointer(s.table.sas), s.octets(), 1)
		C.traffic_memory_free(unsafe.Pointer(s.table.spis), s.spiOctets(), 0)
		C.traffic_memory_free(unsafe.Pointer(s.table.of), s.ofOctets(), 0)
		C.traffic_memory_free(unsafe.Pointer(s.table), C.sizeof_struct_traffic_sas, 0)
		s.table = nil
	}
	return errors.Join(errs...)
}

// left is how many packets the SA with the fewest numbers left can send.
func (s *sas) left() uint64 {
	least := uint64(math.MaxUint64)
	for _, sa := range s.list() {
		switch {
		case sa.session == nil:
		case sa.esn != 0:
			least = min(least, math.MaxUint64-uint64(sa.sequence))
		default:
			least = min(least, 1<<32-1-uint64(sa.sequence))
		}
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
