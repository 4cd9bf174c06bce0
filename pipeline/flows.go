package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"net/netip"
	"unsafe"

	"sallyport/policy"
)

// Flow is a memo in a worker's flow cache: what was decided for a 5-tuple under the present policy.
type Flow struct {
	Worker                      int
	Source, Destination         netip.Addr
	SourcePort, DestinationPort uint16
	Protocol                    uint8
	Role                        string // of the in-port: protected, unprotected, or local
	WithoutIKE                  bool   // the in-port takes no IKE
	InTunnel                    string // the tunnel that brought it; empty when it arrived in clear
	Action                      string
	Reason                      string // of a drop
	OutTunnel                   string // the tunnel that it goes into
	Filter                      policy.Entry
	Matched                     bool   // Filter is set
	Soft                        bool   // it passes in clear by a soft SA
	Exemption                   string // the exemption that let it pass; empty when none did
}

var roleNames = map[uint8]string{roleProtected: "protected", roleUnprotected: "unprotected", roleLocal: LocalPort}

// Flows lists up to limit flows of all workers, in no order. Workers go on meanwhile.
func (d *Dataplane) Flows(limit int) []Flow {
	d.mu.Lock()
	defer d.mu.Unlock()
	var flows []Flow
	if d.c == nil {
		return flows
	}
	for worker := range d.cfg.Workers {
		flows = d.appendFlows(flows, worker, limit)
		flows = d.appendFlows6(flows, worker, limit)
	}
	return flows
}

func (d *Dataplane) appendFlows(flows []Flow, worker, limit int) []Flow {
	var batch [256]C.struct_sp_flow_entry
	cursor := C.uint32_t(0)
	for len(flows) < limit && int(cursor) < d.cfg.FlowEntries {
		n := C.sp_flow_dump(d.c, C.uint32_t(worker), &cursor, &batch[0], C.uint32_t(min(len(batch), limit-len(flows))))
		for i := range int(n) {
			e := &batch[i]
			f := d.flow(worker, e)
			f.Source, f.Destination = ipv4Address(e.key.source), ipv4Address(e.key.destination)
			flows = append(flows, f)
		}
	}
	return flows
}

func (d *Dataplane) appendFlows6(flows []Flow, worker, limit int) []Flow {
	var batch [256]C.struct_sp_flow_entry6
	cursor, entries := C.uint32_t(0), C.sp_flow6_entries(d.c)
	for len(flows) < limit && cursor < entries {
		n := C.sp_flow_dump6(d.c, C.uint32_t(worker), &cursor, &batch[0], C.uint32_t(min(len(batch), limit-len(flows))))
		for i := range int(n) {
			e := &batch[i]
			same := narrow(e)
			f := d.flow(worker, &same)
			addresses := (*[32]byte)(unsafe.Pointer(&e.addresses))
			f.Source, f.Destination = netip.AddrFrom16([16]byte(addresses[:16])), netip.AddrFrom16([16]byte(addresses[16:]))
			flows = append(flows, f)
		}
	}
	return flows
}

// narrow is a memo of IPv6 as one of IPv4, but for the addresses.
func narrow(e *C.struct_sp_flow_entry6) C.struct_sp_flow_entry {
	n := C.struct_sp_flow_entry{generation: e.generation, filter: e.filter, cell: e.cell, adjacency: e.adjacency, action: e.action, reason: e.reason}
	*(*C.uint64_t)(unsafe.Pointer(&n.key.source_port)) = e.rest
	return n
}

// flow is a memo but for the addresses.
func (d *Dataplane) flow(worker int, e *C.struct_sp_flow_entry) Flow {
	f := Flow{
		Worker:          worker,
		SourcePort:      uint16(e.key.source_port),
		DestinationPort: uint16(e.key.destination_port),
		Protocol:        uint8(e.key.protocol),
		Role:            roleNames[uint8(e.key.role)&^C.SP_KEY_NO_IKE],
		WithoutIKE:      e.key.role&C.SP_KEY_NO_IKE != 0,
		Action:          C.GoString(C.sp_action_name(C.uint32_t(e.action))),
	}
	if e.key.in_cell != C.SP_NO_CELL {
		f.InTunnel = d.cellName(CellID(e.key.in_cell))
	}
	switch e.action {
	case C.SP_ACTION_DROP:
		f.Reason = dropNames()[e.reason]
	case C.SP_ACTION_OUTBOUND:
		f.OutTunnel = d.cellName(CellID(e.cell))
	}
	who, soft := d.decidedBy(uint32(e.filter))
	f.Soft = soft != nil
	switch {
	case who.entry != nil:
		f.Filter, f.Matched = *who.entry, true
	case who.exemption != nil:
		f.Exemption = who.exemption.Name
	}
	return f
}
