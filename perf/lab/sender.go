package lab

import (
	"fmt"
	"net"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sender puts frames onto a link as fast as the kernel takes them, many in one system call.
type Sender struct {
	fd       int
	link     string
	frames   [senderBatch][senderFrame]byte
	parts    [senderBatch]unix.Iovec
	messages [senderBatch]message
}

// senderBatch is how many frames go by one call of sendmmsg(2).
const senderBatch = 64

// senderFrame is the room for a frame, in octets.
const senderFrame = 2048

// message is struct mmsghdr.
type message struct {
	header unix.Msghdr
	sent   uint32
	_      uint32
}

// Sender opens one; the lab closes it.
func (n *Namespace) Sender(link string) (*Sender, error) {
	s := &Sender{link: link}
	if err := n.Do(s.open); err != nil {
		return nil, fmt.Errorf("lab: sender on %s in %s: %w", link, n.Name, err)
	}
	n.lab.Defer(func() error { return unix.Close(s.fd) })
	return s, nil
}

func (s *Sender) open() error {
	device, err := net.InterfaceByName(s.link)
	if err != nil {
		return err
	}
	if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil { // deaf
		return err
	}
	for i := range s.messages {
		s.parts[i].Base = &s.frames[i][0]
		s.messages[i].header.Iov = &s.parts[i]
		s.messages[i].header.SetIovlen(1)
	}
	if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		return err
	}
	return unix.Bind(s.fd, &unix.SockaddrLinklayer{Ifindex: device.Index})
}

// Send sends so many frames, which next writes one after the other, each to at most as many octets as there is room for. It returns how many the link took.
func (s *Sender) Send(count int, next func(frame []byte) (length int)) (taken int, err error) {
	for count > 0 {
		batch := min(count, senderBatch)
		for i := range batch {
			s.parts[i].SetLen(next(s.frames[i][:]))
		}
		n, err := s.flush(batch)
		if err != nil {
			return taken, err
		}
		taken += n
		count -= batch
	}
	return taken, nil
}

// flush sends what is written. What the link has no room for is lost, as on any wire.
func (s *Sender) flush(batch int) (taken int, err error) {
	for at := 0; at < batch; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.messages[at])), uintptr(batch-at), 0, 0, 0)
		switch errno {
		case 0:
			at, taken = at+int(n), taken+int(n)
		case unix.EINTR:
		case unix.ENOBUFS, unix.EAGAIN:
			at++
		default:
			return taken, fmt.Errorf("lab: sending on %s: %w", s.link, errno)
		}
	}
	runtime.KeepAlive(s)
	return taken, nil
}
