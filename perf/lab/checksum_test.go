package lab_test

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"

	"sallyport/perf/lab"
)

// TestChecksumsPassUntouched: a checksum of TCP or UDP is the business of the hosts. The gateways carry a wrong one as it is, and
// neither mend it nor drop for it; so a host whose kernel leaves its checksums to a card that is not there is seen
// to do so. Inner packets arrive as they were sent, apart from TTL and header checksum.
//
// S-098
func TestChecksumsPassUntouched(t *testing.T) {
	r := newHostileRig(t)
	for _, way := range []struct {
		name     string
		from, to *lab.Site
		send     *lab.RawPort
		receive  *lab.RawPort
		gateway  net.HardwareAddr
	}{
		{"a to b", r.A, r.B, r.lan, r.farLAN, r.lanMAC},
		{"b to a", r.B, r.A, r.farLAN, r.lan, portMAC(t, r.b, lanPort)},
	} {
		t.Run(way.name, func(t *testing.T) {
			for name, packet := range checksummed(way.from.HostAddress, way.to.HostAddress) {
				if _, err := way.receive.Receive(); err != nil {
					t.Fatal(err)
				}
				if err := way.send.Send(ether(way.gateway, etherIPv4, packet)); err != nil {
					t.Fatal(err)
				}
				want := changed(packet, func(p []byte) { p[8] -= 2 }) // each gateway is a router
				if got := r.arrived(t, way.receive, want[9]); !bytes.Equal(got, want) {
					t.Errorf("%s: sent\n% x, received\n% x, want\n% x", name, packet, got, want)
				}
			}
		})
	}
	t.Run("unfinished by the kernel", func(t *testing.T) { testUnfinished(t, r) })
	r.noClear(t)
}

// arrived waits for a packet of a protocol that carries the marker, and returns it without the Ethernet header.
func (r *hostileRig) arrived(t *testing.T, port *lab.RawPort, protocol byte) (packet []byte) {
	t.Helper()
	err := lab.Until(t.Context(), nil, "the packet", settleLimit, func() (bool, error) {
		frames, err := port.Receive()
		i := slices.IndexFunc(frames, func(f []byte) bool {
			return !isARP(f) && len(f) > espAt && f[23] == protocol && bytes.Contains(f, []byte(attackMarker))
		})
		if i >= 0 {
			packet = frames[i][etherLen:]
		}
		return i >= 0, err
	})
	if err != nil {
		t.Errorf("%v\n%s", err, r.a.Diagnosis(t.Context()))
	}
	return packet
}

// checksummed are UDP and TCP packets with checksums that are right, wrong, unfinished and absent.
func checksummed(from, to netip.Addr) map[string][]byte {
	packets := map[string][]byte{}
	for _, l4 := range []struct {
		name     string
		protocol byte
		at       int // of the checksum
		segment  []byte
	}{{"UDP", protocolUDP, 6, marked()}, {"TCP", protocolTCP, 16, tcpSYN()}} {
		pseudo := pseudoSum(from, to, l4.protocol, len(l4.segment))
		right := ^lab.OnesSum(uint32(pseudo), l4.segment)
		for name, sum := range map[string]uint16{"right": right, "wrong": right ^ 0x0101, "unfinished": pseudo, "all ones": 0xffff, "none": 0} {
			s := slices.Clone(l4.segment)
			put16(s[l4.at:], sum)
			packets[l4.name+" "+name] = ipv4(from, to, l4.protocol, s)
		}
	}
	return packets
}

// pseudoSum is the sum of the pseudo-header (RFC 768): what a kernel leaves in the field of a checksum that a card is
// to finish.
func pseudoSum(from, to netip.Addr, protocol byte, length int) uint16 {
	s, d := from.As4(), to.As4()
	return lab.OnesSum(uint32(protocol)+uint32(length), slices.Concat(s[:], d[:]))
}

// testUnfinished lets the kernel of host A leave its checksums to the veth pair, where nobody finishes them.
func testUnfinished(t *testing.T, r *hostileRig) {
	if _, err := r.A.Host.Run(t.Context(), "ethtool", "-K", "eth0", "tx", "on"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.farLAN.Receive(); err != nil {
		t.Fatal(err)
	}
	const port = 9
	err := r.A.Host.Do(func() error {
		socket, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(r.B.HostAddress, port)))
		if err != nil {
			return err
		}
		defer socket.Close()
		_, err = socket.Write([]byte(attackMarker))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got := r.arrived(t, r.farLAN, protocolUDP)
	if len(got) == 0 {
		return // said already
	}
	datagram := got[ipv4Len:]
	if want := pseudoSum(r.A.HostAddress, r.B.HostAddress, protocolUDP, len(datagram)); get16(datagram[6:]) != want {
		t.Errorf("the datagram came with checksum %04x, want the unfinished %04x", get16(datagram[6:]), want)
	}
}
