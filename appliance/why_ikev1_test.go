package appliance

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/ikev1"
	"sallyport/ike/isakmp"
)

// oddPair is two engines of IKEv1 in memory, the second of which knows the first by another configuration.
type oddPair struct {
	peers   [2]ike.Peer
	engines [2]*ikev1.Engine
	lost    func(from int, h isakmp.Header) bool // what the wire loses; nil: nothing
	now     time.Time
}

func newOddPair(change func(*ike.Peer)) *oddPair {
	p := &oddPair{peers: [2]ike.Peer{oddPeer(), oddPeer()}, now: time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)}
	b := &p.peers[1]
	b.Local, b.Remote = b.Remote, b.Local
	s := &b.Children[0].Selectors[0]
	s.Local, s.Remote = s.Remote, s.Local
	b.Children[0].Start = ike.StartOnDemand
	if change != nil {
		change(b)
	}
	for i := range p.peers {
		p.peers[i].Version = ike.V1
		spi := uint32(0x1000)
		p.engines[i] = ikev1.NewEngine(ike.Config{Random: rand.NewChaCha8([32]byte{byte(i)}), Peers: p.peers[i : i+1], AllocateSPI: func(_, _ string) (uint32, error) { spi++; return spi, nil }})
	}
	return p
}

// until carries what the ends send, second by second, until one of them is so.
func (p *oddPair) until(t *testing.T, end int, so func(ike.SAInfo) bool) {
	t.Helper()
	const longest = 300 // seconds: longer than an attempt of either end
	for range longest {
		for i, e := range p.engines {
			p.carry(i, e.Step(p.now, ike.Tick{}))
		}
		if list := p.engines[end].Snapshot(); so(list[len(list)-1]) {
			return
		}
		p.now = p.now.Add(time.Second)
	}
	t.Fatalf("end %d never comes to it: %+v", end, p.engines[end].Snapshot())
}

func (p *oddPair) carry(from int, effects []ike.Effect) {
	for _, s := range sendings(effects) {
		if h, err := isakmp.ParseHeader(s.Payload); err == nil && p.lost != nil && p.lost(from, h) {
			continue
		}
		p.carry(1-from, p.engines[1-from].Step(p.now, ike.Datagram{Local: s.Remote, Remote: s.Local, Payload: s.Payload}))
	}
}

// What IKEv1 leaves unsaid, and says with other words than IKEv2, has a screen that names the cause at both ends.
func TestWhyScreensOfIKEv1(t *testing.T) {
	failed := func(i ike.SAInfo) bool { return i.Failure.Reason != "" }
	for _, c := range []struct {
		name   string
		change func(*ike.Peer)
		lost   func(from int, h isakmp.Header) bool
	}{
		{name: "wrong-psk", change: func(b *ike.Peer) { b.PSK = crypto.NewSecret([]byte("battery staple")) }},
		{name: "wrong-identity", change: func(b *ike.Peer) { b.RemoteID, _ = ike.ParseIdentity("gw-x.example") }},
		{name: "refused-in-clear", change: func(b *ike.Peer) {
			b.IKEProposals = ikev1.DefaultIKEProposals()
			b.IKEProposals[0].Ciphers = []crypto.Cipher{{Encr: crypto.Encr3DES}}
		}},
		{name: "silent-quick-mode", lost: func(from int, h isakmp.Header) bool { return from == 1 && h.Exchange == isakmp.ExchangeQuick }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newOddPair(c.change)
			p.lost = c.lost
			p.until(t, 0, failed)
			for i, e := range p.engines {
				peer := p.peers[i]
				if len(peer.IKEProposals) == 0 {
					peer.IKEProposals = ikev1.DefaultIKEProposals()
				}
				checkScreen(t, "why-ikev1-"+c.name+"-"+string(rune('a'+i)), oddScreen(t, peer, e, p.now.Add(time.Millisecond)))
			}
		})
	}
}

// Every reason that IKEv1 fails for has advice that speaks of IKEv1, in main mode and in quick mode: those that its engine names, and those about certificates.
func TestEveryFailureOfIKEv1HasAdvice(t *testing.T) {
	files, err := filepath.Glob("../ike/ikev1/*.go")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, name := range slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, "_test.go") }) {
		file, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if of, isName := s.X.(*ast.Ident); isName && of.Name == "ike" {
					named[s.Sel.Name] = true
				}
			}
			return true
		})
	}
	reasons := failureReasons(t)
	of2 := regexp.MustCompile(`RFC 7427|RFC 7383|RFC 8784|RFC 9611|Ed25519|IKE_|Child SA|[Pp]ostquantum|mobike`)
	checked := 0
	for reason, name := range reasons {
		if !named[name] && !regexp.MustCompile(`^(Cert|CRL|OCSP)`).MatchString(name) {
			continue
		}
		for _, exchange := range []string{mainMode, quickMode} {
			checked++
			w := aim()
			text := adviceOn(w, attempted(w, ike.RoleInitiator, time.Second, exchange, "response", ike.Reason(reason)))
			if text == "" || of2.MatchString(text) {
				t.Errorf("%s in %s: advice %q", name, exchange, text)
			}
		}
	}
	if checked < 60 {
		t.Errorf("only %d pieces of advice were looked at", checked)
	}
}

// The vendor ID of a line, which is how most say NAT-T draft 02, is shown with its line feed spelt out.
func TestVendorOfALine(t *testing.T) {
	p := newOddPair(nil)
	p.until(t, 1, func(i ike.SAInfo) bool { return len(i.Children) > 0 })
	list := p.engines[1].Snapshot()
	if vendors := list[0].Vendors; !slices.Contains(vendors, `NAT-T draft 02\n`) {
		t.Fatalf("vendors %q", vendors)
	}
	w := aim()
	w.Vendors = list[0].Vendors
	var screen strings.Builder
	if err := w.Screen(&screen); err != nil || !strings.Contains(screen.String(), `draft 02\n, NAT-T draft`) {
		t.Errorf("%v:\n%s", err, screen.String())
	}
	text := isakmp.NewVendorID(isakmp.VendorNATTDraft02Newline).String()
	if text != `V(NAT-T draft 02\n)` {
		t.Errorf("the IKE log has %q", text)
	}
}
