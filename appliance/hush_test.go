package appliance

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"math"
	mrand "math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/appliance/config"
	"sallyport/ike"
	"sallyport/ike/wire"
	"sallyport/pipeline"
	"sallyport/policy"
	"sallyport/policy/soft"
)

// hush is a negotiator with the engines of both versions and the data plane's twin, on a clock that the test turns: what
// IKE, the book of soft SAs and the data plane make of a peer that says nothing, or too little, or too late.
type hush struct {
	t       *testing.T
	now     time.Time
	started time.Time
	n       *negotiator
	plane   *hushPlane
	cfg     *config.Config
	told    bytes.Buffer
	facts   []ike.Fact
	due     []appointment
}

type appointment struct {
	at time.Time
	do func()
}

// hushPlane notes what is sent, and when.
type hushPlane struct {
	*memoryPlane
	rig   *hush
	sent  []sending
	peer  func(sending)
	added []time.Time // soft SAs
}

type sending struct {
	after         time.Duration // of the test
	local, remote netip.AddrPort
	payload       []byte
}

func (p *hushPlane) SendUDP(local, remote netip.AddrPort, payload []byte, _ bool) error {
	s := sending{p.rig.now.Sub(p.rig.started), local, remote, bytes.Clone(payload)}
	p.sent = append(p.sent, s)
	if p.peer != nil {
		p.peer(s)
	}
	return nil
}

func (p *hushPlane) AddSoft(sas []pipeline.SoftSA) error {
	err := p.memoryPlane.AddSoft(sas)
	if err == nil {
		for range sas {
			p.added = append(p.added, p.rig.now)
		}
	}
	return err
}

// hushText is a gateway whose LAN may speak in clear with a file server and with a network, if they know no IPsec. $VERSION
// is the IKE of the peers.
const hushText = `name: gw-a
dataplane: {workers: [1]}
ports:
  - {name: lan, device: "net_af_packet0,iface=lan0", role: protected, addresses: [10.1.0.1/24]}
  - {name: wan, device: "net_af_packet1,iface=wan0", role: unprotected, addresses: [192.0.2.1/24]}
peers:
  - {name: files, ike: $VERSION, local: 192.0.2.1, remote: 192.0.2.66, auth: {psk_file: peer.psk}, start: on-demand}
  - {name: strict, ike: $VERSION, local: 192.0.2.1, remote: 192.0.2.77, auth: {psk_file: other.psk}, start: on-demand}
filter_lists:
  - {name: smb, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 192.0.2.66, protocol: tcp, destination_port: 445}]}
  - {name: strict, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 192.0.2.77}, {source: 10.1.0.0/24, destination: 198.51.0.0/16}]}
filter_actions:
  - {name: try, action: negotiate, fallback_clear: true, fallback_clear_on_wan: true}
  - {name: require, action: negotiate}
policies:
  - name: site
    rules:
      - {name: smb, filter_list: smb, filter_action: try, peer: files}
      - {name: strict, filter_list: strict, filter_action: require, peer: strict}
active_policy: site
`

func newHush(t *testing.T, version, more string) *hush {
	t.Helper()
	h := &hush{t: t, now: time.Unix(1_800_000_000, 0)}
	h.started = h.now
	h.plane = &hushPlane{memoryPlane: newMemoryPlane("192.0.2.1", 0x1000), rig: h}
	dir := t.TempDir()
	for name, key := range map[string]string{"peer.psk": "wq7Lk2mXv9RtZ4pLc8HsJ3nYd6BfG\n", "other.psk": "Tz5Hb8qWn3KfYx6LmD9RcVj2PsGuA\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.NewTextHandler(&h.told, nil))
	h.n = newNegotiator(ike.Config{Random: rand.Reader}, h.plane, func(f ike.Fact) { h.facts = append(h.facts, f) }, newCertificates(dir, log), log)
	h.n.clock = func() time.Time { return h.now }
	h.configure(filepath.Join(dir, "gw.yaml"), strings.ReplaceAll(hushText, "$VERSION", version)+more)
	h.none()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", h.told.String())
		}
	})
	return h
}

// configure puts a file in force.
func (h *hush) configure(path, text string) {
	h.t.Helper()
	cfg, err := config.Parse(path, []byte(text), config.Machine{Cores: []int{0, 1}, UID: os.Geteuid()})
	if err != nil {
		h.t.Fatal(err)
	}
	h.cfg = cfg
	tunnels := tunnelsOf(cfg.SPD, cfg.Peers)
	if _, err := h.n.cells.claim(tunnels); err != nil {
		h.t.Fatal(err)
	}
	if err := h.n.adopt(takeover{tunnels: tunnels, spd: cfg.SPD, soft: cfg.Soft.Limits, peers: ike.Reconfigure{Peers: cfg.Peers}, encapsulation: cfg.Encapsulation, publish: func() {}}); err != nil {
		h.t.Fatal(err)
	}
}

// none holds that there is no soft SA: every case begins with that.
// S-048
func (h *hush) none() {
	h.t.Helper()
	if n := len(h.plane.SoftCounters()); n != 0 {
		h.t.Fatalf("%d soft SAs, expected none", n)
	}
}

// at has something done so long after the start of the test.
func (h *hush) at(after time.Duration, do func()) {
	h.due = append(h.due, appointment{h.started.Add(after), do})
}

// run turns the clock, and stops wherever somebody has asked to be called.
func (h *hush) run(d time.Duration) {
	h.t.Helper()
	end := h.now.Add(d)
	for range 100_000 {
		next := end
		earlier := func(at time.Time) {
			if !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		earlier(h.n.engine.next)
		earlier(h.n.soft.book.Next())
		for _, a := range h.due {
			earlier(a.at)
		}
		if next.After(h.now) {
			h.now = next
		}
		due := h.due
		h.due = nil // more may be made meanwhile
		for _, a := range due {
			if a.at.After(h.now) {
				h.due = append(h.due, a)
			} else {
				a.do()
			}
		}
		h.n.step(ike.Tick{})
		h.n.fade()
		h.drain()
		if !h.now.Before(end) {
			return
		}
	}
	h.t.Fatal("the clock does not move")
}

// drain gives the engine what waits for it.
func (h *hush) drain() {
	for event := h.n.inbox.take(); event != nil; event = h.n.inbox.take() {
		h.n.step(event)
	}
}

// acquire has a packet need an SA, as the data plane says it: once, and every five seconds.
func (h *hush) acquire(p policy.Packet, inbound bool) {
	h.t.Helper()
	role := policy.PortsLAN
	if inbound {
		role = policy.PortsWAN
	}
	e, ok := h.cfg.SPD.Match(p, role)
	if !ok {
		h.t.Fatalf("no filter for %+v", p)
	}
	h.n.Acquire(pipeline.Acquire{Cell: h.plane.cells[e.Tunnel], Entry: e.ID, Packet: p, Inbound: inbound})
	h.drain()
}

// keepAsking repeats a packet every five seconds, as long as the test lasts.
func (h *hush) keepAsking(p policy.Packet, inbound bool) {
	h.acquire(p, inbound)
	var again func()
	again = func() {
		if len(h.plane.SoftCounters()) == 0 {
			h.acquire(p, inbound)
		}
		h.due = append(h.due, appointment{h.now.Add(5 * time.Second), again})
	}
	h.due = append(h.due, appointment{h.now.Add(5 * time.Second), again})
}

func hushPacket(protocol uint8, from, to string) policy.Packet {
	source, destination := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	return policy.Packet{Source: source.Addr(), Destination: destination.Addr(), Protocol: protocol, SourcePort: source.Port(), DestinationPort: destination.Port(), HasPorts: true}
}

var (
	toFiles   = hushPacket(6, "10.1.0.5:40000", "192.0.2.66:445")
	fromFiles = hushPacket(6, "192.0.2.66:445", "10.1.0.5:40000")
	toStrict  = hushPacket(6, "10.1.0.5:40000", "192.0.2.77:445")
	filesIKE  = netip.MustParseAddrPort("192.0.2.66:500")
	ourIKE    = netip.MustParseAddrPort("192.0.2.1:500")
)

// hear has a datagram come from the peer's IKE port.
func (h *hush) hear(payload []byte) {
	h.n.IKE(pipeline.Datagram{Local: ourIKE, Remote: filesIKE, Payload: payload})
	h.drain()
}

// versions are those in which a silent peer is the same.
var hushVersions = []string{"v2", "v1"}

// A silent peer gets four first messages, whoever sends first, and only then and not before three seconds is there a soft
// SA; without the flag there is never one.
// S-042, S-043, S-044, S-054, C-02, C-11
func TestFourMessagesThenClear(t *testing.T) {
	for _, version := range hushVersions {
		for _, c := range []struct {
			name    string
			packet  policy.Packet
			inbound bool
			falls   bool
		}{
			{"we begin", toFiles, false, true}, {"the host begins", fromFiles, true, true}, {"without the flag", toStrict, false, false},
			{"the host begins, without the flag", hushPacket(6, "192.0.2.77:445", "10.1.0.5:40000"), true, false},
		} {
			t.Run(version+", "+c.name, func(t *testing.T) {
				h := newHush(t, version, "")
				h.acquire(c.packet, c.inbound)
				h.run(2999 * time.Millisecond)
				h.none()
				h.run(30 * time.Second)
				if n := len(h.plane.sent); n != 4 {
					t.Fatalf("%d first messages, expected 4", n)
				}
				if !c.falls {
					h.none()
					return
				}
				if len(h.plane.added) != 1 || h.plane.added[0].Sub(h.started) < 3*time.Second {
					t.Fatalf("soft SAs at %v, expected one after three seconds", h.plane.added)
				}
				if last := h.plane.sent[3].after; h.plane.added[0].Sub(h.started) <= last {
					t.Errorf("the soft SA came with the fourth message, at %s", last)
				}
				if text := h.told.String(); strings.Count(text, "soft_created") != 1 || !strings.Contains(text, "reason=no_answer") {
					t.Error("expected one audit record of its creation")
				}
			})
		}
	}
}

// An ICMP message that says that UDP port 500 is closed, and a RST, change nothing: nobody tells the negotiator of them, so
// all that it can do is wait out the whole window. It is told of one negotiation only, however many packets ask.
// S-050, C-03
func TestManyPacketsAskOnce(t *testing.T) {
	h := newHush(t, "v2", "")
	for i := range 100 {
		h.at(time.Duration(i)*10*time.Millisecond, func() { h.acquire(toFiles, false) })
	}
	h.run(20 * time.Second)
	if len(h.plane.sent) != 4 || len(h.plane.added) != 1 {
		t.Errorf("%d messages and %d soft SAs, expected 4 and 1", len(h.plane.sent), len(h.plane.added))
	}
}

// Who asks in the midst of a negotiation, too late for its silence, gets one of its own at once: three seconds and four
// messages for each selector, and no answer to any of them.
// S-043, S-044, C-02
func TestALateAskerHasAWindowOfItsOwn(t *testing.T) {
	for _, version := range hushVersions {
		h := newHush(t, version, "")
		h.acquire(toFiles, false)
		h.at(4*time.Second, func() { h.acquire(hushPacket(6, "10.1.0.6:40000", "192.0.2.66:445"), false) })
		h.run(20 * time.Second)
		if len(h.plane.added) != 2 || len(h.plane.sent) != 8 {
			t.Fatalf("%s: %d soft SAs after %d messages, expected 2 and 8", version, len(h.plane.added), len(h.plane.sent))
		}
		if pause := h.plane.sent[4].after - h.plane.added[0].Sub(h.started); pause > time.Second {
			t.Errorf("%s: the second negotiation began %s after the first", version, pause)
		}
		if wait := h.plane.added[1].Sub(h.started) - 4*time.Second; wait < 3*time.Second || h.plane.added[1].Sub(h.started) <= h.plane.sent[7].after {
			t.Errorf("%s: the late asker got its soft SA after %s", version, wait)
		}
	}
}

// A reply, whatever it says and whenever it comes, and then failure: never clear text, however often the host asks.
// S-045, C-01
func TestAReplyAndThenFailure(t *testing.T) {
	for _, version := range hushVersions {
		for _, after := range []time.Duration{100 * time.Millisecond, 2900 * time.Millisecond, 3100 * time.Millisecond} {
			for what, reply := range map[string]func(request []byte) []byte{
				"garbage":         func([]byte) []byte { return []byte("what is this?") },
				"nothing":         func([]byte) []byte { return nil },
				"no offer":        func(request []byte) []byte { return refusal(version, request) },
				"its own request": func(request []byte) []byte { return request },
			} {
				t.Run(fmt.Sprint(version, " ", what, " ", after), func(t *testing.T) {
					h := newHush(t, version, "")
					h.keepAsking(toFiles, false)
					h.at(after, func() { h.hear(reply(h.plane.sent[0].payload)) })
					h.run(4 * time.Minute)
					if len(h.plane.added) != 0 {
						t.Errorf("clear text %s after a reply at %s", h.plane.added[0].Sub(h.started), after)
					}
					if st := h.n.soft.state("files"); string(st.Shut) != "heard" {
						t.Errorf("state %+v", st)
					}
				})
			}
		}
	}
}

// refusal is the answer of a host that speaks IKE and takes none of our offers.
func refusal(version string, request []byte) []byte {
	const noProposalChosen = 14
	answer := append([]byte(nil), request[:wire.HeaderLength]...)
	if version == "v1" { // RFC 2408 sections 3.1 and 3.14: informational, in clear
		answer = append(answer, 0, 0, 0, 12, 0, 0, 0, 1, 1, 0, 0, noProposalChosen)
		answer[16], answer[18] = 11, 5
	} else { // RFC 7296 sections 3.1 and 3.10
		answer = append(answer, 0, 0, 0, 8, 0, 0, 0, noProposalChosen)
		answer[16], answer[19] = 41, 0x20
	}
	answer[27] = byte(len(answer))
	return answer
}

// A peer with another key answers all, proves nothing, and gets nothing in clear; nor does one that has proved who it is
// and falls silent then.
// S-045, S-051, C-01
func TestAPeerThatSpeaksIKE(t *testing.T) {
	for _, c := range []struct {
		name, key string
		reason    string
	}{{"another key", "Tz5Hb8qWn3KfYx6LmD9RcVj2PsGuA\n", "heard"}, {"our key, then silence", "wq7Lk2mXv9RtZ4pLc8HsJ3nYd6BfG\n", "authenticated"}} {
		t.Run(c.name, func(t *testing.T) {
			h := newHush(t, "v2", "")
			far := h.farEnd(c.key)
			h.keepAsking(toFiles, false)
			h.run(time.Minute)
			if c.reason == "authenticated" && !h.plane.memoryPlane.up() {
				t.Fatal("no tunnel")
			}
			far.silent = true
			h.n.step(ike.Terminate{Peer: "files"})
			h.n.step(ike.Initiate{Peer: "files"})
			h.run(4 * time.Minute)
			if len(h.plane.added) != 0 {
				t.Errorf("clear text at %s", h.plane.added[0].Sub(h.started))
			}
			if st := h.n.soft.state("files"); string(st.Shut) != c.reason {
				t.Errorf("state %+v", st)
			}
			if c.reason == "authenticated" { // for good
				h.run(time.Hour)
				h.none()
			}
		})
	}
}

// farEnd is a peer with engines of its own, until it falls silent.
type farEnd struct {
	*hush
	silent bool
}

func (h *hush) farEnd(key string) *farEnd {
	h.t.Helper()
	far := &farEnd{hush: &hush{t: h.t, now: h.now, started: h.started}}
	far.plane = &hushPlane{memoryPlane: newMemoryPlane("192.0.2.66", 0x2000), rig: far.hush}
	dir := h.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "peer.psk"), []byte(key), 0o600); err != nil {
		h.t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	far.n = newNegotiator(ike.Config{Random: rand.Reader}, far.plane, func(ike.Fact) {}, newCertificates(dir, log), log)
	far.n.clock = func() time.Time { return h.now }
	far.configure(filepath.Join(dir, "gw.yaml"), `name: far
dataplane: {workers: [1]}
ports:
  - {name: lan, device: "net_af_packet0,iface=lan0", role: protected, addresses: [10.9.0.1/24]}
  - {name: wan, device: "net_af_packet1,iface=wan0", role: unprotected, addresses: [192.0.2.66/24]}
peers:
  - {name: near, local: 192.0.2.66, remote: 192.0.2.1, auth: {psk_file: peer.psk}, start: on-demand}
filter_lists:
  - {name: smb, updated: 2026-11-21, filters: [{source: 192.0.2.66, destination: 10.1.0.0/24, protocol: tcp, source_port: 445}]}
filter_actions:
  - {name: require, action: negotiate}
policies:
  - name: site
    rules:
      - {name: smb, filter_list: smb, filter_action: require, peer: near}
active_policy: site
`)
	h.plane.peer = func(s sending) {
		if !far.silent {
			h.due = append(h.due, appointment{h.now.Add(time.Millisecond), func() {
				far.n.IKE(pipeline.Datagram{Local: s.remote, Remote: s.local, Payload: s.payload})
				far.drain()
			}})
		}
	}
	far.plane.peer = func(s sending) {
		h.due = append(h.due, appointment{h.now.Add(time.Millisecond), func() {
			h.n.IKE(pipeline.Datagram{Local: s.remote, Remote: s.local, Payload: s.payload})
			h.drain()
		}})
	}
	return far
}

// With a soft SA alive the peer begins to speak: the soft SA is gone before the engine sees the datagram, the traffic is
// negotiated, and never in clear again.
// S-051
func TestAPeerThatStartsIKE(t *testing.T) {
	h := newHush(t, "v2", "")
	h.keepAsking(toFiles, false)
	h.run(20 * time.Second)
	if len(h.plane.SoftCounters()) != 1 {
		t.Fatal("no soft SA")
	}
	far := h.farEnd("wq7Lk2mXv9RtZ4pLc8HsJ3nYd6BfG\n")
	h.n.IKE(pipeline.Datagram{Local: ourIKE, Remote: filesIKE, Payload: []byte("hello")}) // nothing is drained yet
	h.none()
	if !strings.Contains(h.told.String(), "soft_removed") || !strings.Contains(h.told.String(), "reason=heard") {
		t.Error("expected an audit record of its removal")
	}
	h.run(2 * time.Minute)
	if !h.plane.memoryPlane.up() || !far.plane.memoryPlane.up() {
		t.Error("expected a tunnel")
	}
	h.run(10 * time.Minute)
	if len(h.plane.added) != 1 {
		t.Errorf("%d soft SAs in all, expected the first one only", len(h.plane.added))
	}
}

// A soft SA is gone at 300 seconds, used or not, and IKE is asked anew; what it was is in the audit log, once each.
// S-047, S-055, C-04
func TestACycleInTheAuditLog(t *testing.T) {
	h := newHush(t, "v2", "")
	h.keepAsking(toFiles, false)
	h.run(20 * time.Second)
	made := h.plane.added[0]
	h.plane.pass(pipeline.FilterHits{Packets: 3, Bytes: 300}, pipeline.FilterHits{Packets: 2, Bytes: 200})
	h.run(made.Add(299 * time.Second).Sub(h.now))
	views := h.n.soft.views()
	if len(views) != 1 || views[0].Remaining != 1 || views[0].BytesSent != 300 || views[0].BytesReceived != 200 || views[0].Operation != "none" || views[0].Protection != "CLEAR" || views[0].SPI+views[0].Keys != "" {
		t.Errorf("at 299 s: %+v", views)
	}
	sent := len(h.plane.sent)
	h.run(time.Second)
	h.none()
	h.run(30 * time.Second)
	if len(h.plane.sent) != sent+4 || len(h.plane.added) != 2 {
		t.Errorf("%d messages since, and %d soft SAs in all: expected 4 and another", len(h.plane.sent)-sent, len(h.plane.added))
	}
	text := h.told.String()
	for record, n := range map[string]int{"msg=soft_created": 2, "msg=soft_used": 1, "msg=soft_expired": 1} {
		if strings.Count(text, record) != n {
			t.Errorf("%d records %s, expected %d", strings.Count(text, record), record, n)
		}
	}
	for _, field := range []string{"peer=files", "filter=", "rule=smb", "reason=no_answer", "reason=expired", "bytes_sent=300", "bytes_received=200"} {
		if !strings.Contains(text, field) {
			t.Errorf("no %s in the records", field)
		}
	}
	if totals := h.n.soft.totals(); totals.sent.Bytes != 300 || totals.came.Bytes != 200 || totals.Created != 2 || totals.skipped != 2 || totals.Ended["expired"] != 1 {
		t.Errorf("totals %+v", totals)
	}
}

// softScribe is a log of which a line takes a while: meanwhile the book is free, and what happens then is told afterwards.
type softScribe struct {
	slog.Handler
	soft *softSAs
	each func() // once a line, while it is written
	held int    // lines written with the book locked
	told []string
}

func (s *softScribe) Handle(_ context.Context, r slog.Record) error {
	s.told = append(s.told, r.Message)
	if !s.soft.mu.TryLock() {
		s.held++
		return nil
	}
	s.soft.mu.Unlock()
	s.each()
	return nil
}

// The log is written without the book's lock, which the slow path takes for each IKE datagram, and in order.
// S-051, S-055
func TestTheLogKeepsNobodyWaiting(t *testing.T) {
	h := newHush(t, "v2", "")
	scribe := &softScribe{Handler: h.n.soft.log.Handler(), soft: h.n.soft}
	scribe.each = func() { h.n.soft.heard(netip.MustParseAddr("192.0.2.66")) } // the peer speaks while its soft SA is told of
	h.n.soft.log = slog.New(scribe)
	h.acquire(toFiles, false)
	h.run(20 * time.Second)
	if want := []string{"soft_created", "soft_removed"}; !slices.Equal(scribe.told, want) || scribe.held != 0 {
		t.Errorf("told %v, %d of them with the lock held, expected %v", scribe.told, scribe.held, want)
	}
}

// Whatever ends it, it is gone at once, and the one record of that has what passed by it, as the metrics have.
// S-048, S-055
func TestSoftSAsEndAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		do     func(*hush)
		reason string
	}{
		"flush": {func(h *hush) {
			if n := h.n.soft.flush(); n != 1 {
				t.Errorf("%d flushed", n)
			}
		}, "flushed"},
		"deny": {func(h *hush) {
			h.configure(h.cfg.Path, strings.ReplaceAll(hushText, "$VERSION", "v2")+"soft_sa: deny\n")
		}, "denied"},
		"without the flag": {func(h *hush) {
			h.configure(h.cfg.Path, strings.ReplaceAll(strings.ReplaceAll(hushText, "$VERSION", "v2"), ", fallback_clear: true, fallback_clear_on_wan: true", ""))
		}, "policy"},
		"down":  {func(h *hush) { h.n.soft.down("files") }, "down"},
		"heard": {func(h *hush) { h.n.Heard(filesIKE.Addr()) }, "heard"},
		"an SA that comes up": {func(h *hush) {
			h.plane.endSoft()
			h.n.soft.established("files")
		}, "authenticated"},
		"the data plane by itself": {func(h *hush) {
			h.plane.endSoft()
			h.n.fade()
		}, "policy"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHush(t, "v2", "")
			h.acquire(toFiles, false)
			h.run(20 * time.Second)
			if len(h.plane.SoftCounters()) != 1 {
				t.Fatal("no soft SA")
			}
			h.plane.pass(pipeline.FilterHits{Packets: 3, Bytes: 300}, pipeline.FilterHits{Packets: 2, Bytes: 200})
			c.do(h)
			h.none()
			if text := h.told.String(); strings.Count(text, "msg=soft_removed") != 1 || !strings.Contains(text, "reason="+c.reason+" bytes_sent=300 bytes_received=200") {
				t.Errorf("no audit record with reason %s and what passed", c.reason)
			}
			if totals := h.n.soft.totals(); totals.sent.Bytes != 300 || totals.came.Bytes != 200 || totals.Ended[soft.Reason(c.reason)] != 1 || strings.Count(h.told.String(), "msg=soft_used") != 1 {
				t.Errorf("totals %+v", totals)
			}
			sent := len(h.plane.sent)
			h.acquire(fromFiles, true)
			h.run(20 * time.Second)
			if again := len(h.plane.sent) - sent; again != 4 {
				t.Errorf("%d first messages afterwards, expected 4", again)
			}
		})
	}
}

// What answers a packet to a group leads to nothing but a negotiation.
// S-052
func TestAnswersToGroupsWait(t *testing.T) {
	h := newHush(t, "v2", "")
	h.n.Group(pipeline.Group{Cell: h.plane.cells["smb"], Source: netip.MustParseAddrPort("192.0.2.66:445"), Protocol: 6})
	h.keepAsking(toFiles, false)
	h.run(time.Minute)
	h.none()
	if n := h.n.soft.totals().Refused["mcast"]; n == 0 || len(h.plane.sent) < 4 {
		t.Errorf("%d requests refused as answers to a group, %d messages", n, len(h.plane.sent))
	}
}

// So many as the alarm says: a warning, once, and word when that is over.
// S-090
func TestTheSoftAlarm(t *testing.T) {
	h := newHush(t, "v2", "soft: {alarm: 2}\n")
	for i := range 3 {
		h.acquire(hushPacket(6, fmt.Sprintf("10.1.0.%d:40000", 5+i), "192.0.2.66:445"), false)
	}
	h.run(20 * time.Second)
	if !strings.Contains(h.told.String(), "level=WARN msg=\"soft_alarm") || !h.n.soft.totals().Alarm {
		t.Error("expected an alarm")
	}
	h.n.soft.flush()
	if strings.Count(h.told.String(), "soft_alarm:") != 1 || !strings.Contains(h.told.String(), "soft_alarm_over") || h.n.soft.totals().Alarm {
		t.Error("expected the alarm once, and its end")
	}
}

// What the data plane refuses is not in the book either.
func TestSoftSAsThatTheDataPlaneRefuses(t *testing.T) {
	h := newHush(t, "v2", "")
	h.plane.noSoft = pipeline.ErrSoftFull
	h.acquire(toFiles, false)
	h.run(20 * time.Second)
	if len(h.n.soft.views()) != 0 || h.n.soft.totals().Refused["dataplane"] != 1 || !strings.Contains(h.told.String(), "soft_refused") {
		t.Errorf("totals %+v", h.n.soft.totals())
	}
}

// A worker or a port has dropped what may have been the peer's answer while the peer was asked, or a message of ours has not left, or waits still for a next hop
// that does not answer: nothing passes in clear. Of the next four messages there is no doubt.
// S-043, S-044, S-045
func TestSilenceInDoubt(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.66")
	for name, c := range map[string]struct {
		doubt  func(*hushPlane)
		reason soft.Reason
	}{
		"lost on its way in": {func(p *hushPlane) { p.lostIKE.Add(1) }, soft.Lost},
		"dropped on its way": {func(p *hushPlane) { p.unsentIKE = []netip.Addr{peer.Next(), peer} }, soft.Unsent},
		"waits for its way":  {func(p *hushPlane) { p.deaf = peer }, soft.Unsent},
		"gone on its way":    {func(p *hushPlane) { p.answered = p.rig.now }, soft.Unsent},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHush(t, "v2", "")
			h.acquire(toFiles, false)
			h.run(2 * time.Second)
			c.doubt(h.plane)
			h.run(20 * time.Second)
			if len(h.n.soft.views()) != 0 || h.n.soft.totals().Refused[c.reason] != 1 {
				t.Fatalf("totals %+v", h.n.soft.totals())
			}
			h.plane.deaf, h.plane.answered = netip.Addr{}, time.Time{}
			h.acquire(toFiles, false)
			h.run(20 * time.Second)
			if len(h.n.soft.views()) != 1 {
				t.Errorf("totals %+v", h.n.soft.totals())
			}
		})
	}
}

// While a peer's silence may let traffic pass in clear its next hop is asked, from each message on until its answer may come; an answer from after the last of them is enough.
// Where nothing waits for silence nobody is asked.
// S-043, S-044
func TestTheNextHopIsAskedWhileAPeerIsSilent(t *testing.T) {
	h := newHush(t, "v2", "")
	h.acquire(toFiles, false)
	h.run(4 * time.Second)
	sent := len(h.plane.sent)
	if sent != 4 || len(h.plane.doubts) != sent {
		t.Fatalf("%d messages, the next hop is asked %d times", sent, len(h.plane.doubts))
	}
	for i, s := range h.plane.sent {
		if want := h.started.Add(s.after + doubtFor); !h.plane.doubts[i].Equal(want) {
			t.Errorf("message %d: asked until %v, expected %v", i, h.plane.doubts[i], want)
		}
	}
	h.plane.answered = h.started.Add(h.plane.sent[sent-1].after)
	h.run(10 * time.Second)
	if len(h.n.soft.views()) != 1 {
		t.Fatalf("totals %+v", h.n.soft.totals())
	}
	h.n.soft.sending(netip.MustParseAddr("192.0.2.66"))
	if len(h.plane.doubts) != sent {
		t.Error("it is asked for a peer that has its soft SA")
	}
}

// 100,000 clear packets from sources at random, of which one filter holds one and another 65,536: what IKE sends of itself stays below the rates that are set.
// S-090
func TestClearPacketsFromOutsideAreRationed(t *testing.T) {
	h := newHush(t, "v2", "soft: {inbound_per_filter: 6}\n")
	random := mrand.New(mrand.NewPCG(7, 7))
	for i := range 100_000 {
		p := fromFiles
		if i%2 == 0 {
			p.Source = netip.AddrFrom4([4]byte{198, 51, byte(random.Uint32()), byte(random.Uint32())})
		}
		p.SourcePort, p.DestinationPort = 445, uint16(i)
		p.Destination = netip.AddrFrom4([4]byte{10, 1, 0, byte(i)})
		if i%1000 == 0 {
			h.run(time.Second)
		}
		h.acquire(p, true)
	}
	messages := float64(len(h.plane.sent))
	const filters = 2
	negotiations := filters * (100.0/60*6 + 10)
	if most := math.Ceil(negotiations) * 4; messages > most || messages == 0 {
		t.Errorf("%v messages of IKE within 100 s, expected at most %v", messages, most)
	}
	if t := h.n.soft.totals(); t.Refused["rate_source"]+t.Refused["rate_filter"] < 99_000 {
		h.t.Errorf("refused %v", t.Refused)
	}
}
