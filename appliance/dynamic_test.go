package appliance

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/ikev1"
	"sallyport/pipeline"
	"sallyport/policy"
)

// stub is a host beside a port of a gateway: an IKE engine of its own, and ESP by the standard library.
type stub struct {
	rig      *rig
	gateway  *rigGateway
	port     int
	address  netip.Addr
	engine   engine
	read     int // of what has arrived at the hosts
	heard    int // IKE messages among it
	spi      uint32
	in, out  ike.ChildSA
	answered [][]byte // packets that came out of the SA
}

// newStub is a host beside the wan port that no rule of the gateway names, which begins with it by a version of IKE. By IKEv2 it asks for everything, which the
// gateway narrows.
func newStub(r *rig, address string, version ike.Version) *stub {
	everything := policy.RangeOf(netip.MustParsePrefix("0.0.0.0/0"))
	selector := policy.Selector{Local: everything, Remote: everything, LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}
	if version == ike.V1 {
		selector.Local, selector.Remote = policy.HostRange(netip.MustParseAddr(address)), policy.HostRange(netip.MustParseAddr("192.0.2.1"))
	}
	return startStub(r, r.gateways[0], rigWAN, address, "192.0.2.1", version, ike.Child{Name: "all", Selectors: []policy.Selector{selector}})
}

// startStub has a host negotiate a child with another, if the child is one that it begins.
func startStub(r *rig, g *rigGateway, port int, local, remote string, version ike.Version, child ike.Child) *stub {
	r.t.Helper()
	s := &stub{rig: r, gateway: g, port: port, address: netip.MustParseAddr(local)}
	words := map[ike.Version]string{ike.V2: "aes128gcm16-prfsha256-ecp256", ike.V1: "aes128-sha256-ecp256"}[version]
	proposal, err := crypto.ParseIKEProposal(words)
	if err != nil {
		r.t.Fatal(err)
	}
	esp, err := crypto.ParseESPProposal("aes128gcm16")
	if err != nil {
		r.t.Fatal(err)
	}
	child.Proposals = []crypto.Proposal{esp}
	cfg := ike.Config{
		Random: rand.Reader, AllocateSPI: func(string, string) (uint32, error) { s.spi += 0x1000; return s.spi, nil },
		Peers: []ike.Peer{{Name: "gateway", Version: version, Local: s.address, Remote: netip.MustParseAddr(remote), PSK: crypto.NewSecret([]byte("Tz5Hb8qWn3KfYx6LmD9RcVj2PsGuA")),
			IKEProposals: []crypto.IKEProposal{proposal}, DPDDelay: -1, Children: []ike.Child{child}}},
	}
	if s.engine = ike.NewEngine(cfg); version == ike.V1 {
		s.engine = ikev1.NewEngine(cfg)
	}
	s.step(ike.Tick{})
	return s
}

func (s *stub) step(event ike.Event) {
	for _, effect := range s.engine.Step(time.Now(), event) {
		switch e := effect.(type) {
		case ike.Send:
			s.rig.send(s.gateway, s.port, e.Local.String(), e.Remote.String(), string(e.Payload))
		case ike.InstallInbound:
			s.in = e.SA
		case ike.InstallOutbound:
			s.out = e.SA
		}
	}
}

// turn takes what has arrived and lets time pass.
func (s *stub) turn() {
	s.rig.mu.Lock()
	news := slices.Clone(s.rig.arrived[s.gateway.cfg.Name][s.read:])
	s.rig.mu.Unlock()
	s.read += len(news)
	for _, p := range news {
		switch {
		case p.destination != s.address:
		case p.protocol == protoUDP && p.port == 500:
			s.heard++
			s.step(ike.Datagram{Local: netip.AddrPortFrom(s.address, 500), Remote: netip.AddrPortFrom(p.source, p.sourcePort), Payload: p.payload})
		case p.protocol == protoESP && p.spi == s.in.SPI:
			s.open(p.packet[20:])
		}
	}
	s.step(ike.Tick{})
}

// aead is AES-GCM of an SA (RFC 4106): the last four octets of the keys are the salt.
func aead(t *testing.T, sa ike.ChildSA, iv []byte) (cipher.AEAD, []byte) {
	t.Helper()
	key := sa.Keymat.Bytes()
	block, err := aes.NewCipher(key[:16])
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return gcm, slices.Concat(key[16:20], iv)
}

// echo sends an echo request to the gateway through the SA, in tunnel mode (RFC 4303 section 3.1.2).
func (s *stub) echo(sequence uint32) {
	request := []byte{8, 0, 0, 0, 0, 7, 0, 1, 'p', 'i', 'n', 'g'}
	binary.BigEndian.PutUint16(request[2:], internetChecksum(request))
	inner := ipv4Frame(make([]byte, 6), s.address, s.out.Remote.Addr(), 1, request)[14:]
	plain := append(inner, 1, 2, 2, 4) // to a multiple of 4: 32 octets, two of padding, their number, and IPv4
	header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, s.out.SPI), sequence)
	iv := binary.BigEndian.AppendUint64(nil, uint64(sequence))
	gcm, nonce := aead(s.rig.t, s.out, iv)
	body := slices.Concat(header, iv, gcm.Seal(nil, nonce, plain, header))
	frame := ipv4Frame(s.gateway.ports[rigWAN].mac, s.address, s.out.Remote.Addr(), protoESP, body)
	s.rig.mu.Lock()
	defer s.rig.mu.Unlock()
	s.rig.waiting = append(s.rig.waiting, injection{s.gateway, rigWAN, frame})
}

func (s *stub) open(esp []byte) {
	gcm, nonce := aead(s.rig.t, s.in, esp[8:16])
	plain, err := gcm.Open(nil, nonce, esp[16:], esp[:8])
	if err != nil {
		s.rig.t.Errorf("ESP by SPI %s: %v", spiText(s.in.SPI), err)
		return
	}
	s.answered = append(s.answered, plain)
}

// strangers is a policy with a rule for another peer, and a default response rule.
func strangers(response string) string {
	return strings.NewReplacer("start: always", "start: on-demand", "  - name: whole\n", "  - name: whole\n    default_response: {"+response+"}\n").Replace(siteA())
}

// allowing is such a rule that is on, for either IKE.
const allowing = "enabled: true, ike: any, esp_proposals: [aes128gcm16], auth: {psk_file: other.psk}"

// dynamicRows are the filters of the default response rule.
func (r *rig) dynamicRows(g *rigGateway) []api.Filter {
	return slices.DeleteFunc(get[[]api.Filter](r, g, api.PathFilters), func(f api.Filter) bool { return f.FilterList != policy.DynamicList })
}

// S-009: with the default response rule on, a peer that no rule names gets one IKE SA, two IPsec SAs and a filter of list <Dynamic> for the two hosts, by which
// the gateway answers its echo at once; the views and the audit log show it, a configuration with the same rule keeps it, and one without ends it.
func TestDefaultResponse(t *testing.T) {
	for _, version := range []ike.Version{ike.V2, ike.V1} {
		t.Run(version.String(), func(t *testing.T) { testDefaultResponse(t, version) })
	}
}

func testDefaultResponse(t *testing.T, version ike.Version) {
	r := newRig(t, strangers(allowing))
	g := r.gateways[0]
	s := newStub(r, "192.0.2.9", version)
	const name = "dynamic:192.0.2.9"
	eventually(t, "the stub to have its SAs", func() bool { s.turn(); return s.in.SPI != 0 && s.out.SPI != 0 })
	s.echo(1) // the only one: the filter is there before the stub hears of its SA
	eventually(t, "the answer to the echo", func() bool { s.turn(); return len(s.answered) == 1 })
	if inner := s.answered[0]; inner[9] != 1 || inner[20] != 0 || !bytes.Contains(inner, []byte("ping")) {
		t.Errorf("the answer is %x", inner)
	}
	sad := get[api.SAD](r, g, api.PathSAD)
	if len(sad.MainMode) != 1 || len(sad.QuickMode) != 2 || sad.MainMode[0].Peer != name || sad.QuickMode[0].Peer != name || sad.QuickMode[1].Child != name {
		t.Errorf("SAs %+v", sad)
	}
	rows := r.dynamicRows(g)
	if len(rows) != 2 || rows[0].Rule != policy.DefaultResponseRule || rows[0].Tunnel != name || rows[0].Packets+rows[1].Packets < 2 {
		t.Errorf("filters %+v, expected one and its mirror with the echo and its answer", rows)
	}
	if why := get[api.Why](r, g, api.PathWhy, "peer", name); why.Verdict != "up" {
		t.Errorf("why says %+v", why)
	}
	if e := get[api.Explanation](r, g, api.PathExplain, "src", "192.0.2.9", "dst", "192.0.2.1", "proto", "icmp", "in", name); e.Verdict != "require" || e.Disagreement != "" {
		t.Errorf("explain says %+v", e)
	}
	eventually(t, "the audit log", func() bool { return strings.Contains(g.logs.String(), `what="peers of the default response rule"`) })

	// As it is, with another rule off and on; then without the rule.
	change := r.change(g, api.PathApply, api.Apply{Text: strings.Replace(string(g.running().text), "active_policy: whole", "metrics: {}\nactive_policy: whole", 1)})
	if !slices.Contains(change.Kept, name+"/"+name) || len(r.dynamicRows(g)) != 2 {
		t.Errorf("a configuration with the same rule: %+v", change)
	}
	s.echo(2)
	eventually(t, "the answer to another echo", func() bool { s.turn(); return len(s.answered) == 2 })
	change = r.change(g, api.PathApply, api.Apply{Text: strings.Replace(string(g.running().text), "enabled: true", "enabled: false", 1)})
	if len(change.Ended) != 1 || change.Ended[0].Peer != name || len(r.dynamicRows(g)) != 0 {
		t.Errorf("a configuration without the rule: %+v, filters %+v", change, r.dynamicRows(g))
	}
	eventually(t, "all of the stub to go", func() bool {
		s.turn()
		sad := get[api.SAD](r, g, api.PathSAD)
		return len(sad.MainMode)+len(sad.QuickMode) == 0
	})
}

// A peer that leaves takes its filter along, its cell and its name.
func TestDynamicPeerLeaves(t *testing.T) {
	for _, version := range []ike.Version{ike.V2, ike.V1} {
		t.Run(version.String(), func(t *testing.T) { testDynamicPeerLeaves(t, version) })
	}
}

func testDynamicPeerLeaves(t *testing.T, version ike.Version) {
	r := newRig(t, strangers(allowing))
	g := r.gateways[0]
	s := newStub(r, "192.0.2.9", version)
	eventually(t, "the stub to have its SAs", func() bool { s.turn(); return s.out.SPI != 0 })
	if len(r.dynamicRows(g)) != 2 {
		t.Fatal("no filter")
	}
	s.step(ike.Terminate{Peer: "gateway"})
	eventually(t, "the filter to go", func() bool { s.turn(); return len(r.dynamicRows(g)) == 0 })
	eventually(t, "its cell to close", func() (gone bool) {
		if err := g.negotiator.do(t.Context(), func() { gone = g.negotiator.cells.cells["dynamic:192.0.2.9"] == nil }); err != nil {
			t.Fatal(err)
		}
		return gone
	})
	if names := g.negotiator.names.Load(); len(names.children) != 1 {
		t.Errorf("names %+v", names)
	}
}

// S-040, C-10: as shipped, a peer outside all rules gets no packet, and ike_no_policy rises by one for its message. The same where the rule answers the other
// version of IKE.
func TestDefaultResponseIsOff(t *testing.T) {
	for name, c := range map[string]struct {
		text    string
		version ike.Version
	}{
		"v2": {siteA(), ike.V2}, "v1": {siteA(), ike.V1},
		"v2 of v1": {strangers(strings.Replace(allowing, "any", "v1", 1)), ike.V2}, "v1 of v2": {strangers(strings.Replace(allowing, "any", "v2", 1)), ike.V1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.text)
			g := r.gateways[0]
			newStub(r, "192.0.2.9", c.version)
			counted := func() (n int) {
				for _, f := range g.events.strangers.facts {
					if f.Kind == ike.Dropped && f.Reason == ike.DropNoPolicy && f.Version == c.version {
						n++
					}
				}
				return n
			}
			eventually(t, "the message to be counted", func() bool {
				g.events.mu.Lock()
				defer g.events.mu.Unlock()
				return counted() == 1
			})
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, p := range r.wire {
				if p.destination == netip.MustParseAddr("192.0.2.9") {
					t.Errorf("a packet of protocol %d for the stub", p.protocol)
				}
			}
		})
	}
}

// A stranger that has its tunnel by one version of IKE does not get another, under the same name, by the other; when it has left it does.
func TestStrangerOfBothVersions(t *testing.T) {
	for _, versions := range [][2]ike.Version{{ike.V1, ike.V2}, {ike.V2, ike.V1}} {
		t.Run(versions[0].String(), func(t *testing.T) {
			r := newRig(t, strangers(allowing))
			g := r.gateways[0]
			first := newStub(r, "192.0.2.9", versions[0])
			eventually(t, "the first tunnel", func() bool { first.turn(); return first.out.SPI != 0 })
			second := newStub(r, "192.0.2.9", versions[1])
			second.read = first.read
			eventually(t, "the other version to be refused", func() bool { return strings.Contains(g.logs.String(), "reason=ike_carried") })
			if sad := get[api.SAD](r, g, api.PathSAD); len(sad.MainMode) != 1 || len(sad.QuickMode) != 2 || sad.MainMode[0].Version != versions[0].Number() {
				t.Errorf("SAs %+v", sad)
			}
			first.step(ike.Terminate{Peer: "gateway"})
			eventually(t, "the other tunnel", func() bool { second.turn(); return second.out.SPI != 0 })
			if sad := get[api.SAD](r, g, api.PathSAD); len(sad.MainMode) != 1 || sad.MainMode[0].Version != versions[1].Number() || sad.MainMode[0].Peer != "dynamic:192.0.2.9" {
				t.Errorf("SAs %+v", sad)
			}
		})
	}
}

// Where its filters cannot be put in force the peer is told of its SA all the same, and when they can they are.
func TestDynamicFiltersFail(t *testing.T) {
	r := newRig(t, strangers(allowing))
	g := r.gateways[0]
	prepare := g.manager.prepare
	var broken atomic.Bool
	broken.Store(true)
	g.manager.prepare = func(s pipeline.Snapshot) (prepared, error) {
		if broken.Load() {
			return nil, errors.New("no memory for tables")
		}
		return prepare(s)
	}
	s := newStub(r, "192.0.2.9", ike.V2)
	eventually(t, "the stub to have its SAs", func() bool { s.turn(); return s.in.SPI != 0 && s.out.SPI != 0 })
	if rows := r.dynamicRows(g); len(rows) != 0 || !strings.Contains(g.logs.String(), "no memory for tables") {
		t.Errorf("filters %+v", rows)
	}
	broken.Store(false)
	other := newStub(r, "192.0.2.10", ike.V1)
	eventually(t, "the filters of both", func() bool { s.turn(); other.turn(); return len(r.dynamicRows(g)) == 4 })
}

// Without a cell left for it a peer gets no SA, and nothing of it stays.
func TestNoCellForDynamicPeer(t *testing.T) {
	r := newRig(t, strings.Replace(strangers(allowing), "dataplane: {", "dataplane: {max_tunnels: 2, ", 1))
	g := r.gateways[0]
	first := newStub(r, "192.0.2.9", ike.V2)
	eventually(t, "the first stub to have its SAs", func() bool { first.turn(); return first.out.SPI != 0 })
	second := newStub(r, "192.0.2.10", ike.V1)
	eventually(t, "the second to be refused", func() bool {
		first.turn()
		second.turn()
		return strings.Contains(g.logs.String(), "reason=install_failed")
	})
	if rows := r.dynamicRows(g); len(rows) != 2 || rows[0].Tunnel != "dynamic:192.0.2.9" {
		t.Errorf("filters %+v", rows)
	}
	first.echo(1)
	eventually(t, "the answer to the first one's echo", func() bool { first.turn(); second.turn(); return len(first.answered) == 1 })
}
