package negotiate

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/perf/lab"
	"sallyport/perf/peers"
	"sallyport/perf/report"
)

// place is a link between a gateway of another make and its peers.
type place struct {
	*lab.Lab
	gateway, outside *lab.Namespace
	dir              string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	p := &place{Lab: l, dir: t.TempDir()}
	if p.gateway, err = l.Namespace("gw"); err != nil {
		t.Fatal(err)
	}
	if p.outside, err = l.Namespace("outside"); err != nil {
		t.Fatal(err)
	}
	if err := lab.Wire(t.Context(), p.gateway, wanLink, p.outside, peersLink, linkMTU); err != nil {
		t.Fatal(err)
	}
	return p
}

// speaks gives the gateway its address, and the way to its peers.
func (p *place) speaks(t *testing.T) {
	t.Helper()
	if err := errors.Join(p.gateway.AddAddress(wanLink, netip.PrefixFrom(gatewayAddress, 24)), p.gateway.AddAddress("lo", netip.PrefixFrom(gatewayLAN.Addr().Next(), 32)), p.gateway.AddRoute(ours.peers, routerAddress), p.outside.Mute(peersLink)); err != nil {
		t.Fatal(err)
	}
}

// file writes one for the command.
func (p *place) file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// options negotiate with the gateway.
func (p *place) options(t *testing.T) (Options, *strings.Builder) {
	var out strings.Builder
	return Options{Intervals: []int{0}, Peers: 3, Outstanding: 2, Out: &out, Report: filepath.Join(p.dir, "report.json"), HTML: filepath.Join(p.dir, "page.html"), JSON: filepath.Join(p.dir, "rows.json"),
		Target: &Target{Target: lab.Target{Gateway: gatewayAddress, Interface: peersLink, Source: routerAddress}, From: p.outside, PSKFile: p.file(t, "psk", []byte(targetPSK+"\n"))}}, &out
}

const targetPSK = "a key of this test alone"

// certified makes a CA, and a certificate and key of a gateway, all in PEM.
func certified(t *testing.T) (ca, caKey, own, ownKey []byte) {
	t.Helper()
	block := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	issue := func(template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if by == nil {
			by, parent = key, template
		}
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(1), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c, key
	}
	pkcs8 := func(key *ecdsa.PrivateKey) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return block("PRIVATE KEY", der)
	}
	root, rootKey := issue(&x509.Certificate{Subject: pkix.Name{CommonName: "CA of a test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	leaf, leafKey := issue(&x509.Certificate{Subject: pkix.Name{CommonName: "gateway"}, IPAddresses: []net.IP{gatewayAddress.AsSlice()}, KeyUsage: x509.KeyUsageDigitalSignature}, root, rootKey)
	return block("CERTIFICATE", root.Raw), pkcs8(rootKey), block("CERTIFICATE", leaf.Raw), pkcs8(leafKey)
}

// swan starts strongSwan for any peer.
func (p *place) swan(t *testing.T, change func(*peers.Tunnel)) *peers.StrongSwan {
	t.Helper()
	tunnel := peers.Tunnel{Name: "hub", Local: gatewayAddress, Remote: routerAddress, LocalNet: gatewayLAN, RemoteNet: ours.hosts, PSK: targetPSK, IKEProposals: ikeProposal, ESPProposals: childProposal}
	if change != nil {
		change(&tunnel)
	}
	s, err := peers.StartStrongSwan(t.Context(), p.Lab, p.gateway, "strongswan", peers.Hub(tunnel))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A gateway of another make, strongSwan, is swept as ours is, by both versions; its SAs are gone in the end. When it is killed, or has another key, or somebody has the address of
// who asks, the verdict says so.
// S-116: rows with MM/s, QM/s and SAs/s for each interval against a foreign gateway; every initiation completes.
func TestTarget(t *testing.T) {
	p := newPlace(t)
	p.speaks(t)
	swan := p.swan(t, nil)
	o, out := p.options(t)
	o.Intervals, o.Time, o.Peers, o.Outstanding = nil, 300*time.Millisecond, 40, 20
	if err := Run(t.Context(), o); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, swan.Log())
	}
	t.Log(out)
	wantSwept(t, o, 40, "v1 psk", "v2 psk")
	if left, err := swan.SAs(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("%d IKE SAs are left, %v", len(left), err)
	}
	r, err := report.Read(o.Report)
	if err != nil || r.Interrupted || len(r.Rows) != 14 || len(r.Plots) != 2 || !strings.Contains(r.Verdict.Text, "connections are complete") {
		t.Errorf("a report that says too little: %+v, %v", r, err)
	}
	if page, err := os.ReadFile(o.HTML); err != nil || !strings.Contains(string(page), "Connections a second against tunnels") {
		t.Errorf("a page without its plots: %v", err)
	}

	other, out := p.options(t)
	other.Target.PSKFile = p.file(t, "other", []byte("another key\n"))
	other.Versions, other.askLimit = []string{"v2"}, time.Minute
	wantBlamed(t, "another key", other, out, ErrRefused, "authentication_failed")
	other.Target.PSKFile, other.Target.IKE = o.Target.PSKFile, "aes256-sha512-modp4096"
	wantBlamed(t, "another proposal", other, out, ErrRefused, "no_proposal_chosen")

	o, out = p.options(t)
	o.askLimit = 3 * time.Second
	if err := p.gateway.AddAddress(wanLink, netip.PrefixFrom(routerAddress, 32)); err != nil {
		t.Fatal(err)
	}
	wantBlamed(t, "an address that somebody has", o, out, ErrUsurped, "expected an address that nobody has")
	o.Target.Source = netip.MustParseAddr("192.0.2.3")
	swan.Process.Kill()
	<-swan.Process.Done()
	wantBlamed(t, "a gateway that is dead", o, out, lab.ErrDown, "no answer to a first message of IKEv1")
	o.Target.Gateway = netip.MustParseAddr("192.0.2.77")
	wantBlamed(t, "nobody", o, out, lab.ErrDown, "nobody answers ARP for 192.0.2.77")
}

// By certificate each peer gets one of the CA that is given, and the target's is checked against it.
func TestTargetCertificates(t *testing.T) {
	p := newPlace(t)
	p.speaks(t)
	ca, caKey, own, ownKey := certified(t)
	swan := p.swan(t, func(tunnel *peers.Tunnel) {
		tunnel.PSK, tunnel.LocalAuth = "", "certs = gateway.pem\n"
		tunnel.Files = map[string][]byte{"x509ca/ca.pem": ca, "x509/gateway.pem": own, "private/gateway.pem": ownKey}
	})
	o, out := p.options(t)
	o.Auth, o.Target.CAFile, o.Target.CAKeyFile = []string{AuthCertificate}, p.file(t, "ca.pem", ca), p.file(t, "ca.key", caKey)
	if err := Run(t.Context(), o); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, swan.Log())
	}
	wantSwept(t, o, 3, "v1 certificate", "v2 certificate")
	o.Versions, o.Auth = []string{"v2"}, []string{AuthRSA} // by IKEv1 both ends have to sign in the same way
	if err := Run(t.Context(), o); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, swan.Log())
	}
	wantSwept(t, o, 3, "v2 certificate-rsa")
	otherCA, otherKey, _, _ := certified(t)
	o.Versions, o.Auth = []string{"v2"}, []string{AuthCertificate}
	o.Target.CAFile, o.Target.CAKeyFile = p.file(t, "other.pem", otherCA), p.file(t, "other.key", otherKey)
	wantBlamed(t, "another CA", o, out, ErrRefused, "")
}

// wantSwept looks at the rows of a target: each connection is complete, in each series.
func wantSwept(t *testing.T, o Options, hurried int, want ...string) {
	t.Helper()
	text, err := os.ReadFile(o.JSON)
	if err != nil {
		t.Fatal(err)
	}
	var rows []Row
	if err := json.Unmarshal(text, &rows); err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, r := range rows {
		if r.Table != tableRows {
			continue
		}
		checkRow(t, &r)
		found = append(found, r.Version+" "+r.Authentication)
		if r.Completed != r.Initiated || r.Interval == 0 && r.Initiated != hurried || r.Target != gatewayAddress.String() || r.PeersMM != r.Completed || r.PeersQM != r.Completed {
			t.Errorf("expected all connections to be complete: %+v", r)
		}
	}
	if found = slices.Compact(found); !slices.Equal(found, want) {
		t.Errorf("rows of %v, expected %v", found, want)
	}
}

// wantBlamed expects a run to end soon with a verdict, which the report has too.
func wantBlamed(t *testing.T, name string, o Options, out fmt.Stringer, verdict error, part string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // of a busy machine
	defer cancel()
	err := Run(ctx, o)
	if !errors.Is(err, verdict) || !strings.Contains(err.Error(), part) {
		t.Errorf("%s: found %v, expected %v and %q\n%s", name, err, verdict, part, out)
		return
	}
	r, wrong := report.Read(o.Report)
	if wrong != nil || r.Verdict.Good || r.Verdict.Text != err.Error() {
		t.Errorf("%s: %+v, %v: expected the report to say %v", name, r, wrong, err)
	}
}

// Who sends back what it gets, or answers by another address, is none that SAs are made with.
func TestTargetsThatNegotiateNothing(t *testing.T) {
	elsewhere := netip.MustParseAddr("192.0.2.99")
	for name, c := range map[string]struct {
		from    netip.Addr
		verdict error
		part    string
	}{
		"reflects":          {gatewayAddress, ErrUnproven, "none of 1 connections is complete"},
		"answers elsewhere": {elsewhere, ErrUsurped, elsewhere.String() + " has answered what was for " + gatewayAddress.String()},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			port, err := p.gateway.RawPort(wanLink)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(p.gateway.Mute(wanLink), p.outside.Mute(peersLink)); err != nil {
				t.Fatal(err)
			}
			// The other end of the link, seen the other way round: it has the gateway's address, and the router is its gateway.
			r := &lab.Router{Port: port, Gateway: routerAddress, Address: gatewayAddress}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- reflect(ctx, r, c.from) }()
			defer func() {
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
			}()
			o, out := p.options(t)
			o.Versions, o.askLimit = []string{"v2"}, 3*time.Second
			wantBlamed(t, name, o, out, c.verdict, c.part)
		})
	}
}

// reflect sends datagrams back.
func reflect(ctx context.Context, r *lab.Router, from netip.Addr) error {
	for ctx.Err() == nil {
		datagrams, err := r.Receive()
		if err != nil {
			return err
		}
		for _, d := range datagrams {
			if r.GatewayMAC == nil {
				continue
			}
			if err := r.Send(lab.Datagram{From: netip.AddrPortFrom(from, d.To.Port()), To: d.From, Payload: d.Payload}, false); err != nil {
				return err
			}
		}
		if err := r.Wait(10 * time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// What cannot be a target is refused before anything is sent, all of it at once.
func TestTargetOptions(t *testing.T) {
	target := Target{Target: lab.Target{Gateway: gatewayAddress, Interface: "lo", Source: routerAddress}, Peers: netip.MustParsePrefix("10.9.0.0/24"), Hosts: netip.MustParsePrefix("10.1.0.0/16"),
		ID: "a b", PSKFile: "/none/such", IKE: "des-md5", ESP: "none"}
	_, err := Options{Target: &target, Auth: []string{AuthPSK, AuthCertificate}, Peers: 300, Binary: "unused"}.withDefaults()
	if err == nil {
		t.Fatal("expected errors")
	}
	for _, part := range []string{"peers 10.9.0.0/24", "there are addresses for 254", "protected 10.1.0.0/24: expected another network than that of hosts", `"a b"`, "--psk-file", "--ca is missing", "--ca-key is missing",
		"des-md5", `"none"`} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("expected a word about %s:\n%v", part, err)
		}
	}
}
