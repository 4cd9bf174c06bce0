package traffic

import (
	"encoding/binary"
	"slices"
)

const etherTypeVLAN = 0x8100

// tagged is a frame as the port sends it: with the tag of its VLAN, if it has one.
func (p *port) tagged(frame []byte) []byte {
	if p.vlan == 0 {
		return frame
	}
	tag := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, etherTypeVLAN), p.vlan)
	return slices.Insert(slices.Clone(frame), etherLen-2, tag...)
}

// untagged is a frame that has arrived, without its tag. The receiver has looked at that, and the port may have taken it off.
func untagged(frame []byte) []byte {
	if len(frame) < etherLen+4 || binary.BigEndian.Uint16(frame[etherLen-2:]) != etherTypeVLAN {
		return frame
	}
	return slices.Delete(slices.Clone(frame), etherLen-2, etherLen+2)
}
