package lab

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RawPort is a packet socket on one link of a namespace. It puts frames onto the link as they are,
// which no protocol stack would send, and has what the link receives, whoever it is for.
type RawPort struct {
	fd   int
	link string

	mu      sync.Mutex
	kept    [][]byte // read and not yet asked for
	octets  int      // of them
	stop    atomic.Bool
	reading sync.WaitGroup
}

// rawPortBuffer is how many octets of frames wait for Receive, the kernel's own overhead included: some
// ten thousand small frames.
const rawPortBuffer = 64 << 20

// RawPort opens a packet socket on a link; the lab closes it.
func (n *Namespace) RawPort(link string) (*RawPort, error) {
	p := &RawPort{link: link}
	if err := n.Do(p.open); err != nil {
		return nil, fmt.Errorf("lab: packet socket on %s in %s: %w", link, n.Name, err)
	}
	n.lab.Defer(func() error {
		p.stop.Store(true)
		p.reading.Wait()
		return unix.Close(p.fd)
	})
	return p, nil
}

// maxKept bounds what a RawPort that reads ahead keeps, in octets. The kernel's buffer, which holds each frame in several times its length, takes what comes then.
const maxKept = 256 << 20

// readAheadWait is how long a RawPort that reads ahead may take to notice its end.
const readAheadWait = 50 * time.Millisecond

// ReadAhead has frames read as they come and kept for Receive: under a flood the kernel would hold those of some seconds only, and a busy machine may leave
// more than that between two calls.
func (p *RawPort) ReadAhead() {
	p.reading.Go(func() {
		for !p.stop.Load() {
			full, err := p.readAhead()
			if full {
				time.Sleep(readAheadWait)
			}
			if err != nil || p.Wait(readAheadWait) != nil {
				return // Receive finds the same
			}
		}
	})
}

// readAhead reads what there is, unless enough is kept.
func (p *RawPort) readAhead() (full bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.octets >= maxKept {
		return true, nil
	}
	return false, p.read()
}

// RawLAN is the host's side of the site's LAN: what is sent there arrives at the gateway's protected port.
func (s *Site) RawLAN() (*RawPort, error) { return s.Host.RawPort(hostLink) }

// RawWAN is the WAN's side of a site's link: what is sent there arrives at the gateway's unprotected port,
// and what is received there is what that gateway sends.
func (s *Sites) RawWAN(site *Site) (*RawPort, error) { return s.WAN.RawPort(site.wanPort()) }

// open makes the socket in the calling thread's namespace.
func (p *RawPort) open() error {
	device, err := net.InterfaceByName(p.link)
	if err != nil {
		return err
	}
	p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // deaf until bound
	if err != nil {
		return err
	}
	every := uint16(unix.ETH_P_ALL)
	err = errors.Join(
		unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, rawPortBuffer),
		unix.SetsockoptInt(p.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: every<<8 | every>>8, Ifindex: device.Index}),
	)
	if err != nil {
		return errors.Join(err, unix.Close(p.fd))
	}
	return nil
}

// Only has the kernel keep what a filter (bpf(4)) takes, and drop the rest before it costs anything.
func (p *RawPort) Only(filter []unix.SockFilter) error {
	if err := setFilter(p.fd, filter); err != nil {
		return fmt.Errorf("lab: filter on %s: %w", p.link, err)
	}
	return nil
}

func setFilter(fd int, filter []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

// Send puts one frame onto the link.
func (p *RawPort) Send(frame []byte) error {
	for {
		_, err := unix.Write(p.fd, frame)
		switch err {
		case nil:
			return nil
		case unix.EAGAIN: // the other end has not taken earlier frames yet
			fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLOUT}}
			if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
				return fmt.Errorf("lab: waiting to send on %s: %w", p.link, err)
			}
		case unix.EINTR:
		default:
			return fmt.Errorf("lab: sending %d octets on %s: %w", len(frame), p.link, err)
		}
	}
}

// Wait waits until a frame is there to be received, for at most so long.
func (p *RawPort) Wait(limit time.Duration) error {
	timeout := unix.NsecToTimespec(limit.Nanoseconds())
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	if _, err := unix.Ppoll(fds, &timeout, nil); err != nil && err != unix.EINTR {
		return fmt.Errorf("lab: waiting for frames on %s: %w", p.link, err)
	}
	return nil
}

// Receive returns the frames that the link has received since the last call, without waiting. It is an error
// when the kernel had to drop one.
func (p *RawPort) Receive() ([][]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.read()
	frames := p.kept
	p.kept, p.octets = nil, 0
	if err != nil {
		return frames, err
	}
	statistics, err := unix.GetsockoptTpacketStats(p.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return frames, fmt.Errorf("lab: PACKET_STATISTICS on %s: %w", p.link, err)
	}
	if statistics.Drops > 0 {
		return frames, fmt.Errorf("lab: expected to see every frame on %s, the kernel dropped %d: receive more often", p.link, statistics.Drops)
	}
	return frames, nil
}

// What the kernel counts against a socket's buffer, which it makes twice as large as it is asked to: a frame, and at least so many octets beside it.
const (
	heldAtMost   = 2 * rawPortBuffer
	besideAFrame = 512
)

// read keeps all frames that the kernel held when it was asked, and not many more: under a flood there are always others.
func (p *RawPort) read() error {
	buffer := make([]byte, wholeFrame)
	for held := 0; held < heldAtMost; {
		n, err := unix.Read(p.fd, buffer)
		if err == unix.EAGAIN {
			return nil
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("lab: receiving on %s: %w", p.link, err)
		}
		p.kept = append(p.kept, append([]byte(nil), buffer[:n]...))
		p.octets += n
		held += n + besideAFrame
	}
	return nil
}

// Unplug takes a site's link out of the WAN: what the site sends is seen at its RawWAN and goes no further.
func (s *Sites) Unplug(site *Site) error {
	return s.changeWAN(site, s.WAN.links.LinkSetNoMaster)
}

// Plug puts a site's link into the WAN again.
func (s *Sites) Plug(site *Site) error {
	return s.changeWAN(site, func(link netlink.Link) error {
		bridge, err := s.WAN.links.LinkByName(wanBridge)
		if err != nil {
			return err
		}
		return s.WAN.links.LinkSetMaster(link, bridge)
	})
}

func (s *Sites) changeWAN(site *Site, change func(netlink.Link) error) error {
	link, err := s.WAN.links.LinkByName(site.wanPort())
	if err == nil {
		err = change(link)
	}
	if err != nil {
		return fmt.Errorf("lab: link of site %s in the WAN: %w", site.Name, err)
	}
	return nil
}
