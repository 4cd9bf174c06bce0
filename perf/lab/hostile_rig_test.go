package lab_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"reflect"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/perf/lab"
)

// hostileRig is two gateways with a tunnel, and an attacker on both sides of gw-a: in the place of the host on
// its LAN, and in the middle of its WAN.
type hostileRig struct {
	*pair
	lan, wan *lab.RawPort // toward gw-a's ports; what they receive is what gw-a sends
	farLAN   *lab.RawPort // the host of site B
	farWAN   *lab.RawPort // what gw-b sends

	lanMAC, wanMAC, peerMAC net.HardwareAddr // of gw-a's ports, and of gw-b's on the WAN

	pings   uint16   // identifier of the last pings
	lanSeen [][]byte // by pings, on the LAN

	pids [2]int
	sas  [2][]string // SPIs of both gateways
	ikes [2]string
}

// Names of the gateways' ports in their configuration.
const (
	lanPort = "lan"
	wanPort = "wan"
)

// takeLimit is how long a gateway may take for some hundred frames, on a busy machine.
const takeLimit = time.Minute

// settleLimit is how long the workers' counters may take to show what was received.
const settleLimit = 2 * time.Minute

// newHostileRig starts the gateways with a tunnel between them. Nothing but what a test sends crosses the
// WAN afterwards: nobody asks whether the peer lives.
func newHostileRig(t *testing.T) *hostileRig {
	t.Helper()
	return newRigWith(t, "", "")
}

// newRigWith is one whose gateways have policies of their own.
func newRigWith(t *testing.T, policyA, policyB string) *hostileRig {
	t.Helper()
	quiet := lab.GatewayOptions{LivenessTime: time.Hour, Metrics: metricsAddress}
	passive := quiet
	passive.Start = "on-demand"
	quiet.Policy, passive.Policy = policyA, policyB
	r := &hostileRig{pair: newPair(t, quiet, passive)}
	for _, port := range []struct {
		raw  **lab.RawPort
		open func() (*lab.RawPort, error)
	}{
		{&r.lan, r.A.RawLAN}, {&r.farLAN, r.B.RawLAN},
		{&r.wan, func() (*lab.RawPort, error) { return r.RawWAN(r.A) }},
		{&r.farWAN, func() (*lab.RawPort, error) { return r.RawWAN(r.B) }},
	} {
		var err error
		if *port.raw, err = port.open(); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range []*lab.Gateway{r.a, r.b} {
		if _, err := g.WaitTunnel(t.Context(), nil, tunnelLimit); err != nil {
			t.Fatal(err)
		}
	}
	r.lanMAC, r.wanMAC, r.peerMAC = portMAC(t, r.a, lanPort), portMAC(t, r.a, wanPort), portMAC(t, r.b, wanPort)
	r.ping(t)
	for i, g := range []*lab.Gateway{r.a, r.b} {
		r.pids[i], r.sas[i], r.ikes[i] = g.Process.PID(), spis(t, g), ikeSPIs(t, g)
	}
	return r
}

func portMAC(t *testing.T, g *lab.Gateway, name string) net.HardwareAddr {
	t.Helper()
	var ports []api.Port
	if err := g.API.Get(t.Context(), api.PathPorts, nil, &ports); err != nil {
		t.Fatal(err)
	}
	for _, p := range ports {
		if p.Name == name {
			mac, err := net.ParseMAC(p.MAC)
			if err != nil {
				t.Fatal(err)
			}
			return mac
		}
	}
	t.Fatalf("gw-%s shows no port %s: %+v", g.Site.Name, name, ports)
	return nil
}

func spis(t *testing.T, g *lab.Gateway) (all []string) {
	t.Helper()
	sas, err := g.SAs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sa := range sas {
		all = append(all, sa.Direction+" "+sa.SPI)
	}
	return all
}

func ikeSPIs(t *testing.T, g *lab.Gateway) string {
	t.Helper()
	sa, err := g.IKE(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return sa.State + " " + sa.InitiatorSPI + " " + sa.ResponderSPI
}

// counters is the account of one port of gw-a, which must add up.
func (r *hostileRig) counters(t *testing.T, port string) api.PortCounters {
	t.Helper()
	all, err := r.a.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all.Ports {
		if p.Name == port {
			return p
		}
	}
	t.Fatalf("gw-a has no port %s: %+v", port, all)
	return api.PortCounters{}
}

// raw is where frames for a port of gw-a are sent.
func (r *hostileRig) raw(port string) *lab.RawPort {
	if port == lanPort {
		return r.lan
	}
	return r.wan
}

// bunch is how many frames gw-a gets at once: fewer than the receive ring of its port holds.
const bunch = 400

// slowBunch is how many frames for its slow path gw-a gets at once: fewer than fit into any queue on the way there and back.
const slowBunch = 32

// inject sends frames to a port of gw-a and waits until it has taken them all.
func (r *hostileRig) inject(t *testing.T, port string, frames [][]byte) {
	t.Helper()
	raw := r.raw(port)
	for len(frames) > 0 {
		n := min(bunch, len(frames))
		before := r.counters(t, port).Received
		for _, frame := range frames[:n] {
			if err := raw.Send(frame); err != nil {
				t.Fatal(err)
			}
		}
		err := lab.Until(t.Context(), nil, "gw-a to take the frames", takeLimit, func() (bool, error) {
			return r.counters(t, port).Received >= before+uint64(n), r.a.Process.Alive()
		})
		if err != nil {
			t.Fatalf("%v: received %d of %d", err, r.counters(t, port).Received-before, n)
		}
		frames = frames[n:]
	}
}

// drops sends bad frames that must all be dropped, each for its reason and nothing else beside them.
func (r *hostileRig) drops(t *testing.T, port string, b batch) {
	t.Helper()
	before := r.counters(t, port)
	r.inject(t, port, b.frames)
	var after api.PortCounters
	var got map[string]uint64
	_ = lab.Until(t.Context(), nil, "the drops", settleLimit, func() (bool, error) { // what is missing is reported below
		after = r.counters(t, port)
		got = maps.Clone(after.Drops)
		for reason, n := range before.Drops {
			got[reason] -= n
		}
		maps.DeleteFunc(got, func(_ string, n uint64) bool { return n == 0 })
		return maps.Equal(got, b.want), nil
	})
	if !maps.Equal(got, b.want) {
		t.Errorf("%d frames to port %s: dropped %v, want %v", len(b.frames), port, got, b.want)
	}
	if n := after.Forwarded - before.Forwarded; n != 0 {
		t.Errorf("%d frames to port %s: %d were forwarded", len(b.frames), port, n)
	}
}

const soundPings = 5

// ping wants traffic through the tunnel in both directions: each echo request of host A answered by the kernel of host B.
func (r *hostileRig) ping(t *testing.T) {
	t.Helper()
	if answered := r.pingFor(t, settleLimit); answered != soundPings {
		t.Errorf("ping through the tunnel: %d answers to %d requests in %v", answered, soundPings, settleLimit)
	}
}

// pingFor sends the echo requests and waits for their answers, but no longer than limit. It returns how many came.
func (r *hostileRig) pingFor(t *testing.T, limit time.Duration) (answered int) {
	t.Helper()
	r.pings++
	for sequence := range soundPings {
		request := ether(r.lanMAC, etherIPv4, ipv4(r.A.HostAddress, r.B.HostAddress, protocolICMP, echoMessage(8, r.pings, uint16(sequence))))
		if err := r.lan.Send(request); err != nil {
			t.Fatal(err)
		}
	}
	var failed error
	_ = lab.Until(t.Context(), nil, "answers to pings", limit, func() (bool, error) { // what is missing is the caller's to judge
		frames, err := r.lan.Receive()
		for _, f := range frames {
			if isPacket(f, r.B.HostAddress, r.A.HostAddress, protocolICMP) && len(f) > espAt+6 && f[espAt] == 0 && get16(f[espAt+4:]) == r.pings {
				answered++
			}
		}
		r.lanSeen = append(r.lanSeen, frames...)
		failed = err
		return answered == soundPings, err
	})
	if failed != nil {
		t.Fatal(failed)
	}
	return answered
}

// echoMessage is an ICMP echo request (8) or reply (0).
func echoMessage(kind byte, id, sequence uint16) []byte {
	b := make([]byte, 64)
	b[0] = kind
	put16(b[4:], id)
	put16(b[6:], sequence)
	put16(b[2:], ^lab.OnesSum(0, b))
	return b
}

// received is what a port received since the last look; a ping looks too, and leaves what it has seen.
func (r *hostileRig) received(t *testing.T, raw *lab.RawPort) (frames [][]byte) {
	t.Helper()
	frames, err := raw.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if raw == r.lan {
		frames, r.lanSeen = append(r.lanSeen, frames...), nil
	}
	return frames
}

// run attacks, and wants everything sound afterwards.
func (r *hostileRig) run(t *testing.T, name string, attack func(t *testing.T, r *hostileRig)) {
	t.Run(name, func(t *testing.T) {
		attack(t, r)
		r.sound(t)
	})
}

// sound wants everything as it was before the attack: both gateways alive, the same SAs, an account that adds up,
// traffic through the tunnel, and nothing seen where it does not belong.
func (r *hostileRig) sound(t *testing.T) {
	t.Helper()
	r.ping(t)
	for i, g := range []*lab.Gateway{r.a, r.b} {
		if err := g.Process.Alive(); err != nil || g.Process.PID() != r.pids[i] {
			t.Fatalf("gw-%s: process %d, want %d: %v", g.Site.Name, g.Process.PID(), r.pids[i], err)
		}
		if got := spis(t, g); !reflect.DeepEqual(got, r.sas[i]) {
			t.Errorf("gw-%s has SAs %v, want %v as before", g.Site.Name, got, r.sas[i])
		}
		if got := ikeSPIs(t, g); got != r.ikes[i] {
			t.Errorf("gw-%s has IKE SA %s, want %s as before", g.Site.Name, got, r.ikes[i])
		}
		r.conserved(t, g)
	}
	if a, b := r.capture.Sofar(); a.Clear != 0 || b.Clear != 0 || a.Marked != 0 || b.Marked != 0 {
		t.Errorf("seen on the WAN: from gw-a %v, from gw-b %v: want nothing clear", a, b)
	}
	r.onlyPings(t, r.A, r.lan)
	r.onlyPings(t, r.B, r.farLAN)
}

// conserved asks as an operator would whether the account adds up.
func (r *hostileRig) conserved(t *testing.T, g *lab.Gateway) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binary(t), "show", "counters", "--json", "--socket", g.Socket()).Output()
	if err != nil {
		t.Fatalf("show counters: %v", err)
	}
	var counters api.Counters
	if err := json.Unmarshal(out, &counters); err != nil || !counters.Conserved {
		t.Errorf("gw-%s: show counters says %s (%v), want conserved", g.Site.Name, out, err)
	}
	if _, err := g.Counters(t.Context()); err != nil {
		t.Error(err)
	}
}

// onlyPings looks at what a host was sent since the last look: pings from the other host and ARP for itself.
func (r *hostileRig) onlyPings(t *testing.T, site *lab.Site, raw *lab.RawPort) {
	t.Helper()
	peer := r.Peer(site)
	for _, f := range r.received(t, raw) {
		if bytes.Contains(f, []byte(attackMarker)) || !isARP(f) && !isPacket(f, peer.HostAddress, site.HostAddress, protocolICMP) {
			t.Errorf("the host of site %s was sent % x", site.Name, f)
		}
	}
}

func isARP(f []byte) bool { return len(f) >= 14 && f[12] == 0x08 && f[13] == 0x06 }

// isPacket tells an IPv4 packet by its addresses and protocol.
func isPacket(f []byte, source, destination netip.Addr, protocol byte) bool {
	s, d := source.As4(), destination.As4()
	return len(f) >= 34 && f[12] == 0x08 && f[13] == 0 && f[23] == protocol && bytes.Equal(f[26:30], s[:]) && bytes.Equal(f[30:34], d[:])
}

// metricsAddress is where each gateway has its metrics: its namespace is its own.
const metricsAddress = "127.0.0.1:9433"

// metrics reads a gateway's metrics as Prometheus would.
func metrics(t *testing.T, g *lab.Gateway) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), changeLimit)
	defer cancel()
	// The connection is made on the namespace's thread; after that it works from anywhere.
	var conn net.Conn
	err := g.Site.Gateway.Do(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", metricsAddress)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metricsAddress+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	out, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", metricsAddress, response.Status, err)
	}
	return string(out)
}
