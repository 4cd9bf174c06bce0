package lab_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/perf/lab"
	"sallyport/perf/lab/labtest"
)

// build makes the gateway's program once for all tests of this package.
var build = sync.OnceValues(func() (string, error) {
	return labtest.Build(lab.ScratchDir)
})

// binary returns the gateway's program.
func binary(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatalf("building the gateway: %v", err)
	}
	return path
}

// sallyport runs the program against a gateway, as its operator would.
func sallyport(t *testing.T, g *lab.Gateway, args ...string) (out, errOut string, code int) {
	t.Helper()
	var stdout, stderr strings.Builder
	command := exec.CommandContext(t.Context(), binary(t), append(args, "--socket", g.Socket())...)
	command.Dir, command.Stdout, command.Stderr = filepath.Dir(g.Configuration()), &stdout, &stderr
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("sallyport %v: %v", args, err)
	}
	return stdout.String(), stderr.String(), command.ProcessState.ExitCode()
}

// newSites makes the topology and takes it down with the test.
func newSites(t *testing.T, a, b lab.GatewayKind) *lab.Sites {
	t.Helper()
	s, err := lab.NewSites(t.Context(), a, b)
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

// TestDemo runs the demo as a person would see it.
func TestDemo(t *testing.T) {
	var out strings.Builder
	if err := lab.RunDemo(t.Context(), lab.Options{Binary: binary(t), Out: &out}); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{"waiting for", "tunnel", "Mbit/s", "clear 0"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("expected %q in the demo's output:\n%s", want, &out)
		}
	}
}

// TestKernelHasTheAddress: the gateway warns where the kernel has the address of a port too, and of no other.
func TestKernelHasTheAddress(t *testing.T) {
	t.Parallel()
	s := newSites(t, lab.RawGateway, lab.RawGateway)
	for link, address := range map[string]netip.Addr{lab.WANLink: s.A.WANAddress, lab.LANLink: netip.MustParseAddr("10.1.0.9")} {
		if err := s.A.Gateway.AddAddress(link, netip.PrefixFrom(address, 24)); err != nil {
			t.Fatal(err)
		}
	}
	g, err := s.StartGateway(s.A, lab.GatewayOptions{Binary: binary(t), PSK: testPSK, Start: "on-demand"})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.WaitReady(t.Context(), tunnelLimit); err != nil {
		t.Fatal(err)
	}
	const warning = "answers for it beside the gateway"
	if log := g.Process.Log(); strings.Count(log, warning) != 1 || !strings.Contains(log, "the kernel has "+s.A.WANAddress.String()+"/24 too and "+warning) {
		t.Errorf("expected one warning, of %v, in the log:\n%s", s.A.WANAddress, log)
	}
}

// cancelWriter cancels a context when what is written holds a text.
type cancelWriter struct {
	text   string
	cancel context.CancelFunc
}

func (w cancelWriter) Write(b []byte) (int, error) {
	if strings.Contains(string(b), w.text) {
		w.cancel()
	}
	return len(b), nil
}

// TestDemoInterrupted proves that Ctrl-C ends the demo at once and leaves nothing.
func TestDemoInterrupted(t *testing.T) {
	before := namespaces(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := lab.RunDemo(ctx, lab.Options{Binary: binary(t), Out: cancelWriter{"waiting for", cancel}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the cancelled context", err)
	}
	if err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("error %v, want one line that says the demo was interrupted", err)
	}
	if after := namespaces(t); after != before {
		t.Errorf("namespaces of this process before %q, after %q", before, after)
	}
}

// namespaces lists what this process has in /run/netns.
func namespaces(t *testing.T) string {
	t.Helper()
	names, err := filepath.Glob(lab.OwnNamespaces(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

// pair is two gateways of ours with a capture between them.
type pair struct {
	*lab.Sites
	a, b    *lab.Gateway
	capture *lab.Capture
}

// newPair starts both gateways; b has its own way to start the tunnel.
func newPair(t *testing.T, a, b lab.GatewayOptions) *pair {
	t.Helper()
	p := &pair{Sites: newSites(t, lab.RawGateway, lab.RawGateway)}
	var err error
	if p.capture, err = p.Capture(lab.CaptureOptions{Snap: 256, Marker: []byte(attackMarker)}); err != nil {
		t.Fatal(err)
	}
	a.Binary, a.PSK = binary(t), testPSK
	b.Binary, b.PSK = binary(t), testPSK
	if p.b, err = p.StartGateway(p.B, b); err != nil {
		t.Fatal(err)
	}
	if p.a, err = p.StartGateway(p.A, a); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("gw-a: %s\ngw-b: %s", p.a.Diagnosis(context.Background()), p.b.Diagnosis(context.Background()))
		}
	})
	return p
}

// noClear ends the capture and wants nothing clear and nothing missed.
func (p *pair) noClear(t *testing.T) {
	t.Helper()
	a, b, err := p.capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for name, sent := range map[string]lab.Tally{"a": a, "b": b} {
		if sent.Clear != 0 || sent.Lost != 0 || sent.Protected() == 0 {
			t.Errorf("site %s sent %v, want ESP and nothing clear", name, sent)
		}
	}
}

// TestOnDemandTunnel: the first packet is held while the tunnel is made, and is not lost.
func TestOnDemandTunnel(t *testing.T) {
	p := newPair(t, lab.GatewayOptions{Start: "on-demand"}, lab.GatewayOptions{Start: "on-demand"})
	for _, g := range []*lab.Gateway{p.a, p.b} {
		err := lab.Until(t.Context(), nil, "a gateway to answer", tunnelLimit, func() (bool, error) {
			_, err := g.IKE(t.Context())
			return err == nil, g.Process.Alive()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	const count = 10
	result, err := p.A.Host.Ping(t.Context(), p.B.HostAddress, lab.PingOptions{Count: count, Interval: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if result.Lost() != 0 {
		t.Errorf("ping that asks for the tunnel: %+v, want %d answers", result, count)
	}
	p.noClear(t)
}

// TestKilledGatewayComesBack: a gateway that is killed and started again has its tunnel back by
// itself, whichever side it is, and nothing clear is sent meanwhile.
// S-011: the restart under traffic.
func TestKilledGatewayComesBack(t *testing.T) {
	for _, c := range []struct {
		name   string
		victim func(*pair) *lab.Gateway
	}{
		{"the initiator", func(p *pair) *lab.Gateway { return p.a }},
		{"the responder", func(p *pair) *lab.Gateway { return p.b }},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			p := newPair(t, lab.GatewayOptions{LivenessTime: time.Second}, lab.GatewayOptions{Start: "on-demand", LivenessTime: time.Second})
			for _, g := range []*lab.Gateway{p.a, p.b} {
				if _, err := g.WaitTunnel(t.Context(), nil, tunnelLimit); err != nil {
					t.Fatal(err)
				}
			}
			// Traffic never ends: it is what would leak.
			for _, ends := range [][2]*lab.Site{{p.A, p.B}, {p.B, p.A}} {
				if _, err := ends[0].Host.StartPing(ends[1].HostAddress, lab.PingOptions{Interval: pingPeriod}); err != nil {
					t.Fatal(err)
				}
			}
			victim := c.victim(p)
			victim.Kill()
			if err := victim.Restart(); err != nil {
				t.Fatal(err)
			}
			// Until one ping is answered again, end to end.
			err := lab.Until(t.Context(), nil, "pings to be answered again", tunnelBackLimit, func() (bool, error) {
				result, err := p.A.Host.Ping(t.Context(), p.B.HostAddress, lab.PingOptions{Count: 3, Interval: pingPeriod, Wait: 5 * time.Second})
				return result.Received == 3, err
			})
			if err != nil {
				t.Fatal(err)
			}
			p.noClear(t)
		})
	}
}
