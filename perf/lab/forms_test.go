package lab_test

import (
	"fmt"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/perf/lab"
)

// TestNegotiatedForms: two gateways of ours negotiate AH, extended sequence numbers and transport mode. What is on the wire is of that protocol and under
// the SPIs of these SAs, nothing of it in clear. In transport mode, which is for traffic of the gateways themselves, dummy packets tell.
// S-099
func TestNegotiatedForms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, action   string
		protocol, mode string
		esn            bool
	}{
		{"AH", "ah_proposals: [sha256]", "ah", "tunnel", false},
		{"ESN", "esp_proposals: [aes128gcm16-esn]", "esp", "tunnel", true},
		{"transport", "mode: transport, esp_proposals: [aes128gcm16], encapsulation: {dummy_interval: 20ms}", "esp", "transport", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			policy := func(local, remote string) string {
				return fmt.Sprintf("filter_lists:\n  - {name: both, filters: [{source: %q, destination: %q}]}\nfilter_actions:\n  - {name: protect, action: negotiate, %s}\n"+
					"policies:\n  - name: site-to-site\n    rules: [{name: %s, filter_list: both, filter_action: protect, peer: %s}]\nactive_policy: site-to-site\n",
					local, remote, c.action, lab.ChildName, lab.PeerName)
			}
			ends := [2][2]string{{"10.1.0.0/24", "10.2.0.0/24"}, {"10.2.0.0/24", "10.1.0.0/24"}}
			if c.mode == "transport" {
				ends = [2][2]string{{"192.0.2.1", "192.0.2.2"}, {"192.0.2.2", "192.0.2.1"}}
			}
			p := newPair(t, lab.GatewayOptions{Policy: policy(ends[0][0], ends[0][1])}, lab.GatewayOptions{Policy: policy(ends[1][0], ends[1][1]), Start: "on-demand"})
			var seen []api.SA
			for _, g := range []*lab.Gateway{p.a, p.b} {
				if _, err := g.WaitTunnel(t.Context(), nil, tunnelLimit); err != nil {
					t.Fatal(err)
				}
				sas, err := g.SAs(t.Context())
				if err != nil || len(sas) != 2 {
					t.Fatalf("SAs %+v, error %v, want two", sas, err)
				}
				for _, sa := range sas {
					if sa.Protocol != c.protocol || sa.Mode != c.mode || sa.ESN != c.esn {
						t.Errorf("SA %s is of %s, %s mode, ESN %t", sa.SPI, sa.Protocol, sa.Mode, sa.ESN)
					}
				}
				seen = append(seen, sas...)
			}
			if c.mode == "tunnel" {
				result, err := p.A.Host.Ping(t.Context(), p.B.HostAddress, lab.PingOptions{Count: 10, Interval: 20 * time.Millisecond})
				if err != nil || result.Lost() != 0 {
					t.Errorf("ping %+v, error %v", result, err)
				}
			}
			err := lab.Until(t.Context(), nil, "packets under the SPIs of all SAs", settleLimit, func() (bool, error) {
				a, b := p.capture.Sofar()
				for _, sa := range seen {
					var spi uint32
					if _, err := fmt.Sscanf(sa.SPI, "0x%x", &spi); err != nil {
						return false, err
					}
					if a.SPIs[spi]+b.SPIs[spi] < 5 {
						return false, nil
					}
				}
				return true, nil
			})
			if err != nil {
				t.Error(err)
			}
			a, b := p.capture.Sofar()
			if wrong := a.ESP + b.ESP; c.protocol == "ah" && wrong > 0 {
				t.Errorf("%d packets of ESP", wrong)
			} else if wrong := a.AH + b.AH; c.protocol == "esp" && wrong > 0 {
				t.Errorf("%d packets of AH", wrong)
			}
			p.noClear(t)
		})
	}
}
