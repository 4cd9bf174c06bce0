package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"sallyport/appliance/api"
)

// Options of the demo.
type Options struct {
	Binary string    // the sallyport program; this one when empty
	Keep   bool      // leave everything up for looking around
	Out    io.Writer // progress and the table
}

// Traffic of the demo.
const (
	demoPings       = 50
	demoPingPeriod  = 20 * time.Millisecond
	demoStream      = 4 * time.Second
	demoDatagram    = 1200 // octets
	demoUDPRate     = 50   // Mbit/s
	demoTunnelLimit = 2 * time.Minute
	// demoSnap is how much of each frame the capture looks at, in octets: all headers, and the marker
	// of a ping that went out in clear.
	demoSnap   = 192
	demoMarker = "not-for-the-wan!"
)

// RunDemo shows two gateways carrying traffic between two LANs and checks what crossed the network
// between them: only ESP, IKE and ARP. It cleans up after itself, also when it fails or ctx ends.
func RunDemo(ctx context.Context, o Options) (err error) {
	if o.Binary == "" {
		if o.Binary, err = os.Executable(); err != nil {
			return fmt.Errorf("lab: finding the sallyport program: %w", err)
		}
	}
	fmt.Fprintln(o.Out, "making namespaces lan-a, gw-a, wan, gw-b, lan-b")
	s, err := NewSites(ctx, RawGateway, RawGateway)
	if err != nil && ctx.Err() != nil {
		return interrupted(ctx)
	}
	if err != nil {
		return err
	}
	if o.Keep {
		s.Keep()
	}
	defer func() { err = finishDemo(ctx, s, o, err) }()

	capture, err := s.Capture(CaptureOptions{Path: filepath.Join(s.Dir, "wan.pcap"), Snap: demoSnap, Marker: []byte(demoMarker)})
	if err != nil {
		return err
	}
	gateways, err := startPair(s, GatewayOptions{Binary: o.Binary, PSK: rand.Text()})
	if err != nil {
		return err
	}
	result, err := demoTraffic(ctx, s, gateways, o.Out)
	if err != nil {
		return err
	}
	if result.sentA, result.sentB, err = capture.Stop(); err != nil {
		return err
	}
	result.print(o.Out)
	return result.verdict()
}

// finishDemo leaves the lab up when that was asked for and nobody interrupted, else removes it. Whoever
// interrupts the demo is not shown failed as what was interrupted.
func finishDemo(ctx context.Context, s *Sites, o Options, failed error) error {
	if ctx.Err() != nil {
		s.Unkeep()
		if err := s.Close(); err != nil {
			return err
		}
		return interrupted(ctx)
	}
	if o.Keep {
		fmt.Fprintln(o.Out)
		s.KeptInstructions(o.Out)
		s.tour(o)
	}
	return errors.Join(failed, s.Close())
}

// interrupted is the error of a demo that somebody ended and that has cleaned up.
func interrupted(ctx context.Context) error {
	return fmt.Errorf("lab: interrupted (%w); the demo's gateways, namespaces and files are removed", ctx.Err())
}

// tour says what there is to see in a demo that stays up.
func (s *Sites) tour(o Options) {
	show := fmt.Sprintf("%s show ike --socket %s", o.Binary, filepath.Join(s.Dir, "gw-a.sock"))
	fmt.Fprintf(o.Out, "  talk:  ip netns exec %s ping %s\n", s.A.Host.Name, s.B.HostAddress)
	fmt.Fprintf(o.Out, "  ask:   %s    # also sas, counters, flows; gw-b.sock is the other gateway\n", show)
}

// startPair starts both gateways with the same options.
func startPair(s *Sites, o GatewayOptions) ([2]*Gateway, error) {
	var pair [2]*Gateway
	s.Defer(func() error { return removeRuntimeDirs(pair[:]) }) // before the gateways start, so after they are killed
	for i, site := range []*Site{s.A, s.B} {
		gateway, err := s.StartGateway(site, o)
		if err != nil {
			return pair, err
		}
		pair[i] = gateway
	}
	return pair, nil
}

// runtimeDir is where DPDK makes a folder for each gateway, named by its process. A gateway removes
// its own as soon as DPDK has started; one that is killed earlier leaves it, empty.
const runtimeDir = "/var/run/dpdk"

// removeRuntimeDirs removes what killed gateways left there.
func removeRuntimeDirs(gateways []*Gateway) error {
	var errs []error
	for _, g := range gateways {
		if g == nil {
			continue
		}
		path := filepath.Join(runtimeDir, fmt.Sprintf("sallyport-%d", g.Process.PID()))
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("lab: %w", err))
		}
	}
	return errors.Join(errs...)
}

// demoResult is everything the table shows.
type demoResult struct {
	setup        time.Duration // from the start of the gateways to the tunnel
	suite        string
	ping         PingResult
	tcp, udp     StreamResult
	packets      [2]uint64 // sent through the tunnel by gw-a and gw-b
	plans        [2]string // by which their SAs go
	sentA, sentB Tally
}

// demoTraffic waits for the tunnel, sends pings and streams, and reads the gateways' accounts.
func demoTraffic(ctx context.Context, s *Sites, gateways [2]*Gateway, out io.Writer) (demoResult, error) {
	var r demoResult
	started := time.Now()
	for _, g := range gateways {
		sas, err := g.WaitTunnel(ctx, out, demoTunnelLimit)
		if err != nil {
			return r, err
		}
		r.suite = sas[0].Suite
	}
	r.setup = time.Since(started)

	err := s.A.Host.Reach(ctx, s.B.HostAddress, demoTunnelLimit)
	if err != nil {
		return r, err
	}
	fmt.Fprintf(out, "ping from lan-a to lan-b, %d times\n", demoPings)
	r.ping, err = s.A.Host.Ping(ctx, s.B.HostAddress, PingOptions{Count: demoPings, Interval: demoPingPeriod, Pattern: demoMarker})
	if err != nil {
		return r, err
	}
	fmt.Fprintf(out, "iperf3 over TCP for %v\n", demoStream)
	if r.tcp, err = s.A.Host.Stream(ctx, "tcp", s.B.Host, s.B.HostAddress, StreamOptions{Time: demoStream}); err != nil {
		return r, err
	}
	fmt.Fprintf(out, "iperf3 over UDP for %v, %d-octet datagrams at %d Mbit/s\n", demoStream, demoDatagram, demoUDPRate)
	r.udp, err = s.A.Host.Stream(ctx, "udp", s.B.Host, s.B.HostAddress,
		StreamOptions{Time: demoStream, UDP: true, Datagram: demoDatagram, Mbps: demoUDPRate})
	if err != nil {
		return r, err
	}
	for i, g := range gateways {
		if _, err := g.Counters(ctx); err != nil {
			return r, err
		}
		sas, err := g.SAs(ctx)
		if err != nil {
			return r, err
		}
		for _, sa := range sas {
			if sa.Direction == "outbound" {
				r.packets[i] += sa.Packets
			}
		}
		r.plans[i] = plansOf(sas)
	}
	return r, nil
}

// plansOf is where the work of a gateway's SAs is done.
func plansOf(sas []api.SA) string {
	var plans []string
	for _, sa := range sas {
		if sa.Offload != nil {
			plans = append(plans, sa.Direction+" by "+sa.Offload.Plan)
		}
	}
	slices.Sort(plans)
	return strings.Join(slices.Compact(plans), ", ")
}

// print writes the table.
func (r demoResult) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w)
	fmt.Fprintf(w, "tunnel\tup after %.1f s, %s\n", r.setup.Seconds(), r.suite)
	fmt.Fprintf(w, "ping\t%d sent, %d answered\n", r.ping.Sent, r.ping.Received)
	fmt.Fprintf(w, "TCP\t%.0f Mbit/s\n", r.tcp.Mbps)
	fmt.Fprintf(w, "UDP\t%.0f Mbit/s, %d of %d datagrams lost\n", r.udp.Mbps, r.udp.Lost, r.udp.Packets)
	fmt.Fprintf(w, "packets\t%d into the tunnel by gw-a, %d by gw-b; counters add up\n", r.packets[0], r.packets[1])
	fmt.Fprintf(w, "work\tgw-a: %s; gw-b: %s\n", r.plans[0], r.plans[1])
	fmt.Fprintf(w, "on the wire\tgw-a: %v\n", r.sentA)
	fmt.Fprintf(w, "\tgw-b: %v\n", r.sentB)
	_ = w.Flush()
}

// verdict is what must hold of the result, whatever the machine's speed.
func (r demoResult) verdict() error {
	var errs []error
	if r.ping.Lost() != 0 {
		errs = append(errs, fmt.Errorf("lab: %d of %d pings were not answered", r.ping.Lost(), r.ping.Sent))
	}
	if r.tcp.Mbps <= 0 || r.udp.Mbps <= 0 {
		errs = append(errs, fmt.Errorf("lab: expected throughput, found %.1f Mbit/s TCP and %.1f UDP", r.tcp.Mbps, r.udp.Mbps))
	}
	for _, side := range []struct {
		name string
		sent Tally
	}{{"gw-a", r.sentA}, {"gw-b", r.sentB}} {
		if side.sent.Clear > 0 || side.sent.Marked > 0 {
			errs = append(errs, fmt.Errorf("lab: %s sent traffic of the LANs in clear: %v", side.name, side.sent))
		}
		if side.sent.Protected() < demoPings || side.sent.IKE == 0 {
			errs = append(errs, fmt.Errorf("lab: expected at least %d ESP packets and IKE from %s, captured %v", demoPings, side.name, side.sent))
		}
	}
	return errors.Join(errs...)
}
