package lab_test

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/perf/lab"
	"sallyport/policy"
)

// TestPolicyCommands runs the commands that show and change the policy of a gateway with a tunnel, and sends packets
// to see what they have changed. Nothing else crosses the WAN: each packet is accounted for.
func TestPolicyCommands(t *testing.T) {
	r := newPolicyRig(t)
	r.run(t, "explain", testExplain)
	r.run(t, "activate", testActivate)
	r.run(t, "wrong configuration", testWrongConfiguration)
	r.run(t, "rollback", testRollback)
	r.run(t, "level", testLevel)
	r.run(t, "IKE off", testIKEOff)
	r.run(t, "purge", testPurge)
	r.run(t, "IPv6", testIPv6)
	r.noClear(t)
}

// copies is how many packets of one kind a test sends.
const copies = 20

// same is so many of one frame.
func same(frame []byte) [][]byte { return slices.Repeat([][]byte{frame}, copies) }

func (r *policyRig) toFarHost(port uint16) []byte {
	return ether(r.lanMAC, etherIPv4, datagram(r.A.HostAddress, r.B.HostAddress, 20000, port))
}

func (r *policyRig) toPartner() []byte {
	return ether(r.lanMAC, etherIPv4, clearDatagram(partnerA, partnerB, 20000, discardPort))
}

// dropped wants packets that come by a port dropped, all for one reason.
func (r *policyRig) dropped(t *testing.T, port, reason string, frames [][]byte) {
	t.Helper()
	var b batch
	b.add(reason, frames...)
	r.drops(t, port, b)
}

// protected wants packets of the LAN sent to the peer through the tunnel.
func (r *policyRig) protected(t *testing.T, frames [][]byte) {
	t.Helper()
	r.protectedBy(t, lab.Outbound(sas(t, r.a)), frames)
}

// protectedBy wants them sent through the SA with an SPI.
func (r *policyRig) protectedBy(t *testing.T, spi string, frames [][]byte) {
	t.Helper()
	r.leave(t, "packets through SA "+spi, lanPort, frames, r.wan, func(f []byte) bool {
		return isPacket(f, r.A.WANAddress, r.B.WANAddress, protocolESP) && fmt.Sprintf("0x%x", f[espAt:espAt+4]) == spi
	})
}

// passed wants packets from partner to partner to leave in clear.
func (r *policyRig) passed(t *testing.T) {
	t.Helper()
	r.leave(t, "packets to partners", lanPort, same(r.toPartner()), r.wan, func(f []byte) bool {
		return isPacket(f, partnerA, partnerB, protocolUDP) && bytes.HasSuffix(f, partnersPayload)
	})
}

// leave sends frames to a port of gw-a and wants as many that are like at the other port, no more.
func (r *policyRig) leave(t *testing.T, what, port string, frames [][]byte, out *lab.RawPort, like func([]byte) bool) {
	t.Helper()
	r.received(t, out)
	for _, f := range frames {
		if err := r.raw(port).Send(f); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	err := lab.Until(t.Context(), nil, what, takeLimit, func() (bool, error) {
		for _, f := range r.received(t, out) {
			if like(f) {
				n++
			}
		}
		return n >= len(frames), r.a.Process.Alive()
	})
	if err != nil || n != len(frames) {
		t.Errorf("%s: %d left, want %d: %v; port %s: %+v", what, n, len(frames), err, port, r.counters(t, port))
	}
}

// S-001: one policy of those that are stored is in force, and no filter of another.
func testActivate(t *testing.T, r *policyRig) {
	day := r.table(t)
	r.passed(t)
	r.must(t, "policy", "activate", "night", "--dry-run")
	if !reflect.DeepEqual(r.table(t), day) {
		t.Error("a dry run has changed the table")
	}
	r.must(t, "policy", "activate", "night")
	shown := r.must(t, "policy", "show", "--active")
	if !strings.HasPrefix(shown, "policy night (in force") || regexp.MustCompile(`policy (day|half|dual|idle)\b`).MatchString(shown) {
		t.Errorf("policy show --active: want night only, found:\n%s", shown)
	}
	if all := ask[api.Policies](t, r, "policy", "show"); len(all.Stored) != 5 {
		t.Errorf("%d policies are stored, want 5", len(all.Stored))
	}
	for _, row := range r.table(t) {
		if slices.Contains([]string{"partners-pass", "no-strangers", "no-echo"}, row.Rule) {
			t.Errorf("a filter of day in the table: %+v", row)
		}
	}
	r.dropped(t, lanPort, "filter_block", same(r.toPartner()))
	r.protected(t, same(r.toFarHost(discardPort)))
	r.must(t, "policy", "activate", "day")
	r.passed(t)
	r.dropped(t, lanPort, "filter_block", same(r.toFarHost(echoPort)))
	r.sameSAs(t)
	if _, errOut, code := r.sallyport(t, "policy", "activate", "dusk"); code == 0 || !strings.Contains(errOut, "dusk") {
		t.Errorf("a policy that is not stored: exit code %d, %s", code, errOut)
	}
}

// A wrong configuration, whichever way it comes: exit code 2, each mistake on a line of its own, and the policy in force
// with its counters as before.
func testWrongConfiguration(t *testing.T, r *policyRig) {
	text := r.text(t)
	wrong := strings.NewReplacer("action: permit", "action: permitt", "172.16.1.0/24, destination: 172.16.2.0/24", "172.16.1.0/33, destination: 172.16.2.0/24",
		"filter_list: echo", "filter_list: ecko", "destination_port: 7", "destination_prot: 7").Replace(text)
	r.passed(t)
	before, hits, table := r.running(t), r.hits(t), r.table(t)
	path := r.write(t, r.Dir+"/wrong.yaml", wrong)
	keys := []string{"action", "source", "filter_list", "destination_prot"}
	for _, c := range []struct {
		name string
		args []string
	}{
		{"apply", []string{"config", "apply", path}},
		{"dry run", []string{"config", "apply", path, "--dry-run"}},
		{"diff", []string{"policy", "diff", path}},
		{"check", []string{"policy", "check", "-c", path}},
	} {
		out, errOut, code := r.sallyport(t, c.args...)
		if code != 2 {
			t.Errorf("%s: exit code %d, want 2; %s%s", c.name, code, out, errOut)
		}
		lines := strings.Split(strings.TrimSpace(errOut), "\n")
		for _, line := range lines {
			if !regexp.MustCompile(`^\S+\.yaml:\d+: [a-z_\[\].0-9]+: `).MatchString(line) || !strings.HasPrefix(line, path) {
				t.Errorf("%s: want %s, line and key of a mistake, found %q", c.name, path, line)
			}
		}
		for _, key := range keys {
			if !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, key+": ") }) {
				t.Errorf("%s: no line about %s in:\n%s", c.name, key, errOut)
			}
		}
	}
	now := r.running(t)
	if now.Generation != before.Generation || !reflect.DeepEqual(r.table(t), table) || !reflect.DeepEqual(r.hits(t), hits) || r.text(t) != text {
		t.Errorf("the policy in force has changed: %+v, before %+v", now, before)
	}
	r.sameSAs(t)
	r.passed(t)
}

// hits is how many packets each filter has decided.
func (r *policyRig) hits(t *testing.T) map[uint32]uint64 {
	t.Helper()
	hits := map[uint32]uint64{}
	for _, f := range ask[[]api.Filter](t, r, "filters", "show") {
		hits[f.ID] = f.Packets
	}
	return hits
}

// S-120: a change leaves a numbered backup, and going back to it makes the same table.
func testRollback(t *testing.T, r *policyRig) {
	text, table := r.text(t), r.table(t)
	r.apply(t, strings.NewReplacer("172.16.2.0/24}", "172.16.2.16/28}", "active_policy: day", "active_policy: half").Replace(text))
	if reflect.DeepEqual(r.table(t), table) {
		t.Fatal("the other configuration has the same table")
	}
	backups := ask[[]api.Backup](t, r, "config", "backups")
	if len(backups) == 0 || backups[0].Policy != "day" || backups[0].Bytes != len(text) {
		t.Fatalf("backups: %+v, want the file before first", backups)
	}
	r.must(t, "config", "rollback", fmt.Sprint(backups[0].Number))
	if got := r.table(t); !reflect.DeepEqual(got, table) {
		t.Errorf("rolled back to the table %+v, want %+v", got, table)
	}
	if r.text(t) != text {
		t.Error("rolled back to another file")
	}
	r.tunnelBack(t)
	r.passed(t)
}

// S-039: a level is in force at the next packet, also of a flow that the cache remembers, without a restart.
func testLevel(t *testing.T, r *policyRig) {
	started := r.started(t)
	request := ether(r.lanMAC, etherIPv4, ipv4(r.A.HostAddress, r.A.LANAddress, protocolRSVP, []byte(attackMarker)))
	r.dropped(t, lanPort, "no_filter", same(request))
	r.must(t, "exempt", "level", "0")
	before := r.counters(t, lanPort)
	r.inject(t, lanPort, same(request))
	err := lab.Until(t.Context(), nil, "RSVP to be delivered", settleLimit, func() (bool, error) {
		return r.counters(t, lanPort).Delivered >= before.Delivered+copies, nil
	})
	if err != nil {
		t.Errorf("%v: %+v, before %+v", err, r.counters(t, lanPort), before)
	}
	r.must(t, "exempt", "level", "3")
	r.dropped(t, lanPort, "no_filter", same(request))
	if now := r.started(t); !now.Equal(started) {
		t.Errorf("started at %v, and now at %v", started, now)
	}
}

// started is when gw-a was.
func (r *policyRig) started(t *testing.T) time.Time {
	t.Helper()
	var version api.Version
	if err := r.a.API.Get(t.Context(), api.PathVersion, nil, &version); err != nil {
		t.Fatal(err)
	}
	return version.Started
}

// S-041: without IKE on the whole gateway, and then on one port, nobody there gets an answer from it, what rules
// protect is dropped, and the other filters hold as before.
func testIKEOff(t *testing.T, r *policyRig) {
	text := r.text(t)
	requests := r.fromPeer(initiation(t, r.hostileRig))
	toLAN := ether(r.lanMAC, etherIPv4, ipv4(r.A.HostAddress, r.A.LANAddress, protocolUDP, udp(500, 500, initiation(t, r.hostileRig))))
	r.inject(t, wanPort, requests)
	if err := lab.Until(t.Context(), nil, "an answer to IKE_SA_INIT while IKE is on", settleLimit, func() (bool, error) {
		return r.answers(t) > 0, r.a.Process.Alive()
	}); err != nil {
		t.Error(err)
	}
	off := func(what, configuration string) {
		r.apply(t, configuration)
		if err := r.a.WaitGone(t.Context(), changeLimit); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		r.unanswered(t, slices.Repeat(requests, copies/2))
		r.passed(t)
		r.dropped(t, lanPort, "filter_block", same(r.toFarHost(echoPort)))
		r.dropped(t, lanPort, "no_outbound_sa", same(r.toFarHost(discardPort)))
	}
	off("IKE off", strings.Replace(text, "active_policy:", "ike: {enabled: false}\nactive_policy:", 1))
	r.dropped(t, lanPort, "no_filter", same(toLAN))
	off("IKE off on the WAN", strings.Replace(text, "role: unprotected,", "role: unprotected, ike: off,", 1))

	r.apply(t, strings.Replace(text, "role: protected,", "role: protected, ike: off,", 1))
	r.dropped(t, lanPort, "no_filter", same(toLAN))
	r.tunnelBack(t) // by the other port
	r.protected(t, same(r.toFarHost(discardPort)))
	r.apply(t, text)
	r.tunnelBack(t)
}

// unanswered sends requests of an initiation that all are dropped before IKE; other frames may be among them. What the
// peer has yet to answer of gw-a's own is dropped with them.
func (r *policyRig) unanswered(t *testing.T, frames [][]byte) {
	t.Helper()
	r.received(t, r.wan)
	before := r.counters(t, wanPort)
	r.inject(t, wanPort, frames)
	err := lab.Until(t.Context(), nil, "IKE messages to be dropped", settleLimit, func() (bool, error) {
		return r.counters(t, wanPort).Drops["no_filter"] >= before.Drops["no_filter"]+uint64(len(frames)), nil
	})
	if err != nil {
		t.Errorf("%v: %+v, before %+v", err, r.counters(t, wanPort), before)
	}
	if n := r.answers(t); n != 0 {
		t.Errorf("gw-a sent %d answers to IKE_SA_INIT, want none", n)
	}
}

// answers is how many answers to an initiation gw-a has sent since the last look: they begin with its SPI.
func (r *policyRig) answers(t *testing.T) (n int) {
	t.Helper()
	spi := initiation(t, r.hostileRig)[:8]
	for _, f := range r.received(t, r.wan) {
		if bytes.Contains(f, spi) {
			n++
		}
	}
	return n
}

// S-012: after a purge nothing is stored, no SA is left and nothing passes; the file before it can be had back.
func testPurge(t *testing.T, r *policyRig) {
	text := r.text(t)
	r.must(t, "policy", "purge")
	for _, g := range []*lab.Gateway{r.a, r.b} {
		if err := g.WaitGone(t.Context(), changeLimit); err != nil {
			t.Error(err)
		}
	}
	if p := ask[api.Policies](t, r, "policy", "show"); len(p.Stored) != 0 || p.Active != "" {
		t.Errorf("policies are stored after a purge: %+v", p)
	}
	if sad := ask[api.SAD](t, r, "sa", "show"); len(sad.MainMode)+len(sad.QuickMode)+len(sad.Soft) != 0 {
		t.Errorf("SAs after a purge: %+v", sad)
	}
	if table := r.table(t); slices.ContainsFunc(table, func(row policy.Row) bool { return row.Verdict != "block" }) {
		t.Errorf("the table after a purge: %+v", table)
	}
	if left := r.text(t); strings.Contains(left, "filter_") || strings.Contains(left, "polic") {
		t.Errorf("the file after a purge:\n%s", left)
	}
	r.dropped(t, lanPort, "no_filter", slices.Concat(same(r.toFarHost(discardPort)), same(r.toPartner())))
	fromPartner := ether(r.wanMAC, etherIPv4, clearDatagram(partnerB, partnerA, 20000, discardPort))
	r.unanswered(t, slices.Concat(same(fromPartner), r.fromPeer(initiation(t, r.hostileRig))))
	r.must(t, "config", "rollback")
	if r.text(t) != text {
		t.Error("rolled back to another file than that before the purge")
	}
	r.tunnelBack(t)
	r.passed(t)
}
