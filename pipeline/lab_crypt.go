package pipeline

/*
#include "lab_crypt.h"
*/
import "C"

import (
	"fmt"
	"unsafe"

	"sallyport/crypto/cryptodev"
)

// cryptPacket is a packet for the crypto stages: of ESP from the SPI to the ICV, of AH from the IP header to the end, with
// mutable fields and ICV zero and the IV and ICV apart.
type cryptPacket struct {
	octets   []byte
	icv      []byte
	sequence uint64
	failed   bool
}

// runCrypt seals or opens packets in place, as the session says. The salt is that of the SA.
func (d *Dataplane) runCrypt(s *cryptodev.Session, salt []byte, queuePair int, packets []*cryptPacket) error {
	config := C.struct_sp_sa_config{
		session: s.Handle, gcm: s.GCM, kind: sessionKind(s), cipher: cipherShape(s.Suite), device: C.uint8_t(s.Device),
		iv_length: C.uint8_t(s.Suite.IVLen()), icv_length: C.uint8_t(s.Suite.ICVLen()), block: C.uint8_t(max(s.Suite.BlockSize(), 4)), esn: flag(s.ESN),
	}
	if s.Suite.AH() {
		config.protocol = C.SP_SA_AH
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&config.salt_be)), 4), salt)
	for len(packets) > 0 {
		burst := packets[:min(len(packets), C.SP_BURST)]
		packets = packets[len(burst):]
		if err := d.runCryptBurst(&config, queuePair, burst, s.Encrypt); err != nil {
			return fmt.Errorf("%s on %s: %w", s.Suite, s.DeviceName(), err)
		}
	}
	return nil
}

func (d *Dataplane) runCryptBurst(config *C.struct_sp_sa_config, queuePair int, burst []*cryptPacket, encrypt bool) error {
	var buffer []byte
	var index [C.SP_BURST]C.struct_sp_lab_packet
	for i, p := range burst {
		payload := len(p.octets)
		length := 0
		if config.protocol == C.SP_SA_ESP {
			payload = espHeaderLen + int(config.iv_length)
			length = len(p.octets) - payload - int(config.icv_length)
		}
		index[i] = C.struct_sp_lab_packet{offset: C.uint32_t(len(buffer)), length: C.uint32_t(len(p.octets)),
			payload: C.uint32_t(payload), payload_length: C.uint32_t(length), sequence: C.uint64_t(p.sequence)}
		copy(unsafe.Slice((*byte)(&index[i].icv[0]), len(index[i].icv)), p.icv)
		buffer = append(buffer, p.octets...)
	}
	rc := C.sp_lab_crypt(d.c, config, C.uint16_t(queuePair), (*C.uint8_t)(&buffer[0]), &index[0], C.uint32_t(len(burst)), C.int(flag(encrypt)))
	if rc != 0 {
		return errno(rc)
	}
	for i, p := range burst {
		copy(p.octets, buffer[index[i].offset:])
		copy(p.icv, unsafe.Slice((*byte)(&index[i].icv[0]), len(index[i].icv)))
		p.failed = index[i].failed != 0
	}
	return nil
}
