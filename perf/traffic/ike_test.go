package traffic

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/pipeline"
	"sallyport/policy"
)

// speaker is IKE of the gateway on the path: what the appliance does between engine and data plane.
type speaker struct {
	quiet
	gateway *planeOnPath
	engine  *ike.Engine
	inbox   chan ike.Event
	mute    func(netip.Addr) bool // peers that get no answer; nil: none
}

const gatewayPSK = "a key for this test only"

// newSpeakingGateway is a gateway that negotiates so many tunnels, each with a peer of its own.
func newSpeakingGateway(t *testing.T, tunnels int, proposal string, change func(*speaker, []ike.Peer)) *planeOnPath {
	t.Helper()
	g := &planeOnPath{path: newPath(t), negotiated: true}
	esp, err := crypto.ParseESPProposal(proposal)
	if err != nil {
		t.Fatal(err)
	}
	suite := strings.TrimSuffix(proposal, "-esn")
	var suites []string
	for range tunnels {
		suites = append(suites, suite)
	}
	s := &speaker{gateway: g, inbox: make(chan ike.Event, 1024)}
	g.handler = s
	g.open(t, suites)
	var peers []ike.Peer
	for i := range g.tunnels {
		tunnel := &g.tunnels[i]
		tunnel.Peer = netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)})
		peers = append(peers, ike.Peer{Name: tunnel.Name, Local: tunnel.Gateway, Remote: tunnel.Peer, PSK: crypto.NewSecret([]byte(gatewayPSK)), DPDDelay: -1,
			Children: []ike.Child{{Name: tunnel.Name, Start: ike.StartOnDemand, IdleTimeout: -1, Proposals: []crypto.Proposal{esp}, ReplayWindow: 1024, Selectors: []policy.Selector{{
				Local: policy.RangeOf(tunnel.Near), Remote: policy.RangeOf(tunnel.Far), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}}}})
	}
	if change != nil {
		change(s, peers)
	}
	s.engine = ike.NewEngine(ike.Config{Random: rand.Reader, Peers: peers, AllocateSPI: func(_, _ string) (uint32, error) { return g.plane.AllocateSPI() }})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	g.start(t)
	return g
}

func (s *speaker) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-s.inbox:
			s.step(event, timer)
		case <-timer.C:
			s.step(ike.Tick{}, timer)
		}
	}
}

func (s *speaker) step(event ike.Event, timer *time.Timer) {
	plane := s.gateway.plane
	for _, effect := range s.engine.Step(time.Now(), event) {
		switch x := effect.(type) {
		case ike.Send:
			_ = plane.SendUDP(x.Local, x.Remote, x.Payload, x.NonESPMarker) // IKE sends it again
		case ike.Arm:
			if !x.At.IsZero() {
				timer.Reset(time.Until(x.At))
			}
		case ike.InstallInbound:
			s.install(x.Child, x.SA, plane.InstallInbound)
		case ike.InstallOutbound:
			s.install(x.Child, x.SA, plane.InstallOutbound)
		case ike.RemoveInbound:
			_ = plane.RemoveInbound(x.SPI)
		case ike.RemoveOutbound:
			_, _ = plane.RemoveOutbound(s.gateway.cells[x.Child], x.SPI)
		case ike.ReleaseSPI:
			plane.ReleaseSPI(x.SPI)
		}
	}
}

func (s *speaker) install(child string, sa ike.ChildSA, into func(pipeline.ChildSA) error) {
	defer sa.Keymat.Wipe()
	err := into(pipeline.ChildSA{Cell: s.gateway.cells[child], SPI: sa.SPI, Suite: sa.Suite, Keymat: sa.Keymat, Local: sa.Local, Remote: sa.Remote,
		UDPEncap: sa.UDPEncap, Selectors: sa.Selectors, ReplayWindow: sa.ReplayWindow, ESN: sa.ESN})
	if err != nil {
		panic(err)
	}
}

func (s *speaker) IKE(d pipeline.Datagram) {
	if s.mute != nil && s.mute(d.Remote.Addr()) {
		return
	}
	select {
	case s.inbox <- ike.Datagram{Local: d.Local, Remote: d.Remote, Payload: d.Payload}:
	default: // IKE sends it again
	}
}

// negotiating is a tester that negotiates with the gateway on the path.
func (g *planeOnPath) negotiating(t *testing.T, proposal string, streams ...Stream) Config {
	t.Helper()
	esp, err := crypto.ParseESPProposal(proposal)
	if err != nil {
		t.Fatal(err)
	}
	c := g.config(streams...)
	c.Patience = 5 * time.Minute
	for i := range c.Tunnels {
		tunnel := &c.Tunnels[i]
		c.Peers = append(c.Peers, ike.Peer{Name: tunnel.Name, Local: tunnel.Peer, Remote: tunnel.Gateway, PSK: crypto.NewSecret([]byte(gatewayPSK)), DPDDelay: -1,
			Children: []ike.Child{{Name: tunnel.Name, Start: ike.StartOnDemand, IdleTimeout: -1, Proposals: []crypto.Proposal{esp}, Selectors: []policy.Selector{{
				Local: policy.RangeOf(tunnel.Far), Remote: policy.RangeOf(tunnel.Near), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}}}})
	}
	return c
}

// learned has the tunnels up and the gateway know all hosts before a trial whose packets on the path count from the first one on.
func learned(t *testing.T, tester *Tester) {
	t.Helper()
	r, err := tester.ready(t.Context())
	if r != nil || err != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := tester.teach(t.Context(), &Result{}); err != nil {
		t.Fatal(err)
	}
	for _, s := range tester.streams {
		if missing := s.missing(s.pupils); len(missing) > 0 {
			t.Fatalf("%d of %d hosts have got no packet", len(missing), len(s.pupils))
		}
	}
	tester.config.learn = -1
}

// arriving has a trial wait for so many packets less than it has sent.
func arriving(tester *Tester, lost func() int64) {
	limit := time.Now().Add(5 * time.Minute)
	tester.config.drained = func() bool {
		sent, received := tester.counts()
		return received+uint64(lost()) >= sent || time.Now().After(limit)
	}
}

// S-118: with SAs that IKE has negotiated the tester counts exactly, on a path without loss and on one that drops every hundredth packet.
func TestCountsByNegotiatedSAs(t *testing.T) {
	for _, c := range []struct {
		proposal string
		drops    bool
	}{{"aes128gcm16", false}, {"aes256gcm16-esn", true}, {"aes128-sha256-esn", false}, {"chacha20poly1305-esn", true}} {
		t.Run(fmt.Sprintf("%s, drops %v", c.proposal, c.drops), func(t *testing.T) {
			const tunnels, packets = 20, 1000
			g := newSpeakingGateway(t, tunnels, c.proposal, nil)
			g.drops = c.drops
			tester, err := Open(t.Context(), g.negotiating(t, c.proposal, both(Stream{Flows: 40, Sizes: Sizes{64, 594, 1400}, Rate: Rate{Packets: 3000}})...))
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := tester.Close(); err != nil {
					t.Error(err)
				}
			}()
			learned(t, tester)
			before := g.dropped.Load()
			arriving(tester, func() int64 { return g.dropped.Load() - before })
			r, err := tester.Trial(t.Context(), Load{Packets: packets})
			if err != nil {
				t.Fatal(err)
			}
			lost := uint64(0)
			if c.drops {
				lost = packets / 100
			}
			if n := r.Negotiation; n == nil || n.Up != tunnels || n.Tunnels != tunnels || r.Verdict != Forwards {
				t.Fatalf("verdict %s, %q, %+v", r.Verdict, r.Findings, r.Negotiation)
			}
			for _, s := range r.Streams {
				want(t, s.Name+": sent", s.Sent, packets)
				want(t, s.Name+": lost", s.Lost, lost)
				want(t, s.Name+": received", s.Received, packets-lost)
				want(t, s.Name+": reordered", s.Reordered+s.TooOld, 0)
				want(t, s.Name+": duplicates", s.Duplicates, 0)
				want(t, s.Name+": withheld", s.Withheld, 0)
			}
			counters := g.plane.Counters()
			if err := counters.Conserved(); err != nil {
				t.Error(err)
			}
		})
	}
}
