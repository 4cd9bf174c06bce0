package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"slices"

	"sallyport/policy"
)

// exemptionsToC is what the workers have to know of the exemptions: those of received packets. They know the own addresses
// and the groups, so a row is what else tells its packets from others. What the gateway itself sends is counted where it
// is made.
func exemptionsToC(spd *policy.SPD, filters *filterSlots) []C.struct_sp_exemption {
	var all []C.struct_sp_exemption
	for i := range spd.Exemptions {
		x := &spd.Exemptions[i]
		if !x.Inbound && x.Kind != policy.ExemptIPv6 {
			continue
		}
		row := exemptionToC(x, C.uint32_t(filters.byID[x.ID].slot))
		all = append(all, row...)
	}
	return all
}

// exemptionToC has one element for each combination of protocol and ports, for the IP versions that it is there for.
func exemptionToC(x *policy.Exemption, counter C.uint32_t) []C.struct_sp_exemption {
	var row []C.struct_sp_exemption
	for _, f := range x.Filters {
		c := C.struct_sp_exemption{
			counter:           counter,
			protocol:          C.uint8_t(f.Protocol),
			source_port_first: C.uint16_t(f.SourcePort.First), source_port_last: C.uint16_t(f.SourcePort.Last),
			destination_port_first: C.uint16_t(f.DestinationPort.First), destination_port_last: C.uint16_t(f.DestinationPort.Last),
			target: exemptTarget(x.Kind),
			ike:    flag(x.Kind == policy.ExemptIKE),
		}
		version := C.uint8_t(1 << C.SP_IPV6)
		if f.Source.Is4() {
			version = 1 << C.SP_IPV4
		}
		same := slices.IndexFunc(row, func(other C.struct_sp_exemption) bool {
			other.versions = 0
			return other == c
		})
		if same < 0 {
			same = len(row)
			row = append(row, c)
		}
		row[same].versions |= version
	}
	return row
}

func exemptTarget(kind policy.ExemptionKind) C.uint8_t {
	switch kind {
	case policy.ExemptMulticast:
		return C.SP_TARGET_MULTICAST
	case policy.ExemptBroadcast:
		return C.SP_TARGET_BROADCAST
	}
	return C.SP_TARGET_OWN
}
