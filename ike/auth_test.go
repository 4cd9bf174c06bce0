package ike

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"sync"
	"testing"
	"time"
)

// Keys of each kind that is taken, made once. To the engine certificates are octets: these are their names.
var keysOf = sync.OnceValue(func() map[string]crypto.Signer {
	keys := map[string]crypto.Signer{}
	add := func(name string, key crypto.Signer, err error) {
		if err != nil {
			panic(err)
		}
		keys[name] = key
	}
	for _, bits := range []int{1024, 2048} {
		key, err := rsa.GenerateKey(nil, bits)
		add(fmt.Sprintf("rsa%d", bits), key, err)
	}
	for name, curve := range map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, nil)
		add(name, key, err)
	}
	_, key, err := ed25519.GenerateKey(nil)
	add("ed25519", key, err)
	return keys
})

// certified has the one peer of a configuration prove itself, and us, by certificates; with an empty name that end goes on with the key.
func certified(ours, peers string) func(*Config) {
	return func(c *Config) {
		p := &c.Peers[0]
		if ours != "" {
			p.LocalAuth = AuthSignature
			p.Credential = &Credential{Certificates: [][]byte{[]byte("leaf " + ours), []byte("intermediate")}, Key: keysOf()[ours]}
		}
		if peers != "" {
			*p = trusting(*p)
		}
	}
}

// answer gives the oldest check the answer that follows from the certificates' names.
func (n *end) answer() []Effect {
	q := n.checks[0]
	n.checks = n.checks[1:]
	return n.step(n.answerTo(q))
}

func (n *end) answerTo(q CheckCertificates) CertificatesChecked {
	var name string
	if _, err := fmt.Sscanf(string(q.Certificates[0]), "leaf %s", &name); err != nil || keysOf()[name] == nil {
		return CertificatesChecked{Ticket: q.Ticket, Reason: CertUntrusted, Detail: "nobody knows its issuer"}
	}
	return CertificatesChecked{Ticket: q.Ticket, Key: keysOf()[name].Public()}
}

// S-066: both ends prove themselves, by certificates with keys of every kind, by the pre-shared key, or one by this and one by that.
func TestMethods(t *testing.T) {
	for _, c := range []struct{ a, b string }{
		{"rsa2048", "rsa2048"}, {"p256", "p256"}, {"p384", "p384"}, {"p521", "p521"}, {"ed25519", "ed25519"}, {"p256", "rsa2048"}, {"ed25519", "p521"},
		{"", "p256"}, {"rsa2048", ""}, {"", ""},
	} {
		t.Run(fmt.Sprintf("%s and %s", c.a, c.b), func(t *testing.T) {
			l := up(t, certified(c.a, c.b), certified(c.b, c.a))
			l.a.rekey(rekeyIKE)
			l.advance(time.Minute)
			l.established("net")
		})
	}
}
