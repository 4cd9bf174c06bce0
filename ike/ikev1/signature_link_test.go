package ikev1

import (
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	stdcrypto "crypto"

	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// signedBy has an end prove itself by a key, and the peer by a certificate, which here is its public key in DER.
func signedBy(t testing.TB, key stdcrypto.Signer) func(*ike.Config) {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return func(cfg *ike.Config) {
		p := &cfg.Peers[0]
		p.LocalAuth, p.RemoteAuth = ike.AuthSignature, ike.AuthSignature
		p.Credential, p.Authorities = &ike.Credential{Key: key, Certificates: [][]byte{der}}, [][]byte{make([]byte, 20)}
	}
}

// checks answers the questions about certificates of both ends: with the key in them, or a refusal.
func (l *link) checks(refusal ike.Reason) (asked int) {
	for _, n := range []*end{l.a, l.b} {
		for _, q := range n.asked {
			asked++
			answer := ike.CertificatesChecked{Ticket: q.Ticket, Reason: refusal, Detail: "the test says no"}
			if refusal == "" {
				answer.Key, _ = x509.ParsePKIXPublicKey(q.Certificates[0])
			}
			n.step(answer)
		}
		n.asked = nil
	}
	return asked
}

// S-059, S-061: with RSA and ECDSA at both ends a tunnel comes up, when the certificates of both have been checked; what is asked for and said of them in
// clear names nobody.
func TestSignedMainMode(t *testing.T) {
	for name, keys := range map[string][2]stdcrypto.Signer{
		"RSA": {rsaKey(), anotherRSAKey()}, "P-256": {ecdsaKey(t, elliptic.P256()), ecdsaKey(t, elliptic.P256())}, "P-521": {ecdsaKey(t, elliptic.P521()), ecdsaKey(t, elliptic.P521())},
	} {
		t.Run(name, func(t *testing.T) {
			l := join(t, signedBy(t, keys[0]), signedBy(t, keys[1]))
			l.twist = func(_ *end, payload []byte) []byte {
				if m, err := isakmp.Parse(payload); err == nil && (isakmp.Find[*isakmp.Cert](m.Payloads) != nil || isakmp.Find[*isakmp.ID](m.Payloads) != nil) {
					t.Error("a certificate or an identity is sent in clear")
				}
				return payload
			}
			l.begin()
			for range 2 {
				l.run()
				l.advance(2 * time.Second) // message 5 comes again meanwhile, and asks nothing more
				if asked := l.checks(""); asked != 1 {
					t.Fatalf("%d questions about certificates are out, expected 1", asked)
				}
			}
			l.run()
			l.established()
			l.settled(1, 1)
		})
	}
}

// A peer whose certificate is refused, whose check is not answered, or who signs with another key than its certificate has, gets no SA; the one that
// began learns why.
func TestRefusedSignatures(t *testing.T) {
	right, wrong := signedBy(t, ecdsaKey(t, elliptic.P256())), ecdsaKey(t, elliptic.P256())
	for name, c := range map[string]struct {
		initiator func(*ike.Config)
		refusal   ike.Reason
		answer    bool
		want      ike.Reason
	}{
		"refused":     {right, ike.CertUntrusted, true, ike.CertUntrusted},
		"no answer":   {right, "", false, ike.CertUnanswered},
		"another key": {func(cfg *ike.Config) { right(cfg); cfg.Peers[0].Credential.Key = wrong }, "", true, ike.AuthSigned},
		"nonsense":    {right, ike.FailTimeout, true, ike.CertUnanswered},
	} {
		l := join(t, c.initiator, signedBy(t, ecdsaKey(t, elliptic.P256())))
		l.begin()
		l.run()
		if c.answer {
			l.checks(c.refusal)
		} else {
			l.advance(20 * time.Second)
		}
		l.run()
		if l.b.count(ike.Failed, c.want) == 0 || l.b.count(ike.IKEEstablished, "") > 0 || len(l.b.engine.questions) > 0 {
			t.Errorf("%s: %d questions are left, facts of b:\n%s", name, len(l.b.engine.questions), l.b.story())
		}
		if l.a.count(ike.Failed, ike.FailAuthentication) != 1 {
			t.Errorf("%s: facts of a:\n%s", name, l.a.story())
		}
		shown := l.b.engine.Snapshot()[0].PeerFailure.Attempt
		if shown == nil || len(shown.Theirs.Certificates) != 1 || shown.Theirs.Identity.IsZero() || shown.Answer != "AUTHENTICATION-FAILED" {
			t.Errorf("%s: b shows %+v, expected who a says that it is, and its certificate", name, shown)
		}
	}
}

// Questions about certificates are bounded for each peer's name.
func TestQuestionsAreBounded(t *testing.T) {
	key := ecdsaKey(t, elliptic.P256())
	l := join(t, signedBy(t, key), func(cfg *ike.Config) { signedBy(t, key)(cfg); cfg.Limits.ChecksPerPeer = 2 })
	for range 4 { // a forgets and begins anew
		cfg := sideA(t)
		cfg.Random = seeded(byte(10 + len(l.b.engine.questions)))
		signedBy(t, key)(&cfg)
		l.a.boot(cfg)
		l.begin()
		l.run()
	}
	if n := len(l.b.engine.questions); n > 2 || n == 0 {
		t.Errorf("%d questions are out, expected 2: %s", n, fmt.Sprint(l.b.story()))
	}
}

// Both ends ask for the other's certificate, in messages 3 and 4: strongSwan sends none unasked.
func TestBothAskForCertificates(t *testing.T) {
	l := join(t, signedBy(t, ecdsaKey(t, elliptic.P256())), signedBy(t, ecdsaKey(t, elliptic.P256())))
	asked := map[string]bool{}
	l.twist = func(from *end, payload []byte) []byte {
		m, err := isakmp.Parse(payload)
		if err == nil && isakmp.Find[*isakmp.CertReq](m.Payloads) != nil {
			asked[from.name] = true
		}
		return payload
	}
	l.begin()
	l.run()
	if len(asked) != 2 {
		t.Errorf("asked have %v, expected both", asked)
	}
}
