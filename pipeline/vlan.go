package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"fmt"
	"slices"

	"sallyport/pmd/ethdev"
)

// portIDs are the ids that workers have for the ports: an untagged port has its device's, those of VLANs stand behind the
// largest of these.
func (cfg *Config) portIDs() []C.uint16_t {
	ids := make([]C.uint16_t, len(cfg.Ports))
	next := C.uint16_t(C.SP_MAX_DEVICES)
	for i := range cfg.Ports {
		if ids[i] = C.uint16_t(cfg.Ports[i].Port); cfg.Ports[i].VLAN != 0 {
			ids[i] = next
			next++
		}
	}
	return ids
}

// portID is the workers' id of a VLAN's port on a device, as one that is there.
func (d *Dataplane) portID(device, vlan uint16) C.uint16_t {
	i := slices.IndexFunc(d.cfg.Ports, func(p PortSpec) bool { return uint16(p.Port) == device && p.VLAN == vlan })
	return d.portIDs[max(i, 0)]
}

// validVLANs checks that frames of each VLAN have one port.
func (cfg *Config) validVLANs() error {
	type link struct {
		device ethdev.Port
		vlan   uint16
	}
	ports, tagged := map[link]string{}, 0
	for i := range cfg.Ports {
		p := &cfg.Ports[i]
		key := link{p.Port, p.VLAN}
		other, twice := ports[key]
		switch {
		case p.VLAN > 4094:
			return fmt.Errorf("pipeline: port %s: VLAN %d, want 1 to 4094, or 0 for untagged frames (IEEE 802.1Q section 9.6)", p.Name, p.VLAN)
		case twice && p.VLAN == 0:
			return fmt.Errorf("pipeline: ports %s and %s both take the untagged frames of one device: give one of them a VLAN", other, p.Name)
		case twice:
			return fmt.Errorf("pipeline: ports %s and %s are both VLAN %d of one device", other, p.Name, p.VLAN)
		}
		if ports[key] = p.Name; p.VLAN != 0 {
			tagged++
		}
	}
	if limit := C.SP_MAX_PORTS - C.SP_MAX_DEVICES; tagged > limit {
		return fmt.Errorf("pipeline: %d ports of VLANs, want at most %d", tagged, limit)
	}
	return nil
}

// offered reports whether SAs can have sessions of any port.
func (cfg *Config) offered() bool {
	return cfg.Inline != nil && slices.ContainsFunc(cfg.Ports, func(p PortSpec) bool { return cfg.Inline.Offers(uint16(p.Port)) })
}
