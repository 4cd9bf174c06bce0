package interop

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/perf/lab"
)

// What cases have in common beside their proposals.

// transport is the gateway's side of protecting what the two gateways say to each other.
func transport(b *bed) ours {
	return ours{action: "mode: transport", filters: fmt.Sprintf("{source: %s, destination: %s}", b.A.WANAddress, b.B.WANAddress)}
}

// betweenGateways pings our gateway from the guest's own address: a gateway has nothing else to say of its own.
func betweenGateways(r *running) error { return pingAll(r.guest, r.A.WANAddress) }

// and adds lines of other keys.
func (o ours) and(top string) ours {
	o.top += top
	return o
}

// onlyTCP is for selectors of TCP, through which nothing else passes.
func onlyTCP(r *running) error { return r.A.Host.EchoTCP(netip.Addr{}, r.B.HostAddress) }

// requestsOnly is for selectors of echo requests in both directions: they arrive, and the answers, which are of another type, go nowhere.
func requestsOnly(r *running) error {
	ctx := context.Background()
	if _, err := r.guest.Run(ctx, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all"); err != nil { // Linux would answer in clear
		return err
	}
	defer func() { _, _ = r.guest.Run(ctx, "sh", "-c", "echo 0 >/proc/sys/net/ipv4/icmp_echo_ignore_all") }()
	toGuest, err := r.A.Host.Ping(ctx, r.B.HostAddress, lab.PingOptions{Count: pings, Interval: pingPeriod, Wait: time.Second})
	if err == nil {
		_, err = r.guest.Run(ctx, "sh", "-c", fmt.Sprintf("ping -n -q -c %d -i 0.01 -W 1 %s | grep ' 0 received'", pings, r.A.HostAddress))
	}
	if err != nil || toGuest.Received > 0 {
		return fmt.Errorf("echo requests through an SA that is for nothing else: %+v: %w", toGuest, err)
	}
	return nil
}

// wantTypes wants SAs for echo requests, and the guest's kernel to have been content with ours.
func wantTypes(t *testing.T, r *running) {
	out := ""
	err := lab.Until(t.Context(), nil, "the guest's kernel to have counted the requests", changeLimit, func() (bool, error) { // nobody has waited for ours to arrive
		var err error
		out, err = r.guest.Run(t.Context(), "ip", "-s", "xfrm", "state")
		return strings.Count(out, fmt.Sprintf("%d(packets)", pings)) == 2, err
	})
	if err != nil {
		t.Errorf("%v: want both SAs to have %d packets:\n%s", err, pings, out)
	}
	types := fmt.Sprintf("%s[2048] === %s[2048] icmp", r.A.LAN, r.B.LAN) // type 8 in the high octet, code 0
	r.wantSAs(t, "for "+types, func(sa api.SA) bool { return slices.Equal(sa.Selectors, []string{types}) })
}

// wantSAs wants something of each SA that the gateway has.
func (r *running) wantSAs(t *testing.T, what string, want func(api.SA) bool) {
	t.Helper()
	all, err := r.gateway.SAs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 || slices.ContainsFunc(all, func(sa api.SA) bool { return !want(sa) }) {
		t.Errorf("expected SAs %s, found %+v", what, all)
	}
}

// spis are those of the gateway's SAs.
func (r *running) spis(t *testing.T) (all []string) {
	t.Helper()
	sas, err := r.gateway.SAs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sa := range sas {
		all = append(all, sa.Direction+" "+sa.SPI)
	}
	return all
}

// wantPair wants one IKE SA and one Child SA of two SAs.
func wantPair(t *testing.T, r *running) {
	if _, err := r.gateway.IKE(t.Context()); err != nil {
		t.Error(err)
	}
	if all, err := r.gateway.SAs(t.Context()); err != nil || len(all) != 2 {
		t.Errorf("SAs %+v (%v), want one in each direction", all, err)
	}
}

// wantLog wants texts in the peer's log.
func wantLog(texts ...string) func(t *testing.T, r *running) {
	return func(t *testing.T, r *running) {
		wantPair(t, r)
		log := r.peer.Log()
		for _, text := range texts {
			if !strings.Contains(log, text) {
				t.Errorf("expected %q in the peer's log", text)
			}
		}
	}
}

func wantESN(t *testing.T, r *running) {
	r.wantSAs(t, "with extended sequence numbers", func(sa api.SA) bool { return sa.ESN })
}

func wantMode(mode string) func(t *testing.T, r *running) {
	return func(t *testing.T, r *running) {
		r.wantSAs(t, "in "+mode+" mode", func(sa api.SA) bool { return sa.Mode == mode })
	}
}

// wantNarrow wants what the two ends have in common, and nothing of the rest on the wire.
func wantNarrow(t *testing.T, r *running) {
	common := fmt.Sprintf("%s === %s", r.A.LAN, netip.PrefixFrom(r.B.LAN.Addr(), 25))
	r.wantSAs(t, "for "+common, func(sa api.SA) bool { return slices.Equal(sa.Selectors, []string{common}) })
	beyond := r.B.LAN.Addr().As4()
	beyond[3] = 200
	var before, after uint64
	err := lab.Until(t.Context(), nil, "pings beyond the selectors, and no packet", changeLimit, func() (bool, error) { // on a busy machine what went before may end late
		before = r.settled(t)
		result, err := r.A.Host.Ping(t.Context(), netip.AddrFrom4(beyond), lab.PingOptions{Count: 5, Interval: pingPeriod, Wait: time.Second})
		if result.Received > 0 {
			return false, fmt.Errorf("ping beyond the selectors: %+v", result)
		}
		after = r.settled(t)
		return after == before, err
	})
	if err != nil {
		t.Errorf("%v; %d packets before and %d after", err, before, after)
	}
}

// settled is how many packets the gateway has sent, once the end of what was sent before is counted.
func (r *running) settled(t *testing.T) (count uint64) {
	t.Helper()
	last := time.Now()
	err := lab.Until(t.Context(), nil, "the traffic to end", changeLimit, func() (bool, error) {
		all, err := r.gateway.SAs(t.Context())
		i := slices.IndexFunc(all, func(sa api.SA) bool { return sa.Direction == "outbound" })
		if err != nil || i < 0 {
			return false, err
		}
		if all[i].Packets != count {
			count, last = all[i].Packets, time.Now()
		}
		return time.Since(last) > settleTime, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return count
}

// settleTime without a packet is the end of traffic.
const settleTime = 200 * time.Millisecond
