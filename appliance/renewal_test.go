package appliance

import (
	"slices"
	"testing"
	"time"

	"sallyport/appliance/api"
)

// flow is packets both ways through a tunnel of a rig, of which every one has to arrive.
type flow struct {
	*rig
	sent int // each way
}

// renewalLimit is how long anything may take on a machine that has much else to do.
const renewalLimit = time.Minute

func (f *flow) burst(n int) {
	f.t.Helper()
	a, b := f.gateways[0], f.gateways[1]
	for range n {
		f.send(a, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", "there")
		f.send(b, rigLAN, "10.2.0.7:2000", "10.1.0.7:1000", "back")
	}
	f.sent += n
	f.until("every packet to arrive", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.arrived[a.cfg.Name]) == f.sent && len(f.arrived[b.cfg.Name]) == f.sent
	})
}

func (f *flow) until(what string, done func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(renewalLimit); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			a, b := f.gateways[0], f.gateways[1]
			f.t.Fatalf("waited in vain for %s; %d sent each way, %d and %d arrived", what, f.sent, len(f.received(a)), len(f.received(b)))
		}
	}
}

// outbound is the SA that a gateway sends by.
func (f *flow) outbound(g *rigGateway) api.SA {
	all := get[[]api.SA](f.rig, g, api.PathSAs)
	if i := slices.IndexFunc(all, func(sa api.SA) bool { return sa.Direction == "outbound" }); i >= 0 {
		return all[i]
	}
	return api.SA{}
}

// ikeSA is the first of a gateway's IKE SAs, by its name.
func (f *flow) ikeSA(g *rigGateway) string {
	all := get[[]api.IKE](f.rig, g, api.PathIKE)
	if len(all) == 0 {
		return ""
	}
	return all[0].InitiatorSPI
}

func newFlow(t *testing.T, a, b string) *flow {
	t.Helper()
	f := &flow{rig: newRig(t, a, b)}
	f.until("the tunnel", func() bool { return f.outbound(f.gateways[0]).SPI != "" && f.outbound(f.gateways[1]).SPI != "" })
	return f
}

// Two gateways over their data planes: a Child SA gets new keys by what it has carried, in octets or in packets, the IKE SA and the Child SA by time, and no
// packet of a flow both ways is lost.
// S-078 S-079
func TestRenewedByVolumeAndTime(t *testing.T) {
	limited := func(lifetime string) string {
		text := replaced(siteA(), "esp_proposals: [aes128gcm16]}", "esp_proposals: [aes128gcm16], lifetime: {"+lifetime+"}}")
		return "rekey: {min_seconds: 1}\n" + replaced(text, "role: unprotected,", "role: unprotected, speed_mbps: 1,") // as little as may be
	}
	for name, lifetime := range map[string]string{"octets": "kilobytes: 123", "packets": "packets: 1489"} {
		t.Run(name, func(t *testing.T) {
			f := newFlow(t, limited(lifetime), siteB())
			a := f.gateways[0]
			for range 2 {
				before := f.outbound(a)
				if before.Lifetime == nil {
					t.Fatalf("no lifetime in %+v", before)
				}
				// Beyond the soft limit the rest, a tenth, has to last until the new keys are there, however long that takes here.
				for spare := 40; f.outbound(a).SPI == before.SPI; {
					switch sa := f.outbound(a); {
					case sa.Packets < before.Lifetime.SoftPackets || sa.Bytes < before.Lifetime.SoftBytes:
						f.burst(20)
					case spare > 0:
						spare--
						f.burst(1)
					default:
						f.until("new keys", func() bool { return f.outbound(a).SPI != before.SPI })
					}
				}
			}
			f.burst(20)
		})
	}
	t.Run("time", func(t *testing.T) {
		f := newFlow(t, replaced(siteA(), "start: always", "start: always, ike_rekey: 10s, child_rekey: 10s"), siteB())
		a := f.gateways[0]
		child, whole := f.outbound(a).SPI, f.ikeSA(a)
		f.until("new keys of both", func() bool {
			f.burst(5)
			return f.outbound(a).SPI != child && f.ikeSA(a) != whole
		})
		f.burst(20)
	})
}

// At an operator's order, at either end: new keys of the Child SA, of the IKE SA, and a new authentication, make before break. No packet of a flow both ways
// is lost, and afterwards there is one IKE SA with one Child SA.
// S-079
func TestRenewedByOrder(t *testing.T) {
	f := newFlow(t, siteA(), siteB())
	for _, order := range []struct {
		path, name, result string
		whole              bool // there is another IKE SA then
		child              bool // another Child SA
	}{
		{api.PathRekey, "nets", api.ResultRekeyed, false, true},
		{api.PathRekey, "far", api.ResultRekeyed, true, false},
		{api.PathReauthenticate, "far", api.ResultReauthenticated, true, true},
	} {
		for _, g := range f.gateways {
			child, whole := f.outbound(g).SPI, f.ikeSA(g)
			done := make(chan []api.Outcome, 1)
			go func() {
				outcomes, err := g.api.Act(t.Context(), order.path, api.Action{Name: order.name, Wait: renewalLimit.Seconds()})
				if err != nil {
					t.Error(err)
				}
				done <- outcomes
			}()
			var outcomes []api.Outcome
			f.until(order.path, func() bool {
				f.burst(5)
				select {
				case outcomes = <-done:
					return true
				default:
					return false
				}
			})
			if len(outcomes) != 1 || outcomes[0].Result != order.result {
				t.Errorf("%s %s at %s: %+v, expected %s", order.path, order.name, g.cfg.Name, outcomes, order.result)
			}
			f.until("one IKE SA with one Child SA", func() bool {
				f.burst(5)
				now := get[[]api.IKE](f.rig, g, api.PathIKE)
				return len(now) == 1 && slices.Equal(now[0].Children, []string{"nets:installed"}) && (now[0].InitiatorSPI != whole) == order.whole && (f.outbound(g).SPI != child) == order.child
			})
		}
	}
}
