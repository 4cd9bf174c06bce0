package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// VLANs of a gateway whose ports share a link.
const (
	LANVLAN = 10
	WANVLAN = 20
)

// The link that such a gateway drives, and the end of it at the switch.
const (
	trunkLink = "trunk0"
	trunkEnd  = "switch0"
)

// A vlanSwitch joins each VLAN of a trunk to a link of the site, as a managed switch does. Not every kernel has VLANs, so it is one of our own.
type vlanSwitch struct {
	trunk *RawPort
	links map[uint16]*RawPort // by VLAN
	stop  atomic.Bool
	done  sync.WaitGroup
}

// layTrunk puts the link and the switch into the gateway's namespace.
func (s *Site) layTrunk(ctx context.Context) error {
	in := s.Gateway
	if err := Wire(ctx, in, trunkLink, in, trunkEnd, linkMTU); err != nil {
		return err
	}
	for _, end := range []string{trunkLink, trunkEnd} {
		if err := in.Mute(end); err != nil {
			return err
		}
	}
	w := &vlanSwitch{links: map[uint16]*RawPort{}}
	var err error
	if w.trunk, err = in.RawPort(trunkEnd); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(w.trunk.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		return fmt.Errorf("lab: PACKET_AUXDATA on %s: %w", trunkEnd, err)
	}
	for vlan, link := range map[uint16]string{LANVLAN: LANLink, WANVLAN: WANLink} {
		if w.links[vlan], err = in.RawPort(link); err != nil {
			return err
		}
	}
	in.lab.Defer(w.close)
	w.done.Go(func() { w.relay(w.trunk, w.fromTrunk) })
	for vlan, port := range w.links {
		w.done.Go(func() { w.relay(port, func() error { return w.toTrunk(port, vlan) }) })
	}
	return nil
}

func (w *vlanSwitch) close() error {
	w.stop.Store(true)
	w.done.Wait()
	return nil
}

// switchWaitMS is how long a relay waits before it looks whether it is to end, in milliseconds.
const switchWaitMS = 50

// relay moves what a port receives until the switch is closed. An error ends it: the test then misses its packets.
func (w *vlanSwitch) relay(from *RawPort, move func() error) {
	for !w.stop.Load() {
		fds := []unix.PollFd{{Fd: int32(from.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, switchWaitMS); n > 0 && err == nil && move() != nil {
			return
		}
	}
}

// toTrunk sends what a link has received with the tag of its VLAN.
func (w *vlanSwitch) toTrunk(from *RawPort, vlan uint16) error {
	frames, err := from.Receive()
	for _, f := range frames {
		err = errors.Join(err, w.trunk.Send(tagged(f, vlan)))
	}
	return err
}

// tagged is a frame with a tag in front of its EtherType (IEEE 802.1Q).
func tagged(frame []byte, vlan uint16) []byte {
	return slices.Concat(frame[:12], binary.BigEndian.AppendUint16([]byte{0x81, 0}, vlan), frame[12:])
}

// fromTrunk sends one frame to the link of its VLAN, and drops any other. The kernel takes tags off and tells them apart from the frame.
func (w *vlanSwitch) fromTrunk() error {
	const statusVLAN, tagAt, auxLen = 1 << 4, 16, 20 // TP_STATUS_VLAN_VALID; struct tpacket_auxdata
	frame, control := make([]byte, wholeFrame), make([]byte, unix.CmsgSpace(auxLen))
	n, m, _, _, err := unix.Recvmsg(w.trunk.fd, frame, control, 0)
	if err == unix.EAGAIN || err == unix.EINTR {
		return nil
	}
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(control[:m])
	if err != nil {
		return err
	}
	for _, c := range messages {
		if c.Header.Level != unix.SOL_PACKET || c.Header.Type != unix.PACKET_AUXDATA || binary.NativeEndian.Uint32(c.Data)&statusVLAN == 0 {
			continue
		}
		if link := w.links[binary.NativeEndian.Uint16(c.Data[tagAt:])]; link != nil {
			return link.Send(frame[:n])
		}
	}
	return nil
}

// RawTrunk is the switch's end of the link that the ports of a gateway share: what is sent there arrives at the gateway as it is.
func (s *Site) RawTrunk() (*RawPort, error) { return s.Gateway.RawPort(trunkEnd) }
