package ethdev

import (
	"errors"
	"fmt"
	"strconv"

	"sallyport/pmd/mempool"
)

const (
	// MinMTU is what every IPv4 link must carry (RFC 791 section 3.2), in bytes.
	MinMTU = 68
	// MaxMTU is the largest MTU that Open takes, in bytes: jumbo frames of all common equipment fit.
	MaxMTU = 9728

	// frameOverhead is what a frame may have beside the packet: Ethernet header and two VLAN tags, in bytes. The frame check
	// sequence stays with the hardware.
	frameOverhead = 14 + 2*4

	// An AF_PACKET ring (TPACKET_V2) keeps a frame behind its own header. On receive the packet starts at most
	// packetRxHeader bytes into the slot: the header of 32 and a sockaddr_ll of 20, aligned to 16 together with at least 16 for the
	// link header (tpacket_rcv in the kernel's net/packet/af_packet.c). The driver counts 32 when it compares a slot with a buffer.
	packetRxHeader   = 80
	packetSlotHeader = 32

	defaultSlot = 2048 // slot of the driver and of Ethernet's usual MTU, in bytes
	slotStep    = 1024 // larger slots are multiples of this, so that a few of them fill a block of whole pages
	pageSize    = 4096
	// slots is the number of frames in each direction's ring of a queue: 1 ms at 1 Mpps, more than AF_PACKET carries.
	slots = 1024
)

// slotSize is the size in bytes of a slot of an AF_PACKET ring for packets of mtu bytes.
func slotSize(mtu int) int {
	need := mtu + frameOverhead + packetRxHeader
	if need <= defaultSlot {
		return defaultSlot
	}
	return (need + slotStep - 1) / slotStep * slotStep
}

// DataRoom is the data room in bytes (mempool.CreateMbufPool) of a pool that serves a port of this MTU with any driver.
func DataRoom(mtu int) uint16 {
	return uint16(mempool.Headroom + slotSize(mtu))
}

// tuned adds the arguments that the MTU and the queues ask for and the operator did not give.
func (d device) tuned(cfg *PortConfig) device {
	if d.kind == nil {
		return d
	}
	if queues := max(cfg.RxQueues, cfg.TxQueues); d.kind.queues != "" && queues > 1 {
		d = d.withDefault(d.kind.queues, queues)
	}
	if d.kind.driver == "net_af_packet" && !d.has("framesz") && !d.has("blocksz") {
		// A block is whole pages and whole slots: the driver takes the slots to follow each other without a gap.
		slot := slotSize(cfg.MTU)
		block := slot
		for block%pageSize != 0 {
			block += slot
		}
		count := slots / (block / slot) * (block / slot)
		d = d.withDefault("framesz", slot).withDefault("blocksz", block).withDefault("framecnt", count)
	}
	return d
}

// checkPool finds what a virtual device would do to the pool without asking: a driver does not compare everything with it.
func (d device) checkPool(cfg *PortConfig) error {
	if d.kind == nil {
		return nil
	}
	var errs []error
	if need := cfg.RxQueues * d.kind.fill; need != 0 && int(cfg.Pool.Size()) <= need {
		errs = append(errs, fmt.Errorf("device %s: its queues keep %d buffers, expected more than that in pool %q of %d", d, need,
			cfg.Pool.Name(), cfg.Pool.Size()))
	}
	if text, found := d.argument("size"); found && d.kind.driver == "net_null" {
		// net_null writes packets of this size into the buffers, whatever their room.
		room := int(cfg.Pool.DataRoom()) - mempool.Headroom
		if size, err := strconv.Atoi(text); err != nil || size < 1 || size > room {
			errs = append(errs, fmt.Errorf("device %s: size %s, expected 1 to %d bytes, the room in a buffer of pool %q", d, text, room,
				cfg.Pool.Name()))
		}
	}
	return errors.Join(errs...)
}
