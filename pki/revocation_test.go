package pki

import (
	std "crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/pki/pkitest"
)

// loopback is where the servers of these tests are.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// strict are the default settings, but for servers on loopback that answer at once or never.
func strict() Settings {
	s := DefaultSettings()
	s.FetchNetworks, s.FetchTimeout = loopback, 2*time.Second
	return s
}

// clock is a time that a test moves.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// publisher is an HTTP server that gives each path what a test says, and counts.
type publisher struct {
	*httptest.Server
	mu    sync.Mutex
	serve map[string]http.HandlerFunc
	asked map[string]int
}

func newPublisher(t *testing.T) *publisher {
	t.Helper()
	p := &publisher{serve: map[string]http.HandlerFunc{}, asked: map[string]int{}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked[r.URL.Path]++
		handle := p.serve[r.URL.Path]
		p.mu.Unlock()
		if handle == nil {
			http.NotFound(w, r)
			return
		}
		handle(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *publisher) handle(path string, h http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serve[path] = h
}

// publish has a path answer with octets.
func (p *publisher) publish(path string, content []byte) {
	p.handle(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) })
}

func (p *publisher) count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

// revocable is a root whose certificates say that their CRL is at a path of a server.
type revocable struct {
	*pkitest.CA
	*publisher
	clock clock
	leaf  *x509.Certificate
	crl   string // its address
}

func newRevocable(t *testing.T) *revocable {
	t.Helper()
	r := &revocable{CA: pkitest.NewRoot(t, "root"), publisher: newPublisher(t)}
	r.crl = r.URL + "/root.crl"
	r.leaf = r.issue()
	return r
}

func (r *revocable) issue() *x509.Certificate {
	return issueHost(r.CA, func(c *x509.Certificate) { c.CRLDistributionPoints = []string{r.crl} })
}

// checker keeps its CRLs in a folder.
func (r *revocable) checker(folder string, settings Settings) *Checker {
	return NewChecker(folder, settings, r.clock.now, slog.New(slog.DiscardHandler))
}

// check wants a reason for the refusal of a certificate, or none.
func (r *revocable) check(t *testing.T, what string, c *Checker, certificate *x509.Certificate, want Reason) {
	t.Helper()
	key, err := c.Check(t.Context(), trusting(r.CA), host, raw(certificate))
	reasonIs(t, what, err, want)
	if err == nil && !certificate.PublicKey.(interface{ Equal(std.PublicKey) bool }).Equal(key) {
		t.Errorf("%s: another key", what)
	}
}

// crlFaults is every fault of a CRL and of the server it comes from, with the reason for it.
func crlFaults(t *testing.T, r *revocable) map[Reason]func() {
	stranger, slow := pkitest.NewRoot(t, "root"), make(chan struct{})
	t.Cleanup(func() { close(slow) })
	extension := func(critical bool, id asn1.ObjectIdentifier, value []byte) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.ExtraExtensions = append(l.ExtraExtensions, pkix.Extension{Id: id, Critical: critical, Value: value})
		}
	}
	return map[Reason]func(){
		CRLUnreachable: func() { r.handle("/root.crl", func(http.ResponseWriter, *http.Request) { <-slow }) },
		CRLExpired: func() {
			r.publish("/root.crl", r.CRL(nil, func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(-time.Minute) }))
		},
		CRLNotYet: func() {
			r.publish("/root.crl", r.CRL(nil, func(l *x509.RevocationList) {
				l.ThisUpdate = time.Now().Add(time.Hour)
				l.NextUpdate = time.Now().Add(2 * time.Hour)
			}))
		},
		CRLSignature:   func() { r.publish("/root.crl", stranger.CRL(nil)) },
		CRLMalformed:   func() { r.publish("/root.crl", []byte("no CRL")) },
		CRLUnsupported: func() { r.publish("/root.crl", r.CRL(nil, extension(true, oidDeltaCRL, []byte{2, 1, 1}))) },
		CRLScope:       func() { r.publish("/root.crl", r.CRL(nil, extension(true, oidScope, []byte{0x30, 3, 0x82, 1, 0xff}))) }, // CAs only
		CRLTooLarge: func() {
			r.handle("/root.crl", func(w http.ResponseWriter, q *http.Request) { // without end
				for q.Context().Err() == nil {
					if _, err := w.Write(make([]byte, 1<<16)); err != nil {
						return
					}
				}
			})
		},
	}
}

// With crl_mode 0 a revoked certificate passes, with 1 and 2 it does not.
// S-073, S-074: revoked.
func TestRevoked(t *testing.T) {
	for mode, want := range map[Mode]Reason{CRLOff: "", CRLLenient: CertRevoked, CRLStrict: CertRevoked} {
		r := newRevocable(t)
		other := r.issue()
		r.publish("/root.crl", r.CRL([]*x509.Certificate{r.leaf}))
		s := strict()
		s.Mode = mode
		c := r.checker(t.TempDir(), s)
		r.check(t, "revoked", c, r.leaf, want)
		r.check(t, "another", c, other, "")
		if asked := r.count("/root.crl"); asked != min(int(mode), 1) {
			t.Errorf("mode %d: the server was asked %d times", mode, asked)
		}
	}
	if mode := DefaultSettings().Mode; mode != CRLStrict {
		t.Errorf("default mode %d", mode)
	}
}

// Whatever is wrong with the CRL or its server, crl_mode 2 refuses the certificate, each fault with its own reason, and crl_mode 1 lets it
// pass and counts. A server that failed is not asked by the next negotiation.
// S-073: the server is down. S-074: the server is down, the CRL is expired, its signature is bad.
func TestCRLFaults(t *testing.T) {
	for reason := range crlFaults(t, newRevocable(t)) {
		t.Run(string(reason), func(t *testing.T) {
			t.Parallel()
			r := newRevocable(t)
			crlFaults(t, r)[reason]()
			s := strict()
			s.FetchTimeout = 300 * time.Millisecond
			if reason == CRLTooLarge {
				s.FetchTimeout, s.MaxCRL = 5*time.Second, 1<<20
			}
			c := r.checker(t.TempDir(), s)
			r.check(t, "mode 2", c, r.leaf, reason)
			r.check(t, "mode 2 again", c, r.leaf, reason)
			s.Mode = CRLLenient
			c.Configure(s)
			r.check(t, "mode 1", c, r.leaf, "")
			if c.Counters().Unknown != 1 {
				t.Errorf("counters %+v, want one certificate that passed without an answer", c.Counters())
			}
			if asked := r.count("/root.crl"); asked != 1 && reason != CRLScope {
				t.Errorf("the server was asked %d times in a row, want once", asked)
			}
			s.Mode = CRLStrict
			c.Configure(s)
			r.publish("/root.crl", r.CRL(nil))
			if reason != CRLScope { // that one is cached: it is good, and about others
				r.check(t, "before the pause is over", c, r.leaf, reason)
				r.clock.advance(retryAfter + time.Second)
				r.check(t, "after the pause", c, r.leaf, "")
			}
		})
	}
}

// A server that is not there at all fails as one that does not answer; so do redirects without end, and other schemes.
func TestServers(t *testing.T) {
	r := newRevocable(t)
	gone := httptest.NewServer(nil)
	gone.Close()
	secret := newPublisher(t)
	secret.publish("/root.crl", r.CRL(nil))
	redirect := func(path, to string) {
		r.handle(path, func(w http.ResponseWriter, q *http.Request) { http.Redirect(w, q, to, http.StatusFound) })
	}
	redirect("/loop.crl", "/loop.crl")
	redirect("/moved.crl", "/root.crl")
	redirect("/file.crl", "file:///etc/passwd")
	r.publish("/root.crl", r.CRL(nil))
	for address, want := range map[string]Reason{
		gone.URL + "/root.crl":             CRLUnreachable,
		r.URL + "/missing.crl":             CRLUnreachable,
		r.URL + "/loop.crl":                CRLRefused,
		r.URL + "/file.crl":                CRLRefused,
		r.URL + "/moved.crl":               "",
		"ldap://127.0.0.1/cn=root":         CRLMissing,
		"file:///etc/passwd":               CRLMissing,
		"http://user:word@127.0.0.1/a.crl": CRLRefused,
		"http://":                          CRLRefused,
		"":                                 CRLMissing,
	} {
		leaf := issueHost(r.CA, func(c *x509.Certificate) {
			if address != "" {
				c.CRLDistributionPoints = []string{address}
			}
		})
		r.check(t, address, r.checker(t.TempDir(), strict()), leaf, want)
	}
	// One server of several is enough.
	several := issueHost(r.CA, func(c *x509.Certificate) {
		c.CRLDistributionPoints = []string{"ldap://127.0.0.1/cn=root", gone.URL + "/root.crl", r.crl}
	})
	r.check(t, "the last of several", r.checker(t.TempDir(), strict()), several, "")
}

// Where a CRL's server may be is the configuration's to say. Without it neither this machine nor its links are asked, whatever the
// address, the name or a redirect says.
func TestForbiddenAddresses(t *testing.T) {
	r := newRevocable(t)
	r.publish("/root.crl", r.CRL(nil))
	s := strict()
	for _, networks := range [][]netip.Prefix{nil, {netip.MustParsePrefix("203.0.113.0/24")}} {
		s.FetchNetworks = networks
		for _, address := range []string{r.crl, strings.Replace(r.crl, "127.0.0.1", "localhost", 1), "http://169.254.169.254/latest/meta-data", "http://[fe80::1]/a.crl", "http://0.0.0.0/a.crl", "http://[::ffff:127.0.0.1]/a.crl", "http://224.0.0.1/a.crl"} {
			leaf := issueHost(r.CA, func(c *x509.Certificate) { c.CRLDistributionPoints = []string{address} })
			r.check(t, address, r.checker(t.TempDir(), s), leaf, CRLRefused)
		}
	}
	if asked := r.count("/root.crl"); asked != 0 {
		t.Errorf("the server was asked %d times", asked)
	}
}

// Nobody is asked about a certificate that does not chain to a listed root: its addresses are the peer's own words.
func TestUntrustedCertificatesAskNobody(t *testing.T) {
	r := newRevocable(t)
	stranger := pkitest.NewRoot(t, "stranger")
	leaf := issueHost(stranger, func(c *x509.Certificate) {
		c.CRLDistributionPoints, c.OCSPServer = []string{r.crl}, []string{r.URL + "/ocsp"}
	})
	s := strict()
	s.OCSP = true
	r.check(t, "untrusted", r.checker(t.TempDir(), s), leaf, CertUntrusted)
	for _, path := range []string{"/root.crl", "/ocsp"} {
		if r.count(path) != 0 {
			t.Errorf("%s was asked for", path)
		}
	}
}

// A cached CRL is used until it expires, by the next process too, and only a flush makes a revocation count before that.
// S-075
func TestCachedCRL(t *testing.T) {
	r, folder := newRevocable(t), t.TempDir()
	r.publish("/root.crl", r.CRL(nil))
	c := r.checker(folder, strict())
	r.check(t, "not revoked", c, r.leaf, "")
	r.publish("/root.crl", r.CRL([]*x509.Certificate{r.leaf}, func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(4 * time.Hour) }))
	r.check(t, "revoked since", c, r.leaf, "")
	restarted := r.checker(folder, strict())
	r.check(t, "revoked, after a restart", restarted, r.leaf, "")
	if asked := r.count("/root.crl"); asked != 1 {
		t.Errorf("the server was asked %d times, want once", asked)
	}
	if lists := restarted.Lists(); len(lists) != 1 || lists[0].Source != r.crl || lists[0].Revoked != 0 || lists[0].NextUpdate.IsZero() {
		t.Errorf("lists %+v", lists)
	}

	flushed, err := restarted.Flush()
	if err != nil || flushed != 1 {
		t.Errorf("%d flushed, %v", flushed, err)
	}
	r.check(t, "after a flush", restarted, r.leaf, CertRevoked)

	// Another process with the old CRL finds out when it expires.
	late := newRevocable(t)
	late.publish("/root.crl", late.CRL(nil))
	c = late.checker(t.TempDir(), strict())
	late.check(t, "not revoked", c, late.leaf, "")
	late.publish("/root.crl", late.CRL([]*x509.Certificate{late.leaf}, func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(4 * time.Hour) }))
	late.clock.advance(59 * time.Minute)
	late.check(t, "just before nextUpdate", c, late.leaf, "")
	late.clock.advance(2 * time.Minute)
	late.check(t, "after nextUpdate", c, late.leaf, CertRevoked)
}

// A CA in the middle is checked as well, by its own issuer's CRL.
func TestRevokedAuthority(t *testing.T) {
	r := newRevocable(t)
	middle := r.Authority("middle", func(c *x509.Certificate) { c.CRLDistributionPoints = []string{r.crl} })
	r.publish("/middle.crl", middle.CRL(nil))
	leaf := issueHost(middle, func(c *x509.Certificate) { c.CRLDistributionPoints = []string{r.URL + "/middle.crl"} })
	for want, revoked := range map[Reason][]*x509.Certificate{"": nil, CertRevoked: {middle.Certificate}} {
		r.publish("/root.crl", r.CRL(revoked))
		_, err := r.checker(t.TempDir(), strict()).Check(t.Context(), trusting(r.CA), host, raw(leaf, middle.Certificate))
		reasonIs(t, "below another CA", err, want)
	}
}

// What an issuer's list says counts for that issuer only: another CA with the same name and the same address has its own.
func TestCacheIsByIssuer(t *testing.T) {
	r, folder := newRevocable(t), t.TempDir()
	r.publish("/root.crl", r.CRL(nil))
	c := r.checker(folder, strict())
	r.check(t, "ours", c, r.leaf, "")
	twin := &revocable{CA: pkitest.NewRoot(t, "root"), publisher: r.publisher, crl: r.crl}
	twin.check(t, "the twin's", c, twin.issue(), CRLSignature)
	r.check(t, "ours again", c, r.leaf, "")
}

// One question is under way however many negotiations wait for its answer.
func TestOneFetchForAll(t *testing.T) {
	r := newRevocable(t)
	const waiters = 20
	list, proceed := r.CRL(nil), make(chan struct{})
	r.handle("/root.crl", func(w http.ResponseWriter, _ *http.Request) { <-proceed; _, _ = w.Write(list) })
	c := r.checker(t.TempDir(), strict())
	var all sync.WaitGroup
	for range waiters {
		all.Go(func() { r.check(t, "one of many", c, r.leaf, "") })
	}
	await(t, "the server to be asked", func() bool { return r.count("/root.crl") > 0 })
	close(proceed)
	all.Wait()
	if asked := r.count("/root.crl"); asked != 1 {
		t.Errorf("the server was asked %d times, want once", asked)
	}
}

// patience is how long a test waits for something that happens at once on an idle machine.
const patience = time.Minute

// await waits for a condition, with a limit.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// Checks that wait for servers are bounded in number, and those of peers that need no server do not wait for them.
func TestBusy(t *testing.T) {
	r := newRevocable(t)
	proceed := make(chan struct{})
	r.handle("/root.crl", func(http.ResponseWriter, *http.Request) { <-proceed })
	s := strict()
	s.FetchTimeout = patience // no check may end before the test lets it
	c := r.checker(t.TempDir(), s)
	var all sync.WaitGroup
	for range maxChecks - 1 {
		all.Go(func() { _, _ = c.Check(t.Context(), trusting(r.CA), host, raw(r.leaf)) })
	}
	await(t, "the checks to be under way", func() bool { return len(c.room) == maxChecks-1 })
	r.check(t, "needs no server", c, issueHost(r.CA, func(x *x509.Certificate) { x.KeyUsage = 0 }), CertUsage)
	c.room <- struct{}{}
	r.check(t, "one too many", c, r.leaf, CertBusy)
	<-c.room
	close(proceed)
	all.Wait()
}

// A file of the operator's serves in place of a server, while it holds.
func TestLocalLists(t *testing.T) {
	r := newRevocable(t)
	revoked := r.issue()
	good, err := ParseLocalLists("root.crl", r.CRL([]*x509.Certificate{revoked}))
	if err != nil {
		t.Fatal(err)
	}
	asPEM, err := ParseLocalLists("root.pem", pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: pkitest.NewRoot(t, "another").CRL(nil)}))
	if err != nil {
		t.Fatal(err)
	}
	s := strict()
	s.Lists = append(asPEM, good...)
	c := r.checker(t.TempDir(), s)
	r.check(t, "good by the file", c, r.leaf, "")
	r.check(t, "revoked by the file", c, revoked, CertRevoked)
	if asked := r.count("/root.crl"); asked != 0 {
		t.Errorf("the server was asked %d times", asked)
	}
	if lists := c.Lists(); len(lists) != 2 || !lists[1].Local || lists[1].Revoked != 1 {
		t.Errorf("lists %+v", lists)
	}
	nowhere := issueHost(r.CA)
	r.check(t, "without a server, by the file", c, nowhere, "")
	r.clock.advance(2 * time.Hour)
	r.check(t, "without a server, after the file's end", c, nowhere, CRLExpired)
	r.publish("/root.crl", r.CRL(nil, func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(4 * time.Hour) }))
	r.check(t, "by the server, after the file's end", c, r.leaf, "")
	if _, err := ParseLocalLists("x", []byte("no CRL")); err == nil {
		t.Error("a file without a CRL passes")
	}
}
