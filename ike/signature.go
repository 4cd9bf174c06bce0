package ike

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"io"
	"slices"

	"sallyport/ike/internal/signing"
	"sallyport/ike/wire"
)

// family is what a signature is made by.
type family uint8

const (
	familyPKCS1 family = iota + 1 // an RSA key, RSASSA-PKCS1-v1_5
	familyPSS                     // an RSA key, RSASSA-PSS
	familyECDSA
	familyEd25519
)

// scheme is a signature algorithm of an AUTH payload.
type scheme struct {
	name   string
	method wire.AuthMethod
	family family
	hash   hashID
	curve  elliptic.Curve // that the method fixes; nil: any
	oid    string         // of AuthDigitalSignature, the content of an OBJECT IDENTIFIER in DER
	salt   int            // of RSASSA-PSS, in octets
	legacy bool           // only with Peer.Legacy
}

// schemes are all signatures that we make and take, the best of each kind of key first. RSASSA-PSS stands before PKCS#1 v1.5, which RFC 8247 3.2.1
// leaves to the past and no end with RFC 7427 depends on.
var schemes = []scheme{
	{name: "Ed25519", method: wire.AuthDigitalSignature, family: familyEd25519, hash: hashIdentity, oid: oidEd25519},
	{name: "RSASSA-PSS with SHA-512", method: wire.AuthDigitalSignature, family: familyPSS, hash: hashSHA512, oid: oidPSS, salt: 64},
	{name: "RSASSA-PSS with SHA-384", method: wire.AuthDigitalSignature, family: familyPSS, hash: hashSHA384, oid: oidPSS, salt: 48},
	{name: "RSASSA-PSS with SHA-256", method: wire.AuthDigitalSignature, family: familyPSS, hash: hashSHA256, oid: oidPSS, salt: 32},
	{name: "RSA PKCS#1 v1.5 with SHA-512", method: wire.AuthDigitalSignature, family: familyPKCS1, hash: hashSHA512, oid: oidSHA512WithRSA},
	{name: "RSA PKCS#1 v1.5 with SHA-384", method: wire.AuthDigitalSignature, family: familyPKCS1, hash: hashSHA384, oid: oidSHA384WithRSA},
	{name: "RSA PKCS#1 v1.5 with SHA-256", method: wire.AuthDigitalSignature, family: familyPKCS1, hash: hashSHA256, oid: oidSHA256WithRSA},
	{name: "ECDSA with SHA-512", method: wire.AuthDigitalSignature, family: familyECDSA, hash: hashSHA512, oid: oidECDSAWithSHA512},
	{name: "ECDSA with SHA-384", method: wire.AuthDigitalSignature, family: familyECDSA, hash: hashSHA384, oid: oidECDSAWithSHA384},
	{name: "ECDSA with SHA-256", method: wire.AuthDigitalSignature, family: familyECDSA, hash: hashSHA256, oid: oidECDSAWithSHA256},
	// RFC 4754: the curve is part of the method.
	{name: "ECDSA with SHA-512 on P-521", method: wire.AuthECDSASHA512P521, family: familyECDSA, hash: hashSHA512, curve: elliptic.P521()},
	{name: "ECDSA with SHA-384 on P-384", method: wire.AuthECDSASHA384P384, family: familyECDSA, hash: hashSHA384, curve: elliptic.P384()},
	{name: "ECDSA with SHA-256 on P-256", method: wire.AuthECDSASHA256P256, family: familyECDSA, hash: hashSHA256, curve: elliptic.P256()},
	{name: "RSA PKCS#1 v1.5 with SHA-1", method: wire.AuthDigitalSignature, family: familyPKCS1, hash: hashSHA1, oid: oidSHA1WithRSA, legacy: true},
	{name: "ECDSA with SHA-1", method: wire.AuthDigitalSignature, family: familyECDSA, hash: hashSHA1, oid: oidECDSAWithSHA1, legacy: true},
	{name: "RSA PKCS#1 v1.5 with SHA-1, method 1", method: wire.AuthRSASignature, family: familyPKCS1, hash: hashSHA1, legacy: true}, // RFC 7296 3.8
}

// suits reports whether the key makes signatures of this scheme.
func (s scheme) suits(key crypto.PublicKey) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		// RFC 8017 9.1.1: a PSS encoding holds hash, salt and two octets more.
		return s.family == familyPKCS1 || s.family == familyPSS && (key.N.BitLen()+6)/8 >= s.hash.size()+s.salt+2
	case *ecdsa.PublicKey:
		return s.family == familyECDSA && (s.curve == nil || s.curve == key.Curve)
	case ed25519.PublicKey:
		return s.family == familyEd25519
	}
	return false
}

// chooseScheme picks the strongest that our key makes and the peer takes. Hashes are those that the peer has announced, nil when it has not: then only
// the methods from before RFC 7427 are left. For ECDSA the hash that is as long as the curve comes before a longer one, which adds nothing.
func chooseScheme(key crypto.PublicKey, hashes []hashID, legacy bool) (scheme, error) {
	usable := slices.DeleteFunc(slices.Clone(schemes), func(s scheme) bool {
		return !s.suits(key) || s.legacy && !legacy || s.method == wire.AuthDigitalSignature && !slices.Contains(hashes, s.hash)
	})
	if len(usable) == 0 {
		return scheme{}, failf(AuthAlgorithm, "peer takes %s, expected something that our key (%s) signs with", describeHashes(hashes), signing.DescribeKey(key))
	}
	if key, ok := key.(*ecdsa.PublicKey); ok {
		if i := slices.IndexFunc(usable, func(s scheme) bool { return s.hash == hashFor(key.Curve) }); i >= 0 {
			return usable[i], nil
		}
	}
	return usable[0], nil
}

func hashFor(curve elliptic.Curve) hashID {
	switch curve {
	case elliptic.P256():
		return hashSHA256
	case elliptic.P384():
		return hashSHA384
	}
	return hashSHA512
}

// sign makes an AUTH payload over the octets. The same octets and randomness give the same signature.
func (s scheme) sign(key crypto.Signer, random io.Reader, octets []byte) (*wire.Auth, error) {
	var opts crypto.SignerOpts = s.hash.function()
	switch s.family {
	case familyPSS:
		opts = &rsa.PSSOptions{SaltLength: s.salt, Hash: s.hash.function()}
	case familyECDSA:
		random = nil // RFC 6979: a nonce from the key and the octets
	}
	signature, err := key.Sign(random, s.hash.digest(octets), opts)
	if err != nil {
		return nil, failf(FailInternal, "%s by our key: %v", s.name, err)
	}
	if s.curve != nil {
		signature, err = signing.Flatten(signature, s.curve)
	} else if s.method == wire.AuthDigitalSignature {
		signature = append(s.prefix(), signature...)
	}
	return &wire.Auth{Method: s.method, Data: signature}, err
}

// readSignature finds out what a peer's AUTH payload is signed with, and where in it the signature begins. What we do not take is an error, with
// what is expected instead.
func readSignature(auth *wire.Auth, legacy bool) (scheme, []byte, error) {
	s, signature, err := scheme{}, auth.Data, error(nil)
	if auth.Method == wire.AuthDigitalSignature {
		if s, signature, err = readPrefix(auth.Data); err != nil {
			return scheme{}, nil, failf(AuthAlgorithm, "%v", err)
		}
	} else if i := slices.IndexFunc(schemes, func(s scheme) bool { return s.method == auth.Method }); i >= 0 {
		s = schemes[i]
	} else {
		return scheme{}, nil, failf(AuthOtherMethod, "peer proves itself by %v, expected a signature", auth.Method)
	}
	if s.legacy && !legacy {
		return scheme{}, nil, failf(AuthAlgorithm, "peer signs with %s, expected SHA-256 or better (legacy_algorithms would let it in)", s.name)
	}
	return s, signature, nil
}

// verify checks a signature over the octets.
func (s scheme) verify(key crypto.PublicKey, octets, signature []byte) error {
	if !s.suits(key) {
		return failf(AuthAlgorithm, "peer signs with %s, its certificate has a key for %s", s.name, signing.DescribeKey(key))
	}
	digest, ok := s.hash.digest(octets), false
	switch key := key.(type) {
	case *rsa.PublicKey:
		if s.family == familyPSS {
			ok = rsa.VerifyPSS(key, s.hash.function(), digest, signature, &rsa.PSSOptions{SaltLength: s.salt}) == nil
		} else {
			ok = rsa.VerifyPKCS1v15(key, s.hash.function(), digest, signature) == nil
		}
	case *ecdsa.PublicKey:
		if s.curve != nil {
			signature = signing.Unflatten(signature, s.curve)
		}
		ok = ecdsa.VerifyASN1(key, digest, signature)
	case ed25519.PublicKey:
		ok = ed25519.Verify(key, octets, signature)
	}
	if !ok {
		return failf(AuthSigned, "the signature (%s) is not by the key (%s) of the peer's certificate over this exchange", s.name, signing.DescribeKey(key))
	}
	return nil
}
