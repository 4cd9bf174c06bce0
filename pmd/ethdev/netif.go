package ethdev

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// netif is the kernel interface below a port. Its socket belongs to the network namespace of the thread that opened the port, so
// the methods reach the interface from any thread. A nil netif, of a port without a kernel interface, does nothing.
type netif struct {
	name   string
	socket int
}

// netifByName finds an interface in the namespace of the calling thread.
func netifByName(name string) (*netif, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("kernel interface %s: socket: %w", name, err)
	}
	n := &netif{name: name, socket: socket}
	if _, err := n.request(unix.SIOCGIFINDEX, nil); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

// netifByIndex is netifByName by number, with nil for number 0.
func netifByIndex(index uint32) (*netif, error) {
	if index == 0 {
		return nil, nil
	}
	iface, err := net.InterfaceByIndex(int(index))
	if err != nil {
		return nil, fmt.Errorf("kernel interface %d: %w", index, err)
	}
	return netifByName(iface.Name)
}

// raise sets an interface up.
func raise(name string) error {
	n, err := netifByName(name)
	if err != nil {
		return err
	}
	defer n.close()
	return n.up()
}

// KernelAddresses are those that the kernel has on the interface below a port; the calling thread is in its namespace. A port without such an interface has none.
func (d *Device) KernelAddresses() ([]netip.Prefix, error) {
	if d.netif == nil {
		return nil, nil
	}
	iface, err := net.InterfaceByName(d.netif.name)
	if err != nil {
		return nil, fmt.Errorf("kernel interface %s: %w", d.netif.name, err)
	}
	all, err := iface.Addrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of kernel interface %s: %w", d.netif.name, err)
	}
	var prefixes []netip.Prefix
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes, nil
}

func (n *netif) close() {
	if n != nil && n.socket >= 0 {
		unix.Close(n.socket)
		n.socket = -1
	}
}

// request runs an interface ioctl: set prepares the request, nil for one that only reads.
func (n *netif) request(code uint, set func(*unix.Ifreq)) (*unix.Ifreq, error) {
	request, err := unix.NewIfreq(n.name)
	if err != nil {
		return nil, fmt.Errorf("kernel interface %s: %w", n.name, err)
	}
	if set != nil {
		set(request)
	}
	if err := unix.IoctlIfreq(n.socket, code, request); err != nil {
		return nil, fmt.Errorf("kernel interface %s: %w", n.name, err)
	}
	return request, nil
}

// setMTU sets the interface's MTU in bytes.
func (n *netif) setMTU(mtu int) error {
	_, err := n.request(unix.SIOCSIFMTU, func(r *unix.Ifreq) { r.SetUint32(uint32(mtu)) })
	return err
}

// up sets the interface up, as starting a port does with a NIC.
func (n *netif) up() error {
	if n == nil {
		return nil
	}
	now, err := n.request(unix.SIOCGIFFLAGS, nil)
	if err != nil {
		return err
	}
	flags := now.Uint16()
	if flags&unix.IFF_UP != 0 {
		return nil
	}
	_, err = n.request(unix.SIOCSIFFLAGS, func(r *unix.Ifreq) { r.SetUint16(flags | unix.IFF_UP) })
	return err
}

// running says whether the interface is up and has a carrier. One that is gone does not run.
func (n *netif) running() (bool, error) {
	now, err := n.request(unix.SIOCGIFFLAGS, nil)
	if errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	const both = unix.IFF_UP | unix.IFF_RUNNING
	return now.Uint16()&both == both, nil
}
