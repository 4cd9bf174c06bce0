package interop

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"sallyport/perf/lab"
	"sallyport/perf/lab/labtest"
	"sallyport/perf/peers"
)

// allCases is what `make interop` sets.
var allCases = flag.Bool("all", false, "every case, not only those that make test has")

// scratch is removed when the tests have run.
var scratch string

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if scratch, err = os.MkdirTemp("", "sallyport-interop-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

// build makes the gateway's program once for all tests.
var build = sync.OnceValues(func() (string, error) {
	return labtest.Build(scratch)
})

// bed is what all cases of a test share: two sites, of which B is a guest that is gateway and hosts in one.
type bed struct {
	*lab.Sites
	guest  *peers.Guest
	binary string    // the gateway's program
	behind *lab.Site // a NAT stands before it; nil where there is none
}

// newBed boots the guest.
func newBed(t *testing.T) *bed {
	t.Helper()
	return newBedOf(t, lab.NewSites)
}

func newBedOf(t *testing.T, sites func(ctx context.Context, a, b lab.GatewayKind) (*lab.Sites, error)) *bed {
	t.Helper()
	b := &bed{}
	var err error
	if b.binary, err = build(); err != nil {
		t.Fatalf("building the gateway: %v", err)
	}
	if b.Sites, err = sites(t.Context(), lab.RawGateway, lab.RawGateway); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	if b.guest, err = peers.StartGuest(t.Context(), b.Lab, b.B.Gateway, "guest-b", lab.WANLink); err != nil {
		t.Fatal(err)
	}
	if err := b.guest.Configure(t.Context(), b.B, b.A); err != nil {
		t.Fatal(err)
	}
	if err := b.guest.ConfigureCases(t.Context(), b.B, b.A); err != nil {
		t.Fatal(err)
	}
	if err := b.guest.ServeEcho(t.Context(), false, b.B.HostAddress, b.B.HostAddress6); err != nil {
		t.Fatal(err)
	}
	return b
}

// address is where the other site finds a site: in place of one behind a NAT the NAT, on whose other side the other's router is.
func (b *bed) address(of *lab.Site) netip.Addr {
	if of == b.behind {
		return b.Peer(of).Router
	}
	return of.WANAddress
}

// version is what a daemon calls itself, by the first line of a command.
func (b *bed) version(t *testing.T, command ...string) string {
	t.Helper()
	out, err := b.guest.Run(t.Context(), append([]string{"sh", "-c", `"$@" 2>&1`, "version"}, command...)...)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(out, "\n")
	return strings.TrimSpace(line)
}

// kernelErrors is what the guest's kernel has counted since before of packets that its IPsec refused; a peer that changes its tunnel under traffic may have
// counted some.
func (b *bed) kernelErrors(ctx context.Context, before map[string]string, changing bool) (map[string]string, error) {
	now, err := b.guest.XFRMErrors(ctx)
	maps.DeleteFunc(now, func(name, count string) bool {
		return before[name] == count || changing && slices.Contains(notInPlace, name)
	})
	return now, err
}

// notInPlace are the counters of the Linux kernel (Documentation/networking/xfrm_proc.rst) that tell of its own SAs, policies and templates: at that moment
// there was none for the packet, or not yet the whole of it. A daemon that moves a tunnel, deletes it or makes it anew takes them out of the kernel and puts
// them back one after the other, and what comes or goes meanwhile is counted by whichever is missing: which one is chance. Such a packet is a ping that was
// lost, and whether it may be is judged by the pings. All others (XfrmInError, XfrmInHdrError, XfrmInStateProtoError, XfrmInStateSeqError and so on) say
// that a packet was wrong on the wire, which no case may have.
var notInPlace = []string{
	"XfrmInNoStates", "XfrmInTmplMismatch", "XfrmInNoPols", "XfrmInPolBlock", "XfrmAcquireError", // the last: an SPI that is reserved and has no SA yet
	"XfrmOutNoStates", "XfrmOutPolBlock", "XfrmOutPolDead", "XfrmOutBundleGenError", "XfrmOutBundleCheckError",
}
