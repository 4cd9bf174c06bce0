package interop

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sallyport/appliance/api"
	"sallyport/perf/lab"
	"sallyport/perf/peers"
)

// Where the two gateways move to.
var (
	movedA = netip.MustParseAddr("192.0.2.77")
	movedB = netip.MustParseAddr("192.0.2.78")
)

// mobikeCase has both ends change their addresses (RFC 4555). They are called by names, which stay.
func mobikeCase() testCase {
	return testCase{name: "mobike", core: true, ike: defaultIKE, esp: defaultESP, wire: plainESP, check: moveBothWays, changing: true,
		ours: ours{peer: fmt.Sprintf("mobike: true\nlocal_id: %s\nremote_id: %s", nameA, nameB)},
		theirs: strongSwan(func(b *bed, t *peers.Tunnel) {
			t.LocalID, t.RemoteID = nameB, nameA
			t.Connection = fmt.Sprintf("mobike = yes\n local_addrs = %s, %s\n remote_addrs = %s, %s", b.B.WANAddress, movedB, b.A.WANAddress, movedA)
		})}
}

// moveBothWays wants the tunnel to follow our gateway and the peer with the keys that it has.
func moveBothWays(t *testing.T, r *running) {
	was, peer := r.A.WANAddress, r.B.WANAddress
	before := r.spis(t)
	for _, c := range []change{
		{"we get a second address", func() error { return r.readdress(t.Context(), was, movedA) }, was, peer, true},
		{"we move to it", func() error { return r.readdress(t.Context(), movedA, was) }, movedA, peer, false},
		{"our first address goes away", func() error { return r.readdress(t.Context(), movedA) }, movedA, peer, true},
		{"the peer's address becomes another", func() error { return r.guest.Readdress(t.Context(), peer, movedB) }, movedA, movedB, false},
		{"our address becomes the first again", func() error { return r.readdress(t.Context(), was) }, was, movedB, false},
		{"the peer's becomes the first again", func() error { return r.guest.Readdress(t.Context(), movedB, peer) }, was, peer, false},
	} {
		r.follow(t, c)
	}
	if after := r.spis(t); !slices.Equal(after, before) {
		t.Errorf("SPIs %v, expected those of before the changes, %v", after, before)
	}
	r.wantSPIs(t, 1)
}

// A change of addresses, and where the two ends are then.
type change struct {
	name     string
	carryOut func() error
	atA, atB netip.Addr
	quiet    bool // no packet meets it
}

// follow carries out a change while pings run, and wants both ends where they are to be then. No ping may be lost but those that meet the change, which are of
// the time between it and the first answer by the new way.
func (r *running) follow(t *testing.T, c change) {
	t.Helper()
	ping, err := r.A.Host.StartPing(r.B.HostAddress, lab.PingOptions{Interval: pingPeriod})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = ping.StopWhen(t.Context(), func(lab.PingResult) bool { return true }) }() // also on failure: what is sent has a tunnel made
	before, err := ping.Pass(t.Context(), changeLimit)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.carryOut(); err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	err = lab.Until(t.Context(), nil, fmt.Sprintf("%s: the tunnel between %v and %v", c.name, c.atA, c.atB), changeLimit, func() (bool, error) {
		return r.between(t, c.atA, c.atB)
	})
	if err != nil {
		t.Fatal(err)
	}
	found := passTwice(t, ping)
	if _, err := ping.Pass(t.Context(), changeLimit); err != nil { // there are some after it
		t.Fatalf("%s: %v", c.name, err)
	}
	if c.quiet {
		found.Sent = 0
	}
	result, err := ping.StopWhen(t.Context(), func(r lab.PingResult) bool { return r.LastLost <= found.Sent })
	if err != nil || result.LastLost > found.Sent || result.Lost() > 0 && result.FirstLost <= before.LastAnswered {
		t.Errorf("%s: ping %+v (%v), want every answer but to some of %d to %d", c.name, result, err, before.LastAnswered+1, found.Sent)
	}
}

// between reports whether all that the gateway and the guest's kernel have of the tunnel, SAs and policies, is of these two addresses.
func (r *running) between(t *testing.T, a, b netip.Addr) (bool, error) {
	t.Helper()
	ours, err := r.gateway.SAs(t.Context())
	if err != nil || len(ours) != 2 || slices.ContainsFunc(ours, func(sa api.SA) bool { return sa.Local != a.String() || sa.Remote != b.String() }) {
		return false, err
	}
	theirs, err := r.guest.Run(t.Context(), "sh", "-c", "ip xfrm state; ip xfrm policy")
	inward, outward := 0, 0
	for line := range strings.Lines(theirs) {
		switch strings.TrimPrefix(strings.TrimSpace(line), "tmpl ") {
		case fmt.Sprintf("src %v dst %v", a, b):
			inward++
		case fmt.Sprintf("src %v dst %v", b, a):
			outward++
		}
	}
	return inward == 3 && outward == 2, err // an SA each way, policies for what comes in, is forwarded and goes out
}

// readdress gives our gateway other addresses, from the first of which it speaks to the peer.
func (r *running) readdress(ctx context.Context, addresses ...netip.Addr) error {
	r.local = addresses[0]
	return r.gateway.Reconfigure(ctx, func(o *lab.GatewayOptions) { o.WAN, o.Peers = addresses, r.peersText() })
}
