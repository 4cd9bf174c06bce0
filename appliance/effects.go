package appliance

import (
	"errors"
	"fmt"
	"net/netip"

	"sallyport/ike"
	"sallyport/pipeline"
)

// carryOut does what the engine wants done, and says what of it the data plane refused.
func (n *negotiator) carryOut(effect ike.Effect) *ike.InstallFailed {
	switch e := effect.(type) {
	case ike.Send:
		if !n.hold(e) {
			n.send(e)
		}
	case ike.Arm:
		n.arm(e.At)
	case ike.InstallInbound:
		failed := n.install(e.Peer, e.Child, e.SA, n.plane.InstallInbound)
		if failed != nil {
			failed.Inbound = true // its SPI comes back by ReleaseSPI
			return failed
		}
		n.inbound[e.SA.SPI] = n.count(e.Child)
		n.protects(e.Child, e.SA.Selectors)
	case ike.InstallOutbound:
		if failed := n.install(e.Peer, e.Child, e.SA, n.plane.InstallOutbound); failed != nil {
			return failed // the engine removes nothing that was refused
		}
		n.pairs[outboundSA{n.count(e.Child).id, e.SA.SPI}] = e.SA.PairSPI
	case ike.AddPeer:
		if err := n.addPeer(e); err != nil {
			n.log.Warn("no cell for a peer of the default response rule", "peer", e.Peer, "error", err)
		}
	case ike.RemovePeer:
		if err := n.removePeer(e.Peer); err != nil {
			n.log.Error("cell of a peer of the default response rule", "peer", e.Peer, "error", err)
		}
	case ike.CheckCertificates:
		n.certificates.check(e, n.answer)
	case ike.MoveOutbound:
		n.report("move outbound SA", e.Peer, e.Child, e.SPI, n.moveOutbound(e.Child, e.SPI, e.Local, e.Remote))
	case ike.RemoveInbound:
		n.report("remove inbound SA", e.Peer, e.Child, e.SPI, n.removeInbound(e.SPI))
	case ike.RemoveOutbound:
		n.report("remove outbound SA", e.Peer, e.Child, e.SPI, n.removeOutbound(e.Child, e.SPI))
	case ike.ReleaseSPI:
		n.plane.ReleaseSPI(e.SPI)
	case ike.Fact:
		n.facts(e)
		n.pauseAfter(e)
		n.fallBack(e)
	default:
		n.log.Error("IKE effect without an executor", "type", fmt.Sprintf("%T", effect))
	}
	return nil
}

func (n *negotiator) send(e ike.Send) {
	n.soft.sending(e.Remote.Addr())
	if err := n.plane.SendUDP(e.Local, e.Remote, e.Payload, e.NonESPMarker); err != nil {
		n.soft.unsent(e.Remote.Addr())
		n.log.Debug("IKE message not sent", "remote", e.Remote, "error", err)
	}
}

// install hands one direction of a Child SA to the data plane and wipes the
// keys, which the data plane has copied.
func (n *negotiator) install(peer, name string, sa ike.ChildSA, into func(pipeline.ChildSA) error) *ike.InstallFailed {
	defer sa.Keymat.Wipe()
	if sa.AH != nil {
		defer sa.AH.Keymat.Wipe()
	}
	c := n.cells.cells[name]
	err := fmt.Errorf("tunnel %q has no cell", name)
	if c != nil {
		err = into(pipeline.ChildSA{
			Cell:         c.id,
			SPI:          sa.SPI,
			Protocol:     sa.Protocol,
			Transport:    sa.Transport,
			Suite:        sa.Suite,
			Keymat:       sa.Keymat,
			Local:        sa.Local,
			Remote:       sa.Remote,
			UDPEncap:     sa.UDPEncap,
			BehindNAT:    sa.BehindNAT,
			Selectors:    sa.Selectors,
			ReplayWindow: sa.ReplayWindow,
			ESN:          sa.ESN,
			AH:           around(&sa),
			Worker:       sa.Worker,
			Soft:         pipeline.Lifetime(sa.Soft),
			Hard:         pipeline.Lifetime(sa.Hard),

			Encapsulation: encapsulation(n.encapsulation(name)),
		})
	}
	if err == nil {
		return nil
	}
	n.report("install SA", peer, name, sa.SPI, err)
	return &ike.InstallFailed{SPI: sa.PairSPI, Reason: err.Error()}
}

// around is the AH of a bundle, whose packets have one window with those of the
// ESP in it.
func around(sa *ike.ChildSA) *pipeline.AHLayer {
	if sa.AH == nil {
		return nil
	}
	return &pipeline.AHLayer{SPI: sa.AH.SPI, Suite: sa.AH.Suite, Keymat: sa.AH.Keymat, ReplayWindow: sa.ReplayWindow, ESN: sa.AH.ESN}
}

// count notes one more SA in the cell of a tunnel.
func (n *negotiator) count(tunnel string) *cell {
	c := n.cells.cells[tunnel]
	n.cells.installed(c)
	return c
}

func (n *negotiator) removeInbound(spi uint32) error {
	c := n.inbound[spi]
	if c == nil {
		return fmt.Errorf("no inbound SA %s is installed", spiText(spi))
	}
	delete(n.inbound, spi)
	err := n.plane.RemoveInbound(spi) // first: a cell is closed without SAs
	return errors.Join(err, n.removed(c))
}

// removed counts an SA out. With the last one the filters of a dynamic peer go.
func (n *negotiator) removed(c *cell) error {
	err := n.cells.removed(c)
	if c.sas == 0 {
		n.protects(c.tunnel, nil)
	}
	return err
}

func (n *negotiator) moveOutbound(tunnel string, spi uint32, local, remote netip.AddrPort) error {
	c := n.cells.cells[tunnel]
	if c == nil {
		return fmt.Errorf("tunnel %q has no cell", tunnel)
	}
	return n.plane.MoveOutbound(c.id, spi, local, remote)
}

func (n *negotiator) removeOutbound(tunnel string, spi uint32) error {
	c := n.cells.cells[tunnel]
	if c == nil {
		return fmt.Errorf("tunnel %q has no cell", tunnel)
	}
	delete(n.pairs, outboundSA{c.id, spi})
	_, err := n.plane.RemoveOutbound(c.id, spi)
	return errors.Join(err, n.removed(c))
}

func (n *negotiator) report(what, peer, name string, spi uint32, err error) {
	if err != nil {
		n.log.Error(what, "peer", peer, "child", name, "spi", spiText(spi), "error", err)
	}
}
