package appliance

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/appliance/config"
	"sallyport/pki"
	"sallyport/pki/pkitest"
)

// authority is a root CA with an HTTP server for its CRL, and the files of both sites.
type authority struct {
	*pkitest.CA
	folder string
	crl    string // its address
	certs  map[string]*x509.Certificate

	mu   sync.Mutex
	list []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{CA: pkitest.NewRoot(t, "root"), folder: t.TempDir(), certs: map[string]*x509.Certificate{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		_, _ = w.Write(a.list)
	}))
	t.Cleanup(server.Close)
	a.crl = server.URL + "/root.crl"
	a.revoke()
	pkitest.Write(t, a.folder, "ca.pem", pkitest.PEM(a.Certificate))
	for _, name := range []string{"gw-a", "gw-b"} {
		a.issue(t, name, name+".example")
	}
	return a
}

// issue writes a certificate and its key for one of the sites.
func (a *authority) issue(t *testing.T, site, name string, changes ...func(*x509.Certificate)) {
	t.Helper()
	leaf := a.Issue(name, append([]func(*x509.Certificate){func(c *x509.Certificate) { c.CRLDistributionPoints = []string{a.crl} }}, changes...)...)
	a.certs[site] = leaf.Certificate
	pkitest.Write(t, a.folder, site+".pem", pkitest.PEM(leaf.Certificate))
	pkitest.Write(t, a.folder, site+".key", pkitest.KeyPEM(t, leaf.Key))
}

// revoke publishes a CRL with these certificates in it.
func (a *authority) revoke(certificates ...*x509.Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = a.CRL(certificates, func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(24 * time.Hour) })
}

// site is a configuration whose peer authenticates by certificate.
func (a *authority) site(text, own, peer string) string {
	auth := fmt.Sprintf("local_id: %s.example, remote_id: %s.example, auth: {certificate_file: %s/%s.pem, private_key_file: %s/%s.key, ca_files: [%s/ca.pem]}",
		own, peer, a.folder, own, a.folder, own, a.folder)
	return strings.Replace(text, "auth: {psk_file: peer.psk}", auth, 1) + "auth: {fetch_networks: [127.0.0.0/8]}\n"
}

func (a *authority) sites() (string, string) {
	return a.site(siteA(), "gw-a", "gw-b"), a.site(siteB(), "gw-b", "gw-a")
}

// order gives a gateway an operator's order.
func order(t *testing.T, g *rigGateway, path string, body any) {
	t.Helper()
	if err := g.api.Post(t.Context(), path, body, nil); err != nil {
		t.Fatal(err)
	}
}

// Two gateways that know each other by a common root have a tunnel, whichever begins, and everything about it can be looked at.
// S-070: the policy lists a root, and each peer has a certificate of its own below it.
func TestCertificateTunnel(t *testing.T) {
	for name, starter := range map[string]int{"from a": 0, "from b": 1} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			texts := make([]string, 2)
			texts[0], texts[1] = a.sites()
			for i, start := range []string{"start: always", "start: on-demand"} {
				texts[i] = strings.Replace(texts[i], start, map[bool]string{true: "start: always", false: "start: on-demand"}[i == starter], 1)
			}
			r := newRig(t, texts...)
			r.awaitChildren("nets")
			r.send(r.gateways[0], rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", "secret")
			eventually(t, "a packet through the tunnel", func() bool { return slices.Contains(r.received(r.gateways[1]), "secret") })

			for i, g := range r.gateways {
				metrics := metricsOf(t, g)
				for _, want := range []string{`sallyport_certificate_checks_total{peer="far",result="ok"} 1`, `sallyport_crl_fetches_total{result="ok"} 1`, "sallyport_certificates_unchecked_total 0"} {
					if !strings.Contains(metrics, want) {
						t.Errorf("no %s among the metrics", want)
					}
				}
				list := get[[]api.Certificate](r, g, api.PathCertificates)
				if len(list) != 2 || list[0].Use != config.UseOwn || list[0].Subject != "CN="+g.cfg.Name+".example,O=Example" || list[0].Issuer != "CN=root,O=Example" ||
					list[0].Key != "ECDSA P-256" || list[0].DaysLeft != 364 || list[0].Warning != "" || !slices.Equal(list[0].Peers, []string{"far"}) ||
					list[1].Use != config.UseCA || !slices.Equal(list[1].Peers, []string{"far"}) {
					t.Errorf("certificates of gateway %d: %+v", i, list)
				}
				crls := get[api.Revocation](r, g, api.PathCRL)
				if crls.Mode != 2 || len(crls.CRLs) != 1 || crls.CRLs[0].Source != a.crl || len(crls.Servers) != 0 {
					t.Errorf("CRLs of gateway %d: %+v", i, crls)
				}
			}
		})
	}
}

// A peer that cannot prove who it is gets no tunnel, for a reason that both metrics and log have, and traffic for it is blocked.
// S-066: certificate only against preshared key only fails and blocks. S-070: an unlisted root fails.
func TestCertificateRefused(t *testing.T) {
	for name, test := range map[string]struct {
		spoil  func(t *testing.T, a *authority, textB *string)
		reason string
	}{
		"revoked":       {func(_ *testing.T, a *authority, _ *string) { a.revoke(a.certs["gw-b"]) }, string(pki.CertRevoked)},
		"somebody else": {func(t *testing.T, a *authority, _ *string) { a.issue(t, "gw-b", "gw-c.example") }, string(pki.CertIdentity)},
		"expired": {func(t *testing.T, a *authority, _ *string) {
			a.issue(t, "gw-b", "gw-b.example", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
		}, string(pki.CertExpired)},
		"an unlisted root": {func(t *testing.T, a *authority, _ *string) {
			leaf := pkitest.NewRoot(t, "unlisted").Issue("gw-b.example")
			pkitest.Write(t, a.folder, "gw-b.pem", pkitest.PEM(leaf.Certificate))
			pkitest.Write(t, a.folder, "gw-b.key", pkitest.KeyPEM(t, leaf.Key))
		}, string(pki.CertUntrusted)},
		"a CRL that is none": {func(_ *testing.T, a *authority, _ *string) { a.list = []byte("no CRL") }, string(pki.CRLMalformed)},
		"preshared key only": {func(_ *testing.T, _ *authority, textB *string) {
			*textB = strings.Replace(siteB(), "auth: {psk_file: peer.psk}", "local_id: gw-b.example, remote_id: gw-a.example, auth: {psk_file: peer.psk}", 1)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			textA, textB := a.sites()
			test.spoil(t, a, &textB)
			r := newRig(t, textA, textB)
			g := r.gateways[0]
			send := func() { r.send(g, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", "secret") }
			eventually(t, "the negotiation to fail", func() bool { return strings.Contains(g.logs.String(), "msg=failed") })
			eventually(t, "packets to be dropped for it", func() bool {
				send()
				return g.drops("blocked_negotiation_failed") > 0
			})
			if got := r.received(r.gateways[1]); len(got) != 0 {
				t.Errorf("the far side got %v", got)
			}
			if test.reason == "" {
				return
			}
			if far := r.gateways[1]; !strings.Contains(g.logs.String(), "reason="+test.reason) { // it was the first to refuse
				g = far
			}
			if want := fmt.Sprintf(`sallyport_certificate_checks_total{peer="far",result=%q} `, test.reason); !strings.Contains(metricsOf(t, g), want) || !strings.Contains(g.logs.String(), "reason="+test.reason) {
				t.Errorf("no %s among the metrics, or not in the log", want)
			}
		})
	}
}

// A certificate that is revoked while its CRL is cached authenticates until the cache is flushed, and not after that; a restart changes nothing.
// S-075
func TestRevokedAfterCaching(t *testing.T) {
	a := newAuthority(t)
	r := newRig(t, slices.Collect(func(yield func(string) bool) { x, y := a.sites(); _ = yield(x) && yield(y) })...)
	g := r.gateways[0]
	r.awaitChildren("nets")
	a.revoke(a.certs["gw-b"])
	again := func() {
		order(t, g, api.PathDown, api.Action{Peer: "far"})
		eventually(t, "the tunnel to be down", func() bool { return len(r.children(g)) == 0 })
		order(t, g, api.PathUp, api.Action{Peer: "far"})
	}
	again()
	r.awaitChildren("nets")

	// The next process finds the same CRL.
	next := newCertificates(g.cfg.State, g.log)
	next.configure(g.cfg.Auth)
	defer next.close()
	identity := g.running().peers[0].RemoteID
	if _, err := next.checker.Check(t.Context(), g.cfg.Auth.Trust["far"], identity, [][]byte{a.certs["gw-b"].Raw}); err != nil {
		t.Errorf("after a restart: %v", err)
	}

	var flushed api.Flushed
	if err := g.api.Post(t.Context(), api.PathCRLFlush, struct{}{}, &flushed); err != nil || flushed.CRLs != 1 {
		t.Errorf("flush: %+v, %v", flushed, err)
	}
	again()
	eventually(t, "the negotiation to fail", func() bool { return strings.Contains(g.logs.String(), "reason=cert_revoked") })
	if len(r.children(g)) != 0 {
		t.Error("a tunnel with a revoked peer")
	}
}

// A reload reads changed files again: a renewed certificate ends nothing; a peer is refused once its CA is no longer in them, and accepted when it is there again.
func TestReloadReadsCertificates(t *testing.T) {
	a := newAuthority(t)
	textA, textB := a.sites()
	r := newRig(t, textA, textB)
	g := r.gateways[0]
	r.awaitChildren("nets")
	a.issue(t, "gw-a", "gw-a.example")
	if change := r.change(g, api.PathReload, api.Reload{}); len(change.Ended) != 0 || len(change.Kept) != 1 {
		t.Errorf("a renewed certificate: %+v", change)
	}
	if list := get[[]api.Certificate](r, g, api.PathCertificates); list[0].Serial != pki.Serial(a.certs["gw-a"]) {
		t.Errorf("certificates %+v, want the renewed one", list)
	}
	for _, ca := range []*x509.Certificate{pkitest.NewRoot(t, "another").Certificate, a.Certificate} {
		pkitest.Write(t, a.folder, "ca.pem", pkitest.PEM(ca))
		r.change(g, api.PathReload, api.Reload{})
		if list := get[[]api.Certificate](r, g, api.PathCertificates); list[1].Subject != pki.Subject(ca) {
			t.Errorf("certificates %+v, want the CA %s", list, pki.Subject(ca))
		}
		order(t, g, api.PathUp, api.Action{Peer: "far"})
		if ca == a.Certificate {
			r.awaitChildren("nets")
		} else {
			eventually(t, "the peer to be refused", func() bool { return strings.Contains(g.logs.String(), "reason=cert_untrusted") })
		}
	}
}

// A certificate that ends within a month is warned of, ours and a CA's, in the log, where certificates are shown, and by each change of the file.
func TestExpiryWarnings(t *testing.T) {
	a := newAuthority(t)
	a.issue(t, "gw-a", "gw-a.example", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(20*24*time.Hour + time.Hour) })
	textA, _ := a.sites()
	r := newRig(t, textA)
	g := r.gateways[0]
	warnOfExpiry(g.log, g.running().cfg.Auth.Certificates, time.Now())
	if !strings.Contains(g.logs.String(), "ends in 20 days") || strings.Count(g.logs.String(), "msg=certificate ") != 1 {
		t.Error("want one warning of the certificate that ends in 20 days")
	}
	list := get[[]api.Certificate](r, g, api.PathCertificates)
	if !strings.Contains(list[0].Warning, "ends in 20 days") || list[0].DaysLeft != 20 || list[1].Warning != "" {
		t.Errorf("certificates %+v", list)
	}
	a.issue(t, "gw-a", "gw-a.example", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
	if change := r.change(g, api.PathReload, api.Reload{}); !slices.ContainsFunc(change.Warnings, func(w string) bool {
		return strings.Contains(w, "gw-a.pem (own)") && strings.Contains(w, "was valid until")
	}) {
		t.Errorf("a file with a certificate that is over: warnings %q", change.Warnings)
	}
	list = get[[]api.Certificate](r, g, api.PathCertificates)
	if want := fmt.Sprintf(`serial="%s",subject="CN=gw-a.example,O=Example",use="own"} %v`, list[0].Serial, float64(list[0].NotAfter.Unix())); !strings.Contains(metricsOf(t, g), want) {
		t.Errorf("no %s among the metrics", want)
	}
	if files, err := filepath.Glob(filepath.Join(g.cfg.State, "crl", "*")); err != nil || len(files) != 0 {
		t.Errorf("CRLs without a check: %v, %v", files, err)
	}
}
