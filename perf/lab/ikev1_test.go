package lab_test

import (
	"testing"
	"time"

	"sallyport/perf/lab"
)

// TestIKEv1: two gateways of ours speak IKEv1 and carry traffic both ways, whichever begins.
// S-060: each side begins once, and both end with one IKE SA and two SAs.
func TestIKEv1(t *testing.T) {
	t.Parallel()
	for _, starter := range []string{"a", "b"} {
		t.Run("from-"+starter, func(t *testing.T) {
			options := map[string]lab.GatewayOptions{"a": {IKE: "v1", Start: "on-demand"}, "b": {IKE: "v1", Start: "on-demand"}}
			begins := options[starter]
			begins.Start = "always"
			options[starter] = begins
			p := newPair(t, options["a"], options["b"])
			for _, g := range []*lab.Gateway{p.a, p.b} {
				if _, err := g.WaitTunnel(t.Context(), nil, tunnelLimit); err != nil {
					t.Fatal(err)
				}
			}
			for _, ends := range [][2]*lab.Site{{p.A, p.B}, {p.B, p.A}} {
				result, err := ends[0].Host.Ping(t.Context(), ends[1].HostAddress, lab.PingOptions{Count: 10, Interval: 20 * time.Millisecond})
				if err != nil || result.Lost() != 0 {
					t.Errorf("ping from site %s: %+v, error %v", ends[0].Name, result, err)
				}
			}
			for _, g := range []*lab.Gateway{p.a, p.b} {
				sa, err := g.IKE(t.Context())
				began := map[bool]string{true: "initiator", false: "responder"}[g.Site.Name == starter]
				if err != nil || sa.Version != 1 || sa.State != "established" || sa.Role != began || len(sa.Children) != 1 {
					t.Errorf("gw-%s: IKE SA %+v, error %v; want one of IKEv1 as %s", g.Site.Name, sa, err, began)
				}
				sas, err := g.SAs(t.Context())
				if err != nil || len(sas) != 2 || sas[0].Version != 1 || sas[1].Version != 1 || sas[0].Direction == sas[1].Direction || sas[0].SPI == sas[1].SPI {
					t.Errorf("gw-%s: SAs %+v, error %v; want one each way, by IKEv1, with SPIs of their own", g.Site.Name, sas, err)
				}
			}
			p.noClear(t)
		})
	}
}
