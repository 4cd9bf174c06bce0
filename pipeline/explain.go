package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"sallyport/policy"
)

// Query is a packet to explain: as it arrives by a port (or, with LocalPort, leaves the gateway itself), in clear or, with
// InTunnel, out of that tunnel.
type Query struct {
	Packet   policy.Packet
	Port     string
	InTunnel string
}

// Trace is what would become of a packet now. It supposes a packet that is sound, lives long enough and is not too long.
type Trace struct {
	Action string // drop, forward, protect, local, ike, group (to the gateway as one of a group) or decrypt
	Reason string // of a drop
	Waits  string // what a packet that is forwarded or protected has to wait for first: "neighbour", "sa", or nothing

	Entry     *policy.Entry     // the filter that decided; nil when none did
	Exemption *policy.Exemption // the exemption that decided; nil when none did
	Soft      *SoftSA           // that it would pass in clear by; nil when there is none

	Tunnel      string // that a filter sends it into
	CellState   string // of that tunnel: up, or else closed, hold or failed
	OutboundSPI uint32 // of that tunnel's SA, 0 for none

	OutPort   string     // it leaves by, or its tunnel's packet does
	NextHop   netip.Addr // likewise
	Neighbour string     // MAC address of the next hop; "unresolved"; empty without a next hop

	Cached []CachedFlow
}

// CachedFlow is a memo of the packet's flow in a worker's flow cache. Only a current one is used.
type CachedFlow struct {
	Worker         int
	Action, Reason string
	Current        bool
}

// String is the word that explain prints.
func (s CellState) String() string {
	switch s {
	case CellClosed:
		return "closed"
	case CellHold:
		return "hold"
	case CellFailed:
		return "failed"
	}
	return fmt.Sprintf("CellState(%d)", uint8(s))
}

// Explain asks the published tables, through the functions of the fast path, what would become of a packet. It counts and
// remembers nothing.
func (d *Dataplane) Explain(q Query) (Trace, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		return Trace{}, errClosed
	}
	key, port, err := d.flowKey(&q)
	if err != nil {
		return Trace{}, err
	}
	var x C.struct_sp_explanation
	wide := wideAddresses(&q.Packet)
	C.sp_explain(d.c, &key, wide, port, &x)
	t := d.trace(&x, q.Packet.Destination)
	for worker := range d.cfg.Workers {
		t.Cached = append(t.Cached, d.cached(worker, &x.key, wide)...)
	}
	return t, nil
}

// wideAddresses is source and destination of an IPv6 packet as they stand in it; nil for IPv4, which has them in its key.
func wideAddresses(p *policy.Packet) *C.uint8_t {
	if p.Source.Is4() {
		return nil
	}
	both := [2][16]C.uint8_t{ipv6Bytes(p.Source), ipv6Bytes(p.Destination)}
	return &both[0][0]
}

// flowKey is the packet's key but for what the port decides, and its in-port.
func (d *Dataplane) flowKey(q *Query) (key C.struct_sp_flow_key, port C.uint16_t, err error) {
	p := &q.Packet
	if !p.Source.IsValid() || !p.Destination.IsValid() || p.Source.Is4() != p.Destination.Is4() {
		return key, 0, fmt.Errorf("pipeline: packet from %s to %s: want two addresses of one IP version", p.Source, p.Destination)
	}
	key = C.struct_sp_flow_key{protocol: C.uint8_t(p.Protocol), in_cell: C.SP_NO_CELL}
	if p.Source.Is4() {
		key.source, key.destination = ipv4Number(p.Source), ipv4Number(p.Destination)
	}
	if p.HasPorts {
		key.source_port, key.destination_port = C.uint16_t(p.SourcePort), C.uint16_t(p.DestinationPort)
	}
	if q.InTunnel != "" {
		id, ok := d.cells.byName[q.InTunnel]
		if !ok {
			return key, 0, fmt.Errorf("pipeline: there is no tunnel %q", q.InTunnel)
		}
		key.in_cell = C.uint16_t(id)
	}
	if q.Port == LocalPort {
		key.role = roleLocal
		return key, C.SP_PORT_LOCAL, nil
	}
	i := slices.IndexFunc(d.cfg.Ports, func(p PortSpec) bool { return p.Name == q.Port })
	if i < 0 {
		return key, 0, fmt.Errorf("pipeline: there is no port %q", q.Port)
	}
	key.role = C.uint8_t(d.cfg.Ports[i].role())
	return key, d.cPort(i), nil
}

func (d *Dataplane) trace(x *C.struct_sp_explanation, destination netip.Addr) Trace {
	t := Trace{Action: C.GoString(C.sp_action_name(C.uint32_t(x.action)))}
	who, soft := d.decidedBy(uint32(x.filter))
	t.Entry, t.Exemption, t.Soft = who.entry, who.exemption, soft
	if x.action == C.SP_ACTION_OUTBOUND {
		id := CellID(x.cell)
		t.Tunnel, t.OutboundSPI, t.CellState = d.cellName(id), uint32(x.spi), "up"
		if x.spi == 0 {
			t.CellState = d.cells.cells[id].state.String()
		}
	}
	d.traceNextHop(x, destination, &t)
	switch x.fate {
	case C.SP_FATE_DROPPED:
		t.Action, t.Reason = "drop", dropNames()[x.reason]
	case C.SP_FATE_NEIGHBOUR:
		t.Waits = "neighbour"
	case C.SP_FATE_ACQUIRE:
		t.Waits = "sa"
	}
	return t
}

// traceNextHop names the neighbour that the packet, or its tunnel's packet, leaves to.
func (d *Dataplane) traceNextHop(x *C.struct_sp_explanation, destination netip.Addr, t *Trace) {
	var key neighbourKey
	switch {
	case int(x.adjacency) < len(d.slow.adjacencies.keys):
		key = d.slow.adjacencies.keys[x.adjacency]
	case x.action == C.SP_ACTION_FORWARD && destination.Is6():
		key, _ = nextHop(d.policy.routes, destination) // as for a packet that waits
	case x.action == C.SP_ACTION_FORWARD:
		key = neighbourKey{Port: d.ports[uint16(x.out_port)], Address: ipv4Address(x.next_hop)}
	default:
		return
	}
	t.OutPort, t.NextHop, t.Neighbour = d.cfg.Ports[key.Port].Name, key.Address, "unresolved"
	if n := d.slow.neighbours.table[key]; n != nil && n.state != neighbourIncomplete {
		t.Neighbour = net.HardwareAddr(n.mac[:]).String()
	}
}

// Neighbour is the host on an attached link that packets of the gateway's own to an address leave to.
type Neighbour struct {
	Port    string
	Address netip.Addr
	MAC     net.HardwareAddr // nil: it has not said
}

// Neighbour finds it by the routes in force; ok is false without one.
func (d *Dataplane) Neighbour(destination netip.Addr) (n Neighbour, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key, ok := nextHop(d.policy.routes, destination)
	if !ok {
		return n, false
	}
	n = Neighbour{Port: d.cfg.Ports[key.Port].Name, Address: key.Address}
	if known := d.slow.neighbours.table[key]; known != nil && known.state != neighbourIncomplete {
		n.MAC = known.mac[:]
	}
	return n, true
}

// cached is what a worker's flow cache holds for the key.
func (d *Dataplane) cached(worker int, key *C.struct_sp_flow_key, wide *C.uint8_t) []CachedFlow {
	var entries [2]C.struct_sp_flow_entry
	var flows []CachedFlow
	n := C.uint32_t(0)
	if wide == nil {
		n = C.sp_flow_find(d.c, C.uint32_t(worker), key, &entries[0])
	} else {
		var entries6 [2]C.struct_sp_flow_entry6
		n = C.sp_flow_find6(d.c, C.uint32_t(worker), key, wide, &entries6[0])
		for i := range entries6 {
			entries[i] = narrow(&entries6[i])
		}
	}
	for i := range entries[:n] {
		e := &entries[i]
		f := CachedFlow{Worker: worker, Action: C.GoString(C.sp_action_name(C.uint32_t(e.action))), Current: e.generation == C.sp_generation(d.c)}
		if e.action == C.SP_ACTION_DROP {
			f.Reason = dropNames()[e.reason]
		}
		flows = append(flows, f)
	}
	return flows
}

// TableRow is a filter as the fast path has it.
type TableRow struct {
	EntryID uint32
	Verdict string // as policy.Verdict prints it
	Tunnel  string
}

// Table reads the published filters back from the fast path, in the order in which they match (S-108).
func (d *Dataplane) Table() ([]TableRow, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		return nil, errClosed
	}
	var rows []TableRow
	var batch [256]C.struct_sp_entry
	for {
		n := int(C.sp_snapshot_entries(d.c, C.uint32_t(len(rows)), &batch[0], C.uint32_t(len(batch))))
		if n == 0 {
			return rows, nil
		}
		for i := range batch[:n] {
			rows = append(rows, d.tableRow(&batch[i]))
		}
	}
}

func (d *Dataplane) tableRow(e *C.struct_sp_entry) TableRow {
	row := TableRow{Verdict: verdictFromC(e.verdict).String()}
	if who := d.policy.bySlot[uint32(e.counter)]; who.entry != nil {
		row.EntryID = who.entry.ID
	}
	if e.cell != C.SP_NO_CELL {
		row.Tunnel = d.cellName(CellID(e.cell))
	}
	return row
}

func verdictFromC(v C.uint8_t) policy.Verdict {
	switch v {
	case C.SP_VERDICT_PERMIT:
		return policy.VerdictPermit
	case C.SP_VERDICT_PROTECT:
		return policy.VerdictProtect
	case C.SP_VERDICT_REQUIRE, C.SP_VERDICT_PASSTHROUGH:
		return policy.VerdictRequire
	case C.SP_VERDICT_STALE:
		return policy.VerdictStale
	}
	return policy.VerdictBlock
}
