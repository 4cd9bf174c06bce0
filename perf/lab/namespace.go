package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespaceDir is where iproute2 keeps network namespaces by name.
const namespaceDir = "/run/netns"

// Namespace is a named network namespace with a thread of its own: sockets are opened and processes
// started from there, and the processes die when that thread ends.
type Namespace struct {
	Name string

	lab   *Lab
	links *netlink.Handle
	calls chan func()
}

// Namespace makes a network namespace for role ("lan-a", "wan"), with its loopback up and IPv6
// silent: the lab's captures must hold only what the test's subjects say.
func (l *Lab) Namespace(role string) (*Namespace, error) {
	n := &Namespace{Name: l.Name + "-" + role, lab: l, calls: make(chan func())}
	ready := make(chan error)
	go n.serve(ready)
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("lab: making namespace %s: %w", n.Name, err)
	}
	l.mu.Lock()
	l.namespaces = append(l.namespaces, n)
	l.mu.Unlock()
	return n, nil
}

// serve is the namespace's thread. It ends locked, so that the thread ends with it.
func (n *Namespace) serve(ready chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		// The main thread cannot end before the process and lends its view of the network to
		// /proc/self: hand over to another while this goroutine occupies it.
		handed := make(chan error)
		go n.serve(handed)
		ready <- <-handed
		runtime.UnlockOSThread()
		return
	}
	if err := n.enter(); err != nil {
		ready <- errors.Join(err, removeNamespace(n.Name))
		return
	}
	ready <- nil
	for call := range n.calls {
		call()
	}
}

// quiet are the settings of a fresh namespace. IPv4's are copied from the host's by the kernel, so
// that a host which forwards would make every namespace forward.
var quiet = []struct{ path, value string }{
	{"net/ipv6/conf/all/disable_ipv6", "1"},
	{"net/ipv6/conf/default/disable_ipv6", "1"},
	{"net/ipv4/ip_forward", "0"}, // first: it resets the others
	{"net/ipv4/conf/all/rp_filter", "0"},
	{"net/ipv4/conf/default/rp_filter", "0"},
	{"net/ipv4/conf/all/send_redirects", "0"},
	{"net/ipv4/conf/default/send_redirects", "0"},
}

// enter makes the namespace and moves the calling thread there.
func (n *Namespace) enter() error {
	handle, err := netns.NewNamed(n.Name)
	if err != nil {
		return err
	}
	defer handle.Close()
	for _, s := range quiet {
		if err := writeSysctl(s.path, s.value); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if n.links, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return err
	}
	loopback, err := n.links.LinkByName("lo")
	if err != nil {
		return err
	}
	return n.links.LinkSetUp(loopback)
}

// Do runs f on the namespace's thread and waits for it.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error)
	n.calls <- func() { done <- f() }
	return <-done
}

// close ends the thread, and with it what it started, and removes the name.
func (n *Namespace) close() error {
	close(n.calls)
	n.links.Close()
	return removeNamespace(n.Name)
}

// removeNamespace unmounts and unlinks a name under namespaceDir; a missing one is no error.
func removeNamespace(name string) error {
	path := filepath.Join(namespaceDir, name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("lab: unmounting %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}

// writeSysctl sets a value in the calling thread's network namespace.
func writeSysctl(path, value string) error {
	return os.WriteFile("/proc/sys/"+path, []byte(value), 0)
}

// Sysctl sets a kernel variable of the namespace, for example "net/ipv4/ip_forward".
func (n *Namespace) Sysctl(path, value string) error {
	if err := n.Do(func() error { return writeSysctl(path, value) }); err != nil {
		return fmt.Errorf("lab: namespace %s: %w", n.Name, err)
	}
	return nil
}

// AddAddress gives an interface of the namespace an address.
func (n *Namespace) AddAddress(link string, address netip.Prefix) error {
	l, err := n.links.LinkByName(link)
	if err == nil {
		// Nobody else has it: of use at once, without asking around first (RFC 4862 section 5.4).
		err = n.links.AddrAdd(l, &netlink.Addr{IPNet: ipNet(address), Flags: unix.IFA_F_NODAD})
	}
	if err != nil {
		return fmt.Errorf("lab: namespace %s: address %s on %s: %w", n.Name, address, link, err)
	}
	return nil
}

// AddRoute sends packets for to by way of the neighbour via.
func (n *Namespace) AddRoute(to netip.Prefix, via netip.Addr) error {
	if err := n.links.RouteAdd(&netlink.Route{Dst: ipNet(to.Masked()), Gw: via.AsSlice()}); err != nil {
		return fmt.Errorf("lab: namespace %s: route to %s via %s: %w", n.Name, to, via, err)
	}
	return nil
}

// AddBridge makes a bridge and puts the links into it.
func (n *Namespace) AddBridge(name string, links ...string) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = name
	snooping := false // a bridge that snoops on multicast announces itself with IGMP
	bridge := &netlink.Bridge{LinkAttrs: attributes, MulticastSnooping: &snooping}
	if err := n.links.LinkAdd(bridge); err != nil {
		return fmt.Errorf("lab: namespace %s: bridge %s: %w", n.Name, name, err)
	}
	for _, link := range links {
		if err := n.intoBridge(name, link); err != nil {
			return err
		}
	}
	return n.links.LinkSetUp(bridge)
}

// intoBridge makes a link one of a bridge's.
func (n *Namespace) intoBridge(name, link string) error {
	bridge, err := n.links.LinkByName(name)
	if err == nil {
		var port netlink.Link
		if port, err = n.links.LinkByName(link); err == nil {
			err = n.links.LinkSetMaster(port, bridge)
		}
	}
	if err != nil {
		return fmt.Errorf("lab: namespace %s: %s into bridge %s: %w", n.Name, link, name, err)
	}
	return nil
}

// ipNet turns a prefix into the type that netlink takes, host bits kept.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
