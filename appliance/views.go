package appliance

import (
	"cmp"
	"maps"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"time"

	"sallyport/appliance/api"
	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/pipeline"
	"sallyport/pmd/eal"
	"sallyport/policy"
)

// The views turn what the parts know into the control API's shapes. They hold
// no lock of their own: each part answers for itself.

func (g *Gateway) versionView() api.Version {
	return api.Version{
		Gateway: g.cfg.Name, Sallyport: Version(), Go: runtime.Version(), DPDK: eal.Version(),
		Started: g.started, HugePages: g.env.HugePages,
	}
}

func (g *Gateway) portsView() ([]api.Port, error) {
	ports, own := make([]api.Port, 0, len(g.devices)), g.running().addresses
	for i, device := range g.devices {
		configured := g.cfg.Ports[i]
		link, err := device.Link()
		if err != nil {
			return nil, err
		}
		xstats, err := device.Port.Xstats()
		if err != nil {
			return nil, err
		}
		port := api.Port{
			Name: configured.Name, Device: configured.Device, VLAN: configured.VLAN, Driver: device.Driver, Role: roleName(configured.Role),
			MAC: device.MAC.String(), Addresses: texts(own[configured.Name]), MTU: min(configured.MTU, device.MTU),
			Link: "down", SpeedMbps: link.SpeedMbps, Queues: device.RxQueues,
		}
		if link.Up {
			port.Link = "up"
		}
		for _, x := range xstats {
			port.Xstats = append(port.Xstats, api.Stat{Name: x.Name, Value: x.Value})
		}
		ports = append(ports, port)
	}
	return ports, nil
}

// roleName is the word of RFC 4301 for what the policy calls lan or wan.
func roleName(role policy.PortGroup) string {
	if role == policy.PortsLAN {
		return "protected"
	}
	return "unprotected"
}

// texts is each value in its usual notation.
func texts[T interface{ String() string }](values []T) []string {
	list := make([]string, 0, len(values))
	for _, v := range values {
		list = append(list, v.String())
	}
	return list
}

// sasView joins what the data plane counts with what IKE knows of each SA, and
// with the manual SAs by their tunnels. Each has its plan, where plans says one.
func sasView(counted []pipeline.SACounters, negotiated []ike.SAInfo, manual map[string]string, plans func(*pipeline.SACounters) *api.Offload) []api.SA {
	type origin struct {
		peer    string
		version int
		child   ike.ChildInfo
	}
	inbound, outbound := map[uint32]origin{}, map[outboundName]origin{}
	for _, info := range negotiated {
		for _, c := range info.Children {
			from := origin{info.Peer, info.Version.Number(), c}
			inbound[c.SPIIn], outbound[outboundName{c.Name, c.SPIOut}] = from, from
		}
	}
	at := endsOf(counted)
	sas := make([]api.SA, 0, len(counted))
	for i, s := range counted {
		from, direction := inbound[s.SPI], "inbound"
		if pair, found := at[outboundName{s.Tunnel, from.child.SPIOut}]; found && !s.Outbound {
			s.Local, s.Remote = pair.local, pair.remote
		}
		if s.Outbound {
			from, direction = outbound[outboundName{s.Tunnel, s.SPI}], "outbound"
		}
		var worker *int
		if s.Worker >= 0 {
			worker = &s.Worker
		}
		var plan *api.Offload
		if plans != nil {
			plan = plans(&counted[i])
		}
		sas = append(sas, api.SA{
			Offload: plan, Peer: from.peer, Version: from.version, Manual: manual[s.Tunnel], Child: s.Tunnel, Direction: direction, Worker: worker, SPI: spiText(s.SPI),
			Protocol: protocolOf(&s), Mode: modeOf(&s), AHSuite: aroundOf(&s), AHSPI: aroundSPI(&s), ESN: s.ESN, PathMTU: s.PathMTU, Suite: s.Suite.String(), Device: s.Device,
			Local: endpoint(s.Local, s.UDPEncap), Remote: endpoint(s.Remote, s.UDPEncap), UDPEncap: s.UDPEncap,
			Selectors: texts(s.Selectors), ReplayWindow: s.ReplayWindow, Sequence: s.Sequence,
			Packets: s.Packets, Bytes: s.Bytes, Dummies: s.Dummies, Lifetime: lifetimeOf(&s), Idle: s.Idle.Seconds(), Drops: s.Drops,
			Established: from.child.Established, RekeyAt: from.child.RekeyAt,
		})
	}
	return sas
}

// ends are where the two ends of a tunnel are.
type ends struct{ local, remote netip.AddrPort }

// endsOf tells where outbound SAs lead. An end that moves (RFC 4555, or by a NAT) moves them alone: the inbound one of a pair takes what comes from anywhere.
func endsOf(counted []pipeline.SACounters) map[outboundName]ends {
	all := map[outboundName]ends{}
	for _, s := range counted {
		if s.Outbound {
			all[outboundName{s.Tunnel, s.SPI}] = ends{s.Local, s.Remote}
		}
	}
	return all
}

// protocolOf, modeOf and aroundOf are the words for how an SA protects packets.
func protocolOf(s *pipeline.SACounters) string {
	switch {
	case s.Protocol == crypto.ProtocolAH:
		return "ah"
	case s.Around != (crypto.Suite{}):
		return "esp-in-ah"
	}
	return "esp"
}

func modeOf(s *pipeline.SACounters) string {
	if s.Transport {
		return "transport"
	}
	return "tunnel"
}

func aroundOf(s *pipeline.SACounters) string {
	if s.Around == (crypto.Suite{}) {
		return ""
	}
	return s.Around.String()
}

func aroundSPI(s *pipeline.SACounters) string {
	if s.AroundSPI == 0 {
		return ""
	}
	return spiText(s.AroundSPI)
}

// lifetimeOf is nil for an SA that may carry as much as there is.
func lifetimeOf(s *pipeline.SACounters) *api.Lifetime {
	of := api.Lifetime{SoftPackets: s.Soft.Packets, HardPackets: s.Hard.Packets, SoftBytes: s.Soft.Bytes, HardBytes: s.Hard.Bytes}
	if of == (api.Lifetime{}) {
		return nil
	}
	return &of
}

// outboundName names an outbound SA by its Child SA and the peer's SPI.
type outboundName struct {
	child string
	spi   uint32
}

// endpoint is an outer address, with the port where ESP runs in UDP.
func endpoint(a netip.AddrPort, udp bool) string {
	if udp {
		return a.String()
	}
	return a.Addr().String()
}

// portsWithoutLink names the ports without a link by their addresses.
func (g *Gateway) portsWithoutLink() (map[netip.Addr]string, error) {
	down, own := map[netip.Addr]string{}, g.running().addresses
	for i, device := range g.devices {
		link, err := device.Link()
		if err != nil {
			return nil, err
		}
		if link.Up {
			continue
		}
		for _, a := range own[g.cfg.Ports[i].Name] {
			down[a.Addr()] = g.cfg.Ports[i].Name
		}
	}
	return down, nil
}

// ikeView shows each IKE SA, each peer without one, and why that may be; down
// names the ports without a link.
func ikeView(negotiated []ike.SAInfo, down map[netip.Addr]string) []api.IKE {
	sas := make([]api.IKE, 0, len(negotiated))
	for _, info := range negotiated {
		view := api.IKE{
			Peer: info.Peer, Version: info.Version.Number(), State: info.State, Local: info.Local.String(), Remote: info.Remote.String(),
			LocalID: info.LocalID, RemoteID: info.RemoteID, Proposal: info.Proposal, NAT: natText(info),
			Established: info.Established, RekeyAt: info.RekeyAt, Children: []string{},
			LastFailure: failureText(info.Failure), LastFailedAt: info.Failure.At,
			PeerFailure: failureText(info.PeerFailure), PeerFailedAt: info.PeerFailure.At, DownPort: down[info.Local.Addr()],
			Outstanding: info.Outstanding, Resent: info.RetransmitsOut, NextAttempt: info.NextAttempt,
		}
		if info.SPIi != 0 {
			view.Role = info.Role.String()
			view.InitiatorSPI, view.ResponderSPI = ikeSPIText(info.SPIi), ikeSPIText(info.SPIr)
		}
		for _, c := range info.Children {
			view.Children = append(view.Children, c.Name+":"+c.State)
		}
		sas = append(sas, view)
	}
	return sas
}

// failureText is "reason: detail", empty when nothing has failed.
func failureText(f ike.Failure) string {
	if f.Reason == "" {
		return ""
	}
	return string(f.Reason) + ": " + f.Detail
}

func natText(info ike.SAInfo) string {
	switch {
	case info.NATLocal && info.NATRemote:
		return "both"
	case info.NATLocal:
		return "local"
	case info.NATRemote:
		return "remote"
	}
	return ""
}

// filtersView is the SPD in match order, each row with its hits.
func filtersView(spd *policy.SPD, counted []pipeline.FilterCounters) []api.Filter {
	hits := hitsOf(counted)
	rows := spd.Rows()
	filters := make([]api.Filter, 0, len(rows))
	for _, row := range rows {
		h := hits[row.ID]
		filters = append(filters, api.Filter{Row: row, Packets: h.Packets, Bytes: h.Bytes, Drops: h.Drops})
	}
	return filters
}

func flowsView(remembered []pipeline.Flow) []api.Flow {
	flows := make([]api.Flow, 0, len(remembered))
	for _, f := range remembered {
		flow := api.Flow{
			Worker: f.Worker, Arrived: cmp.Or(f.InTunnel, f.Role),
			Source: hostPort(f.Source, f.SourcePort), Destination: hostPort(f.Destination, f.DestinationPort),
			Protocol: policy.ProtocolName(f.Protocol), Action: f.Action, Detail: cmp.Or(f.OutTunnel, f.Reason),
		}
		if f.Matched {
			flow.Filter = f.Filter.Rule + "/" + f.Filter.FilterName
		}
		flows = append(flows, flow)
	}
	return flows
}

func hostPort(a netip.Addr, port uint16) string {
	if port == 0 {
		return a.String()
	}
	return net.JoinHostPort(a.String(), strconv.Itoa(int(port)))
}

func countersView(c pipeline.Counters) api.Counters {
	view := api.Counters{Ports: make([]api.PortCounters, 0, len(c.Ports)), SlowPath: make([]api.SlowPath, 0, len(c.Punts)), Conserved: true, Unattributed: c.Unattributed}
	if err := c.Conserved(); err != nil {
		view.Conserved, view.Imbalance = false, err.Error()
	}
	for _, p := range c.Ports {
		view.Ports = append(view.Ports, api.PortCounters{
			Name: p.Name, Received: p.Received, ReceivedBytes: p.ReceivedBytes,
			Forwarded: p.Forwarded, ForwardedBytes: p.ForwardedBytes,
			Delivered: p.Delivered, Held: p.Waiting, Drops: p.Drops,
			Reassembling: p.Reassembling, Merged: p.Merged, Split: p.Split, HandedOver: p.HandedOver,
			Early: p.Early, EarlyPassed: p.EarlyPassed,
			Transmitted: p.Transmitted, TransmittedBytes: p.TransmittedBytes,
		})
	}
	for _, p := range c.Punts {
		view.SlowPath = append(view.SlowPath, api.SlowPath(p))
	}
	return view
}

// dropsView lists what was dropped, the most frequent first.
func dropsView(c pipeline.Counters) []api.Drop {
	drops := []api.Drop{}
	for _, p := range c.Ports {
		for _, reason := range slices.Sorted(maps.Keys(p.Drops)) {
			drops = append(drops, api.Drop{Port: p.Name, Reason: reason, Packets: p.Drops[reason]})
		}
	}
	slices.SortStableFunc(drops, func(a, b api.Drop) int { return cmp.Compare(b.Packets, a.Packets) })
	return drops
}

// settled reads the counters at rest if traffic allows: a packet inside a
// worker at the moment of reading looks like an imbalance, so an unbalanced
// reading is taken again a few times before it is reported.
func settled(read func() pipeline.Counters, pause func(time.Duration)) pipeline.Counters {
	const readings, between = 5, 20 * time.Millisecond
	c := read()
	for i := 1; i < readings && c.Conserved() != nil; i++ {
		pause(between)
		c = read()
	}
	return c
}
