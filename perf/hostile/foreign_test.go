package hostile

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/ike"
	"sallyport/perf/lab"
	"sallyport/perf/peers"
)

// A gateway of another make, strongSwan, under floods of first messages: it lives, and answers who means well. When it has been killed the verdict is that it is
// down.
func TestForeignTarget(t *testing.T) {
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	var spaces [2]*lab.Namespace
	for i, role := range []string{"gw", "outside"} {
		if spaces[i], err = l.Namespace(role); err != nil {
			t.Fatal(err)
		}
	}
	gateway, outside := spaces[0], spaces[1]
	if err := lab.Wire(t.Context(), gateway, wanLink, outside, peersLink, linkMTU); err != nil {
		t.Fatal(err)
	}
	if err := gateway.AddAddress(wanLink, netip.PrefixFrom(gatewayAddress, 24)); err != nil {
		t.Fatal(err)
	}
	swan, err := peers.StartStrongSwan(t.Context(), l, gateway, "strongswan", peers.Tunnel{Name: "site", Local: gatewayAddress, Remote: peerAddress(0),
		LocalNet: gatewayLAN, RemoteNet: netip.PrefixFrom(hostAddress(0), 32), PSK: "a key of this test alone", IKEProposals: ikeProposal, ESPProposals: childProposal})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	o, err := Options{Target: &Target{Target: lab.Target{Gateway: gatewayAddress, Interface: peersLink, Source: routerAddress}, Peers: []netip.Addr{peerAddress(0)}}, Quick: true, Out: &out}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	rows, err := o.runForeign(t.Context(), l, outside)
	t.Log(out.String())
	if err != nil || len(rows) != 4 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, r := range rows {
		if r.Messages != quickMessages || r.Asked == 0 || len(r.Verdicts) != 2 {
			t.Errorf("a row that says too little: %+v", r)
		}
	}
	if err := judgeForeign(rows); err != nil {
		t.Error(err)
	}
	b := &bed{Lab: l, psk: "a key of this test alone", target: gatewayAddress, wire: &lab.Router{Gateway: gatewayAddress, Address: routerAddress}}
	if b.wire.Port, err = outside.RawPort(peersLink); err != nil {
		t.Fatal(err)
	}
	if err := b.wire.Find(t.Context(), o.askLimit); err != nil {
		t.Fatal(err)
	}
	if err := o.byOtherVersion(t.Context(), b, ike.V1, lab.ErrDown); errors.Is(err, lab.ErrDown) || !strings.Contains(err.Error(), "no answer to a first message of IKEv1, and one to a message of IKEv2") ||
		!strings.Contains(err.Error(), "try init-random and init-forged") {
		t.Errorf("a gateway that answers by IKEv2 alone: %v", err)
	}
	swan.Process.Kill()
	<-swan.Process.Done()
	if err := outside.AddAddress(peersLink, netip.PrefixFrom(peerAddress(0), 32)); err != nil {
		t.Fatal(err)
	}
	o.askLimit = 2 * time.Second
	good := *o.Target
	for name, c := range map[string]struct {
		change func(*Target)
		down   bool
		want   string
	}{
		"a gateway that is dead":    {func(*Target) {}, true, "gives " + routerAddress.String() + " no answer to a first message of IKE"},
		"nobody":                    {func(to *Target) { to.Gateway = netip.MustParseAddr("192.0.2.77") }, true, "nobody answers ARP for 192.0.2.77"},
		"behind a router like that": {func(to *Target) { to.Via = netip.MustParseAddr("192.0.2.77") }, true, "expected the target, or the router before it (--via), on that link"},
		"no Ethernet":               {func(to *Target) { to.Interface = "lo" }, false, "found one without a MAC address"},
		"no interface":              {func(to *Target) { to.Interface = "none0" }, false, "expected one of this host"},
		"an address of this host":   {func(to *Target) { to.Source = peerAddress(0) }, false, "expected an address of the link of " + peersLink + " that nobody has"},
	} {
		target := good
		c.change(&target)
		o.Target = &target
		if rows, err := o.runForeign(t.Context(), l, outside); errors.Is(err, lab.ErrDown) != c.down || err == nil || !strings.Contains(err.Error(), c.want) || len(rows) != 0 {
			t.Errorf("%s: %d rows, %v, expected %q", name, len(rows), err, c.want)
		}
	}
}

// What cannot be a target is refused before anything is sent.
func TestForeignOptions(t *testing.T) {
	good := Target{Target: lab.Target{Gateway: gatewayAddress, Interface: "lo", Source: routerAddress}}
	for name, change := range map[string]func(*Options){
		"no address":         func(o *Options) { o.Target.Gateway = netip.Addr{} },
		"IPv6":               func(o *Options) { o.Target.Source = netip.MustParseAddr("2001:db8::1") },
		"no interface":       func(o *Options) { o.Target.Interface = "" },
		"a group":            func(o *Options) { o.Target.Peers = []netip.Addr{netip.MustParseAddr("224.0.0.1")} },
		"a scenario of ours": func(o *Options) { o.Scenarios = []string{"replay"} },
		"forged by nobody":   func(o *Options) { o.Scenarios = []string{"init-forged"} },
	} {
		target := good
		o := Options{Target: &target, Binary: "unused"}
		change(&o)
		if _, err := o.withDefaults(); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	o, err := Options{Target: &good, Binary: "unused"}.withDefaults()
	if err != nil || len(o.Scenarios) != 2 {
		t.Errorf("scenarios %v, %v", o.Scenarios, err)
	}
}
