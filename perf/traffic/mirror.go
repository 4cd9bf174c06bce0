package traffic

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sallyport/appliance/config"
	"sallyport/crypto"
	"sallyport/policy"
)

// manyCores lets a configuration pass that is for a machine with more cores than this one.
const manyCores = 1024

// mirror reads the configuration of a gateway, or of one that is like it, and makes the other side of its links and of its tunnels: of SAs with keys given by hand, and of
// those that IKE negotiates, by the proposal, or where that is none by what the gateway's rules have. With clear the tunnels are in clear, between these prefixes.
func mirror(file string, clear []Tunnel, proposal *crypto.Proposal) (c Config, err error) {
	machine := config.ThisMachine()
	machine.Cores, machine.MemoryMB = nil, 0
	for core := range manyCores {
		machine.Cores = append(machine.Cores, core)
	}
	gateway, err := config.LoadWith(file, config.Options{Machine: machine, Lab: true})
	if err != nil {
		return c, err
	}
	for i, role := range []policy.PortGroup{policy.PortsLAN, policy.PortsWAN} {
		at := slices.IndexFunc(gateway.Ports, func(p config.Port) bool { return p.Role == role && len(p.Addresses) > 0 })
		if at < 0 {
			return c, fmt.Errorf("%s: expected a port with the role %s and an address, found none", file, portName(i))
		}
		reflected(c.ports()[i], &gateway.Ports[at], gateway)
	}
	if len(clear) > 0 {
		c.Tunnels = clear
		return c, nil
	}
	if len(gateway.Manual)+len(gateway.Peers) == 0 {
		return c, fmt.Errorf("%s: expected peers, or SAs with keys given by hand (sas:), that rules of the active policy use, found none; or try prefixes in clear", file)
	}
	var errs []error
	for i := range gateway.Manual {
		t, err := turned(&gateway.Manual[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: SA %s of rule %s: %w", file, gateway.Manual[i].SA.Name, gateway.Manual[i].Rule, err))
		}
		c.Tunnels = append(c.Tunnels, t)
	}
	for i := range gateway.Peers {
		if err := c.play(&gateway.Peers[i], proposal); err != nil {
			errs = append(errs, fmt.Errorf("%s: peer %s: %w", file, gateway.Peers[i].Name, err))
		}
	}
	return c, errors.Join(errs...)
}

// reflected makes the tester's end of a link: it has the addresses of all routers and peers that the gateway knows there, or the one beside the gateway's.
func reflected(p *Port, of *config.Port, gateway *config.Config) {
	p.VLAN, p.MTU, p.Gateway = of.VLAN, of.MTU, of.Addresses[0].Addr()
	add := func(a netip.Addr) {
		on := slices.ContainsFunc(of.Addresses, func(subnet netip.Prefix) bool { return subnet.Contains(a) && subnet.Addr() != a })
		if on && !slices.Contains(p.Addresses, a) {
			p.Addresses = append(p.Addresses, a)
		}
	}
	for _, route := range gateway.Routes {
		add(route.Via)
	}
	if of.Role == policy.PortsWAN {
		for _, tunnel := range gateway.Manual {
			add(tunnel.SA.Remote.Addr())
		}
		for _, peer := range gateway.Peers {
			add(peer.Remote)
		}
	}
	if !p.own(p.Gateway).IsValid() {
		add(site{of.Addresses[0].Masked(), p.Gateway}.host(0))
	}
}

// turned is the peer's side of an SA.
func turned(m *config.ManualTunnel) (t Tunnel, err error) {
	sa := m.SA
	switch {
	case sa.Protocol != crypto.ProtocolESP || sa.AH != nil:
		return t, errors.New("expected ESP alone, found AH")
	case sa.Transport:
		return t, errors.New("expected tunnel mode, found transport mode")
	case sa.UDP && sa.Remote.Port() != portNATT:
		return t, fmt.Errorf("expected UDP port %d of the peer, found %d", portNATT, sa.Remote.Port())
	}
	t = Tunnel{Name: sa.Name, Gateway: sa.Local.Addr(), Peer: sa.Remote.Addr(), UDP: sa.UDP, Suite: sa.Suite, ESN: sa.ESN,
		ToGateway: SA{SPI: sa.SPIIn, Key: sa.KeyIn}, FromGateway: SA{SPI: sa.SPIOut, Key: sa.KeyOut}}
	return t, t.between(m.Selectors)
}

// between finds hosts of both sides whose packets the gateway protects.
func (t *Tunnel) between(selectors []policy.Selector) error {
	for _, s := range selectors {
		if (s.Protocol == 0 || s.Protocol == protocolUDP) && s.LocalPort == policy.AnyPort && s.RemotePort == policy.AnyPort && s.Local.First.Is4() == s.Remote.First.Is4() {
			t.Near, t.Far = within(s.Local), within(s.Remote)
			return nil
		}
	}
	return errors.New("expected traffic of UDP from and to any port among what it protects")
}

// within is the largest prefix that begins where a range does and does not reach beyond it.
func within(r policy.AddrRange) netip.Prefix {
	for bits := range r.First.BitLen() {
		p := netip.PrefixFrom(r.First, bits)
		if p.Masked().Addr() == r.First && policy.RangeOf(p).Last.Compare(r.Last) <= 0 {
			return p
		}
	}
	return netip.PrefixFrom(r.First, r.First.BitLen())
}
