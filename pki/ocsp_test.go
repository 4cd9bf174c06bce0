package pki

import (
	std "crypto"
	"crypto/x509"
	"io"
	"net/http"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"sallyport/pki/pkitest"
)

// asking are strict settings with OCSP.
func asking() Settings {
	s := strict()
	s.OCSP = true
	return s
}

// answering is a root whose certificates name a responder, and no CRL.
func answering(t *testing.T) *revocable {
	t.Helper()
	r := newRevocable(t)
	r.leaf = issueHost(r.CA, func(c *x509.Certificate) { c.OCSPServer = []string{r.URL + "/ocsp"} })
	return r
}

// A responder's answer counts if it is the issuer's, of now, and about the certificate; whatever else it is, crl_mode decides.
func TestOCSP(t *testing.T) {
	r := answering(t)
	for name, test := range map[string]struct {
		answer []byte
		want   Reason
	}{
		"good":            {r.OCSP(r.leaf, ocsp.Good), ""},
		"revoked":         {r.OCSP(r.leaf, ocsp.Revoked), CertRevoked},
		"unknown":         {r.OCSP(r.leaf, ocsp.Unknown), OCSPAnswer},
		"about another":   {r.OCSP(r.issue(), ocsp.Good), OCSPAnswer},
		"without an end":  {r.OCSP(r.leaf, ocsp.Good, func(a *ocsp.Response) { a.NextUpdate, a.ThisUpdate = time.Time{}, time.Now() }), ""},
		"old, no end":     {r.OCSP(r.leaf, ocsp.Good, func(a *ocsp.Response) { a.NextUpdate = time.Time{}; a.ThisUpdate = time.Now().Add(-2 * time.Hour) }), OCSPAnswer},
		"expired":         {r.OCSP(r.leaf, ocsp.Good, func(a *ocsp.Response) { a.NextUpdate = time.Now().Add(-time.Minute) }), OCSPAnswer},
		"of tomorrow":     {r.OCSP(r.leaf, ocsp.Good, func(a *ocsp.Response) { a.ThisUpdate = time.Now().Add(time.Hour) }), OCSPAnswer},
		"by a stranger":   {pkitest.NewRoot(t, "root").OCSP(r.leaf, ocsp.Good), OCSPAnswer},
		"by a delegate":   {r.OCSPBy(r.Issue("responder", delegate), r.leaf, ocsp.Good), ""},
		"by no delegate":  {r.OCSPBy(r.Issue("machine.example"), r.leaf, ocsp.Good), OCSPAnswer},
		"by a former one": {r.OCSPBy(r.Issue("responder", delegate, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), r.leaf, ocsp.Good), OCSPAnswer},
		"an error":        {ocsp.TryLaterErrorResponse, OCSPAnswer},
		"garbage":         {[]byte("answer"), OCSPAnswer},
		"nothing":         {nil, OCSPAnswer},
		"endless":         {make([]byte, maxOCSP+1), CRLTooLarge},
	} {
		r.publish("/ocsp", test.answer)
		r.check(t, name, r.checker(t.TempDir(), asking()), r.leaf, test.want)
	}
	r.handle("/ocsp", http.NotFound)
	r.check(t, "no responder", r.checker(t.TempDir(), asking()), r.leaf, CRLUnreachable)
	soft := asking()
	soft.Mode = CRLLenient
	c := r.checker(t.TempDir(), soft)
	r.check(t, "no responder, crl_mode 1", c, r.leaf, "")
	if c.Counters().Unknown != 1 {
		t.Errorf("counters %+v", c.Counters())
	}
	off := strict()
	r.check(t, "without auth.ocsp", r.checker(t.TempDir(), off), r.leaf, CRLMissing)
}

// delegate is the template of one whom a CA has charged with answering.
func delegate(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} }

// An answer of a responder that serves two CAs with one key is about the CA that it names.
func TestOCSPNamesTheIssuer(t *testing.T) {
	r := answering(t)
	twin := pkitest.NewRoot(t, "twin")
	shared := r.Issue("responder", delegate)
	theirs := twin.Certify(pkitest.NewKey(t).Public(), host.Data, func(c *x509.Certificate) { c.SerialNumber = r.leaf.SerialNumber })
	answer, err := ocsp.CreateResponse(twin.Certificate, shared.Certificate, ocsp.Response{
		Status: ocsp.Good, SerialNumber: theirs.SerialNumber, ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour), Certificate: shared.Certificate, IssuerHash: std.SHA1,
	}, shared.Key)
	if err != nil {
		t.Fatal(err)
	}
	r.publish("/ocsp", answer)
	r.check(t, "about the twin's", r.checker(t.TempDir(), asking()), r.leaf, OCSPAnswer)
}

// The question is one that a responder reads, an answer serves until it ends, and a flush has it asked again. Where there is a CRL too, it
// serves when the responder does not.
func TestOCSPIsAsked(t *testing.T) {
	r := answering(t)
	answer := r.OCSP(r.leaf, ocsp.Good)
	r.handle("/ocsp", func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		request, bad := ocsp.ParseRequest(body)
		if err != nil || bad != nil || request.SerialNumber.Cmp(r.leaf.SerialNumber) != 0 || q.Method != http.MethodPost || q.Header.Get("Content-Type") != "application/ocsp-request" {
			t.Errorf("request %+v, %v, %v", q, err, bad)
		}
		_, _ = w.Write(answer)
	})
	c := r.checker(t.TempDir(), asking())
	r.check(t, "good", c, r.leaf, "")
	r.publish("/ocsp", r.OCSP(r.leaf, ocsp.Revoked))
	r.check(t, "revoked since", c, r.leaf, "")
	if _, err := c.Flush(); err != nil {
		t.Error(err)
	}
	r.check(t, "revoked, after a flush", c, r.leaf, CertRevoked)

	both := issueHost(r.CA, func(c *x509.Certificate) {
		c.OCSPServer, c.CRLDistributionPoints = []string{r.URL + "/ocsp"}, []string{r.crl}
	})
	r.publish("/ocsp", ocsp.TryLaterErrorResponse)
	r.publish("/root.crl", r.CRL([]*x509.Certificate{both}))
	r.check(t, "revoked by the CRL alone", r.checker(t.TempDir(), asking()), both, CertRevoked)
}
