package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"fmt"
	"net/netip"
	"time"
)

// keepaliveInterval is how long a NAT before us may see nothing of an SA in UDP (RFC 3948 section 4).
const keepaliveInterval = 20 * time.Second

// follow sends to where an authenticated packet of the peer came from by an inbound SA, newer than all before (RFC 7296 section 2.23). IKE is
// told too. An address that no peer can have is not believed, authentic or not.
func (d *Dataplane) follow(sa *association, remote netip.AddrPort) event {
	cell, spi := sa.child.Cell, sa.child.SPI
	if !d.plausible(remote, sa.child.Remote) {
		return nil
	}
	former := sa.child.Remote
	sa.child.Remote = remote
	for _, out := range d.sad.outboundOf(cell) {
		if out.child.Remote == former {
			_ = d.moveOutbound(out, out.child.Local, remote) // without memory for it the old address remains
		}
	}
	d.rerouteInbound(d.sad.inbound[spi])
	return func(h Handler) { h.Moved(cell, spi, remote) }
}

func (d *Dataplane) plausible(remote, former netip.AddrPort) bool {
	a := remote.Addr()
	return remote.Port() != 0 && a.Is4() == former.Addr().Is4() && a.IsGlobalUnicast() && !d.policy.own.has(a) && d.sameSide(a, former.Addr())
}

// sameSide reports whether two addresses are behind ports of one role, as far as there are routes to them. A peer that moved from one side to the other would have
// us send to hosts there what no filter is asked about.
func (d *Dataplane) sameSide(a, b netip.Addr) bool {
	toA, okA := nextHop(d.policy.routes, a)
	toB, okB := nextHop(d.policy.routes, b)
	return !okA || !okB || d.cfg.Ports[toA.Port].Role == d.cfg.Ports[toB.Port].Role
}

// MoveOutbound makes an outbound SA send from and to other addresses, and with ESP in UDP to another port: the NAT before its peer has changed them, or one
// of the two ends has moved (RFC 4555). Numbers and keys go on. In transport mode only SAs in UDP move.
func (d *Dataplane) MoveOutbound(cell CellID, spi uint32, local, remote netip.AddrPort) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkCell(cell); err != nil {
		return err
	}
	sa := d.sad.outboundSPI(cell, spi)
	if sa == nil {
		return fmt.Errorf("pipeline: tunnel %q has no outbound SA %#08x to move", d.cellName(cell), spi)
	}
	if sa.child.Local == local && sa.child.Remote == remote {
		return nil
	}
	if local.Addr().Is4() != sa.child.Local.Addr().Is4() || !d.plausible(remote, sa.child.Remote) {
		return fmt.Errorf("pipeline: outbound SA %#08x of %s: want an own and another unicast address like %s and %s, found %s and %s",
			spi, d.cellName(cell), sa.child.Local, sa.child.Remote, local, remote)
	}
	return d.moveOutbound(sa, local, remote)
}

// Plausible reports whether a peer that was at one address may be at another: no own one, of the same IP version, and on the same side of the gateway.
func (d *Dataplane) Plausible(former, remote netip.AddrPort) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.plausible(remote, former)
}

func (d *Dataplane) moveOutbound(sa *outboundSA, local, remote netip.AddrPort) error {
	from, to := outerAddress(local.Addr()), outerAddress(remote.Addr())
	if rc := C.sp_sa_out_move(d.c, sa.c, &from[0], &to[0], C.uint16_t(remote.Port())); rc != 0 {
		return fmt.Errorf("pipeline: outbound SA %#08x of %s cannot move: %w", sa.child.SPI, d.cellName(sa.child.Cell), errno(rc))
	}
	_ = d.meet(remote.Addr()) // without room it goes on as a stranger's
	d.part(sa.child.Remote.Addr())
	sa.child.Local, sa.child.Remote = local, remote
	d.sad.paths.forget(sa)
	d.routeSA(sa)
	return nil
}

// natPath is what a NAT before us keeps a mapping for.
type natPath struct{ local, remote netip.AddrPort }

// mapping is when a NAT before us last saw something of a path.
type mapping struct {
	sent uint64 // packets of all SAs there
	seen time.Time
}

// keepMappings sends a keepalive on every path where a NAT before us would forget us. Traffic of any SA there spares it.
func (d *Dataplane) keepMappings(now time.Time) {
	sent := map[natPath]uint64{}
	for _, sa := range d.sad.outbound {
		if sa.child.UDPEncap && sa.child.BehindNAT {
			var c C.struct_sp_sa_counters
			C.sp_sa_out_counters(sa.c, &c)
			sent[natPath{sa.child.Local, sa.child.Remote}] += uint64(c.packets)
		}
	}
	for path := range d.slow.mappings {
		if _, used := sent[path]; !used {
			delete(d.slow.mappings, path)
		}
	}
	for path, n := range sent {
		m, known := d.slow.mappings[path]
		switch {
		case !known || m.sent != n:
			d.slow.mappings[path] = mapping{n, now}
		case now.Sub(m.seen) >= keepaliveInterval:
			_ = d.sendUDP(path.local, path.remote, []byte{0xff}, false) // no route now, one perhaps in 20 s
			d.slow.mappings[path] = mapping{n, now}
		}
	}
}
