package ikev1

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // link the functions of ecdsaMethods
	_ "crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"

	sallyport "sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/internal/signing"
	"sallyport/ike/isakmp"
)

// ecdsaMethods are those of RFC 4754: each has its curve and its hash. The hash takes the place of the negotiated one in what is signed, HASH_I or
// HASH_R, and nowhere else (RFC 2409 5.1).
var ecdsaMethods = []struct {
	method isakmp.AuthMethod
	curve  elliptic.Curve
	hash   crypto.Hash
	prf    sallyport.PRFID
}{
	{isakmp.AuthECDSASHA256P256, elliptic.P256(), crypto.SHA256, sallyport.PRFHMACSHA256},
	{isakmp.AuthECDSASHA384P384, elliptic.P384(), crypto.SHA384, sallyport.PRFHMACSHA384},
	{isakmp.AuthECDSASHA512P521, elliptic.P521(), crypto.SHA512, sallyport.PRFHMACSHA512},
}

// methodFor is the authentication method that a key signs by.
func methodFor(key crypto.PublicKey) (isakmp.AuthMethod, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return isakmp.AuthRSASignature, nil
	case *ecdsa.PublicKey:
		for _, row := range ecdsaMethods {
			if row.curve == key.Curve {
				return row.method, nil
			}
		}
	}
	return 0, fmt.Errorf("IKEv1 has no signatures by %s, expected RSA, or ECDSA on P-256, P-384 or P-521", signing.DescribeKey(key))
}

// authMethods are those that main mode with a peer may choose, in order: what the rule of its address says (S-059). Both ends prove themselves by the
// same one, and a method names the kind of key, so that the peer's has to be of the kind of ours.
func authMethods(p *ike.Peer) ([]isakmp.AuthMethod, error) {
	switch {
	case p.LocalAuth != p.RemoteAuth:
		return nil, fmt.Errorf("this end proves itself by %v and the peer by %v; in IKEv1 both do by the same", p.LocalAuth, p.RemoteAuth)
	case p.LocalAuth == ike.AuthPSK:
		return []isakmp.AuthMethod{isakmp.AuthPreSharedKey}, nil
	case p.Credential == nil || p.Credential.Key == nil:
		return nil, errors.New("there is no private key to sign with, expected one")
	}
	method, err := methodFor(p.Credential.Key.Public())
	if err != nil {
		return nil, err
	}
	return []isakmp.AuthMethod{method}, nil
}

// proves reports whether a peer may prove itself by a method.
func proves(p *ike.Peer, method isakmp.AuthMethod) bool {
	methods, err := authMethods(p)
	return err == nil && slices.Contains(methods, method)
}

// bySignature reports whether a method is one of signatures: SKEYID then is made of the nonces and g^xy.
func bySignature(method isakmp.AuthMethod) bool { return method != isakmp.AuthPreSharedKey }

// keyAt is the pre-shared key of those that may be at an address, which all have the same one: main mode needs it before it learns who the peer is
// (RFC 2409 5.4). None: nobody there has one.
func keyAt(among []*ike.Peer) (sallyport.Secret, error) {
	for _, p := range among {
		if proves(p, isakmp.AuthPreSharedKey) {
			return p.PSK, nil
		}
	}
	return sallyport.Secret{}, failf(ike.AuthOtherMethod, "nobody at the peer's address has a pre-shared key")
}

// proof is HASH_I or HASH_R of one end, by the hash that its method has for it.
func (k *phase1Keys) proof(method isakmp.AuthMethod, initiator bool, t transcript, id []byte) []byte {
	by := *k
	for _, row := range ecdsaMethods {
		if row.method == method {
			by.prf = row.prf
		}
	}
	if initiator {
		return by.hashI(t, id)
	}
	return by.hashR(t, id)
}

// prove makes the payload that shows who we are of our HASH_I or HASH_R. The same hash and randomness give the same payload.
func prove(p *ike.Peer, method isakmp.AuthMethod, hash []byte, random io.Reader) (isakmp.Payload, error) {
	if !bySignature(method) {
		return &isakmp.Hash{Data: hash}, nil
	}
	key := p.Credential.Key
	// RFC 2409 5.1: RSA is over the hash itself, without a name of its algorithm in the padding.
	signature, err := key.Sign(random, hash, crypto.Hash(0))
	for _, row := range ecdsaMethods {
		if row.method != method {
			continue
		}
		signature, err = key.Sign(nil, hash, row.hash) // RFC 6979: a nonce from the key and the hash
		if err == nil {
			signature, err = signing.Flatten(signature, row.curve)
		}
	}
	if err != nil {
		return nil, failf(ike.FailInternal, "%v by our key: %v", method, err)
	}
	return &isakmp.Sig{Data: signature}, nil
}

// verifyHash checks HASH_I or HASH_R of a peer that has our pre-shared key.
func verifyHash(payloads []isakmp.Payload, id *isakmp.ID, want []byte) error {
	found := isakmp.Find[*isakmp.Hash](payloads)
	if found == nil {
		return failf(ike.AuthOtherMethod, "peer %v signs, expected the hash of %v", identityOf(id), isakmp.AuthPreSharedKey)
	}
	if subtle.ConstantTimeCompare(found.Data, want) != 1 {
		return failf(ike.AuthKey, "peer %v does not hold our pre-shared key", identityOf(id))
	}
	return nil
}

// signatureOf is what a peer signed with; its absence an error.
func signatureOf(payloads []isakmp.Payload, method isakmp.AuthMethod) ([]byte, error) {
	if sig := isakmp.Find[*isakmp.Sig](payloads); sig != nil {
		return sig.Data, nil
	}
	return nil, failf(ike.AuthOtherMethod, "peer sent a hash, expected %v", method)
}

// verifySignature checks a signature over HASH_I or HASH_R by the key of a certificate that was found good.
func verifySignature(method isakmp.AuthMethod, legacy bool, key crypto.PublicKey, hash, signature []byte) error {
	if err := signing.CheckKey(key, legacy); err != nil {
		return failf(ike.CertKeyType, "the peer's certificate has %v", err)
	}
	if by, err := methodFor(key); err != nil || by != method {
		return failf(ike.AuthAlgorithm, "main mode chose %v, the peer's certificate has a key for %s", method, signing.DescribeKey(key))
	}
	ok := false
	switch key := key.(type) {
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(key, crypto.Hash(0), hash, signature) == nil
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(key, hash, signing.Unflatten(signature, key.Curve))
	}
	if !ok {
		return failf(ike.AuthSigned, "the signature (%v) is not by the key (%s) of the peer's certificate over this exchange", method, signing.DescribeKey(key))
	}
	return nil
}
