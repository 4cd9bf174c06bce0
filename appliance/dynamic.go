package appliance

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"sallyport/ike"
	"sallyport/pipeline"
	"sallyport/policy"
)

// dynamicBook keeps the peers that the default response rule has let in (S-009), each with the filters of its Child SA. The manager publishes those as
// part of the policy in force; until the workers have them, what IKE has to say to the peer waits, so that no packet of the peer's is there before
// the filter that lets it in.
//
//	AddPeer ── cell ── InstallInbound ── filters are to be published ──follow──> published ── what waited is sent
//	RemovePeer, or the last SA gone ──── filters are to be withdrawn ──follow──> withdrawn
//
// It belongs to the goroutine of the engine.
type dynamicBook struct {
	peers   map[string]*dynamicPeer
	changed chan struct{} // wakes the manager
}

type dynamicPeer struct {
	local, remote netip.Addr
	selectors     []policy.Selector // of its Child SA, none without one
	waits         bool              // for the workers to have these
	held          []ike.Send        // meanwhile
}

// mostHeld bounds what waits of a peer: its IKE SA answers one request at a time, and repeats it.
const mostHeld = 8

// followPause is the least time between two changes of filters: each is a policy compiled, prepared and put in force.
const followPause = 100 * time.Millisecond

// followAgain is when a change that failed is tried again.
const followAgain = 30 * time.Second

func newDynamicBook() dynamicBook {
	return dynamicBook{peers: map[string]*dynamicPeer{}, changed: make(chan struct{}, 1)}
}

// wake has the manager look.
func (b *dynamicBook) wake() {
	select {
	case b.changed <- struct{}{}:
	default: // it has yet to look
	}
}

// addPeer gives a dynamic peer its cell. When its filters are in force packets to it wait there for the outbound SA: by IKEv1 the peer sends by the pair before its
// last message has made that ours.
func (n *negotiator) addPeer(e ike.AddPeer) error {
	cells, err := n.cells.claim([]string{e.Peer})
	if err != nil {
		return err // and the engine hears of it when it installs the first SA
	}
	n.dynamic.peers[e.Peer] = &dynamicPeer{local: e.Local, remote: e.Remote}
	names := n.names.Load().clone()
	names.add(e.Peer, e.Remote, cells[e.Peer])
	n.name(names)
	return nil
}

// removePeer forgets a dynamic peer. Its cell closes with the last SA, and when no filter names it.
func (n *negotiator) removePeer(name string) error {
	p := n.dynamic.peers[name]
	if p == nil {
		return nil // it had no cell
	}
	delete(n.dynamic.peers, name)
	names := n.names.Load().clone()
	delete(names.children, n.cells.cells[name].id)
	delete(names.remotes, p.remote)
	n.name(names)
	n.sendHeld(p)
	n.dynamic.wake()
	return errors.Join(n.cells.orphan(n.clock(), name), n.cells.release([]string{name}))
}

// protects notes what the Child SA of a dynamic peer is for, if it is one's; nothing when its last SA is gone.
func (n *negotiator) protects(name string, selectors []policy.Selector) {
	p := n.dynamic.peers[name]
	if p == nil || slices.Equal(p.selectors, selectors) {
		return
	}
	p.selectors, p.waits = slices.Clone(selectors), len(selectors) > 0
	if !p.waits {
		n.sendHeld(p)
	}
	n.dynamic.wake()
}

// hold keeps back what is for a dynamic peer whose filters are not published yet.
func (n *negotiator) hold(send ike.Send) bool {
	p := n.dynamic.peers[ike.DynamicName(send.Remote.Addr())]
	if p == nil || !p.waits {
		return false
	}
	if len(p.held) < mostHeld {
		p.held = append(p.held, send)
	}
	return true
}

// sendHeld sends what was held.
func (n *negotiator) sendHeld(p *dynamicPeer) {
	held := p.held
	p.waits, p.held = false, nil
	for _, send := range held {
		n.send(send)
	}
}

// published hears which filters the workers have now.
func (n *negotiator) published(filters []policy.DynamicFilter) {
	for name, p := range n.dynamic.peers {
		missing := func(s policy.Selector) bool {
			return !slices.Contains(filters, policy.DynamicFilter{Tunnel: name, Selector: s})
		}
		if p.waits && !slices.ContainsFunc(p.selectors, missing) {
			n.sendHeld(p)
		}
	}
}

// filters are those that are to be published, in an order of their own.
func (b *dynamicBook) filters() []policy.DynamicFilter {
	var list []policy.DynamicFilter
	for name, p := range b.peers {
		for _, s := range p.selectors {
			list = append(list, policy.DynamicFilter{Tunnel: name, Selector: s})
		}
	}
	slices.SortFunc(list, func(a, c policy.DynamicFilter) int {
		return slices.Compare([]string{a.Tunnel, a.Selector.String()}, []string{c.Tunnel, c.Selector.String()})
	})
	return list
}

// follow publishes and withdraws the filters of dynamic peers until ctx ends.
func (m *manager) follow(ctx context.Context) {
	n := m.negotiator
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.dynamic.changed:
		case <-again:
		}
		again = nil
		_, err := m.change(ctx, request{what: "peers of the default response rule", verb: "dynamic", by: policy.DefaultResponseRule, overlay: func(now *running) (overlay, error) {
			o := now.overlay
			err := n.do(ctx, func() { o.dynamic = n.dynamic.filters() })
			return o, err
		}})
		if err != nil && !errors.Is(err, errStopping) { // the audit log says why; the peer need not wait for what does not come
			again = time.After(followAgain)
			_ = n.do(ctx, func() {
				for _, p := range n.dynamic.peers {
					n.sendHeld(p)
				}
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(followPause):
		}
	}
}

// clone is for a change of one's own.
func (d *directory) clone() *directory {
	fresh := &directory{children: map[pipeline.CellID]child{}, remotes: map[netip.Addr]bool{}}
	for id, c := range d.children {
		fresh.children[id] = c
	}
	for remote := range d.remotes {
		fresh.remotes[remote] = true
	}
	return fresh
}

// add names a dynamic peer and its one child.
func (d *directory) add(name string, remote netip.Addr, cell pipeline.CellID) {
	d.children[cell] = child{name, name}
	d.remotes[remote] = true
}

// endedStrangers are the children of dynamic peers that another configuration ends.
func endedStrangers(negotiated []ike.SAInfo, before, next *running) (endings []ike.Ending) {
	stays := ike.ResponseStays(before.response, next.response)
	for _, info := range negotiated {
		why := ""
		switch {
		case !ike.IsDynamic(info.Peer):
			continue
		case slices.ContainsFunc(next.peers, func(p ike.Peer) bool { return p.Remote == info.Remote.Addr() }):
			why = "a peer of the configuration has its address"
		case !stays:
			why = "the default response rule, which let it in, is off or another"
		}
		if why != "" {
			endings = append(endings, ike.Ending{Peer: info.Peer, Child: info.Peer, Why: why})
		}
	}
	return endings
}
