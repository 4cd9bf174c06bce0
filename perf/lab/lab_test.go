package lab

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newSites makes the topology and takes it down with the test.
func newSites(t *testing.T, a, b GatewayKind) *Sites {
	t.Helper()
	s, err := NewSites(t.Context(), a, b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestCaptureSeesClearPackets proves the eyes of every other lab test: two plain routers carry pings
// in clear, and the capture counts each of them once, on the right side, with its payload.
func TestCaptureSeesClearPackets(t *testing.T) {
	s := newSites(t, KernelGateway, KernelGateway)
	const marker = "in-the-clear"
	path := filepath.Join(s.Dir, "wan.pcap")
	capture, err := s.Capture(CaptureOptions{Path: path, Marker: []byte(marker)})
	if err != nil {
		t.Fatal(err)
	}
	const count = 20
	result, err := s.A.Host.Ping(t.Context(), s.B.HostAddress, PingOptions{Count: count, Interval: 10 * time.Millisecond, Pattern: marker})
	if err != nil {
		t.Fatal(err)
	}
	if result.Sent != count || result.Lost() != 0 {
		t.Fatalf("ping: %+v, want all %d answered", result, count)
	}
	a, b, err := capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for name, tally := range map[string]Tally{"a": a, "b": b} {
		if tally.Clear != count || tally.Marked != count || tally.Protected() != 0 || tally.Lost != 0 {
			t.Errorf("site %s: %v, want %d clear and marked, none protected or lost", name, tally, count)
		}
	}
	frames, err := ReadPcap(path)
	if err != nil {
		t.Fatal(err)
	}
	clear := 0
	for _, f := range frames {
		var tally Tally
		tally.add(f, len(f), clearRule{s.A.LAN, s.B.LAN}, nil)
		clear += tally.Clear
	}
	if clear != 2*count {
		t.Errorf("the pcap file holds %d clear packets, want %d", clear, 2*count)
	}
}

// TestRawGatewayIsSilent proves that the kernel of a gateway that a data plane drives neither
// forwards nor answers.
func TestRawGatewayIsSilent(t *testing.T) {
	s := newSites(t, RawGateway, KernelGateway)
	capture, err := s.Capture(CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// Its own peer, one link away, gets no answer to its ARP requests either.
	result, err := s.B.Gateway.Ping(t.Context(), s.A.WANAddress, PingOptions{Count: 1, Wait: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if want := (PingResult{Sent: 1, FirstLost: 1, LastLost: 1}); result != want {
		t.Errorf("ping of the kernel behind a raw gateway: %+v, want %+v", result, want)
	}
	a, b, err := capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if a.Octets != 0 {
		t.Errorf("a raw gateway without a data plane sent %v", a)
	}
	if b.ARP == 0 {
		t.Errorf("site b sent %v, want its ARP requests", b)
	}
}

// TestStream proves that the parsing of iperf3 and offload settings stand: no frame is larger than
// the MTU and none is lost by the capture.
func TestStream(t *testing.T) {
	s := newSites(t, KernelGateway, KernelGateway)
	path := filepath.Join(s.Dir, "wan.pcap")
	capture, err := s.Capture(CaptureOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := s.A.Host.Stream(t.Context(), "tcp", s.B.Host, s.B.HostAddress, StreamOptions{Time: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	udp, err := s.A.Host.Stream(t.Context(), "udp", s.B.Host, s.B.HostAddress,
		StreamOptions{Time: time.Second, UDP: true, Datagram: 1200, Mbps: 20})
	if err != nil {
		t.Fatal(err)
	}
	if tcp.Mbps <= 0 || udp.Mbps <= 0 || udp.Packets == 0 {
		t.Errorf("tcp %+v, udp %+v: want traffic", tcp, udp)
	}
	if _, _, err := capture.Stop(); err != nil {
		t.Fatal(err)
	}
	frames, err := ReadPcap(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		if len(f) > ethernetHeader+linkMTU {
			t.Fatalf("a frame of %d octets on a link with MTU %d: offloads are on", len(f), linkMTU)
		}
	}
}

// TestCloseLeavesNothing proves that a closed lab leaves no namespace, process, lock or folder.
func TestCloseLeavesNothing(t *testing.T) {
	s, err := NewSites(t.Context(), KernelGateway, KernelGateway)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.A.Host.Start(Command{Name: "sleeper", Args: []string{"sh", "-c", "sleep 1000 & sleep 1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// What was killed below the child stays a number until init has read how it ended.
	err = Until(t.Context(), nil, "the killed process group to be gone", time.Minute, func() (bool, error) {
		return errors.Is(unix.Kill(-p.PID(), 0), unix.ESRCH), nil
	})
	if err != nil {
		t.Error(err)
	}
	wantGone(t, s.Name, s.Dir)
	if err := s.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

// wantGone checks that nothing of the lab called name is left.
func wantGone(t *testing.T, name, dir string) {
	t.Helper()
	for _, pattern := range []string{filepath.Join(namespaceDir, name+"-*"), filepath.Join(stateDir, name+"*"), dir} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// childVariable makes TestMain build a lab, report it and wait to be killed.
const childVariable = "SALLYPORT_LAB_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		labChild()
	}
	os.Exit(runTests(m))
}

// runTests gives the tests a scratch folder and removes it.
func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sallyport-lab-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ScratchDir = dir
	return m.Run()
}

// labChild is the life of a process that will be killed with a lab up.
func labChild() {
	s, err := NewSites(context.Background(), KernelGateway, KernelGateway)
	if err != nil {
		panic(err)
	}
	p, err := s.A.Host.Start(Command{Name: "sleeper", Args: []string{"sleep", "1000"}})
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString(s.Name + " " + s.Dir + " " + p.LogPath + "\n")
	select {}
}

// TestKilledLabIsSwept proves both halves of surviving SIGKILL: the processes of a killed lab die
// with it, and the next lab removes the rest.
func TestKilledLabIsSwept(t *testing.T) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childVariable+"=1")
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 512)
	n, err := stdout.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(buffer[:n]))
	if len(fields) != 3 {
		t.Fatalf("the child said %q, want its lab's name, folder and log", buffer[:n])
	}
	name, dir := fields[0], fields[1]
	held, err := os.Open(filepath.Join(namespaceDir, name+"-lan-a"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed, as asked

	err = Until(t.Context(), nil, "the killed lab's processes to die", time.Minute, func() (bool, error) {
		return len(processesUnder(dir)) == 0, nil
	})
	if err != nil {
		t.Errorf("%v: %v", err, processesUnder(dir))
	}
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	wantGone(t, name, dir)
}

// processesUnder lists the processes that work in dir.
func processesUnder(dir string) []string {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	var found []string
	for _, link := range links {
		if at, err := os.Readlink(link); err == nil && at == dir {
			found = append(found, link)
		}
	}
	return found
}

// TestUntil proves that a wait ends with its condition, its error, its limit and its context.
func TestUntil(t *testing.T) {
	broken := errors.New("broken")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name      string
		ctx       context.Context
		condition func() (bool, error)
		want      string
	}{
		{"holds", t.Context(), func() (bool, error) { return true, nil }, ""},
		{"fails", t.Context(), func() (bool, error) { return false, broken }, "broken"},
		{"never", t.Context(), func() (bool, error) { return false, nil }, "did not come"},
		{"cancelled", cancelled, func() (bool, error) { return false, nil }, "context canceled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Until(c.ctx, nil, "a thing", 60*time.Millisecond, c.condition)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// TestTally proves the classification of frames, one row a kind.
func TestTally(t *testing.T) {
	rule := clearRule{netip.MustParsePrefix("10.1.0.0/24"), netip.MustParsePrefix("10.2.0.0/24")}
	gateways := []byte{192, 0, 2, 1, 192, 0, 2, 2}
	ip := func(protocol byte, addresses []byte, payload ...byte) []byte {
		frame := append(make([]byte, 12), 0x08, 0x00)
		header := make([]byte, 12)
		header[0], header[9] = 0x45, protocol
		return append(append(append(frame, header...), addresses...), payload...)
	}
	udp := func(from, to uint16, payload ...byte) []byte {
		length := byte(udpHeader + len(payload))
		return append([]byte{byte(from >> 8), byte(from), byte(to >> 8), byte(to), 0, length, 0, 0}, payload...)
	}
	ipv6Of := func(protocol byte, source, destination string, payload ...byte) []byte {
		from, to := netip.MustParseAddr(source).As16(), netip.MustParseAddr(destination).As16()
		frame := append(make([]byte, 12), 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, protocol, 64)
		return append(append(append(frame, from[:]...), to[:]...), payload...)
	}
	ipv6 := func(destination string) []byte { return ipv6Of(59, "2001:db8:1::9", destination) } // no next header
	fragment := func(frame []byte) []byte {
		frame[ethernetHeader+7] = 1 // 8 octets into its packet
		return frame
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  func(Tally) int
	}{
		{"ESP", ip(50, gateways, 0, 0, 0x10, 1, 0, 0, 0, 1), func(t Tally) int { return t.ESP * t.SPIs[0x1001] }},
		{"ESP in UDP", ip(17, gateways, udp(4500, 4500, 0, 0, 0x10, 1, 0, 0, 0, 1)...), func(t Tally) int { return t.ESPinUDP * t.SPIs[0x1001] }},
		{"IKE", ip(17, gateways, udp(500, 500, 1, 2, 3, 4)...), func(t Tally) int { return t.IKE }},
		{"IKE behind the non-ESP marker", ip(17, gateways, udp(4500, 4500, 0, 0, 0, 0, 1)...), func(t Tally) int { return t.IKE }},
		{"keepalive", ip(17, gateways, udp(4500, 4500, 0xff)...), func(t Tally) int { return t.Keepalive }},
		{"ARP", append(make([]byte, 12), 0x08, 0x06, 0, 1), func(t Tally) int { return t.ARP }},
		{"clear source", ip(1, []byte{10, 1, 0, 9, 192, 0, 2, 2}, 8, 0), func(t Tally) int { return t.Clear * len(t.Clears) }},
		{"clear destination", ip(6, []byte{192, 0, 2, 1, 10, 2, 0, 9}), func(t Tally) int { return t.Clear * len(t.Clears) }},
		{"AH", ip(51, gateways, 6, 4, 0, 0, 0, 0, 0x10, 1, 0, 0, 0, 1), func(t Tally) int { return t.AH * t.SPIs[0x1001] * (1 - t.Bundled) }},
		{"ESP in AH", ip(51, gateways, 50, 2, 0, 0, 0, 0, 0x10, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x20, 1),
			func(t Tally) int { return t.AH * t.Bundled * t.SPIs[0x1001] * t.SPIs[0x2001] * (1 - t.ESP) }},
		{"ESP of a host", ip(50, []byte{10, 1, 0, 9, 10, 2, 0, 9}, 0, 0, 0x10, 1, 0, 0, 0, 1), func(t Tally) int { return t.ESP * (1 - t.Clear) }},
		{"fragment of ESP", fragment(ip(50, gateways, 0, 0, 0x10, 1)), func(t Tally) int { return t.Fragments * (1 - t.ESP) }},
		{"clear fragment", fragment(ip(17, []byte{10, 1, 0, 9, 10, 2, 0, 9}, 1, 2, 3, 4)), func(t Tally) int { return t.Fragments * t.Clear }},
		{"ESP in IPv6", ipv6Of(50, "2001:db8:ffff::1", "2001:db8:ffff::2", 0, 0, 0x10, 1), func(t Tally) int { return t.ESP * t.SPIs[0x1001] }},
		{"fragment of ESP in IPv6", ipv6Of(44, "2001:db8:ffff::1", "2001:db8:ffff::2", 50, 0, 0, 8, 0, 0, 0, 1), func(t Tally) int { return t.Fragments * (1 - t.ESP) }},
		{"ESP of hosts in IPv6", ipv6Of(50, "2001:db8:1::9", "2001:db8:2::9", 0, 0, 0x10, 1), func(t Tally) int { return t.ESP * (1 - t.Clear) }},
		{"neighbour solicitation", ipv6Of(58, "2001:db8:ffff::1", "2001:db8:ffff::2", 135), func(t Tally) int { return t.Neighbour }},
		{"error of a router in IPv6", ipv6Of(58, "2001:db8:ffff::3", "2001:db8:ffff::2", 2), func(t Tally) int { return t.Other }},
		{"IPv6", ipv6("2001:db8:2::9"), func(t Tally) int { return t.Clear * len(t.Clears) }},
		{"IPv6 to its neighbours", ipv6("ff02::2"), func(t Tally) int { return t.Other }},
		{"IPv6 to a neighbour", ipv6("fe80::2"), func(t Tally) int { return t.Other }},
		{"short IPv6 header", ipv6("2001:db8:2::9")[:53], func(t Tally) int { return t.Other }},
		{"short frame", []byte{1, 2, 3}, func(t Tally) int { return t.Other }},
		{"short IP header", append(make([]byte, 12), 0x08, 0x00, 0x45), func(t Tally) int { return t.Other }},
		{"short UDP header", ip(17, gateways, 1, 2), func(t Tally) int { return t.Other }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tally Tally
			tally.add(c.frame, len(c.frame), rule, nil)
			if c.want(tally) != 1 {
				t.Errorf("counted as %v", tally)
			}
		})
	}
}
