package ikev1

import (
	stdcrypto "crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/isakmp"
)

func reasonOf(err error) ike.Reason {
	var f *failure
	if errors.As(err, &f) {
		return f.reason
	}
	return ""
}

// Keys by RSA take a while to make: all tests have the same ones.
var rsaKey, anotherRSAKey = rsaOnce(2048), rsaOnce(2048)

func rsaOnce(bits int) func() *rsa.PrivateKey {
	return sync.OnceValue(func() *rsa.PrivateKey {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		return key
	})
}

func ecdsaKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signer(key stdcrypto.Signer) *ike.Peer {
	return &ike.Peer{LocalAuth: ike.AuthSignature, RemoteAuth: ike.AuthSignature, Credential: &ike.Credential{Key: key, Certificates: [][]byte{{1}, {2}}}}
}

// S-059: what the rule of a peer's address says is what main mode with it may choose, and an initiator's list is answered from it.
func TestMethodOfThePeersAddress(t *testing.T) {
	p256 := signer(ecdsaKey(t, elliptic.P256()))
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	byPSK := &ike.Peer{PSK: crypto.NewSecret([]byte("a shared key"))}
	all := []isakmp.AuthMethod{isakmp.AuthECDSASHA256P256, isakmp.AuthRSASignature, isakmp.AuthPreSharedKey}
	offered := received(t, offerPhase1(spread(DefaultIKEProposals(), all, isakmp.Lifetime{})))
	for _, c := range []struct {
		name string
		peer *ike.Peer
		want isakmp.AuthMethod
	}{
		{"pre-shared key", byPSK, isakmp.AuthPreSharedKey}, {"RSA", signer(rsaKey()), isakmp.AuthRSASignature}, {"ECDSA", p256, isakmp.AuthECDSASHA256P256},
	} {
		methods, err := authMethods(c.peer)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		choice, err := choosePhase1(spread(DefaultIKEProposals(), methods, isakmp.Lifetime{}), offered)
		if err != nil || choice.Auth != c.want || !proves(c.peer, c.want) {
			t.Errorf("%s: answered %v, error %v, expected %v", c.name, choice.Auth, err, c.want)
		}
		if bySignature(choice.Auth) != (c.peer != byPSK) {
			t.Errorf("%s: %v by signature: %t", c.name, choice.Auth, bySignature(choice.Auth))
		}
	}
	for name, p := range map[string]*ike.Peer{
		"two methods": {LocalAuth: ike.AuthSignature}, "Ed25519": signer(ed), "P-224": signer(ecdsaKey(t, elliptic.P224())),
		"no key": {LocalAuth: ike.AuthSignature, RemoteAuth: ike.AuthSignature},
	} {
		if methods, err := authMethods(p); err == nil {
			t.Errorf("%s: methods %v, expected an error", name, methods)
		}
	}
}

// A signature of each kind is made and taken; nothing else of it is. With ECDSA the hash is that of the curve whatever was negotiated (RFC 2409 5.1).
func TestSignatures(t *testing.T) {
	k := &phase1Keys{prf: crypto.PRFHMACSHA1, skeyid: crypto.NewSecret([]byte("SKEYID of this test"))}
	seen := transcript{cookies: isakmp.Cookies{Initiator: 1, Responder: 2}, gxi: []byte{1}, gxr: []byte{2}, sai: []byte{3}}
	id := &isakmp.ID{Type: isakmp.IDFQDN, Data: []byte("gw-a.example")}
	another := ecdsaKey(t, elliptic.P384())
	for _, c := range []struct {
		key      stdcrypto.Signer
		hash     int // octets of what is signed
		length   int // of the signature
		other    stdcrypto.Signer
		mismatch stdcrypto.Signer // of another kind
	}{
		{rsaKey(), 20, 256, anotherRSAKey(), another},
		{ecdsaKey(t, elliptic.P256()), 32, 64, ecdsaKey(t, elliptic.P256()), another},
		{ecdsaKey(t, elliptic.P384()), 48, 96, another, rsaKey()},
		{ecdsaKey(t, elliptic.P521()), 64, 132, ecdsaKey(t, elliptic.P521()), another},
	} {
		p := signer(c.key)
		methods, err := authMethods(p)
		if err != nil {
			t.Fatal(err)
		}
		method := methods[0]
		hash := k.proof(method, true, seen, body(t, id))
		if len(hash) != c.hash || slices.Equal(hash, k.proof(method, false, seen, body(t, id))) {
			t.Errorf("%v: HASH_I has %d octets, expected %d and others than HASH_R", method, len(hash), c.hash)
		}
		payload, err := prove(p, method, hash, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		signature, err := signatureOf([]isakmp.Payload{payload}, method)
		if err != nil || len(signature) != c.length {
			t.Fatalf("%v: %d octets of signature, error %v, expected %d", method, len(signature), err, c.length)
		}
		if err := verifySignature(method, false, c.key.Public(), hash, signature); err != nil {
			t.Errorf("%v: %v", method, err)
		}
		bad, short := slices.Clone(signature), signature[:len(signature)-1]
		bad[len(bad)/2] ^= 1
		for name, refused := range map[string]struct {
			err  error
			want ike.Reason
		}{
			"a changed signature":                  {verifySignature(method, false, c.key.Public(), hash, bad), ike.AuthSigned},
			"a short one":                          {verifySignature(method, false, c.key.Public(), hash, short), ike.AuthSigned},
			"none":                                 {verifySignature(method, false, c.key.Public(), hash, nil), ike.AuthSigned},
			"over HASH_R":                          {verifySignature(method, false, c.key.Public(), k.proof(method, false, seen, body(t, id)), signature), ike.AuthSigned},
			"by another key":                       {verifySignature(method, false, c.other.Public(), hash, signature), ike.AuthSigned},
			"by a key of another kind than chosen": {verifySignature(method, false, c.mismatch.Public(), hash, signature), ike.AuthAlgorithm},
		} {
			if reasonOf(refused.err) != refused.want {
				t.Errorf("%v, %s: error %v, expected %s", method, name, refused.err, refused.want)
			}
		}
	}
	if err := verifySignature(isakmp.AuthRSASignature, false, rsaOnce(1024)().Public(), make([]byte, 20), make([]byte, 128)); reasonOf(err) != ike.CertKeyType {
		t.Errorf("RSA of 1024 bits: error %v, expected %s", err, ike.CertKeyType)
	}
	if _, err := signatureOf([]isakmp.Payload{&isakmp.Hash{Data: make([]byte, 20)}}, isakmp.AuthRSASignature); reasonOf(err) != ike.AuthOtherMethod {
		t.Errorf("a hash in place of a signature: error %v, expected %s", err, ike.AuthOtherMethod)
	}
}

// strongSwan's signatures by RSA, and its hashes with a pre-shared key, are taken; the other end's are not.
func TestCapturedProofs(t *testing.T) {
	c := readCapture(t, "ikev1-rsa-3des-md5-fragments")
	k, seen := c.mainModeKeys(t, crypto.PRFHMACMD5, phase1Cipher{crypto.Encr3DES, 24}, c.messages)
	iv := k.phase1IV(seen)
	for i, initiator := range []bool{true, false} {
		chain, next := c.open(t, k, iv, c.messages[4+i])
		iv = next
		id := body(t, isakmp.Find[*isakmp.ID](chain.Payloads))
		certificates, err := certificatesOf(chain.Payloads)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(certificates[0])
		if err != nil {
			t.Fatal(err)
		}
		signature, err := signatureOf(chain.Payloads, isakmp.AuthRSASignature)
		if err != nil {
			t.Fatal(err)
		}
		check := func(asInitiator bool) error {
			return verifySignature(isakmp.AuthRSASignature, true, cert.PublicKey, k.proof(isakmp.AuthRSASignature, asInitiator, seen, id), signature)
		}
		if err := check(initiator); err != nil {
			t.Error(err)
		}
		if err := check(!initiator); reasonOf(err) != ike.AuthSigned {
			t.Errorf("the proof of one end is taken for the other's, error %v", err)
		}
	}
}

func TestVerifyHash(t *testing.T) {
	c := readCapture(t, "ikev1-psk-pfs-tunnel")
	k, seen := c.mainModeKeys(t, crypto.PRFHMACSHA256, phase1Cipher{crypto.EncrAESCBC, 32}, c.messages)
	chain, _ := c.open(t, k, k.phase1IV(seen), c.messages[4])
	id := isakmp.Find[*isakmp.ID](chain.Payloads)
	want := k.proof(isakmp.AuthPreSharedKey, true, seen, body(t, id))
	if err := verifyHash(chain.Payloads, id, want); err != nil {
		t.Error(err)
	}
	changed := slices.Clone(want)
	changed[31] ^= 1
	for name, refused := range map[string]struct {
		payload isakmp.Payload
		want    ike.Reason
	}{
		"changed": {&isakmp.Hash{Data: changed}, ike.AuthKey}, "short": {&isakmp.Hash{Data: want[:31]}, ike.AuthKey}, "longer": {&isakmp.Hash{Data: append(changed, 0)}, ike.AuthKey},
		"a signature": {&isakmp.Sig{Data: want}, ike.AuthOtherMethod},
	} {
		if err := verifyHash([]isakmp.Payload{refused.payload}, id, want); reasonOf(err) != refused.want {
			t.Errorf("%s: error %v, expected %s", name, err, refused.want)
		}
	}
	payload, err := prove(&ike.Peer{}, isakmp.AuthPreSharedKey, want, nil)
	if err != nil || verifyHash([]isakmp.Payload{payload}, id, want) != nil {
		t.Errorf("our own HASH is not taken, error %v", err)
	}
}

// S-059: of the peers at an address the one is found that says its name and proves itself as was chosen; a pre-shared key is found without a name.
func TestIdentify(t *testing.T) {
	name := func(text string) ike.Identity {
		id, err := ike.ParseIdentity(text)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	psk := crypto.NewSecret([]byte("the key of an address"))
	key := rsaKey()
	a, b, c := signer(key), signer(key), &ike.Peer{PSK: psk}
	a.RemoteID, b.RemoteID, c.RemoteID = name("a.example"), name("CN=b,O=Example"), ike.AddressIdentity(netip.MustParseAddr("192.0.2.9"))
	among := []*ike.Peer{a, b, c}
	for _, v := range []struct {
		id     ike.Identity
		method isakmp.AuthMethod
		want   *ike.Peer
		reason ike.Reason
	}{
		{name("A.example"), isakmp.AuthRSASignature, a, ""}, {name("cn=B,o=example"), isakmp.AuthRSASignature, b, ""},
		{c.RemoteID, isakmp.AuthPreSharedKey, c, ""}, {c.RemoteID, isakmp.AuthRSASignature, nil, ike.AuthIdentity},
		{a.RemoteID, isakmp.AuthPreSharedKey, nil, ike.AuthIdentity}, {a.RemoteID, isakmp.AuthECDSASHA384P384, nil, ike.AuthOtherMethod},
	} {
		if got, err := identify(among, v.method, identityPayload(v.id)); got != v.want || reasonOf(err) != v.reason {
			t.Errorf("%v by %v: error %v, expected %q", v.id, v.method, err, v.reason)
		}
	}
	if _, err := identify(among, isakmp.AuthRSASignature, isakmp.SubnetID(netip.MustParsePrefix("192.0.2.0/24"))); reasonOf(err) != ike.AuthIdentity {
		t.Errorf("a network as identity: error %v, expected %s", err, ike.AuthIdentity)
	}
	if got, err := keyAt(among); err != nil || !got.Equal(psk) {
		t.Errorf("key of the address: error %v", err)
	}
	if _, err := keyAt(among[:2]); reasonOf(err) != ike.AuthOtherMethod {
		t.Errorf("key of an address without one: error %v", err)
	}
}

func TestCertificates(t *testing.T) {
	x509s := func(n int) (list []isakmp.Payload) {
		for i := range n {
			list = append(list, &isakmp.Cert{Encoding: isakmp.CertX509Signature, Data: []byte{byte(i)}})
		}
		return list
	}
	crl := &isakmp.Cert{Encoding: isakmp.CertCRL, Data: []byte{9}}
	for name, c := range map[string]struct {
		payloads []isakmp.Payload
		count    int
		reason   ike.Reason
	}{
		"a chain and a CRL": {append(x509s(3), crl), 3, ""},
		"one twice":         {append(x509s(2), x509s(2)...), 2, ""},
		"none":              {nil, 0, ike.CertMissing},
		"a CRL only":        {[]isakmp.Payload{crl}, 0, ike.CertForm},
		"PKCS #7":           {[]isakmp.Payload{&isakmp.Cert{Encoding: isakmp.CertPKCS7, Data: []byte{1}}}, 0, ike.CertForm},
		"too many":          {x509s(9), 0, ike.CertTooMany},
	} {
		if list, err := certificatesOf(c.payloads); len(list) != c.count || reasonOf(err) != c.reason {
			t.Errorf("%s: %d certificates, error %v, expected %d, %q", name, len(list), err, c.count, c.reason)
		}
	}
	p := signer(rsaKey())
	if sent, err := certificatesOf(certificates(p)); err != nil || len(sent) != 2 || len(certificates(&ike.Peer{})) != 0 {
		t.Errorf("%d certificates of ours, error %v, expected 2 where we sign", len(sent), err)
	}
	// S-061: what is asked for in clear names nobody.
	for _, request := range certificateRequest(isakmp.AuthRSASignature) {
		if len(request.(*isakmp.CertReq).Authority) > 0 {
			t.Error("CERTREQ, which is sent in clear, names an authority")
		}
	}
	if certificateRequest(isakmp.AuthPreSharedKey) != nil {
		t.Error("a certificate is asked for beside a pre-shared key")
	}
}
