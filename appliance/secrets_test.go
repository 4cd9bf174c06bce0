package appliance

import (
	"net/netip"
	"strings"
	"testing"

	"sallyport/appliance/api"
	"sallyport/appliance/config"
	"sallyport/crypto"
)

// Keys of a configuration that is replaced, tried or refused are wiped, once no
// IKE SA needs them; those in force go on.
func TestReplacedKeysAreWiped(t *testing.T) {
	r := newRig(t, siteA(), siteB())
	g := r.gateways[0]
	var parsed []crypto.Secret
	parse := g.manager.parse
	g.manager.parse = func(text []byte, known map[string][]netip.Addr) (*config.Config, error) {
		cfg, err := parse(text, known)
		if err == nil {
			parsed = append(parsed, cfg.Peers[0].PSK)
		}
		return cfg, err
	}
	r.awaitChildren("nets")
	first := g.running().cfg.Peers[0].PSK
	text := string(g.running().text)

	r.change(g, api.PathReload, api.Reload{DryRun: true})
	if _, err := g.api.Change(t.Context(), api.PathApply, api.Apply{Text: strings.Replace(text, "idle: sleep", "idle: poll", 1)}); err == nil {
		t.Error("expected a change that needs a restart to be refused")
	}
	for i, key := range parsed {
		if key.Len() != 0 {
			t.Errorf("the key of refused or tried configuration %d is not wiped", i)
		}
	}
	if len(parsed) != 2 || first.Len() == 0 {
		t.Errorf("%d configurations parsed; the key in force has %d octets", len(parsed), first.Len())
	}

	r.change(g, api.PathReload, api.Reload{})
	eventually(t, "the former key to be wiped", func() bool {
		octets := 0
		if err := g.negotiator.do(t.Context(), func() { octets = first.Len() }); err != nil {
			t.Fatal(err)
		}
		return octets == 0
	})
	if now := g.running().cfg.Peers[0].PSK; now.Len() == 0 {
		t.Fatal("the key in force is wiped")
	}
	// It still opens a tunnel.
	for _, path := range []string{api.PathDown, api.PathUp} {
		if err := g.api.Post(t.Context(), path, api.Action{Peer: "far"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the tunnel to come up again", func() bool {
		return strings.Count(g.logs.String(), "msg=child_established") >= 2 && len(r.children(g)) == 1
	})
	if strings.Contains(g.logs.String(), "wq7Lk2mXv9RtZ4pLc8HsJ3nYd6BfG") {
		t.Error("the log holds a key")
	}
}

// A change that comes while the gateway stops ends with an error, not never.
func TestChangeWhileStopping(t *testing.T) {
	r := newRig(t, siteA())
	r.stopped()
	<-r.gateways[0].negotiator.ended
	g := r.gateways[0]
	for _, dry := range []bool{true, false} {
		wish := g.manager.activate(api.Activate{Name: "more", DryRun: dry})
		if _, err := g.manager.change(t.Context(), wish); err == nil || !strings.Contains(err.Error(), "stopping") {
			t.Errorf("dry run %v: expected to hear that the gateway is stopping, found %v", dry, err)
		}
	}
}
