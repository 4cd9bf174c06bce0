package lab

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// EchoPort is where a peer's host gives back what it gets, over UDP and TCP (RFC 862).
const EchoPort = 7

// EchoDatagrams are the sizes of what EchoUDP sends, in octets.
var EchoDatagrams = []int{1, 17, 700, 1200}

// echoStream is how much EchoTCP sends, in octets.
const echoStream = 128 << 10

// EchoLimit is what one message, or one stream, may take on a busy machine.
const EchoLimit = 30 * time.Second

// EchoAddress is that of the echo service at a host.
func EchoAddress(host netip.Addr) string {
	return net.JoinHostPort(host.String(), strconv.Itoa(EchoPort))
}

// EchoContent is what a message of the size carries.
func EchoContent(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// Dial connects a socket of the namespace. Only TCP takes an address to come from. All of what is done with it has EchoLimit.
func (n *Namespace) Dial(from netip.Addr, network, address string) (conn net.Conn, err error) {
	dialer := net.Dialer{Timeout: EchoLimit}
	if from.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	err = n.Do(func() (err error) { // a socket belongs to the namespace of the thread that makes it
		conn, err = dialer.Dial(network, address)
		return err
	})
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(EchoLimit))
}

// EchoUDP sends datagrams to a host one after the other, and wants each of them back.
func (n *Namespace) EchoUDP(to netip.Addr) error {
	conn, err := n.Dial(netip.Addr{}, "udp", EchoAddress(to))
	if err != nil {
		return err
	}
	defer conn.Close()
	buffer := make([]byte, 1<<16)
	for _, size := range EchoDatagrams {
		sent := EchoContent(size)
		if _, err := conn.Write(sent); err != nil {
			return err
		}
		n, err := conn.Read(buffer)
		if err != nil || !bytes.Equal(buffer[:n], sent) {
			return fmt.Errorf("lab: expected the %d octets that were sent, found %d (%v)", size, n, err)
		}
	}
	return nil
}

// EchoTCP sends a stream to a host, from an address of the kernel's choice unless it is given one, and reads it back at the same time.
func (n *Namespace) EchoTCP(from, to netip.Addr) error {
	conn, err := n.Dial(from, "tcp", EchoAddress(to))
	if err != nil {
		return err
	}
	defer conn.Close()
	sent := EchoContent(echoStream)
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(sent)
		written <- err
	}()
	received := make([]byte, len(sent))
	size, err := io.ReadFull(conn, received)
	if err != nil || !bytes.Equal(sent, received) {
		return fmt.Errorf("lab: expected the %d octets that were sent, found %d (%v)", len(sent), size, err)
	}
	return <-written
}
