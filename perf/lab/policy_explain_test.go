package lab_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"sallyport/appliance/api"
	"sallyport/perf/lab"
)

// asked is a packet that explain is asked about, and that is then sent.
type asked struct {
	name        string
	in          string
	from, to    netip.Addr
	protocol    byte
	source, dst uint16 // ports, of UDP
	decided     string // rule or exemption, empty for neither
	action      string
	reason      string
}

// testExplain holds what explain says of a packet, for every verdict, against what the wire then has of it.
func testExplain(t *testing.T, r *policyRig) {
	a, b := r.A, r.B
	r.explained(t, []asked{
		{"protected", lanPort, a.HostAddress, b.HostAddress, protocolUDP, 20000, 9, "lan-to-lan", "protect", ""},
		{"permitted", lanPort, partnerA, partnerB, protocolUDP, 20000, 9, "partners-pass", "forward", ""},
		{"permitted, back", wanPort, partnerB, partnerA, protocolUDP, 20000, 9, "partners-pass", "forward", ""},
		{"blocked by its port", lanPort, a.HostAddress, b.HostAddress, protocolUDP, 20000, 7, "no-echo", "drop", "filter_block"},
		{"blocked by its address", lanPort, partnerA, ip("172.16.2.200"), protocolUDP, 20000, 9, "no-strangers", "drop", "filter_block"},
		{"default", lanPort, a.HostAddress, nobody, protocolUDP, 20000, 9, "", "drop", "no_filter"},
		{"in clear from the far LAN", wanPort, b.HostAddress, a.HostAddress, protocolUDP, 20000, 9, "lan-to-lan", "drop", "clear_on_protected"},
		{"the LAN's own, from the WAN", wanPort, a.HostAddress, b.HostAddress, protocolUDP, 20000, 9, "lan-to-lan", "drop", "protect_from_unprotected"},
		{"exempt", wanPort, b.WANAddress, a.WANAddress, protocolUDP, 500, 500, "ike-inbound", "ike", ""},
		{"nearly exempt", wanPort, b.WANAddress, a.WANAddress, protocolUDP, 501, 500, "", "drop", "no_filter"},
		{"IKE that passes by", lanPort, partnerA, nobody, protocolUDP, 500, 500, "", "drop", "no_filter"},
		{"RSVP", lanPort, a.HostAddress, a.LANAddress, protocolRSVP, 0, 0, "", "drop", "no_filter"},
	})
	r.must(t, "exempt", "level", "2")
	r.explained(t, []asked{{"exempt at level 2", lanPort, a.HostAddress, a.LANAddress, protocolRSVP, 0, 0, "rsvp-inbound", "local", ""}})
	r.must(t, "exempt", "level", "3")

	r.must(t, "address", "remove", "wan", "192.0.2.1/24")
	r.explained(t, []asked{
		{"stale", lanPort, a.HostAddress, b.HostAddress, protocolUDP, 20000, 9, "lan-to-lan", "drop", "stale_endpoint"},
		{"stale, and blocked", lanPort, a.HostAddress, b.HostAddress, protocolUDP, 20000, 7, "no-echo", "drop", "filter_block"},
	})
	r.must(t, "address", "add", "wan", "192.0.2.1/24")
	r.tunnelBack(t)
	r.pin(t)
}

// explained asks about each packet, sends copies of it, and asks again.
func (r *policyRig) explained(t *testing.T, packets []asked) {
	t.Helper()
	for _, p := range packets {
		if p.action == "forward" { // so that the next hop is known
			r.leave(t, p.name, p.in, [][]byte{r.frame(p)}, r.otherSide(p.in), r.isCopy(p))
		}
		said := r.explain(t, p)
		decided := said.Exempted
		if said.Winner != nil {
			decided = said.Winner.Rule
		}
		if said.Action != p.action || said.Reason != p.reason || decided != p.decided || said.Disagreement != "" {
			t.Errorf("%s: explained as %s %s, decided by %q, want %s %s by %q; %s", p.name, said.Action, said.Reason, decided, p.action, p.reason, p.decided, said.Disagreement)
			continue
		}
		r.asSaid(t, p, said)
		r.counted(t, p, said)
	}
}

// asSaid sends copies of the packet and wants on the wire what was said.
func (r *policyRig) asSaid(t *testing.T, p asked, said api.Explanation) {
	t.Helper()
	frames := same(r.frame(p))
	switch said.Action {
	case "drop":
		r.dropped(t, p.in, said.Reason, frames)
	case "protect":
		if said.SA == nil || said.SA.SPI != lab.Outbound(sas(t, r.a)) {
			t.Errorf("%s: explained with SA %+v", p.name, said.SA)
		}
		r.protected(t, frames)
	case "forward":
		copied := r.isCopy(p)
		r.leave(t, p.name, p.in, frames, r.otherSide(said.Port), func(f []byte) bool {
			return copied(f) && bytes.Equal(f[:6], parseMAC(t, said.Neighbour))
		})
	default: // for the gateway itself
		before := r.counters(t, p.in)
		r.inject(t, p.in, frames)
		err := lab.Until(t.Context(), nil, p.name, settleLimit, func() (bool, error) {
			return r.counters(t, p.in).Delivered >= before.Delivered+copies, nil
		})
		if err != nil {
			t.Errorf("%v: %+v, before %+v", err, r.counters(t, p.in), before)
		}
	}
}

// counted wants the copies in the hits of the filter that was said to decide, and the flow cache to do as was said.
func (r *policyRig) counted(t *testing.T, p asked, before api.Explanation) {
	t.Helper()
	var after api.Explanation
	err := lab.Until(t.Context(), nil, "the hits of "+p.decided, settleLimit, func() (bool, error) {
		after = r.explain(t, p)
		return before.Winner == nil || after.Winner != nil && after.Winner.Packets == before.Winner.Packets+copies, nil
	})
	if err != nil {
		t.Errorf("%s: %v: %+v, before %+v", p.name, err, after.Winner, before.Winner)
	}
	for _, c := range after.Cached {
		if c.Current && (c.Action != after.Action || c.Reason != after.Reason) {
			t.Errorf("%s: explained as %s %s, and the flow cache has %+v", p.name, after.Action, after.Reason, c)
		}
	}
}

// explain asks the program about a packet.
func (r *policyRig) explain(t *testing.T, p asked) api.Explanation {
	t.Helper()
	args := []string{"explain", "--src", p.from.String(), "--dst", p.to.String(), "--proto", fmt.Sprint(p.protocol), "--in", p.in}
	if p.protocol == protocolUDP {
		args = append(args, "--sport", fmt.Sprint(p.source), "--dport", fmt.Sprint(p.dst))
	}
	return ask[api.Explanation](t, r, args...)
}

// frame is the packet as it comes to its port. What is to be forwarded in clear is the only one that is not marked.
func (r *policyRig) frame(p asked) []byte {
	payload := []byte(attackMarker)
	if p.action == "forward" {
		payload = partnersPayload
	}
	if p.protocol == protocolUDP {
		payload = udp(p.source, p.dst, payload)
	}
	mac := r.lanMAC
	if p.in == wanPort {
		mac = r.wanMAC
	}
	return ether(mac, etherIPv4, ipv4(p.from, p.to, p.protocol, payload))
}

// isCopy tells frames that carry the packet.
func (r *policyRig) isCopy(p asked) func([]byte) bool {
	return func(f []byte) bool {
		return isPacket(f, p.from, p.to, p.protocol) && bytes.HasSuffix(f, partnersPayload)
	}
}

// otherSide sees what gw-a forwards of what comes by a port.
func (r *policyRig) otherSide(port string) *lab.RawPort {
	if port == lanPort {
		return r.wan
	}
	return r.lan
}
