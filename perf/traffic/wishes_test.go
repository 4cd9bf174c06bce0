package traffic

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
)

func TestParseSizes(t *testing.T) {
	for _, c := range []struct {
		text string
		want map[int]int // of a round
		mean float64
	}{
		{"512", map[int]int{512: 1}, 512},
		{"imix", map[int]int{64: 56, 594: 32, 1518: 8}, (7*64 + 4*594 + 1518) / 12.0},
		{"64:1,1518:3", map[int]int{64: 8, 1518: 24}, (64 + 3*1518) / 4.0},
		{"genome:aafg", map[int]int{64: 2, 1280: 1, 1518: 1}, (64 + 64 + 1280 + 1518) / 4.0},
		{"genome:7a4dz", map[int]int{64: 7, 512: 4, 1418: 1}, (7*64 + 4*512 + 1418) / 12.0},
	} {
		sizes, err := ParseSizes(c.text, 1400)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		got := map[int]int{}
		for _, size := range sizes {
			got[size]++
		}
		for size, count := range c.want {
			if got[size] != count || len(got) != len(c.want) {
				t.Errorf("%s: %v, want %v", c.text, got, c.want)
			}
		}
		if math.Abs(sizes.mean()-c.mean) > 1e-9 {
			t.Errorf("%s: mean %g, want %g", c.text, sizes.mean(), c.mean)
		}
	}
	if sizes, _ := ParseSizes("genome:afa", 1500); !slices.Equal(sizes, Sizes{64, 1280, 64}) {
		t.Errorf("a genome in the order %v", sizes)
	}
	for _, text := range []string{"", "x", "64:", "64:0", "-1", "64,,65", "genome:", "genome:k", "genome:3", "genome:99999999999999999999a", "64:99999999"} {
		if sizes, err := ParseSizes(text, 1500); err == nil {
			t.Errorf("%q: %v, want an error", text, sizes)
		}
	}
}

// Each flow gets each length equally often, whatever their numbers.
func TestLengthsOfFlows(t *testing.T) {
	for _, c := range []struct{ turns, lengths int }{{1, 12}, {12, 12}, {8, 12}, {96, 96}, {7, 3}, {1000, 96}, {5, 1}} {
		extra, at := extraTurns(c.turns, c.lengths), 0
		seen := make([]map[int]int, c.turns)
		for i := range seen {
			seen[i] = map[int]int{}
		}
		for range c.lengths {
			for turn := range c.turns {
				seen[turn][at%c.lengths]++
				at++
			}
			at += extra
		}
		for turn, lengths := range seen {
			if len(lengths) != c.lengths {
				t.Fatalf("%d turns, %d lengths: turn %d has %d of them", c.turns, c.lengths, turn, len(lengths))
			}
		}
	}
}

// Flows are distinct, within the selectors of their tunnels, and never of the gateway's own address.
func TestFlows(t *testing.T) {
	config := Config{
		Protected: Port{Gateway: netip.MustParseAddr("10.1.0.2")}, Unprotected: Port{Gateway: netip.MustParseAddr("192.0.2.1")},
		Tunnels: []Tunnel{{Near: netip.MustParsePrefix("10.1.0.0/29"), Far: netip.MustParsePrefix("10.2.0.0/30")}, {Near: netip.MustParsePrefix("10.1.0.0/29"), Far: netip.MustParsePrefix("10.3.0.7/32")}},
	}
	for _, d := range []Direction{Outbound, Inbound} {
		seen := map[five]bool{}
		of := config.flows(&Stream{Direction: d, Tunnels: 2})
		for i := range 5000 {
			tunnel, f := of(i)
			near, far := f.source, f.destination
			if d == Inbound {
				near, far = far, near
			}
			if seen[f] || tunnel != i%2 || !config.Tunnels[tunnel].Near.Contains(near) || !config.Tunnels[tunnel].Far.Contains(far) || near == config.Protected.Gateway {
				t.Fatalf("%s flow %d: %v by tunnel %d, seen %v", d, i, f, tunnel, seen[f])
			}
			seen[f] = true
		}
	}
	near, _ := config.sites(&config.Tunnels[0])
	if near.hosts() != 5 {
		t.Errorf("%d hosts in 10.1.0.0/29 beside the gateway, want 5", near.hosts())
	}
	if most := config.mostFlows(&Stream{Tunnels: 2}); most != 5*1*portsBetween*2 {
		t.Errorf("at most %d flows, want %d", most, 5*portsBetween*2)
	}
	wide := Config{Tunnels: slices.Repeat([]Tunnel{{Near: netip.MustParsePrefix("10.0.0.0/8"), Far: netip.MustParsePrefix("11.0.0.0/8")}}, maxTunnels)}
	if most := wide.mostFlows(&Stream{Tunnels: maxTunnels}); most != maxFlows {
		t.Errorf("at most %d flows of %d tunnels between wide networks, want %d", most, maxTunnels, maxFlows)
	}
}

func TestOrders(t *testing.T) {
	const flows = 100
	counts := func(o Order) []int {
		turns, counts := make([]turn, o.turns(flows)), make([]int, flows)
		o.fill(turns, flows)
		for _, flow := range turns {
			counts[flow]++
		}
		return counts
	}
	if robin := counts(Order{}); slices.Min(robin) != 1 || slices.Max(robin) != 1 {
		t.Errorf("round robin: %v", robin)
	}
	if random := counts(Order{Kind: Random}); slices.Min(random) < 500 || slices.Max(random) > 850 {
		t.Errorf("random: %d to %d of %d turns, want about %d", slices.Min(random), slices.Max(random), leastTurns, leastTurns/flows)
	}
	if zipf := counts(Order{Kind: Zipf}); slices.Max(zipf) != zipf[0] || zipf[0] < 10*zipf[50] {
		t.Errorf("zipf: %v", zipf)
	}
}

// What is wrong is refused before anything is sent, all of it at once, with what was expected.
func TestRefused(t *testing.T) {
	p := newPath(t)
	p.start(t)
	suite, err := crypto.ParseSuite("aes128gcm16")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		says   string
		change func(*Config)
	}{
		{"0 streams, expected 1 to 16", func(c *Config) { c.Streams = nil }},
		{"0 tunnels, expected 1 to 60000", func(c *Config) { c.Tunnels = nil }},
		{"protected port: expected a device, such as net_af_packet", func(c *Config) { c.Protected.Attached = nil }},
		{"no known kind", func(c *Config) { c.Protected.Attached, c.Protected.Device = nil, "eth0" }},
		{"expected the gateway's address, or its MAC address", func(c *Config) { c.Protected.Gateway = netip.Addr{} }},
		{"no address of its own", func(c *Config) { c.Unprotected.Addresses = nil }},
		{"no group's", func(c *Config) { c.Unprotected.MAC = net.HardwareAddr{1, 0, 0, 0, 0, 1} }},
		{"MTU of 20 octets", func(c *Config) { c.Unprotected.MTU = 20 }},
		{"direction \"up\"", func(c *Config) { c.Streams[0].Direction = "up" }},
		{"flows, expected 1 to", func(c *Config) { c.Streams[0].Flows = maxFlows + 1 }},
		{"bursts of 5000", func(c *Config) { c.Streams[0].Burst = 5000 }},
		{"in packets or in bits", func(c *Config) { c.Streams[0].Rate = Rate{1, 1} }},
		{"exponent 0.5", func(c *Config) { c.Streams[0].Order = Order{Zipf, 0.5} }},
		{"frames of 63 octets, expected at least 64 for IPv4", func(c *Config) { c.Streams[0].Sizes = Sizes{63} }},
		{"frames of 83 octets, expected at least 84 for IPv6", func(c *Config) { c.Streams[0].Sizes, c.Tunnels = Sizes{83}, []Tunnel{{Near: near6, Far: far6}} }},
		{"frames of 1519 octets, expected at most 1518: the protected port's MTU is 1500", func(c *Config) { c.Streams[0].Sizes = Sizes{1519} }},
		{"at most 1464: the unprotected port's MTU is 1500, and aes128gcm16 takes its share", func(c *Config) {
			c.Streams[0].Sizes, c.Tunnels = Sizes{1518}, []Tunnel{testTunnel(suite, false, false, false)}
		}},
		{"takes 20 octets of key material", func(c *Config) {
			tunnel := testTunnel(suite, false, false, false)
			tunnel.ToGateway.Key = crypto.NewSecret([]byte("short"))
			c.Tunnels = []Tunnel{tunnel}
		}},
		{"expected one that no other tunnel has", func(c *Config) {
			c.Tunnels = []Tunnel{testTunnel(suite, false, false, false), testTunnel(suite, false, false, false)}
		}},
		{"in clear or none", func(c *Config) { c.Tunnels = append(c.Tunnels, testTunnel(suite, false, false, false)) }},
		{"exponent NaN", func(c *Config) { c.Streams[0].Order = Order{Zipf, math.NaN()} }},
		{"-3 flows", func(c *Config) { c.Streams[0].Flows = -3 }},
		{"-1s to send, expected more than 0", func(c *Config) { c.Duration = -time.Second }},
		{"to send, expected more than 0, at most 720h0m0s", func(c *Config) { c.Duration = math.MaxInt64 }},
		{"-1s for the gateway to answer", func(c *Config) { c.Resolve = -time.Second }},
		{"-1s for tunnels", func(c *Config) { c.Patience = -time.Second }},
		{"-1 tunnels at once", func(c *Config) { c.AtOnce = -1 }},
		{"CPU -1, expected a number from 0 on", func(c *Config) { c.Cores = []int{-1} }},
		{"CPU 1, expected a number from 0 on, each once", func(c *Config) { c.Cores = []int{1, 1} }},
		{"both ports are net_null0", func(c *Config) { c.Protected.Device, c.Unprotected.Device = "net_null0", "net_null0" }},
		{"CPU 4000", func(c *Config) { c.Cores = []int{4000} }},
	} {
		config := p.config(Stream{Direction: Outbound})
		c.change(&config)
		tester, err := Open(t.Context(), config)
		if err == nil {
			tester.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, want %q", err, c.says)
		}
	}
	if free := p.pool.InUse(); free != 0 {
		t.Errorf("%d buffers in use", free)
	}
}

// Who is interrupted while many flows are made need not wait for all of them.
func TestInterruptedOpening(t *testing.T) {
	p := newPath(t)
	p.start(t)
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	if _, err := Open(ctx, p.config(both(Stream{Flows: 1 << 18})...)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was interrupted", err)
	}
	if free := p.pool.InUse(); free != 0 {
		t.Errorf("%d buffers in use", free)
	}
}

// Options that say nothing beside others, or cannot be, are refused before DPDK is started.
func TestContradictions(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "gw.yaml")
	if err := os.WriteFile(file, []byte(block(t, page(t), "yaml gw.yaml")), 0o600); err != nil {
		t.Fatal(err)
	}
	clear := []string{"10.1.0.0/24=10.2.0.0/24"}
	for want, o := range map[string]Options{
		"a number of tunnels: expected none":    {Clear: clear, Tunnels: 2},
		"a proposal: expected none":             {Clear: clear, Proposal: "aes128gcm16"},
		"tunnels at once: expected none":        {Clear: clear, AtOnce: 7},
		"a sequence number: expected none":      {Clear: clear, Sequence: 7},
		"direction inbound: expected each once": {Directions: []string{"inbound", "outbound", "inbound"}},
		"a proposal is what IKE offers":         {Proposal: "aes128gcm16"},
		"-1 tunnels, expected 1 to 2":           {Tunnels: -1},
		"-1 tunnels at once, expected 1":        {AtOnce: -1},
		"-1s to send":                           {Duration: -time.Second},
		"no such file or directory":             {JSON: filepath.Join(dir, "none", "out.json")},
		"expected a file, found a folder":       {JSON: dir},
	} {
		o.Gateway, o.Protected, o.Unprotected, o.Out = file, "net_null0", "net_null1", io.Discard
		if err := Main(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// What the machine cannot do is refused with what it can.
func TestTooMuch(t *testing.T) {
	p := newPath(t)
	p.start(t)
	tester, err := Open(t.Context(), p.config(both(Stream{Rate: Rate{Packets: 1000}})...))
	if err != nil {
		t.Fatal(err)
	}
	defer tester.Close()
	for _, load := range []Load{{Rate: Rate{Packets: 1e12}}, {Rate: Rate{Bits: 1e16}}} {
		_, err := tester.Trial(t.Context(), load)
		var much *TooMuch
		if !errors.As(err, &much) || much.What != "packets/s" || much.Most < 1000 || much.Most > 1e9 || much.Wished < 1e12 {
			t.Errorf("%v, want a rate that this machine can make", err)
		}
	}
	config := p.config(Stream{Direction: Outbound, Flows: 1 << 20})
	config.defaults()
	var much *TooMuch
	if err := config.checkMemory(64 << 20); !errors.As(err, &much) || much.What != "flows" || much.Most >= 1<<20 || much.Most < 1000 {
		t.Errorf("%v, want the flows that fit", err)
	}
	config.Streams[0].Flows = int(much.Most * 9 / 10)
	if err := config.checkMemory(64 << 20); err != nil {
		t.Errorf("with less than the most: %v", err)
	}
}

// Two stations find each other by ARP and by neighbour discovery, and answer for nobody but their hosts.
func TestStations(t *testing.T) {
	for _, c := range []struct{ a, b, stranger string }{{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, {"2001:db8::1", "2001:db8::2", "2001:db8::3"}} {
		a, b := netip.MustParseAddr(c.a), netip.MustParseAddr(c.b)
		plays := func(own netip.Addr) func(netip.Addr) bool { return func(x netip.Addr) bool { return x == own } }
		one := &station{mac: net.HardwareAddr{2, 0, 0, 0, 0, 1}, own: a, gateway: b, plays: plays(a)}
		two := &station{mac: net.HardwareAddr{2, 0, 0, 0, 0, 2}, own: b, gateway: a, plays: plays(b)}
		request := one.request(one.gateway)
		answer := two.hear(request)
		if answer == nil || one.hear(answer) != nil || one.learned.String() != two.mac.String() {
			t.Fatalf("%s: request %x, answer %x, learned %s", c.a, request, answer, one.learned)
		}
		two.mac = net.HardwareAddr{2, 0, 0, 0, 0, 3}
		if one.hear(two.hear(request)); one.rivals != 1 || one.learned.String() != "02:00:00:00:00:02" {
			t.Errorf("%s: another MAC address: %d rivals, learned %s", c.a, one.rivals, one.learned)
		}
		if one.gateway = netip.MustParseAddr(c.stranger); two.hear(one.request(one.gateway)) != nil {
			t.Errorf("%s: an answer for a stranger", c.a)
		}
		for n := range len(request) {
			two.hear(request[:n])
			one.hear(answer[:n])
		}
	}
}

func FuzzStation(f *testing.F) {
	a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	s := &station{mac: net.HardwareAddr{2, 0, 0, 0, 0, 1}, own: a, gateway: b, plays: func(netip.Addr) bool { return true }}
	f.Add(s.request(s.gateway))
	f.Add((&station{mac: s.mac, own: netip.MustParseAddr("10.0.0.1"), gateway: b}).request(netip.MustParseAddr("10.0.0.2")))
	f.Fuzz(func(t *testing.T, frame []byte) {
		if answer := s.hear(frame); answer != nil && len(answer) < minFrame-4 {
			t.Errorf("an answer of %d octets", len(answer))
		}
	})
}
