package lab_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"sallyport/perf/lab"
)

// datagramSize is that of a UDP payload which the hosts send in six fragments, in octets.
const datagramSize = 8192

// datagramCases: where a large datagram is cut. What IPv6's senders have cut is never sent whole: it would be too long for what is
// behind the tunnel.
var datagramCases = []mtuCase{
	{name: "4in4-before", encapsulation: "fragment: before"},
	{name: "4in4-after", encapsulation: "fragment: after", fragments: true},
	{name: "4in6-after", encapsulation: "fragment: after", outer6: true, fragments: true},
	{name: "6in4-before", inner6: true, encapsulation: "fragment: before"},
	{name: "6in6-after", inner6: true, outer6: true, encapsulation: "fragment: after, df: clear"},
}

// TestLargeDatagrams: a datagram of several frames gets through a tunnel whole, there and back. Between the gateways it is several
// packets of ESP if it is cut before it is encapsulated, and the fragments of one if after.
func TestLargeDatagrams(t *testing.T) {
	t.Parallel()
	s, gateways := routedGateways(t, datagramCases)
	for number, c := range datagramCases {
		t.Run(c.name, func(t *testing.T) { c.datagram(t, s, number) })
	}
	for _, g := range gateways {
		counters, err := g.Counters(t.Context())
		if err != nil {
			t.Error(err)
		}
		for _, port := range counters.Ports {
			if (port.Name == "lan" || port.Name == "wan") && (port.Merged == 0 || port.Reassembling != 0) || port.Name == "lan" && port.Split == 0 {
				t.Errorf("gw-%s, port %s: merged %d, split %d, reassembling %d, want fragments merged and split, and none left",
					g.Site.Name, port.Name, port.Merged, port.Split, port.Reassembling)
			}
		}
	}
}

// datagram sends one there and back.
func (c mtuCase) datagram(t *testing.T, s *lab.Sites, number int) {
	from, to := c.arrive(t, s, number)
	serveDatagrams(t, s.B.Host, to)
	if err := exchangeDatagram(s.A.Host, from, to); err != nil { // once for the way, and for IPv6's path MTU
		t.Fatal(err)
	}
	// On a busy machine an echo may come so late that the datagram was sent once more: then another is sent.
	var a, b lab.Tally
	err := lab.Until(t.Context(), nil, "one datagram each way", changeLimit, func() (bool, error) {
		capture, err := s.Capture(lab.CaptureOptions{Snap: 128})
		if err != nil {
			return false, err
		}
		err = exchangeDatagram(s.A.Host, from, to)
		var failed error
		a, b, failed = capture.Stop()
		if a.Clear+b.Clear+a.Lost+b.Lost != 0 {
			failed = errors.Join(failed, errors.New("clear or lost frames"))
		}
		return c.once(a) && c.once(b), errors.Join(err, failed)
	})
	if err != nil {
		t.Errorf("%v: sent %v and %v, want one ESP packet in fragments: %v", err, a, b, c.fragments)
	}
}

// once reports whether a site has sent a datagram once, in the case's form.
func (c mtuCase) once(sent lab.Tally) bool {
	if c.fragments {
		return sent.ESP == 1 && sent.Fragments >= 5
	}
	return sent.ESP >= 6 && sent.Fragments == 0
}

// exchangeDatagram sends a datagram until its echo comes back: a path MTU that was not known costs the first one.
func exchangeDatagram(host *lab.Namespace, from, to netip.Addr) error {
	var conn net.Conn
	dialer := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	err := host.Do(func() (err error) {
		conn, err = dialer.Dial("udp", lab.EchoAddress(to))
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	sent, buffer, limit := lab.EchoContent(datagramSize), make([]byte, 1<<16), time.Now().Add(lab.EchoLimit)
	for time.Now().Before(limit) {
		if _, err = conn.Write(sent); err != nil { // what ICMP said of the one before
			continue
		}
		if err = conn.SetReadDeadline(time.Now().Add(lab.EchoLimit / 6)); err != nil {
			return err
		}
		n, failed := conn.Read(buffer)
		if err = failed; err == nil && !bytes.Equal(buffer[:n], sent) {
			return fmt.Errorf("expected the %d octets that were sent, found %d others", len(sent), n)
		}
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("no echo of %d octets from %s in %v: %w", len(sent), to, lab.EchoLimit, err)
}

// serveDatagrams gives back what comes to the host's UDP port 7, until the test ends.
func serveDatagrams(t *testing.T, host *lab.Namespace, at netip.Addr) {
	t.Helper()
	var conn net.PacketConn
	err := host.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", lab.EchoAddress(at))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(buffer[:n], from) // a loss is the client's to notice
		}
	}()
}
