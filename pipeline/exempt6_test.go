package pipeline

import (
	"testing"

	"sallyport/policy"
)

// S-033 for IPv6: at level 0 all IPv6 of the gateway's own addresses passes, counted at its row, and none that goes through it;
// IKE over IPv6 goes to IKE.
func TestIPv6Exemptions(t *testing.T) {
	r := newRig6(t, rigOptions{level: policy.Level0, rules: []rule{siteRule}})
	for range 3 {
		if o, answers := r.check(lan, fromHost6(echo6(lanHost6, lanOwn6, 8))); o.Disposition != packetLocal || len(answers[lan]) != 1 {
			t.Errorf("%+v, %d answers", o, len(answers[lan]))
		}
		r.wantDrop(lan, fromHost6(echo6(lanHost6, outside6, 8)), "ipv6")
	}
	if o, _ := r.check(wan, fromPeer6(udp6(peer6, wanOwn6, 500, 500, 28))); o.Disposition != packetIKE || len(r.seen.ike) != 1 {
		t.Errorf("%+v, %d messages", o, len(r.seen.ike))
	}
	for _, f := range r.d.Counters().Filters {
		if f.Name == "ipv6" && f.Packets < 3 {
			t.Errorf("%+v, want at least 3 packets", f)
		}
	}
}

// What Explain says of IPv6 is what the fast path does, memos included.
func TestExplainIPv6(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule6, {name: "out", source: "2001:db8:1::/48", destination: "2001:db8:99::/48", oneWay: true}}})
	r.outbound(r.child6("aes128gcm16", false))
	for _, c := range []struct {
		port   string
		packet ipv6
		want   string
	}{
		{"lan", tcp6(lanHost6, outside6), "forward  wan 2001:db8:f::2"},
		{"lan", tcp6(lanHost6, farHost6), "protect  wan 192.0.2.2"},
		{"lan", tcp6(lanHost6, stranger6), "drop ipv6  invalid IP"},
		{"wan", tcp6(outside6, lanHost6), "drop ipv6  invalid IP"},
		{"wan", tcp6(lanHost6, farHost6), "drop protect_from_unprotected  invalid IP"},
	} {
		for cached := range 2 {
			trace, err := r.d.Explain(Query{Packet: tupleOf(c.packet), Port: c.port})
			if err != nil {
				t.Fatal(err)
			}
			if got := trace.Action + " " + trace.Reason + " " + trace.OutPort + " " + trace.NextHop.String(); got != c.want || len(trace.Cached) != cached {
				t.Errorf("%q, %d memos, want %q, %d", got, len(trace.Cached), c.want, cached)
			}
			if c.port == "lan" {
				r.check(lan, fromHost6(c.packet))
			} else {
				r.check(wan, fromPeer6(c.packet))
			}
		}
	}
}
