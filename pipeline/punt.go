package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// PuntClasses is how many queues each worker has to the slow path.
const PuntClasses = C.SP_CLASS_COUNT

// PuntShares bounds the shares of such a queue.
const PuntShares = C.SP_PUNT_SHARES

// DefaultPuntQueue is how many packets each of them holds where Config does not say.
const DefaultPuntQueue = 256

// puntShares is how many packets of each class one round of the slow path takes from a worker. A full queue costs the others the time for
// its share, however long it is. What ends work that was begun has twice the share of what begins some, and of what only asks for an answer.
var puntShares = [C.SP_CLASS_COUNT]C.uint16_t{
	C.SP_CLASS_LINK:               shareOfMost,
	C.SP_CLASS_IKE:                shareOfMost,
	C.SP_CLASS_EARLY:              shareOfMost,
	C.SP_CLASS_ACQUIRE:            shareOfMost,
	C.SP_CLASS_NOTICE:             shareOfMost,
	C.SP_CLASS_NEIGHBOUR:          shareOfMost,
	C.SP_CLASS_IKE_STRANGER:       shareOfMost,
	C.SP_CLASS_IKE_BEGIN:          shareOfMost / 2,
	C.SP_CLASS_LOCAL:              shareOfMost / 2,
	C.SP_CLASS_IKE_BEGIN_STRANGER: shareOfMost / 2,
}

const shareOfMost = 32

// puntBatch is room for a round's packets of one worker.
const puntBatch = C.SP_CLASS_COUNT * shareOfMost

// puntQueue is how many packets each queue holds: what is configured, as long as all queues together leave half of the buffers to the ports.
func (cfg *Config) puntQueue() int {
	return max(min(cfg.PuntQueue, int(cfg.Pool.Size())/(2*PuntClasses*cfg.Workers)), 1)
}

// PuntCounters counts what workers had for the slow path, of one class.
type PuntCounters struct {
	Class  string
	Queued uint64 // found room
	// Full is what found none: dropped for punt_full, or for the reason that ICMP would have told its sender.
	Full    uint64
	Waiting uint64 // in the queues, at this moment
}

// punts reads the counters of all classes, in the order in which they are served.
func (d *Dataplane) punts() (list []PuntCounters) {
	for class := range C.uint32_t(C.SP_CLASS_COUNT) {
		var c C.struct_sp_punt_counters
		C.sp_punt_counters_read(d.c, class, &c)
		list = append(list, PuntCounters{Class: C.GoString(C.sp_punt_class_name(class)), Queued: uint64(c.queued), Full: uint64(c.full), Waiting: uint64(c.waiting)})
	}
	return list
}

// IKESPI makes of 64 random bits an SPI, or a cookie of IKEv1, for an IKE SA of ours. Workers know messages that name one, wherever they come from, and have them
// wait apart from those that anybody can write. It is good for this data plane alone.
func (d *Dataplane) IKESPI(random uint64) uint64 {
	return uint64(C.sp_ike_spi(&d.secret[0], C.uint64_t(random)))
}

// newSecret is what nobody outside can know.
func newSecret() (secret [2]C.uint64_t) {
	var b [16]byte
	_, _ = rand.Read(b[:]) // which never fails
	for i := range secret {
		secret[i] = C.uint64_t(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return secret
}

// keyedHash is the workers' hash of words under a secret.
func keyedHash(secret [2]uint64, words ...uint64) uint64 {
	return uint64(C.sp_keyed_hash((*C.uint64_t)(&secret[0]), (*C.uint64_t)(&words[0]), C.uint32_t(len(words))))
}

// peerBook counts why an address is a peer's: it is told to be one, or is where outbound SAs send to.
type peerBook struct {
	reasons  map[netip.Addr]int
	roomless map[netip.Addr]bool // those of them that the workers' table has no room for
}

func newPeerBook() peerBook {
	return peerBook{reasons: map[netip.Addr]int{}, roomless: map[netip.Addr]bool{}}
}

// KnowPeers says whose IKE messages are a peer's, and whose are not any more. They wait for the slow path apart from those of strangers. Where the
// outbound SAs end is a peer without being named, wherever its NAT has it. An error is of addresses without room: they go on as strangers', and get it as soon as others go.
func (d *Dataplane) KnowPeers(come, gone []netip.Addr) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		return errClosed
	}
	for _, a := range gone {
		d.part(a)
	}
	var errs []error
	for _, a := range come {
		errs = append(errs, d.meet(a))
	}
	return errors.Join(errs...)
}

// meet notes one more reason for an address to be a peer's.
func (d *Dataplane) meet(a netip.Addr) error {
	book := &d.slow.peers
	book.reasons[a]++
	if book.reasons[a] > 1 && !book.roomless[a] {
		return nil
	}
	if rc := d.admitPeer(a); rc != 0 {
		book.roomless[a] = true
		return fmt.Errorf("pipeline: address %s of a peer, of %d in all: %w", a, len(book.reasons), errno(rc))
	}
	delete(book.roomless, a)
	return nil
}

func (d *Dataplane) admitPeer(a netip.Addr) C.int {
	key := ipv6Bytes(a) // of IPv4 as ::ffff:0:0/96
	return C.sp_peer_add(d.c, &key[0])
}

// part takes one reason back.
func (d *Dataplane) part(a netip.Addr) {
	book := &d.slow.peers
	n, known := book.reasons[a]
	if n > 1 {
		book.reasons[a] = n - 1
	}
	if !known || n > 1 {
		return
	}
	delete(book.reasons, a)
	if book.roomless[a] {
		delete(book.roomless, a)
		return
	}
	key := ipv6Bytes(a)
	C.sp_peer_remove(d.c, &key[0])
}

// admitRoomless gives peers room that others have left.
func (d *Dataplane) admitRoomless() {
	for a := range d.slow.peers.roomless {
		if d.admitPeer(a) != 0 {
			return
		}
		delete(d.slow.peers.roomless, a)
	}
}
