package interop

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/perf/lab"
	"sallyport/perf/peers"
)

// A testCase is one agreement that the gateway and a daemon have to come to, and what has to cross the wire then.
type testCase struct {
	name string
	core bool // in make test too
	// starts is who begins the negotiation: each of the two in turn, unless there is only one that can.
	starts starts
	v1     bool // IKEv1, and no IKEv2
	// ike and esp, or ah, are proposals in the words that we share with strongSwan.
	ike, esp, ah string
	over6        bool // the gateways speak IPv6 to each other, and are called by those addresses
	ours         ours
	daemon       string // the peer's
	theirs       theirs
	wire         wire
	traffic      func(r *running) error         // in place of everyTraffic
	check        func(t *testing.T, r *running) // in place of wantPair
	refusal      string                         // the tunnel has to fail, and the gateway to say so with this
	changing     bool                           // the peer moves its tunnel, deletes it or makes it anew while packets come: some meet none
	gap          bool                           // the peer has no policy for a moment: what its kernel sends then is clear, and ours to drop
}

// with gives a case another check, and leaves it to make interop.
func (c testCase) with(check func(t *testing.T, r *running)) testCase {
	c.core, c.check = false, check
	return c
}

type starts int

const (
	eitherStarts starts = iota
	weStart
	theyStart
)

// wire is the form in which packets have to cross.
type wire struct {
	name  string
	count func(lab.Tally) int
	port  uint16 // of IKE, beside the other of the two: MOBIKE may go to 4500 without need (RFC 4555 section 3.3)
}

var (
	plainESP = wire{"ESP", func(sent lab.Tally) int { return sent.ESP }, 500}
	espInUDP = wire{"ESP in UDP", func(sent lab.Tally) int { return sent.ESPinUDP }, 4500}
	plainAH  = wire{"AH", func(sent lab.Tally) int { return sent.AH }, 500}
)

// ours are lines of the gateway's configuration that a case adds: of the peer (where auth is the preshared key unless it says so), of the
// filter action, the filters in place of those for both LANs, other keys, and files beside the configuration.
type ours struct {
	peer, action, filters, top string
	policy                     string // all of the policy, in place of action and filters
	noPeer                     bool   // the configuration has none
	files                      map[string][]byte
}

// theirs starts the peer's daemon with the case's connection, which has the name.
type theirs func(ctx context.Context, b *bed, c testCase, name string) (peers.Daemon, error)

// running is a case that is carried out.
type running struct {
	*bed
	testCase
	weStart bool
	local   netip.Addr // of our gateway
	gateway *lab.Gateway
	peer    peers.Daemon
	capture *lab.Capture
	pcap    string
}

const (
	psk         = "a pre-shared key of the lab"
	tunnelLimit = 5 * time.Minute
	changeLimit = 2 * time.Minute
	pingPeriod  = 10 * time.Millisecond
	pings       = 20
)

// runCases carries out the cases, each from both sides: either end may start (S-060).
func runCases(t *testing.T, b *bed, daemon string, cases []testCase) {
	for _, c := range cases {
		c.daemon = daemon
		if !c.core && !*allCases {
			continue
		}
		for _, side := range []struct {
			name string
			we   bool
			not  starts
		}{{"we-start", true, theyStart}, {"they-start", false, weStart}} {
			if c.starts != side.not {
				t.Run(c.name+"/"+side.name, func(t *testing.T) { carryOut(t, b, c, side.we) })
			}
		}
	}
}

// carryOut brings the tunnel of one case up, uses it and takes it down.
func carryOut(t *testing.T, b *bed, c testCase, weStart bool) {
	t.Attr("peer", c.daemon)
	r := &running{bed: b, testCase: c, weStart: weStart, local: b.A.WANAddress, pcap: filepath.Join(b.Dir, lineName(t)+".pcap")}
	if c.over6 {
		r.local = b.A.WANAddress6
	}
	r.start(t)
	if c.refusal != "" {
		r.refused(t)
		return
	}
	r.established(t)
	before, err := b.guest.XFRMErrors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	traffic := c.traffic
	if traffic == nil {
		traffic = everyTraffic
	}
	if err := traffic(r); err != nil {
		t.Error(err)
	}
	check := c.check
	if check == nil {
		check = wantPair
	}
	check(t, r)
	if errors, err := b.kernelErrors(t.Context(), before, c.changing); err != nil || len(errors) > 0 {
		t.Errorf("the kernel's errors: %v, %v", errors, err)
	}
	r.stop(t)
}

// start starts the peer first, because our gateway may begin to negotiate at once.
func (r *running) start(t *testing.T) {
	t.Helper()
	var err error
	if r.capture, err = r.Capture(lab.CaptureOptions{Path: r.pcap}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, _, err := r.capture.Stop(); err != nil {
			t.Error(err)
		}
	})
	name := strings.ReplaceAll(r.name, "/", "-") + map[bool]string{true: "-1", false: "-2"}[r.weStart]
	if r.peer, err = r.theirs(t.Context(), r.bed, r.testCase, name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the peer's log:\n%s", tail(r.peer.Log()))
		}
		if err := r.peer.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for file, content := range r.ours.files {
		if err := os.WriteFile(filepath.Join(r.Dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.gateway, err = r.StartGateway(r.A, lab.GatewayOptions{Binary: r.binary, PSK: psk, IPv6: true, LogLevel: "debug", Peers: r.peersText(), Policy: r.policyText()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("gateway: %s", r.gateway.Diagnosis(context.Background()))
		}
		if err := r.gateway.Stop(); err != nil {
			t.Error(err)
		}
	})
	if r.weStart {
		return
	}
	if err := r.gateway.WaitReady(t.Context(), tunnelLimit); err != nil {
		t.Fatal(err)
	}
	if err := r.peer.Initiate(t.Context()); err != nil && r.refusal == "" {
		t.Fatal(err)
	}
}

// established waits for the tunnel and wants it begun by who should, in the right version of IKE.
func (r *running) established(t *testing.T) {
	t.Helper()
	if _, err := r.gateway.WaitTunnel(t.Context(), nil, tunnelLimit); err != nil {
		t.Fatal(err)
	}
	r.installed(t)
	role, version := map[bool]string{true: "initiator", false: "responder"}[r.weStart], map[bool]int{true: 1, false: 2}[r.v1]
	if sa, err := r.gateway.IKE(t.Context()); err != nil || sa.Role != role || sa.Version != version {
		t.Errorf("the gateway is %q of IKEv%d (%v), want %s of IKEv%d", sa.Role, sa.Version, err, role, version)
	}
}

// installed waits for the peer's kernel: whoever has the last word of a negotiation is done before the other, and a daemon tells its kernel of SAs and policies
// one after the other. A kernel that has had no SA yet answers ESP by ICMP, one without a policy lets packets out in clear, and each counts what it lacks.
func (r *running) installed(t *testing.T) {
	t.Helper()
	err := lab.Until(t.Context(), nil, "SAs and policies in the peer's kernel", tunnelLimit, func() (bool, error) {
		out, err := r.guest.Run(t.Context(), "sh", "-c", "ip xfrm state; ip xfrm policy")
		return strings.Count(out, "replay-window") >= 2 && strings.Contains(out, "dir in") && strings.Contains(out, "dir out"), err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// refused waits for the failure that has to be, and wants nothing protected or clear on the wire.
func (r *running) refused(t *testing.T) {
	t.Helper()
	var said string
	err := lab.Until(t.Context(), nil, "a refusal", tunnelLimit, func() (bool, error) {
		sa, err := r.gateway.IKE(t.Context())
		if err != nil {
			return false, r.gateway.Process.Alive()
		}
		said = sa.LastFailure + sa.PeerFailure
		return strings.Contains(said, r.refusal), nil
	})
	if err != nil {
		t.Errorf("%v; the gateway says %q, want %q in it", err, said, r.refusal)
	}
	if all, err := r.gateway.SAs(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("SAs %+v (%v), want none", all, err)
	}
	result, err := r.A.Host.Ping(t.Context(), r.B.HostAddress, lab.PingOptions{Count: 3, Interval: pingPeriod, Wait: time.Second})
	if err != nil || result.Received > 0 {
		t.Errorf("ping without a tunnel: %+v (%v), want no answer", result, err)
	}
	a, b, err := r.capture.Stop()
	if err != nil || a.Protected()+b.Protected()+a.Clear+b.Clear > 0 || a.IKE == 0 || b.IKE == 0 {
		t.Errorf("the sites sent %v and %v (%v), want IKE only", a, b, err)
	}
	t.Attr("wire", "refused")
}

// stop takes the tunnel down and looks at all that was on the wire.
func (r *running) stop(t *testing.T) {
	t.Helper()
	if _, err := r.gateway.Counters(t.Context()); err != nil {
		t.Error(err)
	}
	a, b, err := r.capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for name, sent := range map[string]lab.Tally{"a": a, "b": b} {
		others := sent.Protected() - r.wire.count(sent)
		clear := sent.Clear > 0 && !(r.gap && name == "b")
		if r.wire.count(sent) < pings || others > 0 || clear || sent.Other != 0 || sent.Lost != 0 {
			t.Errorf("site %s sent %v, want at least %d packets of %s, none in another form, none clear and nothing else", name, sent, pings, r.wire.name)
		}
		if sent.IKEPorts[500] == 0 || sent.IKEPorts[r.wire.port] == 0 {
			t.Errorf("site %s sent IKE on UDP ports %v, want 500 and %d", name, sent.IKEPorts, r.wire.port)
		}
	}
	t.Attr("wire", fmt.Sprintf("%d and %d %s", r.wire.count(a), r.wire.count(b), r.wire.name))
}

// peersText is the gateway's peer.
func (r *running) peersText() string {
	if r.ours.noPeer {
		return lines("", r.ours.top) + "peers: []\n"
	}
	auth := ""
	if !strings.Contains(r.ours.peer, "auth:") {
		auth = "    auth: {psk_file: gw-a.psk}\n"
	}
	start, version := map[bool]string{true: "always", false: "on-demand"}[r.weStart], map[bool]string{true: "v1", false: "v2"}[r.v1]
	remote := r.address(r.B)
	if r.over6 {
		remote = r.B.WANAddress6
	}
	return fmt.Sprintf("%speers:\n  - name: %s\n    local: %q\n    remote: %q\n    ike: %s\n    ike_proposals: [%s]\n    start: %s\n%s%s",
		lines("", r.ours.top), lab.PeerName, r.local, remote, version, r.ike, start, auth, lines("    ", r.ours.peer))
}

// policyText is what the gateway protects.
func (r *running) policyText() string {
	if r.ours.policy != "" {
		return r.ours.policy
	}
	filters := cmp.Or(r.ours.filters, fmt.Sprintf("{source: %s, destination: %s}", r.A.LAN, r.B.LAN))
	proposals := "esp_proposals: [" + r.esp + "]"
	if r.ah != "" {
		proposals = "ah_proposals: [" + r.ah + "]"
	}
	return fmt.Sprintf(`filter_lists:
  - {name: tunnel, filters: [%s]}
filter_actions:
  - name: protect
    action: negotiate
    %s
%spolicies:
  - name: interop
    rules: [{name: %s, filter_list: tunnel, filter_action: protect, peer: %s}]
active_policy: interop
`, filters, proposals, lines("    ", r.ours.action), lab.ChildName, lab.PeerName)
}

// lines indents each line of a text.
func lines(indent, text string) string {
	var all strings.Builder
	for line := range strings.Lines(text) {
		all.WriteString(indent + strings.TrimRight(line, "\n") + "\n")
	}
	return all.String()
}

// lineName is a test's name for a file.
func lineName(t *testing.T) string { return strings.ReplaceAll(t.Name(), "/", "-") }

// tail is the end of a log.
func tail(log string) string {
	const size = 12 << 10
	return log[max(0, len(log)-size):]
}

// everyTraffic sends by ICMP, UDP and TCP through the tunnel and wants everything back.
func everyTraffic(r *running) error {
	if err := pingAll(r.A.Host, r.B.HostAddress); err != nil {
		return err
	}
	if err := r.A.Host.EchoUDP(r.B.HostAddress); err != nil {
		return fmt.Errorf("UDP through the tunnel: %w", err)
	}
	if err := r.A.Host.EchoTCP(netip.Addr{}, r.B.HostAddress); err != nil {
		return fmt.Errorf("TCP through the tunnel: %w", err)
	}
	return nil
}

// pingAll wants every answer, once there is a first one: a daemon may have its SAs in the kernel only after it has answered.
func pingAll(from interface {
	Ping(ctx context.Context, to netip.Addr, o lab.PingOptions) (lab.PingResult, error)
}, to netip.Addr) error {
	err := lab.Until(context.Background(), nil, "an answer from "+to.String(), changeLimit, func() (bool, error) {
		result, err := from.Ping(context.Background(), to, lab.PingOptions{Count: 1, Wait: 5 * time.Second})
		return result.Received == 1, err
	})
	if err != nil {
		return err
	}
	result, err := from.Ping(context.Background(), to, lab.PingOptions{Count: pings, Interval: pingPeriod})
	if err == nil && result.Lost() != 0 {
		err = fmt.Errorf("ping %s: %+v, want %d answers", to, result, pings)
	}
	return err
}
