package interop

import (
	"fmt"
	"math"
	"testing"

	"sallyport/perf/lab"
	"sallyport/perf/peers"
)

// lifeCases are about what IKE SAs and Child SAs there are, and how they come and go.
func lifeCases(t *testing.T, b *bed) []testCase {
	c := chainOf(t, b, p256)
	reauthenticate := func(flavour string) func(*bed, *peers.Tunnel) {
		return func(_ *bed, t *peers.Tunnel) { t.Settings = "make_before_break = " + flavour }
	}
	return []testCase{
		{name: "reauthentication-make-before-break", ike: defaultIKE, esp: defaultESP, wire: plainESP, theirs: strongSwan(reauthenticate("yes")), check: wantReauthentication(0)},
		// Between the end of the old SA and the new one nothing passes: that is strongSwan's older way.
		{name: "reauthentication-break-before-make", ike: defaultIKE, esp: defaultESP, wire: plainESP, gap: true, changing: true,
			theirs: strongSwan(reauthenticate("no")), check: wantReauthentication(math.MaxInt)},
		{name: "childless", ike: defaultIKE, esp: defaultESP, wire: plainESP,
			theirs: strongSwan(func(_ *bed, t *peers.Tunnel) { t.Connection = "childless = force" }), starts: theyStart},
		{name: "ppk", core: true, ike: defaultIKE, esp: defaultESP, wire: plainESP,
			ours: ours{files: map[string][]byte{}}.withPPK(), theirs: strongSwan(swanPPK)},
		{name: "ppk-and-certificates", ike: defaultIKE, esp: defaultESP, wire: plainESP, ours: c.ours().withPPK(), theirs: strongSwan(swanCertificates(c), swanPPK)},
		{name: "mobike-off", ike: defaultIKE, esp: defaultESP, wire: plainESP,
			theirs: strongSwan(func(_ *bed, t *peers.Tunnel) { t.Connection = "mobike = no" })},
		{name: "no-fragmentation", ike: defaultIKE, esp: defaultESP, wire: plainESP,
			theirs: strongSwan(func(_ *bed, t *peers.Tunnel) { t.Connection = "fragmentation = no" })},
		{name: "two-children", ike: defaultIKE, esp: defaultESP, wire: plainESP, ours: ours{policy: twoChildren(b)}, starts: weStart,
			theirs: strongSwan(swanTwoChildren), traffic: echoesAndDatagrams, check: wantTwoChildren},
	}
}

// withPPK has us insist on the postquantum preshared key.
func (o ours) withPPK() ours {
	o.peer += "\nppk_file: gw-a.ppk\nppk_id: " + ppkID + "\nppk_required: true"
	o.files["gw-a.ppk"] = []byte(ppk + "\n")
	return o
}

// swanPPK has the peer insist on it too.
func swanPPK(_ *bed, t *peers.Tunnel) {
	t.Connection = "ppk_id = " + ppkID + "\n ppk_required = yes"
	t.Secrets = fmt.Sprintf("ppk-lab {\n id-1 = %s\n secret = %q\n }", ppkID, ppk)
}

const ppkID = "lab-ppk"

// ppk is a postquantum preshared key (RFC 8784).
const ppk = "a postquantum preshared key that is of the lab only: 7Hq2"

// twoChildren is a policy with a tunnel for echo requests and one for datagrams, each with the peer.
func twoChildren(b *bed) string {
	return fmt.Sprintf(`filter_lists:
  - {name: echoes, filters: [{source: %s, destination: %s, protocol: icmp}]}
  - {name: datagrams, filters: [{source: %s, destination: %s, protocol: udp, destination_port: %d}]}
filter_actions:
  - {name: protect, action: negotiate, esp_proposals: [%s]}
policies:
  - name: interop
    rules:
      - {name: %s, filter_list: echoes, filter_action: protect, peer: %s}
      - {name: datagrams, filter_list: datagrams, filter_action: protect, peer: %s}
active_policy: interop
`, b.A.LAN, b.B.LAN, b.A.LAN, b.B.LAN, lab.EchoPort, defaultESP, lab.ChildName, lab.PeerName, lab.PeerName)
}

// swanTwoChildren is the peer's side of that.
func swanTwoChildren(b *bed, t *peers.Tunnel) {
	t.Child = fmt.Sprintf("local_ts = %s[icmp]\n remote_ts = %s[icmp]", b.B.LAN, b.A.LAN)
	t.Children = fmt.Sprintf("datagrams {\n local_ts = %s[udp/%d]\n remote_ts = %s[udp]\n esp_proposals = %s\n }", b.B.LAN, lab.EchoPort, b.A.LAN, defaultESP)
}

// echoesAndDatagrams go through one tunnel each.
func echoesAndDatagrams(r *running) error {
	if err := pingAll(r.A.Host, r.B.HostAddress); err != nil {
		return err
	}
	return r.A.Host.EchoUDP(r.B.HostAddress)
}

func wantTwoChildren(t *testing.T, r *running) {
	if all, err := r.gateway.SAs(t.Context()); err != nil || len(all) != 4 {
		t.Errorf("SAs %+v (%v), want four", all, err)
	}
	if _, err := r.gateway.IKE(t.Context()); err != nil {
		t.Error(err)
	}
}

// wantReauthentication has strongSwan prove anew who it is, with a new IKE SA, and wants no more pings lost than may be.
func wantReauthentication(mayLose int) func(t *testing.T, r *running) {
	return func(t *testing.T, r *running) {
		ping, err := r.A.Host.StartPing(r.B.HostAddress, lab.PingOptions{Interval: pingPeriod})
		if err != nil {
			t.Fatal(err)
		}
		of := r.ikeSPIs(t)
		before, err := of()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.peer.(*peers.StrongSwan).Reauthenticate(t.Context()); err != nil {
			t.Fatal(err)
		}
		err = lab.Until(t.Context(), nil, "a new IKE SA, and only that", changeLimit, func() (bool, error) {
			now, err := of()
			return now != "" && now != before, err
		})
		if err != nil {
			t.Error(err)
		}
		if _, err := r.gateway.WaitTunnel(t.Context(), nil, changeLimit); err != nil {
			t.Fatal(err)
		}
		if err := pingAll(r.A.Host, r.B.HostAddress); err != nil {
			t.Error(err)
		}
		result, err := ping.Stop(t.Context())
		if err != nil || result.Lost() > mayLose {
			t.Errorf("ping under reauthentication: %+v (%v), want at most %d lost", result, err, mayLose)
		}
	}
}
