package appliance

import (
	"context"
	"errors"
	"net/netip"

	"sallyport/appliance/config"
	"sallyport/ike"
	"sallyport/pipeline"
	"sallyport/policy"
	"sallyport/policy/soft"
)

// claim gives tunnels of a change under way their cells; release undoes it.
func (n *negotiator) claim(ctx context.Context, tunnels []string) (cells map[string]pipeline.CellID, err error) {
	failed := n.do(ctx, func() { cells, err = n.cells.claim(tunnels) })
	return cells, errors.Join(failed, err)
}

func (n *negotiator) release(ctx context.Context, tunnels []string) (err error) {
	failed := n.do(ctx, func() { err = n.cells.release(tunnels) })
	return errors.Join(failed, err)
}

// takeover is what a policy in force needs of the negotiator.
type takeover struct {
	tunnels       []string // claimed
	peers         ike.Reconfigure
	manual        []config.ManualTunnel
	encapsulation func(tunnel string) config.Encapsulation
	auth          config.Authentication
	spd           *policy.SPD
	soft          soft.Limits
	dynamic       []policy.DynamicFilter // that the policy was compiled with
	publish       func()                 // lets the workers see the policy
}

// reconfigure puts a policy in force: the engine learns its peers, and with that
// the SAs that end leave the data plane, and manual SAs come and go; then the cells
// change to what its tunnels need; then the workers see it.
func (n *negotiator) reconfigure(ctx context.Context, to takeover) error {
	return n.do(ctx, func() {
		if err := n.adopt(to); err != nil {
			n.log.Error("cells of the new policy", "error", err)
		}
	})
}

// adopt is reconfigure on the engine's goroutine, or before there is one.
func (n *negotiator) adopt(to takeover) error {
	names, with := &directory{children: map[pipeline.CellID]child{}, remotes: map[netip.Addr]bool{}}, map[string]string{}
	for _, t := range to.manual {
		names.remotes[t.SA.Remote.Addr()] = true
	}
	for _, p := range to.peers.Peers {
		names.remotes[p.Remote] = true
		for _, c := range p.Children {
			names.children[n.cells.cells[c.Name].id] = child{p.Name, c.Name}
			with[c.Name] = p.Name
		}
	}
	for name, p := range n.dynamic.peers {
		names.add(name, p.remote, n.cells.cells[name].id)
	}
	n.name(names)
	was := n.encapsulation
	n.encapsulation = to.encapsulation
	n.certificates.configure(to.auth)
	n.soft.configure(softConfig(to.soft, to.spd, to.peers.Peers, n.peers)) // before the peers and the filters change: what ends falls back no more
	n.peers = to.peers.Peers
	n.step(to.peers)
	for name := range n.dynamic.peers {
		with[name] = name
	}
	err := n.manual.adopt(to.manual) // first: a cell closes with its last SA once it is not in force, and the workers still see it
	err = errors.Join(err, n.cells.adopt(n.clock(), to.tunnels, with, n.engine.NotBefore))
	to.publish()
	n.published(to.dynamic)
	n.awaitSPIs()
	n.rewrap(names, was)
	return errors.Join(err, n.cells.release(to.tunnels), n.cells.sweepAll())
}

// rewrap rekeys the Child SAs whose encapsulation has changed: an SA keeps that
// with which it was installed.
func (n *negotiator) rewrap(names *directory, was func(tunnel string) config.Encapsulation) {
	for id, c := range names.children {
		if installed := n.cells.cells[c.name]; installed.id == id && installed.sas > 0 && was(c.name) != n.encapsulation(c.name) {
			n.step(ike.Rekey{Peer: c.peer, Child: c.name})
		}
	}
}

// awaitSPIs has manual SAs tried again while any of them waits.
func (n *negotiator) awaitSPIs() {
	if n.manual.waiting() {
		n.again.Reset(manualRetry)
	}
}

// forget has wipe called when no IKE SA of a former configuration is left: one
// that is ending may still need its key.
func (n *negotiator) forget(ctx context.Context, wipe func()) {
	_ = n.do(ctx, func() { n.former = append(n.former, wipe) }) // else the process ends, and its memory with it
}

// forgetFormer wipes what nothing needs any more.
func (n *negotiator) forgetFormer() {
	if len(n.former) == 0 || n.engine.Retired() > 0 {
		return
	}
	for _, wipe := range n.former {
		wipe()
	}
	n.former = nil
}
