package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTour proves that a demo which stays up names its host, its peer and its gateway's socket.
func TestTour(t *testing.T) {
	s := &Sites{Lab: &Lab{Dir: "/tmp/sp-7-1-x"}, A: &Site{Host: &Namespace{Name: "sp-7-1-lan-a"}},
		B: &Site{HostAddress: netip.MustParseAddr("10.2.0.10")}}
	var out strings.Builder
	s.tour(Options{Binary: "bin/sallyport", Out: &out})
	for _, want := range []string{"ip netns exec sp-7-1-lan-a ping 10.2.0.10\n", "bin/sallyport show ike --socket /tmp/sp-7-1-x/gw-a.sock "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("expected %q in\n%s", want, &out)
		}
	}
}

// TestRuntimeDirsOfKilledGateways proves that a gateway killed while DPDK starts leaves no folder.
func TestRuntimeDirsOfKilledGateways(t *testing.T) {
	s := newSites(t, KernelGateway, KernelGateway)
	p, err := s.A.Gateway.Start(Command{Name: "gateway", Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(runtimeDir, fmt.Sprintf("sallyport-%d", p.PID()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	p.Kill()
	for range 2 { // the second time there is nothing to remove
		if err := removeRuntimeDirs([]*Gateway{{Process: p}, nil}); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}
