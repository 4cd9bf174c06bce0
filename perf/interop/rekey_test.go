package interop

import (
	"errors"
	"slices"
	"testing"

	"sallyport/appliance/api"
	"sallyport/perf/lab"
	"sallyport/perf/peers"
)

// rekeyBothWays wants no ping lost while both SAs are replaced from both sides: not with a peer either that sends on a new SA as early as
// RFC 7296 section 2.8 lets it, with its answer to our request.
func rekeyBothWays(t *testing.T, r *running) {
	if result := r.rekey(t); result.Lost() > 0 {
		t.Errorf("ping under rekeys: %+v, want every answer", result)
	}
	counters, err := r.gateway.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range counters.Ports {
		if port.Early > 0 {
			t.Logf("%d packets came by %s before their SA, %d went on", port.Early, port.Name, port.EarlyPassed)
		}
	}
}

// rekey replaces both SAs from both sides while pings run. In the end it waits for the answers that are still under way.
func (r *running) rekey(t *testing.T) lab.PingResult {
	t.Helper()
	ping, err := r.A.Host.StartPing(r.B.HostAddress, lab.PingOptions{Interval: pingPeriod})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = ping.StopWhen(t.Context(), func(lab.PingResult) bool { return true }) }() // also on failure: what is sent has a tunnel made
	for _, step := range r.rekeys(t) {
		before := ""
		err := lab.Until(t.Context(), nil, "only one "+step.name, changeLimit, func() (_ bool, err error) {
			before, err = step.of()
			return before != "", err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := step.start(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		err = lab.Until(t.Context(), nil, "a new "+step.name, changeLimit, func() (bool, error) {
			now, err := step.of()
			return now != "" && now != before, err
		})
		if err == nil && step.after != nil {
			err = step.after()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r.wantSPIs(t, 3)
	result, err := ping.StopWhen(t.Context(), func(result lab.PingResult) bool { return result.Lost() == 0 })
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// rekeyAtOnce has both ends replace the Child SA at the same time, and wants no ping lost and one pair in the end.
func rekeyAtOnce(t *testing.T, r *running) {
	r.underPings(t, func() {
		of := r.outboundSPI(t)
		before, err := of()
		if err != nil {
			t.Fatal(err)
		}
		byPeer := make(chan error, 1)
		go func() { byPeer <- r.peer.RekeyChild(t.Context()) }()
		if err := errors.Join(r.gateway.RekeyChild(t.Context()), <-byPeer); err != nil {
			t.Fatal(err)
		}
		err = lab.Until(t.Context(), nil, "a new Child SA, and only that", tunnelLimit, func() (bool, error) {
			now, err := of()
			sa, _ := r.gateway.IKE(t.Context())
			return now != "" && now != before && len(sa.Children) == 1, err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// rekeysByTime wants no ping lost while the peer's clock has both SAs replaced, each at least twice.
func rekeysByTime(t *testing.T, r *running) {
	r.underPings(t, func() {
		for _, of := range []func() (string, error){r.outboundSPI(t), r.ikeSPIs(t)} {
			seen := map[string]bool{}
			err := lab.Until(t.Context(), nil, "SAs of three", tunnelLimit, func() (bool, error) {
				now, err := of()
				if now != "" {
					seen[now] = true
				}
				return len(seen) == 3, err
			})
			if err != nil {
				t.Fatalf("%v: %v", err, seen)
			}
		}
	})
}

// underPings wants no ping lost while something is done.
func (r *running) underPings(t *testing.T, do func()) {
	t.Helper()
	ping, err := r.A.Host.StartPing(r.B.HostAddress, lab.PingOptions{Interval: pingPeriod})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = ping.StopWhen(t.Context(), func(lab.PingResult) bool { return true }) }() // also on failure: what is sent has a tunnel made
	do()
	if result, err := ping.StopWhen(t.Context(), func(result lab.PingResult) bool { return result.Lost() == 0 }); err != nil || result.Lost() > 0 {
		t.Errorf("ping meanwhile: %+v (%v), want every answer", result, err)
	}
}

// rekeyStep is a rekey by one of the two ends.
type rekeyStep struct {
	name  string
	start func() error
	of    func() (string, error) // what is another then
	after func() error           // that the next one has to wait for
}

// rekeys are those of the Child SA and of the IKE SA, each by either end.
func (r *running) rekeys(t *testing.T) []rekeyStep {
	t.Helper()
	childByUs := rekeyStep{"Child SA, by us", func() error { return r.gateway.RekeyChild(t.Context()) }, r.outboundSPI(t), nil}
	childByPeer := rekeyStep{"Child SA, by the peer", func() error { return r.peer.RekeyChild(t.Context()) }, r.outboundSPI(t), nil}
	ikeByUs := rekeyStep{"IKE SA, by us", func() error { return r.gateway.RekeyIKE(t.Context()) }, r.ikeSPIs(t), nil}
	ikeByPeer := rekeyStep{"IKE SA, by the peer", func() error { return r.peer.RekeyIKE(t.Context()) }, r.ikeSPIs(t), nil}
	// What the peer begins before it has deleted what ours replaces may be a rekey of that, and in IKEv1 it may have crossed ours: then either of the two stays.
	childByUs.after = func() error { return r.waitOneChild(t) }
	if !r.v1 {
		return []rekeyStep{childByUs, childByPeer, ikeByUs, ikeByPeer}
	}
	steps := []rekeyStep{ikeByUs, childByUs, childByPeer, ikeByPeer}
	if _, pluto := r.peer.(*peers.Libreswan); pluto {
		steps = steps[:3] // the last takes time, and no command
	}
	return steps
}

// waitOneChild waits until former Child SAs have gone.
func (r *running) waitOneChild(t *testing.T) error {
	t.Helper()
	return lab.Until(t.Context(), nil, "the end of the former Child SA", changeLimit, func() (bool, error) {
		sa, err := r.gateway.IKE(t.Context())
		return len(sa.Children) == 1, err
	})
}

// wantSPIs wants so many SPIs to have been used by each side.
func (r *running) wantSPIs(t *testing.T, count int) {
	t.Helper()
	var a, b lab.Tally
	err := lab.Until(t.Context(), nil, "use of the last Child SA", changeLimit, func() (bool, error) {
		a, b = r.capture.Sofar()
		return len(a.SPIs) == count && len(b.SPIs) == count, nil
	})
	if err != nil {
		t.Errorf("%v: SPIs %v and %v, want %d each way", err, a.SPIs, b.SPIs, count)
	}
}

// deleteBothWays has either side delete the tunnel, which leaves nothing of it at the other; it can be made again, and where our gateway keeps it up
// that happens at once.
func deleteBothWays(t *testing.T, r *running) {
	for _, side := range []struct {
		name   string
		remove func() error
	}{
		{"the peer", func() error { return r.peer.(*peers.StrongSwan).Terminate(t.Context()) }},
		{"us", func() error { return r.gateway.Down(t.Context()) }},
	} {
		ike, err := r.gateway.IKE(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		children := r.spis(t)
		if err := side.remove(); err != nil {
			t.Fatalf("delete by %s: %v", side.name, err)
		}
		err = lab.Until(t.Context(), nil, "neither side to have the IKE SA or its Child SA", changeLimit, func() (bool, error) {
			now, err := r.gateway.IKE(t.Context())
			if err != nil || now.InitiatorSPI == ike.InitiatorSPI || slices.ContainsFunc(r.spis(t), func(spi string) bool { return slices.Contains(children, spi) }) {
				return false, r.gateway.Process.Alive()
			}
			theirs, err := r.peer.(*peers.StrongSwan).SAs(t.Context())
			return !slices.ContainsFunc(theirs, func(sa peers.IKESA) bool { return sa.InitiatorSPI == ike.InitiatorSPI }), err
		})
		if err != nil {
			t.Fatalf("delete by %s: %v", side.name, err)
		}
		if err := r.gateway.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.gateway.WaitTunnel(t.Context(), nil, tunnelLimit); err != nil {
			t.Fatal(err)
		}
		r.installed(t)
		if err := pingAll(r.A.Host, r.B.HostAddress); err != nil {
			t.Error(err)
		}
	}
}

// outboundSPI is that of the gateway's only outbound SA; empty while there are two. Former inbound ones stay for some seconds, for what is late.
func (r *running) outboundSPI(t *testing.T) func() (string, error) {
	return func() (string, error) {
		all, err := r.gateway.SAs(t.Context())
		all = slices.DeleteFunc(all, func(sa api.SA) bool { return sa.Direction != "outbound" })
		if err != nil || len(all) != 1 {
			return "", err
		}
		return all[0].SPI, nil
	}
}

// ikeSPIs are those of the gateway's only IKE SA; empty while there are two.
func (r *running) ikeSPIs(t *testing.T) func() (string, error) {
	return func() (string, error) {
		sa, err := r.gateway.IKE(t.Context())
		if err != nil {
			return "", r.gateway.Process.Alive()
		}
		return sa.InitiatorSPI + sa.ResponderSPI, nil
	}
}
