package lab_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sallyport/appliance/api"
	"sallyport/crypto"
	"sallyport/perf/lab"
	"sallyport/perf/peers"
)

// manualCases are SAs of every form, with keys given by hand, between two gateways of ours.
func manualCases() []peers.Case {
	suites := func(names ...string) (all []crypto.Suite) {
		for _, name := range names {
			parse := crypto.ParseSuite
			word, isAH := strings.CutPrefix(name, "ah-")
			if isAH {
				parse = crypto.ParseAHSuite
			}
			s, err := parse(word)
			if err != nil {
				panic(err) // a word of this file
			}
			all = append(all, s)
		}
		return all
	}
	return []peers.Case{
		{Layers: suites("aes128gcm16")},
		{Layers: suites("aes256-sha256"), Inner6: true, Outer6: true},
		{Layers: suites("aes128gcm16"), Outer6: true, ESN: true},
		{Layers: suites("aes256gcm16"), Transport: true},
		{Layers: suites("aes128-sha1"), Transport: true, Inner6: true},
		{Layers: suites("aes128gcm16"), UDP: true},
		{Layers: suites("chacha20poly1305"), UDP: true, Outer6: true, Inner6: true},
		{Layers: suites("ah-sha256")},
		{Layers: suites("ah-aes256gmac"), Outer6: true},
		{Layers: suites("ah-sha512"), Transport: true, ESN: true},
		{Layers: suites("ah-aescmac"), Transport: true, Inner6: true},
		{Layers: suites("aes128gcm16", "ah-sha256")},
		{Layers: suites("aes256-sha512", "ah-aes128gmac"), Inner6: true, Outer6: true},
		{Layers: suites("null-sha256", "ah-sha1"), Transport: true},
	}
}

// manualRig is two gateways of ours with all the cases between them.
type manualRig struct {
	*lab.Sites
	gateways [2]*lab.Gateway
	capture  *lab.Capture
}

func newManualRig(t *testing.T, cases []peers.Case, options lab.GatewayOptions) *manualRig {
	t.Helper()
	r := &manualRig{Sites: newSites(t, lab.RawGateway, lab.RawGateway)}
	for i, site := range []*lab.Site{r.A, r.B} {
		o := lab.GatewayOptions{Binary: binary(t), IPv6: true, PSK: testPSK}
		if i == 0 {
			o.Trunk = options.Trunk
		}
		o.Policy, o.ManualSAs = r.configuration(site, cases)
		var err error
		if r.gateways[i], err = r.StartGateway(site, o); err != nil {
			t.Fatal(err)
		}
		speakIPv6(t, site.Host, netip.PrefixFrom(site.HostAddress6, site.LAN6.Bits()), site.LANAddress6, netip.MustParsePrefix("::/0"))
	}
	t.Cleanup(func() {
		for _, g := range r.gateways {
			if t.Failed() {
				t.Log(g.Diagnosis(context.Background()))
			}
		}
	})
	for number, c := range cases {
		address := c.Host(r.B, number)
		if err := r.B.Host.AddAddress("eth0", netip.PrefixFrom(address, address.BitLen())); err != nil {
			t.Fatal(err)
		}
		serveEcho(t, r.B.Host, address)
	}
	for _, g := range r.gateways {
		if err := g.WaitReady(t.Context(), tunnelLimit); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if r.capture, err = r.Capture(lab.CaptureOptions{Snap: 256}); err != nil {
		t.Fatal(err)
	}
	return r
}

// configuration is a gateway's policy, in which each case protects its own traffic, and its ends of the SAs. A peer that nobody ever
// reaches opens UDP port 4500 (S-034).
func (r *manualRig) configuration(site *lab.Site, cases []peers.Case) (policy, sas string) {
	var lists, rules strings.Builder
	sas = fmt.Sprintf("peers:\n  - {name: unused, local: %s, remote: 192.0.2.99, auth: {psk_file: gw-%s.psk}, start: on-demand}\nsas:\n", site.WANAddress, site.Name)
	for number, c := range cases {
		tunnel := c.Tunnel(r.A, r.B, number)
		if site == r.A {
			tunnel = mirror(tunnel)
		}
		sas += manualText(number, tunnel, "encapsulation: {mss_clamp: auto}") // TCP need not try what is too long
		fmt.Fprintf(&lists, "  - {name: case-%d, updated: 2026-11-21, filters: [{source: %q, destination: %q}]}\n", number, tunnel.LocalNet, tunnel.RemoteNet)
		fmt.Fprintf(&rules, "      - {name: case-%d, filter_list: case-%d, filter_action: protect, sa: case-%d}\n", number, number, number)
	}
	other := r.Peer(site)
	return fmt.Sprintf("routes:\n  - {to: %q, via: %q}\n  - {to: %q, via: %q}\nfilter_lists:\n"+
		"  - {name: unused, updated: 2026-11-21, filters: [{source: 203.0.113.1, destination: 203.0.113.2}]}\n%sfilter_actions:\n"+
		"  - {name: protect, action: negotiate}\npolicies:\n  - name: by-hand\n    rules:\n"+
		"      - {name: unused, filter_list: unused, filter_action: protect, peer: unused}\n%sactive_policy: by-hand\n",
		other.LAN, other.WANAddress, other.LAN6, other.WANAddress6, &lists, &rules), sas
}

// TestTrunk: the ports of a gateway may be VLANs of one link. A tunnel that leads from one to the other carries the same as between two links; an
// untagged frame, and one of another VLAN, are nobody's and dropped with their reason.
func TestTrunk(t *testing.T) {
	t.Parallel()
	cases := manualCases()[:2]
	r := newManualRig(t, cases, lab.GatewayOptions{Trunk: true})
	trunk, err := r.A.RawTrunk()
	if err != nil {
		t.Fatal(err)
	}
	for number, c := range cases {
		t.Run(c.Name(), func(t *testing.T) { r.run(t, c, number) })
	}
	a := r.gateways[0]
	packet := datagram(r.A.HostAddress, cases[0].Host(r.B, 0), 20000, discardPort)
	frame := ether(portMAC(t, a, lanPort), etherIPv4, packet)
	for i, f := range [][]byte{frame, tagged(frame, 30), tagged(frame, 0), tagged(tagged(frame, lab.LANVLAN), lab.LANVLAN)} {
		if err := trunk.Send(f); err != nil {
			t.Fatal(err)
		}
		err := lab.Until(t.Context(), nil, "the drop", settleLimit, func() (bool, error) {
			counters, err := a.Counters(t.Context())
			return err == nil && counters.Ports[0].Drops["unknown_vlan"] == uint64(i+1), nil
		})
		if err != nil {
			counters, _ := a.Counters(t.Context())
			t.Errorf("frame % x: %v; ports %+v", f[:18], err, counters.Ports)
		}
	}
	before, err := packetsOf(t.Context(), a, cases[0].Tunnel(r.A, r.B, 0).Layers[0].In.SPI)
	if err != nil {
		t.Fatal(err)
	}
	if err := trunk.Send(tagged(frame, lab.LANVLAN)); err != nil {
		t.Fatal(err)
	}
	err = lab.Until(t.Context(), nil, "the packet in the tunnel", settleLimit, func() (bool, error) {
		now, err := packetsOf(t.Context(), a, cases[0].Tunnel(r.A, r.B, 0).Layers[0].In.SPI)
		return now == before+1, err
	})
	if err != nil {
		t.Error(err)
	}
	sentA, sentB, err := r.capture.Stop()
	if err != nil || sentA.Clear+sentB.Clear+sentA.Lost+sentB.Lost != 0 || sentA.ESP == 0 || sentB.ESP == 0 {
		t.Errorf("sent %v and %v (%v), want ESP and nothing clear", sentA, sentB, err)
	}
}

// tagged is a frame with a tag of a VLAN in front of its EtherType.
func tagged(frame []byte, vlan uint16) []byte {
	return slices.Concat(frame[:12], []byte{etherVLAN >> 8, etherVLAN & 0xff}, append16(nil, vlan), frame[12:])
}

// TestManualSAs: ICMP, UDP and TCP pass by SAs of every form between two gateways of ours: every packet is on the wire under the SPIs of its SA, none in clear, and
// neither gateway drops one.
// S-063, S-099
func TestManualSAs(t *testing.T) {
	t.Parallel()
	cases := manualCases()
	r := newManualRig(t, cases, lab.GatewayOptions{})
	for number, c := range cases {
		t.Run(c.Name(), func(t *testing.T) { r.run(t, c, number) })
	}
	r.verify(t)
}

// run sends traffic by one case and wants wire and gateways to agree about it.
func (r *manualRig) run(t *testing.T, c peers.Case, number int) {
	if err := echoFrom(r.A.Host, c.Host(r.B, number)); err != nil {
		t.Error(err)
		return
	}
	tunnel := c.Tunnel(r.A, r.B, number)
	err := lab.Until(t.Context(), nil, "the counts to agree", settleLimit, func() (bool, error) { // what ends a connection may be under way
		a, b := r.capture.Sofar()
		for _, way := range []struct {
			spi   func(peers.ManualLayer) uint32
			sent  lab.Tally
			ends  []*lab.Gateway
			named string
		}{
			{func(l peers.ManualLayer) uint32 { return l.In.SPI }, a, r.gateways[:], "to b"},
			{func(l peers.ManualLayer) uint32 { return l.Out.SPI }, b, r.gateways[:], "to a"},
		} {
			for _, g := range way.ends {
				counted, err := packetsOf(t.Context(), g, way.spi(tunnel.Layers[0]))
				if err != nil {
					return false, err
				}
				for _, layer := range tunnel.Layers {
					if seen := way.sent.SPIs[way.spi(layer)]; seen <= len(pingSizes) || uint64(seen) != counted {
						return false, nil
					}
				}
			}
		}
		return true, nil
	})
	if err != nil {
		a, b := r.capture.Sofar()
		t.Errorf("%v: a has sent %v %#x, b %v %#x", err, a, a.SPIs, b, b.SPIs)
	}
}

// packetsOf is what a gateway has counted for an SA, which a bundle lists by its ESP.
func packetsOf(ctx context.Context, g *lab.Gateway, spi uint32) (uint64, error) {
	all, err := g.SAs(ctx)
	i := slices.IndexFunc(all, func(sa api.SA) bool { return sa.SPI == fmt.Sprintf("%#08x", spi) })
	if i < 0 {
		return 0, errors.Join(err, fmt.Errorf("gw-%s lists no SA %#x", g.Site.Name, spi))
	}
	return all[i].Packets, nil
}

// verify ends the capture and wants nothing clear on it, and of both gateways an account that adds up, without a drop but of what hosts
// tell routers.
func (r *manualRig) verify(t *testing.T) {
	t.Helper()
	a, b, err := r.capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for name, sent := range map[string]lab.Tally{"a": a, "b": b} {
		if sent.Clear != 0 || sent.Lost != 0 || sent.ESP == 0 || sent.AH == 0 || sent.ESPinUDP == 0 || sent.Bundled == 0 {
			t.Errorf("site %s sent %v, want ESP, AH and nothing clear", name, sent)
		}
	}
	for _, g := range r.gateways {
		counters, err := g.Counters(t.Context())
		if err != nil {
			t.Error(err)
		}
		for _, port := range counters.Ports {
			for _, report := range []string{"ipv6", "bad_source"} { // listeners' reports (RFC 3810)
				delete(port.Drops, report)
			}
			if len(port.Drops) > 0 {
				t.Errorf("gw-%s dropped packets at port %s: %v", g.Site.Name, port.Name, port.Drops)
			}
		}
	}
}
