package appliance

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"sallyport/appliance/config"
	"sallyport/ike"
	"sallyport/pipeline"
	"sallyport/policy"
)

// running is the configuration in force. It is never changed, only replaced, so
// a view that holds one sees a whole.
type running struct {
	text       []byte // of the file it came from
	cfg        *config.Config
	overlay    overlay
	addresses  map[string][]netip.Prefix // own ones now, by port
	spd        *policy.SPD
	peers      []ike.Peer // that IKE negotiates with
	response   []ike.Peer // by which it answers those that no rule names
	manual     []config.ManualTunnel
	warnings   []string // of it, all of them
	generation uint64   // policies published since start
	changed    time.Time
}

// overlay is what differs from the file since start, by orders that are not
// written to it, and by peers that nobody has configured.
type overlay struct {
	level     *policy.ExemptionLevel
	addresses []addressEvent // in the order of their time

	dynamic []policy.DynamicFilter // of peers that the default response rule has let in
}

// addressEvent is an own address that came or went.
type addressEvent struct {
	port    string
	address netip.Prefix
	removed bool
}

// on is the overlay over another file. A level of exemptions that the new file
// sets anew is the newer order.
func (o overlay) on(was, is *config.Config) overlay {
	if was.Exemptions != is.Exemptions {
		o.level = nil
	}
	return o
}

// with is the overlay after one more event; an earlier one of the same address is void.
func (o overlay) with(event addressEvent) overlay {
	o.addresses = slices.DeleteFunc(slices.Clone(o.addresses), func(e addressEvent) bool {
		return e.port == event.port && e.address.Addr() == event.address.Addr()
	})
	o.addresses = append(o.addresses, event)
	return o
}

// present is the gateway's own addresses now, by port, and those that it had
// once (S-011).
func (o overlay) present(cfg *config.Config) (byPort map[string][]netip.Prefix, vanished []netip.Addr) {
	byPort = map[string][]netip.Prefix{}
	for _, p := range cfg.Ports {
		byPort[p.Name] = slices.Clone(p.Addresses)
	}
	for _, e := range o.addresses {
		byPort[e.port] = slices.DeleteFunc(byPort[e.port], func(p netip.Prefix) bool { return p.Addr() == e.address.Addr() })
		if !e.removed {
			byPort[e.port] = append(byPort[e.port], e.address)
		}
	}
	for _, e := range o.addresses {
		if e.removed && portOf(byPort, e.address.Addr()) == "" {
			vanished = append(vanished, e.address.Addr())
		}
	}
	return byPort, vanished
}

// portOf is the port that has the address, empty if none has.
func portOf(byPort map[string][]netip.Prefix, address netip.Addr) string {
	for _, port := range slices.Sorted(maps.Keys(byPort)) {
		if slices.ContainsFunc(byPort[port], func(p netip.Prefix) bool { return p.Addr() == address }) {
			return port
		}
	}
	return ""
}

// environment is what the policy is compiled for.
func (o overlay) environment(cfg *config.Config) policy.Environment {
	byPort, vanished := o.present(cfg)
	env := policy.Environment{Vanished: vanished, Dynamic: o.dynamic}
	for _, p := range cfg.Ports {
		for _, address := range byPort[p.Name] {
			env.LocalAddresses = append(env.LocalAddresses, address.Addr())
			env.Subnets = append(env.Subnets, address.Masked())
		}
	}
	return env
}

// compile is the policy of a file as it is in force: with the present own
// addresses and the level that was set.
func (o overlay) compile(cfg *config.Config) (*config.Compiled, error) {
	if o.level == nil && len(o.addresses)+len(o.dynamic) == 0 {
		return &config.Compiled{SPD: cfg.SPD, Environment: cfg.Environment, Peers: cfg.Peers, DefaultResponse: cfg.DefaultResponse, Manual: cfg.Manual, Warnings: cfg.Warnings}, nil
	}
	over, set := *cfg, *cfg.Policy
	over.Policy = &set
	if o.level != nil {
		set.Exemptions = *o.level
	}
	return over.Compile(o.environment(cfg))
}

// peerOf is the peer with which a tunnel is negotiated, empty if with none.
func (now *running) peerOf(tunnel string) string {
	for i := range now.peers {
		if slices.ContainsFunc(now.peers[i].Children, func(c ike.Child) bool { return c.Name == tunnel }) {
			return now.peers[i].Name
		}
	}
	return ""
}

// reconfigure is what IKE is told. It hears nothing where the data plane lets no
// IKE message in: at an address that is gone, at a port without IKE, and anywhere
// while the policy needs none (S-034, S-041).
func (now *running) reconfigure() ike.Reconfigure {
	heard := map[netip.Addr]bool{}
	for _, p := range now.cfg.Ports {
		for _, address := range now.addresses[p.Name] {
			heard[address.Addr()] = p.IKE && now.spd.NeedsIKE
		}
	}
	limits := now.cfg.Limits
	return ike.Reconfigure{Peers: now.peers, DefaultResponse: now.response, Limits: &limits, Deaf: func(local netip.Addr) bool { return !heard[local] }}
}

// snapshot is what the data plane is told. A route by a neighbour on a subnet that
// is not attached now is left out, and named.
func snapshot(cfg *config.Config, spd *policy.SPD, addresses map[string][]netip.Prefix, cells map[string]pipeline.CellID) (s pipeline.Snapshot, unusable []string) {
	s = pipeline.Snapshot{SPD: spd, Tunnels: cells, Addresses: addresses, PortIKE: map[string]bool{}}
	for _, p := range cfg.Ports {
		s.PortIKE[p.Name] = p.IKE
	}
	attached := func(via netip.Addr) bool {
		for _, list := range addresses {
			if slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(via) }) {
				return true
			}
		}
		return false
	}
	for _, r := range cfg.Routes {
		if !attached(r.Via) {
			unusable = append(unusable, fmt.Sprintf("the route to %s is not used: its next router %s is on no subnet that is attached now", r.To, r.Via))
			continue
		}
		s.Routes = append(s.Routes, pipeline.Route{To: r.To, Via: r.Via})
	}
	return s, unusable
}

// tunnelsOf is every tunnel that needs a cell: those that entries name and those
// that IKE negotiates.
func tunnelsOf(spd *policy.SPD, peers []ike.Peer) []string {
	names := map[string]bool{}
	for i := range spd.Entries {
		if e := &spd.Entries[i]; e.Verdict == policy.VerdictProtect || e.Verdict == policy.VerdictRequire {
			names[e.Tunnel] = true
		}
	}
	for _, p := range peers {
		for _, c := range p.Children {
			names[c.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
