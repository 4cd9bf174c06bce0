package pki

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Mode says what a missing answer about revocation means (auth.crl_mode; the source's registry has it as StrongCRLCheck).
type Mode uint8

const (
	// CRLOff asks nothing: a revoked certificate passes (S-073).
	CRLOff Mode = iota
	// CRLLenient refuses a certificate that is found revoked, and lets one pass of which it cannot be found out (S-073).
	CRLLenient
	// CRLStrict refuses both (S-074).
	CRLStrict
)

// Settings is how certificates are checked, whoever the peer is. They may be replaced at run time.
type Settings struct {
	Mode          Mode
	OCSP          bool           // servers are asked for one certificate before the whole list is fetched
	Lists         []LocalList    // that the operator gives
	MaxCRL        int            // bytes of one CRL
	CacheSize     int            // bytes of all that are kept
	FetchTimeout  time.Duration  // of one question
	FetchNetworks []netip.Prefix // where servers may be; none: everywhere but this machine and its links
}

// DefaultSettings are those of a configuration that has none.
func DefaultSettings() Settings {
	return Settings{Mode: CRLStrict, MaxCRL: 4 << 20, CacheSize: 16 << 20, FetchTimeout: 5 * time.Second}
}

// CheckLimit is how long a check may take in all: less than package ike waits for one (ike.Limits.CheckTimeout, 20 s).
const CheckLimit = 15 * time.Second

// LocalList is a CRL in a file of the operator's.
type LocalList struct {
	File string
	raw  []byte
	list *x509.RevocationList // for display and for its issuer's name; who signed it, a check finds out
}

// ParseLocalLists reads the CRLs of a file, one in DER or any number in PEM.
func ParseLocalLists(file string, content []byte) ([]LocalList, error) {
	var lists []LocalList
	add := func(raw []byte) error {
		list, err := x509.ParseRevocationList(raw)
		if err != nil {
			return fmt.Errorf("expected a CRL in PEM or DER: %w", err)
		}
		list.RevokedCertificateEntries = nil // read again, where they are needed
		lists = append(lists, LocalList{File: file, raw: raw, list: list})
		return nil
	}
	block, rest := pem.Decode(content)
	if block == nil {
		return lists, add(content)
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "X509 CRL" {
			continue
		}
		if err := add(block.Bytes); err != nil {
			return nil, err
		}
	}
	if len(lists) == 0 {
		return nil, errors.New("expected a CRL (-----BEGIN X509 CRL-----), found none in the file")
	}
	return lists, nil
}
