package lab_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"sallyport/perf/lab"
	"sallyport/perf/peers"
)

// What each case of a matrix carries, in octets: the sizes of echo requests go through every length of ESP padding.
var (
	pingSizes     = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 200, 1200}
	datagramSizes = []int{1, 17, 700, 1200}
)

const (
	streamSize = 128 << 10
	echoLimit  = 10 * time.Second // of one of them, on a busy machine
)

// echoFrom sends by ICMP, UDP and TCP from a host to one that echoes all of it, and wants everything back.
func echoFrom(host *lab.Namespace, to netip.Addr) error {
	if err := echoICMP(host, to); err != nil {
		return fmt.Errorf("ICMP to %s: %w", to, err)
	}
	if err := echoUDP(host, to); err != nil {
		return fmt.Errorf("UDP to %s: %w", to, err)
	}
	if err := echoTCP(host, netip.Addr{}, to); err != nil {
		return fmt.Errorf("TCP to %s: %w", to, err)
	}
	return nil
}

// dialIn connects a socket of the namespace. Only TCP takes an address to come from.
func dialIn(in *lab.Namespace, from netip.Addr, network, address string) (conn net.Conn, err error) {
	dialer := net.Dialer{Timeout: echoLimit}
	if from.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	err = in.Do(func() (err error) { // a socket belongs to the namespace of the thread that makes it
		conn, err = dialer.Dial(network, address)
		return err
	})
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(echoLimit))
}

// content is what a message of the size carries.
func content(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// echoICMP wants an answer to each echo request.
func echoICMP(host *lab.Namespace, to netip.Addr) error {
	network, request, reply := "ip4:icmp", byte(8), byte(0)
	if to.Is6() {
		network, request, reply = "ip6:ipv6-icmp", 128, 129 // the kernel fills in this one's checksum
	}
	conn, err := dialIn(host, netip.Addr{}, network, to.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	for sequence, size := range pingSizes {
		message := append([]byte{request, 0, 0, 0, 0x5a, 0x11, 0, byte(sequence)}, content(size)...)
		if to.Is4() {
			put16(message[2:], ^onesSum(0, message))
		}
		if _, err := conn.Write(message); err != nil {
			return err
		}
		if err := awaitReply(conn.(*net.IPConn), append([]byte{reply}, message[4:]...)); err != nil {
			return fmt.Errorf("echo request with %d octets: %w", size, err)
		}
	}
	return nil
}

// awaitReply reads until there is the message, whose checksum is left out.
func awaitReply(conn *net.IPConn, want []byte) error {
	buffer := make([]byte, 1<<16)
	for {
		n, _, err := conn.ReadFromIP(buffer)
		if err != nil {
			return err
		}
		if n >= 8 && bytes.Equal(append([]byte{buffer[0]}, buffer[4:n]...), want) {
			return nil
		}
	}
}

// echoAddress is that of the echo service at a host.
func echoAddress(to netip.Addr) string {
	return net.JoinHostPort(to.String(), strconv.Itoa(peers.EchoPort))
}

// echoUDP sends datagrams one after the other.
func echoUDP(host *lab.Namespace, to netip.Addr) error {
	conn, err := dialIn(host, netip.Addr{}, "udp", echoAddress(to))
	if err != nil {
		return err
	}
	defer conn.Close()
	buffer := make([]byte, 1<<16)
	for _, size := range datagramSizes {
		sent := content(size)
		if _, err := conn.Write(sent); err != nil {
			return err
		}
		n, err := conn.Read(buffer)
		if err != nil || !bytes.Equal(buffer[:n], sent) {
			return fmt.Errorf("expected the %d octets that were sent, found %d (%v)", size, n, err)
		}
	}
	return nil
}

// echoTCP sends a stream, from an address of the host's choice unless it is given one, and reads it back at the same time.
func echoTCP(host *lab.Namespace, from, to netip.Addr) error {
	conn, err := dialIn(host, from, "tcp", echoAddress(to))
	if err != nil {
		return err
	}
	defer conn.Close()
	sent := content(streamSize)
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(sent)
		written <- err
	}()
	received := make([]byte, len(sent))
	n, err := io.ReadFull(conn, received)
	if err != nil || !bytes.Equal(sent, received) {
		return fmt.Errorf("expected the %d octets that were sent, found %d (%v)", len(sent), n, err)
	}
	return <-written
}

// serveEcho gives back what connections and datagrams to the host's port 7 bring, until the test ends.
func serveEcho(t *testing.T, host *lab.Namespace, at netip.Addr) {
	t.Helper()
	var listener net.Listener
	var datagrams net.PacketConn
	err := host.Do(func() (err error) {
		if listener, err = net.Listen("tcp", echoAddress(at)); err == nil {
			datagrams, err = net.ListenPacket("udp", echoAddress(at))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = listener.Close(), datagrams.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := datagrams.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = datagrams.WriteTo(buffer[:n], from)
		}
	}()
}
