package peers

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/crypto"
	"sallyport/perf/lab"
)

// espSocket is a raw socket for IP protocol 50 in a namespace: its kernel adds and removes the outer
// IP header and leaves ESP alone.
type espSocket struct {
	fd int
	to unix.SockaddrInet4
}

// newESPSocket opens a socket that talks to the address.
func newESPSocket(t *testing.T, in *lab.Namespace, to netip.Addr) espSocket {
	t.Helper()
	s := espSocket{to: unix.SockaddrInet4{Addr: to.As4()}}
	err := in.Do(func() (err error) {
		s.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ESP)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(s.fd) })
	limit := unix.Timeval{Sec: 10}
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		t.Fatal(err)
	}
	return s
}

// exchange sends an ESP packet and returns the next one with the wanted SPI.
func (s espSocket) exchange(packet []byte, spi uint32) ([]byte, error) {
	if err := unix.Sendto(s.fd, packet, 0, &s.to); err != nil {
		return nil, err
	}
	buffer := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(s.fd, buffer, 0)
		if err != nil {
			return nil, fmt.Errorf("no ESP packet from the kernel: %w", err)
		}
		header := int(buffer[0]&0xf) * 4
		if answer := buffer[header:n]; len(answer) > 4 && binary.BigEndian.Uint32(answer) == spi {
			return bytes.Clone(answer), nil
		}
	}
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// echoRequest is an IPv4 packet with an ICMP echo request of size octets of data.
func echoRequest(source, destination netip.Addr, sequence uint16, size int) []byte {
	icmp := make([]byte, 8+size)
	icmp[0] = 8
	binary.BigEndian.PutUint16(icmp[4:], 0x5a11)
	binary.BigEndian.PutUint16(icmp[6:], sequence)
	for i := range size {
		icmp[8+i] = byte(i * 7)
	}
	binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
	ip := make([]byte, 20, 20+len(icmp))
	ip[0], ip[8], ip[9] = 0x45, 64, 1
	binary.BigEndian.PutUint16(ip[2:], uint16(20+len(icmp)))
	copy(ip[12:], source.AsSlice())
	copy(ip[16:], destination.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return append(ip, icmp...)
}

// keymatOf is key material that differs by seed, of the length that the suite takes.
func keymatOf(s crypto.Suite, seed byte) []byte {
	b := make([]byte, s.KeymatLen())
	for i := range b {
		b[i] = seed + byte(i*13)
	}
	return b
}

// TestKernelOpensOursAndWeTheKernels proves the ESP reference against the Linux kernel, suite by
// suite: the kernel must decrypt an echo request that we sealed to answer it, and we must open the
// answer, which carries the same data back.
func TestKernelOpensOursAndWeTheKernels(t *testing.T) {
	s := newSites(t, lab.KernelGateway, lab.RawGateway)
	g := startGuest(t, s)
	socket := newESPSocket(t, s.A.Gateway, s.B.WANAddress)
	for i, suite := range crypto.IKESuites() {
		t.Run(suite.String(), func(t *testing.T) {
			toGuest, fromGuest := uint32(0x1000+i), uint32(0x2000+i)
			m := ManualTunnel{Local: s.B.WANAddress, Remote: s.A.WANAddress, LocalNet: s.B.LAN, RemoteNet: s.A.LAN, Suite: suite,
				Out: ManualSA{fromGuest, crypto.NewSecret(keymatOf(suite, 0x40))}, In: ManualSA{toGuest, crypto.NewSecret(keymatOf(suite, 0x80))}}
			if err := m.Install(t.Context(), g); err != nil {
				t.Fatal(err)
			}
			sealer, err := crypto.NewESP(suite, toGuest, crypto.NewSecret(keymatOf(suite, 0x80)))
			if err != nil {
				t.Fatal(err)
			}
			opener, err := crypto.NewESP(suite, fromGuest, crypto.NewSecret(keymatOf(suite, 0x40)))
			if err != nil {
				t.Fatal(err)
			}
			for n, size := range []int{1, 2, 3, 56, 500, 1300} {
				request := echoRequest(s.A.HostAddress, s.B.HostAddress, uint16(n), size)
				sealed, err := sealer.Seal(uint64(n+1), nil, request, 4)
				if err != nil {
					t.Fatal(err)
				}
				answer, err := socket.exchange(sealed, fromGuest)
				if err != nil {
					stat, _ := g.Run(t.Context(), "cat", "/proc/net/xfrm_stat")
					t.Fatalf("%d octets: %v\n%s", size, err, stat)
				}
				inner, next, seq, err := opener.Open(answer, 0)
				if err != nil || next != 4 || seq != uint32(n+1) {
					t.Fatalf("%d octets: opened with next header %d, sequence %d, error %v", size, next, seq, err)
				}
				if len(inner) != len(request) || inner[20] != 0 || !bytes.Equal(inner[24:], request[24:]) {
					t.Errorf("%d octets: expected the echo reply to %x, found %x", size, request, inner)
				}
			}
		})
	}
}

// TestStrongSwanInGuest proves the second form of the peer: IKE by strongSwan, ESP by the kernel.
func TestStrongSwanInGuest(t *testing.T) {
	s := newSites(t, lab.KernelGateway, lab.RawGateway)
	g := startGuest(t, s)
	if _, err := StartStrongSwan(t.Context(), s.Lab, s.A.Gateway, "strongswan-a", tunnelBetween(s.A, s.B)); err != nil {
		t.Fatal(err)
	}
	b, err := StartStrongSwanIn(t.Context(), g, tunnelBetween(s.B, s.A))
	if err != nil {
		t.Fatal(err)
	}
	capture, err := s.Capture(lab.CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Initiate(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, b.Log(t.Context()))
	}
	const pings = 20
	result, err := s.A.Host.Ping(t.Context(), s.B.HostAddress, lab.PingOptions{Count: pings, Interval: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if result.Received != pings {
		t.Errorf("ping through the tunnel: %+v, want %d answers", result, pings)
	}
	sa, err := b.WaitTunnel(t.Context(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if c := sa.Children[0]; c.PacketsIn != pings || c.PacketsOut != pings {
		t.Errorf("the guest's kernel counts %+v, want %d packets each way", c, pings)
	}
	sentA, sentB, err := capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for name, tally := range map[string]lab.Tally{"a": sentA, "b": sentB} {
		if tally.ESPinUDP != pings || tally.Clear != 0 || tally.Lost != 0 {
			t.Errorf("site %s sent %v, want %d ESP in UDP and nothing clear", name, tally, pings)
		}
	}
}
