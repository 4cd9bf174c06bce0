package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sallyport/policy"
)

func (b *builder) ports() {
	if n := len(b.raw.Ports); n > maxDevices+maxVLANPorts {
		b.add("ports", "expected at most %d ports, found %d", maxDevices+maxVLANPorts, n)
		b.raw.Ports = b.raw.Ports[:maxDevices+maxVLANPorts]
	}
	names, devices := map[string]string{}, map[link]string{}
	for i := range b.raw.Ports {
		raw, key := &b.raw.Ports[i], fmt.Sprintf("ports[%d]", i)
		b.name(key+".name", raw.Name, names)
		b.device(key, raw, devices)
		port := Port{
			Name: raw.Name, Device: raw.Device, VLAN: uint16(raw.VLAN), Role: policy.PortGroup(raw.Role),
			MTU: b.within(key+".mtu", raw.MTU, minMTU, maxMTU, "bytes"), IKE: raw.IKE == "on",
		}
		if n := len(raw.Addresses); n > maxAddresses || n == 0 && b.has(key+".addresses") {
			b.add(key+".addresses", "expected 1 to %d addresses, each with its prefix length (10.1.0.1/24), found %d", maxAddresses, n)
			raw.Addresses = raw.Addresses[:min(n, maxAddresses)]
		}
		for j, address := range raw.Addresses {
			b.portAddress(fmt.Sprintf("%s.addresses[%d]", key, j), netip.Prefix(address), raw.MTU)
			port.Addresses = append(port.Addresses, netip.Prefix(address))
			if p := netip.Prefix(address); p.IsValid() {
				b.config.Environment.LocalAddresses = append(b.config.Environment.LocalAddresses, p.Addr())
				b.config.Environment.Subnets = append(b.config.Environment.Subnets, p.Masked())
			}
		}
		b.config.Ports = append(b.config.Ports, port)
	}
	if len(b.raw.Ports) == 0 && b.has("ports") {
		b.add("ports", "expected at least one port, found none")
	}
	b.countDevices(devices)
}

// link is what tells one port from another: a device, and the VLAN of its frames.
type link struct {
	device string
	vlan   int
}

// device checks how a port is opened. Ports may share a device if each has a VLAN of its own. others maps the links seen
// so far to their ports.
func (b *builder) device(port string, raw *filePort, others map[link]string) {
	l := link{raw.Device, b.within(port+".vlan", raw.VLAN, 0, maxVLAN, "as VLAN, 0 for none")}
	switch other := others[l]; {
	case !b.has(port + ".device"):
	case !pciForm.MatchString(raw.Device) && !ethernetForm.MatchString(raw.Device):
		b.add(port+".device", "expected a PCI address (0000:00:05.0) or a virtual device (net_af_packet0,iface=lan0), found %q", raw.Device)
	case otherwise(raw.Device, others) != "":
		b.add(port+".device", "expected the arguments of %s, which has the same device, found %q: one device opens once", otherwise(raw.Device, others), raw.Device)
	case other != "" && l.vlan == 0:
		b.add(port+".device", "expected a device of its own, found %q, which %s has already: ports of one device need a vlan each", raw.Device, other)
	case other != "":
		b.add(port+".vlan", "expected a VLAN of its own on device %q, found %d, which %s has already", raw.Device, l.vlan, other)
	}
	others[l] = port
}

// otherwise is the port that opens the same device with other arguments, if one does.
func otherwise(device string, others map[link]string) string {
	name, _, _ := strings.Cut(device, ",")
	for l, port := range others {
		if is, _, _ := strings.Cut(l.device, ","); is == name && l.device != device {
			return port
		}
	}
	return ""
}

// countDevices holds the ports against what the data plane can tell apart.
func (b *builder) countDevices(links map[link]string) {
	devices, tagged := map[string]bool{}, 0
	for l := range links {
		devices[l.device] = true
		if l.vlan != 0 {
			tagged++
		}
	}
	if len(devices) > maxDevices {
		b.add("ports", "expected at most %d devices, found %d", maxDevices, len(devices))
	}
	if tagged > maxVLANPorts {
		b.add("ports", "expected at most %d ports with a vlan, found %d", maxVLANPorts, tagged)
	}
}

// portAddress checks that an address and its subnet are on no other port; on its own port it may share the subnet.
func (b *builder) portAddress(key string, address netip.Prefix, mtu int) {
	if !address.IsValid() {
		return
	}
	if address.Addr().Is6() && mtu >= minMTU && mtu < minMTUIPv6 {
		b.add(key, "expected an mtu of at least %d bytes on a port with an IPv6 address (RFC 8200, section 5), found %d", minMTUIPv6, mtu)
	}
	if slices.Contains(b.config.Environment.LocalAddresses, address.Addr()) {
		b.add(key, "expected an address of its own, found %s for the second time", address.Addr())
	}
	for _, other := range b.config.Ports {
		for _, used := range other.Addresses {
			if used.IsValid() && used.Overlaps(address) {
				b.add(key, "expected a subnet of its own, found %s, which overlaps %s of port %q", address.Masked(), used.Masked(), other.Name)
			}
		}
	}
}

// portOf is the port with an address that matches.
func (b *builder) portOf(matches func(netip.Prefix) bool) *Port {
	for i := range b.config.Ports {
		if slices.ContainsFunc(b.config.Ports[i].Addresses, func(p netip.Prefix) bool { return p.IsValid() && matches(p) }) {
			return &b.config.Ports[i]
		}
	}
	return nil
}

func (b *builder) routes() {
	seen := map[network]string{}
	portsSound := !b.anyWithin("ports") // what follows from a wrong port is no news
	for i, raw := range b.raw.Routes {
		key := fmt.Sprintf("routes[%d]", i)
		to := netip.Prefix(raw.To)
		if other := seen[raw.To]; other != "" && to.IsValid() {
			b.add(key+".to", "expected one route for a prefix, found %s, which %s has already", to, other)
		}
		seen[raw.To] = key
		if portsSound && to.IsValid() && b.portOf(func(p netip.Prefix) bool { return p.Masked() == to }) != nil {
			b.add(key+".to", "expected a prefix that is not attached, found %s, which is the subnet of a port and needs no route", to)
		}
		if raw.Via.IsValid() {
			switch {
			case to.IsValid() && to.Addr().Is4() != raw.Via.Is4():
				b.add(key+".via", "expected a router of the IP version of %s, found %s", to, raw.Via)
			case slices.Contains(b.config.Environment.LocalAddresses, raw.Via):
				b.add(key+".via", "expected the address of another router, found %s, which is the gateway's own", raw.Via)
			case portsSound && b.portOf(func(p netip.Prefix) bool { return p.Contains(raw.Via) }) == nil:
				b.add(key+".via", "expected an address on the subnet of a port (%s), found %s", b.subnets(), raw.Via)
			case portsSound && b.portOf(func(p netip.Prefix) bool { return isNetworkOrBroadcast(p, raw.Via) }) != nil:
				b.add(key+".via", "expected the address of a router, found %s, which is that of a subnet itself or its broadcast address", raw.Via)
			}
		}
		b.config.Routes = append(b.config.Routes, Route{To: to, Via: raw.Via})
	}
}

// isNetworkOrBroadcast reports whether an IPv4 address is the first or the last of a subnet, which no host may have (RFC 1122 section
// 3.2.1.3); a subnet of one or two addresses has neither (RFC 3021).
func isNetworkOrBroadcast(subnet netip.Prefix, a netip.Addr) bool {
	if !a.Is4() || subnet.Bits() > 30 || !subnet.Contains(a) {
		return false
	}
	return a == subnet.Masked().Addr() || a == policy.RangeOf(subnet).Last
}

// subnets lists the subnets of all ports for a message.
func (b *builder) subnets() string {
	text := ""
	for _, port := range b.config.Ports {
		for _, address := range port.Addresses {
			if text != "" {
				text += ", "
			}
			text += address.Masked().String()
		}
	}
	return text
}
