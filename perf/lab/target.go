package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Target is a gateway that is there already, whoever made it, and the link by which it is reached.
type Target struct {
	Gateway   netip.Addr // IPv4
	Interface string     // that the gateway is attached to, or the router before it
	Source    netip.Addr // who speaks to it: an address of that link that nobody has
	Via       netip.Addr // the router before the gateway; not valid: there is none
}

// ErrDown says that a target answers nobody.
var ErrDown = errors.New("the target is down")

// Validate finds what is wrong with a target, and with peers of it that are played, whatever host it is reached from.
func (t *Target) Validate(peers ...netip.Addr) error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("lab: "+format, args...)) }
	has := map[netip.Addr]string{}
	address := func(what string, a netip.Addr) {
		switch other := has[a]; {
		case !a.Is4() || a.IsMulticast() || a.IsUnspecified() || a.IsLoopback() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			wrong("%s %s: expected the IPv4 address of one host", what, a)
		case other != "" && (what != "peer" || other != "peer"): // one peer may be named twice
			wrong("%s %s: expected another address than the %s's", what, a, other)
		default:
			has[a] = what
		}
	}
	address("target", t.Gateway)
	address("source", t.Source)
	if t.Via.IsValid() {
		address("router", t.Via)
	}
	for _, a := range peers {
		address("peer", a)
	}
	if t.Interface == "" {
		wrong("no interface: expected the one by which the target is reached")
	}
	return errors.Join(errs...)
}

// Reach joins the link from a namespace, and waits for the target, or the router before it, to answer ARP there.
func (t *Target) Reach(ctx context.Context, from *Namespace, limit time.Duration) (*Router, error) {
	if err := from.Do(t.reachable); err != nil {
		return nil, err
	}
	r := &Router{Gateway: t.Gateway, Address: t.Source}
	if t.Via.IsValid() {
		r.Gateway = t.Via
	}
	var err error
	if r.Port, err = from.RawPort(t.Interface); err != nil {
		return nil, err
	}
	if err := r.Port.Send(r.probe()); err != nil {
		return nil, err
	}
	if err := r.Find(ctx, limit); err != nil {
		return nil, fmt.Errorf("%w: nobody answers ARP for %s on %s: expected the target, or the router before it (--via), on that link: %w", ErrDown, r.Gateway, t.Interface, err)
	}
	return r, nil
}

// probe asks whether somebody has the router's address already (RFC 5227 section 1.1).
func (r *Router) probe() []byte {
	frame := r.arp(arpRequest, bytes.Repeat([]byte{0xff}, 6))
	body := frame[ethernet:]
	copy(body[14:18], make([]byte, 4))
	copy(body[24:], r.Address.AsSlice())
	return frame
}

// reachable finds what is wrong with the interface of a target: that it is none, is down, or that this host has the address of who speaks, and would answer for itself.
func (t *Target) reachable() error {
	device, err := net.InterfaceByName(t.Interface)
	if err != nil {
		return fmt.Errorf("lab: interface %q: %w: expected one of this host, see \"ip link\"", t.Interface, err)
	}
	switch {
	case device.Flags&net.FlagUp == 0:
		return fmt.Errorf("lab: interface %s: expected an Ethernet interface that is up: ip link set %s up", t.Interface, t.Interface)
	case len(device.HardwareAddr) != 6:
		return fmt.Errorf("lab: interface %s: expected an Ethernet interface that is up, found one without a MAC address", t.Interface)
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("lab: addresses of this host: %w", err)
	}
	for _, a := range own {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == t.Source {
			return fmt.Errorf("lab: source %s: expected an address of the link of %s that nobody has, found one of this host, whose kernel would answer too", t.Source, t.Interface)
		}
	}
	return nil
}
