package lab_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"

	"sallyport/perf/lab"
)

// What each case of a matrix carries, in octets: the sizes of echo requests go through every length of ESP padding.
var pingSizes = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 200, 1200}

// echoFrom sends by ICMP, UDP and TCP from a host to one that echoes all of it, and wants everything back.
func echoFrom(host *lab.Namespace, to netip.Addr) error {
	if err := echoICMP(host, to); err != nil {
		return fmt.Errorf("ICMP to %s: %w", to, err)
	}
	if err := host.EchoUDP(to); err != nil {
		return fmt.Errorf("UDP to %s: %w", to, err)
	}
	if err := host.EchoTCP(netip.Addr{}, to); err != nil {
		return fmt.Errorf("TCP to %s: %w", to, err)
	}
	return nil
}

// echoICMP wants an answer to each echo request.
func echoICMP(host *lab.Namespace, to netip.Addr) error {
	network, request, reply := "ip4:icmp", byte(8), byte(0)
	if to.Is6() {
		network, request, reply = "ip6:ipv6-icmp", 128, 129 // the kernel fills in this one's checksum
	}
	conn, err := host.Dial(netip.Addr{}, network, to.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	for sequence, size := range pingSizes {
		message := append([]byte{request, 0, 0, 0, 0x5a, 0x11, 0, byte(sequence)}, lab.EchoContent(size)...)
		if to.Is4() {
			put16(message[2:], ^lab.OnesSum(0, message))
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

// serveEcho gives back what connections and datagrams to the host's port 7 bring, until the test ends.
func serveEcho(t *testing.T, host *lab.Namespace, at netip.Addr) {
	t.Helper()
	var listener net.Listener
	var datagrams net.PacketConn
	err := host.Do(func() (err error) {
		if listener, err = net.Listen("tcp", lab.EchoAddress(at)); err == nil {
			datagrams, err = net.ListenPacket("udp", lab.EchoAddress(at))
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
