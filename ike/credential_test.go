package ike

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"sallyport/crypto"
)

func newP256(t testing.TB) *ecdsa.PrivateKey { return newECDSA(t, elliptic.P256()) }
func newP224(t testing.TB) *ecdsa.PrivateKey { return newECDSA(t, elliptic.P224()) }

func newECDSA(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// trusting lets a peer prove itself by certificate.
func trusting(p Peer) Peer {
	p.RemoteAuth, p.Authorities = AuthSignature, [][]byte{make([]byte, authorityLen)}
	return p
}

func TestValidateMethods(t *testing.T) {
	base := sideA(t).Peers[0]
	ours := &Credential{[][]byte{{1}}, newP256(t)}
	signing := base
	signing.LocalAuth, signing.Credential = AuthSignature, ours
	both := trusting(signing)
	both.PSK = crypto.Secret{}
	for name, p := range map[string]Peer{"we by certificate": signing, "the peer by certificate": trusting(base), "both by certificate": both} {
		if err := ValidatePeers([]Peer{p}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A credential shows the kind of its key, never the key.
func TestCredentialNeverPrints(t *testing.T) {
	key := newP256(t)
	private, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	c := &Credential{[][]byte{{1}}, key}
	p := Peer{Credential: c}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", *c), fmt.Sprintf("%#v", *c), fmt.Sprintf("%d", *c), fmt.Sprintf("%+v", p), fmt.Sprintf("%x", *c), string(asJSON),
		slog.AnyValue(c).Resolve().String()} {
		if strings.Contains(text, new(big.Int).SetBytes(private).String()) || strings.Contains(text, fmt.Sprintf("%x", private)) || !strings.Contains(text, "ECDSA P-256") && !strings.Contains(text, "0x") {
			t.Errorf("prints %q", text)
		}
	}
}
