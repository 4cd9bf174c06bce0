package lab_test

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sallyport/appliance/api"
	"sallyport/perf/lab"
)

// TestPolicyUnderTraffic changes the policy of a gateway in every way there is, through the program as its operator
// would, and looks at the wire: what is not to leave in clear never does, and every packet is accounted for.
func TestPolicyUnderTraffic(t *testing.T) {
	r := newPolicyRig(t)
	r.run(t, "reload storm", testReloadStorm)
	r.run(t, "tunnels come and go", testTunnelsComeAndGo)
	r.noClear(t)
}

// swaps is how many changes of the policy in force a storm makes.
const swaps = 100

// S-011: 100 changes of the policy that leave the tunnel as it is, in all the ways there are, under traffic of
// many flows both ways. The SAs stay, no packet of the tunnel is dropped, and nothing leaves in clear at any moment.
func testReloadStorm(t *testing.T, r *policyRig) {
	original := r.text(t)
	generation := r.running(t).Generation
	r.received(t, r.farLAN)
	sent, _ := r.capture.Sofar()
	protected := r.outPackets(t)
	drops := r.counters(t, lanPort).Drops
	received := r.counters(t, lanPort).Received
	traffic := r.startFlood(t)
	night := strings.Replace(original, "active_policy: day", "active_policy: night", 1)
	ways := []func(int){
		func(int) { r.must(t, "policy", "activate", "night") },
		func(int) { r.must(t, "config", "rollback") },
		func(int) { r.apply(t, night) },
		func(int) { r.write(t, r.a.Configuration(), original); r.hangUp(t, saysChanged) },
		func(n int) { r.must(t, "exempt", "level", []string{"0", "3"}[n%2]) },
		func(int) { r.must(t, "policy", "activate", "day") },
		func(int) { r.must(t, "reload") },
	}
	arrived := map[string]int{}
	for n := range swaps {
		ways[n%len(ways)](n)
		if n%10 == 0 {
			r.nothingMarked(t)
			r.arrivals(t, arrived)
		}
		if n == swaps/2 {
			r.wrongFile(t)
		}
	}
	traffic.stop()
	if got := r.running(t).Generation - generation; got != swaps {
		t.Errorf("%d changes came into force, want %d", got, swaps)
	}
	r.sameSAs(t)
	r.must(t, "exempt", "level", "3")
	r.apply(t, original)

	all := r.counters(t, lanPort)
	if taken := all.Received - received; taken == 0 || taken > traffic.sent()+slack {
		t.Errorf("gw-a took %d frames of its LAN, want up to the %d that were sent", taken, traffic.sent())
	}
	for reason, n := range all.Drops {
		if n -= drops[reason]; n > 0 && !slices.Contains([]string{"no_filter", "filter_block", "tx_full"}, reason) { // the last says that the machine is busy
			t.Errorf("%d packets of the LAN dropped for %s, want none: policy and tunnel were there at every moment", n, reason)
		}
	}
	// What the SA counts is what is on the wire, and of that nothing but what was protected comes out.
	err := lab.Until(t.Context(), nil, "every packet of the tunnel in the capture", settleLimit, func() (bool, error) {
		now, _ := r.capture.Sofar()
		return uint64(now.ESP-sent.ESP) == r.outPackets(t)-protected, nil
	})
	if now, _ := r.capture.Sofar(); err != nil {
		t.Errorf("%d packets of the tunnel are in the capture, and the SA counts %d", now.ESP-sent.ESP, r.outPackets(t)-protected)
	}
	r.arrivals(t, arrived)
	if arrived["protected"] == 0 || arrived["partners"] == 0 {
		t.Errorf("the far host had %v, want protected packets and those of partners", arrived)
	}
	t.Logf("%d frames sent to gw-a's LAN, %d taken, %d forwarded", traffic.sent(), all.Received-received, all.Forwarded)
}

// outPackets is how many packets gw-a has sent through its tunnel.
func (r *policyRig) outPackets(t *testing.T) (n uint64) {
	t.Helper()
	for _, sa := range sas(t, r.a) {
		if sa.Direction == "outbound" {
			n += sa.Packets
		}
	}
	return n
}

// arrivals looks at what the far host had from a flood since the last look: packets of the flow that is protected at every moment and of
// partners, and never what no policy lets by. It is to be called while the flood lasts, and takes what the near host had too: on a slow
// machine the queues would overflow.
func (r *policyRig) arrivals(t *testing.T, counts map[string]int) {
	t.Helper()
	r.received(t, r.lan)
	for _, f := range r.received(t, r.farLAN) {
		switch {
		case isPacket(f, r.A.HostAddress, r.B.HostAddress, protocolUDP) && get16(f[espAt+2:]) == discardPort:
			counts["protected"]++
		case isPacket(f, partnerA, partnerB, protocolUDP):
			counts["partners"]++
		case isPacket(f, r.A.HostAddress, r.B.HostAddress, protocolUDP): // night protects these too
			counts["echo"]++
		case isPacket(f, r.A.HostAddress, r.B.HostAddress, protocolICMP): // an error of the near host's, with what it is about
		case bytes.Contains(f, []byte(attackMarker)):
			t.Fatalf("the far host was sent % x", f)
		}
	}
}

// slack is for frames of the hosts' own beside those of a test: ARP, and ICMP errors.
const slack = 10_000

// wrongFile sends SIGHUP while the file is wrong, under traffic: nothing changes but the log.
func (r *policyRig) wrongFile(t *testing.T) {
	t.Helper()
	text, before, table := r.text(t), r.running(t), r.table(t)
	r.write(t, r.a.Configuration(), strings.Replace(text, "action: permit", "action: permitt", 1))
	r.hangUp(t, saysRefused)
	if now := r.running(t); now.Generation != before.Generation || now.Active != before.Active {
		t.Errorf("after SIGHUP with a wrong file: policy %s, generation %d, want %s, %d as before", now.Active, now.Generation, before.Active, before.Generation)
	}
	if !reflect.DeepEqual(r.table(t), table) {
		t.Error("SIGHUP with a wrong file has changed the table")
	}
	r.write(t, r.a.Configuration(), text)
}

// S-011: 100 activations that take the tunnel away and bring it back, a restart, and the loss of the tunnel's local address, all
// under traffic. What the tunnel protected is dropped while there is none.
func testTunnelsComeAndGo(t *testing.T, r *policyRig) {
	traffic := r.startFlood(t)
	policies := []string{"half", "day", "idle", "day", "night"}
	for n := range swaps {
		r.must(t, "policy", "activate", policies[n%len(policies)])
		if n%10 == 0 {
			r.nothingMarked(t)
			for _, host := range []*lab.RawPort{r.lan, r.farLAN} { // whose queues would overflow on a slow machine
				r.received(t, host)
			}
		}
	}
	r.must(t, "policy", "activate", "day")
	r.tunnelBack(t)
	r.nothingMarked(t)

	if err := r.a.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := r.a.Restart(); err != nil {
		t.Fatal(err)
	}
	r.tunnelBack(t)
	r.nothingMarked(t)

	r.must(t, "address", "remove", "wan", "192.0.2.1/24")
	if sas, err := r.a.SAs(t.Context()); err != nil || len(sas) != 0 {
		t.Errorf("without its address gw-a has SAs %+v, %v", sas, err)
	}
	r.rises(t, lanPort, "stale_endpoint", 500)
	r.nothingMarked(t)
	r.must(t, "address", "add", "wan", "192.0.2.1/24")
	r.tunnelBack(t)
	traffic.stop()
	r.tunnelBack(t) // what the flood has left in the rings is over
	before := r.counters(t, lanPort).Drops["stale_endpoint"]
	r.ping(t)
	if now := r.counters(t, lanPort).Drops["stale_endpoint"]; now != before {
		t.Errorf("with its address back, %d more packets were dropped for a stale endpoint", now-before)
	}
}

// rises waits until a port of gw-a has dropped so many more packets for a reason.
func (r *policyRig) rises(t *testing.T, port, reason string, by uint64) {
	t.Helper()
	before := r.counters(t, port).Drops[reason]
	var now api.PortCounters
	err := lab.Until(t.Context(), nil, reason+" to rise", takeLimit, func() (bool, error) {
		now = r.counters(t, port)
		return now.Drops[reason] >= before+by, r.a.Process.Alive()
	})
	if err != nil {
		t.Fatalf("%v: port %s dropped %v", err, port, now.Drops)
	}
}
