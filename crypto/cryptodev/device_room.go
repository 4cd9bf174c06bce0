package cryptodev

/*
#include "session.h"
*/
import "C"

import "fmt"

// Some devices write around a packet: beside it they have their own words for the hardware.

// Room is how many bytes are free in front of a packet and behind it.
type Room struct{ Front, Behind int }

// left is what an SA leaves of the room that its packets have as they arrive. Outbound its headers, padding and ICV take some of it, whoever puts them there.
func (r Room) left(sa *ESP) Room {
	if !sa.Outbound {
		return r
	}
	const ipv4, ipv6, udp, esp, trailer = 20, 40, 8, 8, 2
	r.Front -= esp + sa.Suite.IVLen()
	r.Behind -= sa.Suite.BlockSize() - 1 + trailer + sa.Suite.ICVLen()
	if sa.UDPEncap {
		r.Front -= udp
	}
	switch {
	case sa.Transport:
	case sa.Local.Addr().Is4():
		r.Front -= ipv4
	default:
		r.Front -= ipv6
	}
	return r
}

// cramped says that packets of an SA come to the device's queue pairs with less room than it needs, or nothing if there is enough.
func (d *device) cramped(sa *ESP) string {
	var front, behind C.uint16_t
	C.spcrypto_room(C.uint8_t(d.id), &front, &behind)
	left := d.room.left(sa)
	switch {
	case front > 0 && int(front) > left.Front:
		return fmt.Sprintf("needs %d bytes free in front of a packet, of this SA's there are %d", front, left.Front)
	case behind > 0 && int(behind) > left.Behind:
		return fmt.Sprintf("needs %d bytes free behind a packet, of this SA's there are %d", behind, left.Behind)
	}
	return ""
}
