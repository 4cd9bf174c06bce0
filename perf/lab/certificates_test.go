package lab_test

import (
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/perf/lab"
	"sallyport/pki/pkitest"
)

// crlAddress is where each gateway finds its CRL server: in its own namespace, which stands for the management network of its host.
const crlAddress = "127.0.0.1:8080"

// certifiedSite is the peer of a gateway, and how it authenticates, in place of what the lab writes.
func certifiedSite(t *testing.T, root *pkitest.CA, s *lab.Sites, site *lab.Site, start string) (peers string, key *ecdsa.PrivateKey) {
	t.Helper()
	folder, key := t.TempDir(), pkitest.NewKey(t)
	own, other := "gw-"+site.Name+".example", "gw-"+s.Peer(site).Name+".example"
	leaf := root.IssueFor(key, own, func(c *x509.Certificate) { c.CRLDistributionPoints = []string{"http://" + crlAddress + "/root.crl"} })
	pkitest.Write(t, folder, "own.pem", pkitest.PEM(leaf.Certificate))
	pkitest.Write(t, folder, "own.key", pkitest.KeyPEM(t, key))
	pkitest.Write(t, folder, "ca.pem", pkitest.PEM(root.Certificate))
	return fmt.Sprintf(`auth: {fetch_networks: [127.0.0.0/8]}
peers:
  - name: %s
    local: %s
    remote: %s
    local_id: %s
    remote_id: %s
    auth: {certificate_file: %s/own.pem, private_key_file: %s/own.key, ca_files: [%s/ca.pem]}
    start: %s
`, lab.PeerName, site.WANAddress, s.Peer(site).WANAddress, own, other, folder, folder, folder, start), key
}

// serveCRL publishes a root's CRL in the namespace of a gateway until the test ends.
func serveCRL(t *testing.T, site *lab.Site, list []byte) {
	t.Helper()
	var listener net.Listener
	err := site.Gateway.Do(func() (err error) {
		listener, err = net.Listen("tcp", crlAddress)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(list) })}
	go server.Serve(listener) //nolint:errcheck // it ends with Close
	t.Cleanup(func() { server.Close() })
}

// TestCertificates: two gateways that have nothing in common but a root CA, each with a certificate for ECDSA of its own, have their tunnel
// as soon as they run, whichever begins. Their CRL comes through the host's own network, and nothing that a certificate names is on the wire
// in clear. Neither private key shows anywhere.
// S-060: each side begins once. S-061: no certificate subject or identity in clear. S-069: the private keys.
func TestCertificates(t *testing.T) {
	for _, starter := range []string{"a", "b"} {
		t.Run("from-"+starter, func(t *testing.T) {
			s := newSites(t, lab.RawGateway, lab.RawGateway)
			capture, err := s.Capture(lab.CaptureOptions{Snap: 4096, Marker: []byte(".example")})
			if err != nil {
				t.Fatal(err)
			}
			root := pkitest.NewRoot(t, "root")
			list := root.CRL(nil)
			var gateways []*lab.Gateway
			var keys []*ecdsa.PrivateKey
			for _, site := range []*lab.Site{s.A, s.B} {
				start := "on-demand"
				if site.Name == starter {
					start = "always"
				}
				serveCRL(t, site, list)
				peers, key := certifiedSite(t, root, s, site, start)
				g, err := s.StartGateway(site, lab.GatewayOptions{Binary: binary(t), Peers: peers, LogLevel: "debug", Metrics: metricsAddress})
				if err != nil {
					t.Fatal(err)
				}
				gateways, keys = append(gateways, g), append(keys, key)
			}
			for _, g := range gateways {
				if _, err := g.WaitTunnel(t.Context(), nil, tunnelLimit); err != nil {
					t.Fatal(err)
				}
			}
			result, err := s.A.Host.Ping(t.Context(), s.B.HostAddress, lab.PingOptions{Count: 5, Interval: 50 * time.Millisecond})
			if err != nil || result.Lost() != 0 {
				t.Errorf("ping %+v, %v, want every answer", result, err)
			}
			for i, g := range gateways {
				certificates, _, code := sallyport(t, g, "show", "certificates")
				crl, _, _ := sallyport(t, g, "crl", "show")
				if code != 0 || !strings.Contains(certificates, "CN=gw-"+g.Site.Name+".example,O=Example") || !strings.Contains(crl, "http://"+crlAddress+"/root.crl") {
					t.Errorf("gw-%s shows\n%s%s", g.Site.Name, certificates, crl)
				}
				scalar, err := keys[i].Bytes()
				if err != nil {
					t.Fatal(err)
				}
				if leak := secretIn(everythingShown(t, g)+g.Process.Log(), scalar); leak != "" {
					t.Errorf("gw-%s shows its private key: %s", g.Site.Name, leak)
				}
			}
			a, b, err := capture.Stop()
			if err != nil {
				t.Fatal(err)
			}
			for name, sent := range map[string]lab.Tally{"a": a, "b": b} {
				if sent.Clear != 0 || sent.Lost != 0 || sent.Protected() == 0 || sent.Marked != 0 {
					t.Errorf("site %s sent %v, want ESP, nothing clear, and no name of a certificate", name, sent)
				}
			}
		})
	}
}
