package lab

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Counter counts the IPv4 packets of one protocol that a link receives, at next to no cost: the kernel finds no room for them in the socket, and counts.
type Counter struct{ fd int }

// Counter opens one; the lab closes it.
func (n *Namespace) Counter(link string, protocol byte) (*Counter, error) {
	c := &Counter{}
	if err := n.Do(func() error { return c.open(link, protocol) }); err != nil {
		return nil, fmt.Errorf("lab: counting on %s in %s: %w", link, n.Name, err)
	}
	n.lab.Defer(func() error { return unix.Close(c.fd) })
	return c, nil
}

func (c *Counter) open(link string, protocol byte) error {
	device, err := net.InterfaceByName(link)
	if err != nil {
		return err
	}
	if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return err
	}
	const protocolAt = 14 + 9 // of an Ethernet frame
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: protocolAt},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(protocol)},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1},
		{Code: unix.BPF_RET | unix.BPF_K},
	}
	for _, set := range []func() error{
		func() error { return setFilter(c.fd, filter) },
		func() error { return unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1) },
		func() error { return unix.SetsockoptInt(c.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1) },
		func() error {
			return unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8, Ifindex: device.Index})
		},
	} {
		if err := set(); err != nil {
			return err
		}
	}
	return nil
}

// Count is how many packets there have been since the last call.
func (c *Counter) Count() (int, error) {
	statistics, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("lab: PACKET_STATISTICS: %w", err)
	}
	return int(statistics.Packets), nil
}
