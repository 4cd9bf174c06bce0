package appliance

import (
	"crypto/rand"
	"crypto/x509"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/wire"
	"sallyport/pki/pkitest"
	"sallyport/policy"
)

var updateScreens = flag.Bool("update", false, "write what is shown into testdata, instead of comparing it")

// passive waits for the peer.
func passive(text string) string {
	return strings.Replace(text, "start: always", "start: on-demand", 1)
}

func replaced(text, old, new string) string {
	if !strings.Contains(text, old) {
		panic("the configuration has no " + old)
	}
	return strings.Replace(text, old, new, 1)
}

// older speaks IKEv1 with the peer.
func older(text string) string {
	return replaced(replaced(text, rigProposal, "aes128-sha256-ecp256"), "{name: far, ", "{name: far, ike: v1, ")
}

func droppedFor(reason ike.Reason) func(*api.Why) bool {
	return func(w *api.Why) bool { return w.Dropped != nil && w.Dropped.Reason == string(reason) }
}

// refusedInClear: main mode goes on, for anybody may have sent what has come back.
func refusedInClear(w *api.Why) bool { return sent(3)(w) && w.Trying.Answer != "" && w.Dropped != nil }

const rigProposal = "aes128gcm16-prfsha256-ecp256"

// Each cause that keeps a tunnel down gives, between two real gateways, a screen that names it at both ends.
func TestWhyScreens(t *testing.T) {
	for _, c := range []struct {
		name   string
		a, b   string
		before func(*rig)
		spoil  func(*testing.T, *authority) // with it, both authenticate by certificate
		// Until it is so at a, and at b if that is checked too.
		a1, b1 func(*api.Why) bool
	}{
		{name: "wrong-psk", a: siteA(), b: passive(replaced(siteB(), "peer.psk", "other.psk")), a1: failedFor(ike.FailAuthentication), b1: peersFailedFor(ike.AuthKey)},
		{name: "wrong-identity", a: replaced(siteA(), "start: always", "start: always, local_id: gw-x.example"), b: siteB(), a1: failedFor(ike.FailAuthentication), b1: peersFailedFor(ike.AuthIdentity)},
		{name: "no-ike-proposal", a: siteA(), b: replaced(siteB(), rigProposal, "aes256-sha384-prfsha384-ecp256"), a1: failedFor(ike.FailProposal), b1: peersFailedFor(ike.FailProposal)},
		{name: "no-ike-group", a: siteA(), b: replaced(siteB(), rigProposal, "aes128gcm16-prfsha256-ecp384"), a1: failedFor(ike.FailProposal), b1: peersFailedFor(ike.FailProposal)},
		{name: "no-esp-proposal", a: siteA(), b: replaced(siteB(), "esp_proposals: [aes128gcm16]", "esp_proposals: [aes256-sha256]"), a1: failedFor(ike.FailProposal), b1: peersFailedFor(ike.FailProposal)},
		{name: "other-traffic", a: siteA(), b: replaced(siteB(), "source: 10.2.0.0/24, destination: 10.1.0.0/24", "source: 10.2.0.0/24, destination: 10.9.0.0/24"), a1: failedFor(ike.FailSelectors), b1: peersFailedFor(ike.FailSelectors)},
		{name: "other-protocol", a: siteA(), b: replaced(siteB(), "esp_proposals: [aes128gcm16]", "ah_proposals: [sha256]"), a1: failedFor(ike.FailProposal), b1: peersFailedFor(ike.FailProposal)},
		{name: "other-mode", a: hostsOnly(siteA(), "1", "2"), b: transportB(), a1: failedFor(ike.FailProposal), b1: peersFailedFor(ike.FailMode)},
		{name: "no-answer", a: siteA(), b: siteB(), before: silence, a1: sent(3)},
		{name: "untrusted-certificate", spoil: func(t *testing.T, a *authority) {
			leaf := pkitest.NewRoot(t, "unlisted").Issue("gw-b.example")
			pkitest.Write(t, a.folder, "gw-b.pem", pkitest.PEM(leaf.Certificate))
			pkitest.Write(t, a.folder, "gw-b.key", pkitest.KeyPEM(t, leaf.Key))
		}, a1: failedFor(ike.CertUntrusted)},
		{name: "expired-certificate", spoil: func(t *testing.T, a *authority) {
			a.issue(t, "gw-b", "gw-b.example", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
		}, a1: failedFor(ike.CertExpired)},
		{name: "down", a: siteA(), b: siteB(), before: takenDown, a1: func(w *api.Why) bool { return w.Verdict == "down by an operator" && w.State == "down" }},
		{name: "up", a: siteA(), b: siteB(), a1: verdict("up"), b1: verdict("up")},
		{name: "ikev1-no-ike-proposal", a: older(siteA()), b: replaced(older(siteB()), "aes128-sha256-ecp256", "aes256-sha384-ecp384"), a1: refusedInClear, b1: peersFailedFor(ike.FailProposal)},
		{name: "ikev1-no-esp-proposal", a: older(siteA()), b: replaced(older(siteB()), "esp_proposals: [aes128gcm16]", "esp_proposals: [aes256-sha256]"), a1: failedFor(ike.FailProposal), b1: peersFailedFor(ike.FailProposal)},
		{name: "ikev1-other-traffic", a: older(siteA()), b: replaced(older(siteB()), "source: 10.2.0.0/24, destination: 10.1.0.0/24", "source: 10.2.0.0/24, destination: 10.9.0.0/24"), a1: failedFor(ike.FailSelectors), b1: peersFailedFor(ike.FailSelectors)},
		{name: "ikev1-of-the-peer-alone", a: older(siteA()), b: siteB(), b1: droppedFor(ike.DropVersion)},
		{name: "ikev1-of-ours-alone", a: siteA(), b: older(siteB()), b1: droppedFor(ike.DropVersion)},
		{name: "ikev1-up", a: older(siteA()), b: older(siteB()), a1: verdict("up"), b1: verdict("up")},
		{name: "nobody-asked", a: passive(siteA()), b: siteB(), a1: verdict("not up")},
	} {
		t.Run(c.name, func(t *testing.T) {
			texts := []string{c.a, c.b}
			if c.spoil != nil {
				texts = certified(t, c.spoil)
			}
			for i := range texts {
				texts[i] += "\n" + onlyAttempt + "\n" // a second one fails in another exchange
			}
			r := newRig(t, texts...)
			if c.before != nil {
				c.before(r)
			}
			for i, until := range []func(*api.Why) bool{c.a1, c.b1} {
				if until == nil {
					continue
				}
				var why api.Why
				eventually(t, "the cause to be known", func() bool { why = get[api.Why](r, r.gateways[i], api.PathWhy, "peer", "far"); return until(&why) })
				steady(&why)
				var screen strings.Builder
				if err := why.Screen(&screen); err != nil {
					t.Fatal(err)
				}
				checkScreen(t, "why-"+c.name+"-"+string(rune('a'+i)), screen.String())
			}
		})
	}
}

// hostsOnly protects the traffic between the two gateways themselves.
func hostsOnly(text, own, other string) string {
	return replaced(text, fmt.Sprintf("{name: nets, updated: 2026-11-21, filters: [{source: 10.%s.0.0/24, destination: 10.%s.0.0/24}]}", own, other),
		fmt.Sprintf("{name: nets, updated: 2026-11-21, filters: [{source: 192.0.2.%s, destination: 192.0.2.%s}]}", own, other))
}

func transportB() string {
	return replaced(hostsOnly(siteB(), "2", "1"), "action: negotiate,", "action: negotiate, mode: transport,")
}

// certified are the configurations of two sites with certificates of one authority, spoilt.
func certified(t *testing.T, spoil func(*testing.T, *authority)) []string {
	t.Helper()
	a := newAuthority(t)
	spoil(t, a)
	textA, textB := a.sites()
	return []string{textA, textB}
}

func failedFor(reason ike.Reason) func(*api.Why) bool {
	return func(w *api.Why) bool { return w.Failed != nil && w.Failed.Reason == string(reason) && w.Trying == nil }
}

func peersFailedFor(reason ike.Reason) func(*api.Why) bool {
	return func(w *api.Why) bool { return w.PeersFailed != nil && w.PeersFailed.Reason == string(reason) }
}

func sent(n int) func(*api.Why) bool {
	return func(w *api.Why) bool { return w.Trying != nil && w.Trying.Sent >= n }
}

func verdict(want string) func(*api.Why) bool {
	return func(w *api.Why) bool { return w.Verdict == want && w.Trying == nil }
}

// silence has a firewall between the gateways drop IKE.
func silence(r *rig) { r.block(func(p packetView) bool { return p.protocol == 17 }) }

func takenDown(r *rig) {
	r.awaitChildren("nets")
	if err := r.gateways[0].api.Post(r.t.Context(), api.PathDown, api.Action{Peer: "far"}, nil); err != nil {
		r.t.Fatal(err)
	}
	r.awaitChildren()
}

// oddPeer is a peer in memory that a test plays itself.
func oddPeer() ike.Peer {
	return ike.Peer{Name: "far", Local: netip.MustParseAddr("192.0.2.1"), Remote: netip.MustParseAddr("192.0.2.2"), PSK: crypto.NewSecret([]byte("correct horse")),
		Children: []ike.Child{{Name: "nets", Selectors: []policy.Selector{{Local: policy.RangeOf(netip.MustParsePrefix("10.1.0.0/24")),
			Remote: policy.RangeOf(netip.MustParsePrefix("10.2.0.0/24")), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}}}}
}

func oddEngine(peer ike.Peer, limits ike.Limits) *ike.Engine {
	spi := uint32(0x1000)
	return ike.NewEngine(ike.Config{Random: rand.Reader, Peers: []ike.Peer{peer}, Limits: limits,
		AllocateSPI: func(_, _ string) (uint32, error) { spi++; return spi, nil }})
}

// sendings are the datagrams among effects.
func sendings(effects []ike.Effect) (sent []ike.Send) {
	for _, e := range effects {
		if s, ok := e.(ike.Send); ok {
			sent = append(sent, s)
		}
	}
	return sent
}

// oddScreen is what the screen would say of a peer's engine.
func oddScreen(t *testing.T, peer ike.Peer, e engine, now time.Time) string {
	t.Helper()
	w := newWhy(peer, e.Snapshot(), now)
	w.Path = api.WhyPath{Port: "wan", Link: "up", NextHop: peer.Remote.String(), Neighbour: "02:00:00:00:00:02"}
	w.Todo = todo(w)
	steady(w)
	var screen strings.Builder
	if err := w.Screen(&screen); err != nil {
		t.Fatal(err)
	}
	return screen.String()
}

// A peer that answers nothing but COOKIE.
func TestWhyScreenOfACookieLoop(t *testing.T) {
	peer, now := oddPeer(), time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	e := oddEngine(peer, ike.Limits{})
	waiting := sendings(e.Step(now, ike.Tick{}))
	for range 60 {
		if e.Snapshot()[0].Failure.Reason != "" {
			break
		}
		if len(waiting) == 0 {
			now = now.Add(time.Second) // for a cookie that comes again, until the next sending
			waiting = sendings(e.Step(now, ike.Tick{}))
			continue
		}
		request, err := wire.Parse(waiting[0].Payload)
		if err != nil {
			t.Fatal(err)
		}
		header := request.Header
		header.Flags = wire.FlagResponse
		answer := wire.Message{Header: header, Payloads: []wire.Payload{wire.Cookie([]byte("again"))}}
		payload, err := answer.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		waiting = sendings(e.Step(now, ike.Datagram{Local: waiting[0].Local, Remote: waiting[0].Remote, Payload: payload}))
	}
	checkScreen(t, "why-cookie-loop", oddScreen(t, peer, e, now.Add(time.Millisecond)))
}

// Somebody answers in the peer's name, who proves nothing, before the peer does.
func TestWhyScreenOfForgedResponses(t *testing.T) {
	peer, now := oddPeer(), time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	e, far := oddEngine(peer, ike.Limits{}), peer
	far.Local, far.Remote, far.LocalID, far.RemoteID = peer.Remote, peer.Local, peer.RemoteID, peer.LocalID
	request := sendings(e.Step(now, ike.Tick{}))[0]
	for range 3 {
		for _, s := range sendings(oddEngine(far, ike.Limits{}).Step(now, ike.Datagram{Local: request.Remote, Remote: request.Local, Payload: request.Payload})) {
			e.Step(now, ike.Datagram{Local: request.Local, Remote: request.Remote, Payload: s.Payload})
		}
	}
	for range 20 {
		now = now.Add(500 * time.Millisecond)
		if e.Step(now, ike.Tick{}); e.Snapshot()[0].Failure.Reason != "" {
			break
		}
	}
	checkScreen(t, "why-forged-responses", oddScreen(t, peer, e, now.Add(time.Millisecond)))
}

// Half-open IKE SAs in the peer's name, up to our limit.
func TestWhyScreenOfOurLimit(t *testing.T) {
	peer, now := oddPeer(), time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	peer.Children[0].Start = ike.StartOnDemand
	e := oddEngine(peer, ike.Limits{HalfOpenPerAddress: 2})
	far := peer
	far.Local, far.Remote = peer.Remote, peer.Local
	for range 5 {
		for _, s := range sendings(oddEngine(far, ike.Limits{}).Step(now, ike.Initiate{Peer: "far"})) {
			e.Step(now, ike.Datagram{Local: s.Remote, Remote: s.Local, Payload: s.Payload})
		}
	}
	checkScreen(t, "why-our-limit", oddScreen(t, peer, e, now.Add(time.Second)))
}

// steady gives a view times that do not differ from run to run.
func steady(w *api.Why) {
	w.Clock = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	if !w.Since.IsZero() {
		w.Since = w.Clock.Add(-90 * time.Second)
	}
	w.NextAttempt = time.Time{}
	w.Todo = regexp.MustCompile(`last \S+ ago, \d+ such`).ReplaceAllString(w.Todo, "last 12s ago, 3 such")
	if w.Dropped != nil {
		w.Dropped.At, w.Dropped.Count = w.Clock, 3
	}
	for _, a := range []*api.WhyAttempt{w.Trying, w.Failed, w.PeersFailed} {
		if a == nil {
			continue
		}
		a.Ended, a.Sent = w.Clock.Add(-1500*time.Millisecond), min(a.Sent, 3)
		if !a.NextSending.IsZero() {
			a.NextSending = w.Clock.Add(time.Second)
		}
		for i := range a.Certificates {
			a.Certificates[i].NotBefore, a.Certificates[i].NotAfter = w.Clock.AddDate(-1, 0, 0), w.Clock.AddDate(1, 0, 0)
		}
		a.Detail = "what was expected, and what was found" // package ike's words, and some have the time in them
	}
}

// checkScreen holds a screen against its file, and to a terminal.
func checkScreen(t *testing.T, name, screen string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(screen, "\n"), "\n")
	if len(lines) > 26 {
		t.Errorf("%s has %d lines, expected at most 26", name, len(lines))
	}
	for _, line := range lines {
		if len(line) > 84 {
			t.Errorf("%s: a line of %d characters: %s", name, len(line), line)
		}
	}
	if !strings.Contains(screen, "\nwhat to do ") {
		t.Errorf("%s does not say what to do:\n%s", name, screen)
	}
	path := filepath.Join("testdata", name+".txt")
	if *updateScreens {
		if err := os.WriteFile(path, []byte(screen), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	expected, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if screen != string(expected) {
		t.Errorf("%s: expected\n%s\nfound\n%s\nwrite it with -update if it is right", name, expected, screen)
	}
}

// Every reason that a negotiation fails for has something to do about it.
func TestEveryFailureHasAdvice(t *testing.T) {
	reasons := failureReasons(t)
	for reason, name := range reasons {
		if advice[ike.Reason(reason)] == "" {
			t.Errorf("%s (%s) has no advice in whytodo.go", name, reason)
		}
	}
	if len(advice) != len(reasons) {
		t.Errorf("%d lines of advice for %d reasons", len(advice), len(reasons))
	}
}

// failureReasons are the reasons of package ike that a negotiation fails for, and how they are called there.
func failureReasons(t *testing.T) map[string]string {
	t.Helper()
	reasons := map[string]string{}
	for _, name := range []string{"../ike/fact.go", "../ike/reason.go"} {
		file, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			value, isText := spec.Values[0].(*ast.BasicLit)
			if of, isReason := spec.Type.(*ast.Ident); isText && isReason && of.Name == "Reason" &&
				regexp.MustCompile(`^(Fail|Auth|Cert|CRL|OCSP)`).MatchString(spec.Names[0].Name) {
				reasons[strings.Trim(value.Value, `"`)] = spec.Names[0].Name
			}
			return true
		})
	}
	if len(reasons) < 50 {
		t.Fatalf("found only %d reasons", len(reasons))
	}
	return reasons
}
