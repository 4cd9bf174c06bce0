package ike

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"sallyport/ike/wire"
)

// Object identifiers of AlgorithmIdentifiers, the content octets of their DER (RFC 7427 appendix A, RFC 8420 appendix A, RFC 8017 appendix A).
const (
	oidSHA1WithRSA     = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05"
	oidSHA256WithRSA   = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"
	oidSHA384WithRSA   = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c"
	oidSHA512WithRSA   = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d"
	oidPSS             = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"
	oidMGF1            = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08"
	oidECDSAWithSHA1   = "\x2a\x86\x48\xce\x3d\x04\x01"
	oidECDSAWithSHA256 = "\x2a\x86\x48\xce\x3d\x04\x03\x02"
	oidECDSAWithSHA384 = "\x2a\x86\x48\xce\x3d\x04\x03\x03"
	oidECDSAWithSHA512 = "\x2a\x86\x48\xce\x3d\x04\x03\x04"
	oidEd25519         = "\x2b\x65\x70"
)

// hashOIDs are those that RSASSA-PSS is used with.
var hashOIDs = map[string]hashID{
	"\x60\x86\x48\x01\x65\x03\x04\x02\x01": hashSHA256, "\x60\x86\x48\x01\x65\x03\x04\x02\x02": hashSHA384, "\x60\x86\x48\x01\x65\x03\x04\x02\x03": hashSHA512,
}

func hashOID(hash hashID) string {
	for oid, h := range hashOIDs {
		if h == hash {
			return oid
		}
	}
	return ""
}

// prefix is what stands before the signature in an AUTH payload of method 14: one octet of length and an AlgorithmIdentifier (RFC 7427 section 3).
func (s scheme) prefix() []byte {
	var b cryptobyte.Builder
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addOID(b, s.oid)
			switch s.family {
			case familyPKCS1:
				b.AddASN1NULL() // RFC 4055 section 5: for RSA there, for the rest absent
			case familyPSS:
				s.addParameters(b)
			}
		})
	})
	return b.BytesOrPanic()
}

// addParameters writes RSASSA-PSS-params (RFC 4055 3.1): the hash, the same in the mask generation, and the salt. The trailer stays at its default.
func (s scheme) addParameters(b *cryptobyte.Builder) {
	hash := func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { addOID(b, hashOID(s.hash)); b.AddASN1NULL() })
	}
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(explicit(0), hash)
		b.AddASN1(explicit(1), func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { addOID(b, oidMGF1); hash(b) })
		})
		b.AddASN1(explicit(2), func(b *cryptobyte.Builder) { b.AddASN1Int64(int64(s.salt)) })
	})
}

func explicit(tag uint8) asn1.Tag { return asn1.Tag(tag).Constructed().ContextSpecific() }

func addOID(b *cryptobyte.Builder, oid string) {
	b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte(oid)) })
}

// readPrefix reads it back, and gives what follows: the signature.
func readPrefix(data []byte) (scheme, []byte, error) {
	var identifier cryptobyte.String
	rest := cryptobyte.String(data)
	if !rest.ReadUint8LengthPrefixed(&identifier) || !identifier.ReadASN1(&identifier, asn1.SEQUENCE) {
		return scheme{}, nil, errors.New("peer's AUTH payload does not begin with an AlgorithmIdentifier, expected one (RFC 7427 section 3)")
	}
	oid, parameters, ok := readOID(identifier)
	if !ok {
		return scheme{}, nil, errors.New("peer's AlgorithmIdentifier has no OBJECT IDENTIFIER, expected one")
	}
	if oid == oidPSS {
		s, err := readParameters(parameters)
		return s, rest, err
	}
	i := slices.IndexFunc(schemes, func(s scheme) bool { return s.method == wire.AuthDigitalSignature && s.oid == oid })
	switch {
	case i < 0:
		return scheme{}, nil, fmt.Errorf("peer signs with an algorithm that is unknown here (OBJECT IDENTIFIER %x), expected RSA, ECDSA or Ed25519", oid)
	case schemes[i].family == familyPKCS1 && !emptyOrNull(parameters), schemes[i].family != familyPKCS1 && len(parameters) > 0:
		return scheme{}, nil, fmt.Errorf("peer's AlgorithmIdentifier of %s has %d octets of parameters, expected none", schemes[i].name, len(parameters))
	}
	return schemes[i], rest, nil
}

// readParameters reads RSASSA-PSS-params. Left out they would mean SHA-1, which is not taken (RFC 8247 3.2.1).
func readParameters(parameters cryptobyte.String) (scheme, error) {
	var hash, mask, salt, trailer cryptobyte.String
	var hasHash, hasMask, hasSalt, hasTrailer bool
	length := int64(20)
	if !parameters.ReadASN1(&parameters, asn1.SEQUENCE) || !parameters.ReadOptionalASN1(&hash, &hasHash, explicit(0)) ||
		!parameters.ReadOptionalASN1(&mask, &hasMask, explicit(1)) || !parameters.ReadOptionalASN1(&salt, &hasSalt, explicit(2)) ||
		!parameters.ReadOptionalASN1(&trailer, &hasTrailer, explicit(3)) || len(parameters) > 0 || hasSalt && !salt.ReadASN1Integer(&length) {
		return scheme{}, errors.New("peer's parameters of RSASSA-PSS are not those of RFC 4055")
	}
	if one := int64(1); hasTrailer && (!trailer.ReadASN1Integer(&one) || one != 1) {
		return scheme{}, errors.New("peer's RSASSA-PSS has another trailer field than 1")
	}
	main, maskHash := readHash(hash), hashID(0)
	if mask.ReadASN1(&mask, asn1.SEQUENCE) {
		if oid, inner, ok := readOID(mask); ok && oid == oidMGF1 {
			maskHash = readHash(inner)
		}
	}
	switch {
	case main == 0 || maskHash != main:
		return scheme{}, errors.New("peer's RSASSA-PSS is not with SHA-256, SHA-384 or SHA-512 in signature and mask both (by default it is with SHA-1), expected that")
	case length < 1 || length > 64:
		return scheme{}, fmt.Errorf("peer's RSASSA-PSS has a salt of %d octets, expected 1 to 64", length)
	}
	s := schemes[slices.IndexFunc(schemes, func(s scheme) bool { return s.family == familyPSS && s.hash == main })]
	s.salt = int(length)
	return s, nil
}

// readHash reads the AlgorithmIdentifier of a hash; 0 for any that is not taken.
func readHash(in cryptobyte.String) hashID {
	if !in.ReadASN1(&in, asn1.SEQUENCE) {
		return 0
	}
	oid, parameters, ok := readOID(in)
	if !ok || !emptyOrNull(parameters) {
		return 0
	}
	return hashOIDs[oid]
}

func readOID(in cryptobyte.String) (oid string, rest cryptobyte.String, ok bool) {
	var content cryptobyte.String
	ok = in.ReadASN1(&content, asn1.OBJECT_IDENTIFIER)
	return string(content), in, ok
}

func emptyOrNull(parameters cryptobyte.String) bool {
	return len(parameters) == 0 || string(parameters) == "\x05\x00"
}
