package ike

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
)

func TestValidatePeers(t *testing.T) {
	for name, change := range map[string]func(*[]Peer){
		"name twice":      func(p *[]Peer) { *p = append(*p, (*p)[0]) },
		"same identities": func(p *[]Peer) { twin := (*p)[0]; twin.Name = "twin"; *p = append(*p, twin) },
		"one identity":    func(p *[]Peer) { (*p)[0].LocalID = AddressIdentity(addrB) },
		"no key":          func(p *[]Peer) { (*p)[0].PSK = crypto.Secret{} },
		"unknown method":  func(p *[]Peer) { (*p)[0].LocalAuth = 9 },
		"no credential":   func(p *[]Peer) { (*p)[0].LocalAuth = AuthSignature },
		"no certificate":  func(p *[]Peer) { (*p)[0].LocalAuth, (*p)[0].Credential = AuthSignature, &Credential{Key: newP256(t)} },
		"key on P-224": func(p *[]Peer) {
			(*p)[0].LocalAuth, (*p)[0].Credential = AuthSignature, &Credential{[][]byte{{1}}, newP224(t)}
		},
		"no authority":       func(p *[]Peer) { (*p)[0].RemoteAuth = AuthSignature },
		"broken authority":   func(p *[]Peer) { (*p)[0].RemoteAuth, (*p)[0].Authorities = AuthSignature, [][]byte{{1}} },
		"no key for one end": func(p *[]Peer) { (*p)[0] = trusting((*p)[0]); (*p)[0].PSK = crypto.Secret{} },
		"no address":         func(p *[]Peer) { (*p)[0].Remote = netip.Addr{} },
		"two IP versions":    func(p *[]Peer) { (*p)[0].Remote = netip.MustParseAddr("2001:db8::1") },
		"own address twice":  func(p *[]Peer) { (*p)[0].MOBIKE, (*p)[0].Additional = true, []netip.Addr{addrA} },
		"other address, other IP version": func(p *[]Peer) {
			(*p)[0].MOBIKE, (*p)[0].Additional = true, []netip.Addr{netip.MustParseAddr("2001:db8::1")}
		},
		"other address without MOBIKE": func(p *[]Peer) { (*p)[0].Additional = []netip.Addr{addrA2} },
		"transport mode that moves":    func(p *[]Peer) { c := Config{Peers: *p}; inTransport(&c); (*p)[0].MOBIKE = true },
		"child twice":                  func(p *[]Peer) { (*p)[0].Children = append((*p)[0].Children, (*p)[0].Children[0]) },
		"child without traffic":        func(p *[]Peer) { (*p)[0].Children[0].Selectors = nil },
		"negative lifetime":            func(p *[]Peer) { (*p)[0].RekeyTime = -time.Second },
		"broken IKE proposal":          func(p *[]Peer) { (*p)[0].IKEProposals = []crypto.IKEProposal{{}} },
		"broken ESP proposal":          func(p *[]Peer) { (*p)[0].Children[0].Proposals = []crypto.ESPProposal{{}} },
		"a bundle by IKEv2":            func(p *[]Peer) { bundle(&(*p)[0], V2, espOnly, ahOnly) },
		"a bundle without AH":          func(p *[]Peer) { bundle(&(*p)[0], V1, espOnly) },
		"a bundle with a group for AH": func(p *[]Peer) {
			ah := ahOnly
			ah.DH = []crypto.DHID{crypto.DHECP256}
			bundle(&(*p)[0], V1, espOnly, ah)
		},
		"a bundle without ESP":  func(p *[]Peer) { bundle(&(*p)[0], V1, ahOnly) },
		"negative child's life": func(p *[]Peer) { (*p)[0].Children[0].RekeyTime = -time.Second },
	} {
		peers := sideA(t).Peers
		change(&peers)
		if err := ValidatePeers(peers); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := ValidatePeers(sideA(t).Peers); err != nil {
		t.Error(err)
	}
}

var (
	espOnly = crypto.DefaultESPProposals()[0]
	ahOnly  = crypto.Proposal{Protocol: crypto.ProtocolAH, Integ: []crypto.IntegID{crypto.IntegHMACSHA256}, ESN: []crypto.ESNID{crypto.ESNNo}}
)

// bundle has the peer's first child be one of AH around ESP.
func bundle(p *Peer, version Version, proposals ...crypto.Proposal) {
	p.Version, p.Children[0].Bundle, p.Children[0].Proposals = version, true, proposals
}

// S-096: AH around ESP is negotiated by IKEv1, and what asks IKEv2 for it is told why not.
func TestBundleNeedsIKEv1(t *testing.T) {
	for version, want := range map[Version]string{V1: "", V2: "peer's IKE is v2, expected v1: IKEv2 negotiates one protocol for an SA", VAny: "peer's IKE is any, expected v1"} {
		peers := sideA(t).Peers
		bundle(&peers[0], version, espOnly, ahOnly)
		if err := ValidatePeers(peers); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v: error %v, expected %q", version, err, want)
		}
	}
}

// What goes to logs, metrics and show holds no key, whatever verb prints it.
func TestNoSecretInFacts(t *testing.T) {
	l := up(t, nil, func(c *Config) { c.Limits.CookieThreshold = -1 })
	l.a.rekey(rekeyChild)
	l.a.rekey(rekeyIKE)
	l.advance(time.Minute)
	var all strings.Builder
	for _, n := range []*end{l.a, l.b} {
		for _, f := range n.facts {
			fmt.Fprintf(&all, "%+v %#v %s\n", f, f, f.Kind)
		}
		fmt.Fprintf(&all, "%+v %#v\n", n.engine.Snapshot(), n.engine.Snapshot())
		for _, ef := range n.effects {
			if _, sent := ef.(Send); !sent {
				fmt.Fprintf(&all, "%+v\n", ef)
			}
		}
		fmt.Fprintf(&all, "%+v\n", n.cfg.Peers)
	}
	if strings.Contains(all.String(), "correct horse") || strings.Contains(all.String(), fmt.Sprintf("%x", "correct horse")) {
		t.Error("the pre-shared key is printed")
	}
	for _, n := range []*end{l.a, l.b} {
		for key := range n.keysSeen {
			for _, form := range []string{fmt.Sprintf("%x", key), fmt.Sprint([]byte(key)[:8])[1:]} {
				if strings.Contains(all.String(), form) {
					t.Error("a key is printed")
				}
			}
		}
	}
}
