package pki

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxDetail bounds what one refusal says, in characters: names in certificates may be of any length.
const maxDetail = 600

// printable is a text that stays one line of bounded length and cannot control a terminal.
func printable(text string) string {
	shown, length := strings.Builder{}, 0
	for _, c := range text {
		if length++; length > maxDetail {
			return shown.String() + "..."
		}
		if !unicode.IsPrint(c) {
			c = utf8.RuneError
		}
		shown.WriteRune(c)
	}
	return shown.String()
}

// Subject is whom a certificate is for: its subject, or where that is empty its first alternative name.
func Subject(c *x509.Certificate) string {
	name := c.Subject.String()
	if names := Names(c); name == "" && len(names) > 0 {
		name = names[0]
	}
	if name == "" {
		name = "(no name)"
	}
	return printable(name)
}

// Issuer is the name of the CA that issued a certificate.
func Issuer(c *x509.Certificate) string { return printable(c.Issuer.String()) }

// Names is what a certificate can be matched by beside its subject.
func Names(c *x509.Certificate) []string {
	var names []string
	for _, name := range c.DNSNames {
		names = append(names, printable(name))
	}
	for _, address := range c.IPAddresses {
		names = append(names, address.String())
	}
	for _, mail := range c.EmailAddresses {
		names = append(names, printable(mail))
	}
	return names
}

// KeyText names the kind of a public key: "RSA 2048", "ECDSA P-256", "Ed25519".
func KeyText(public any) string {
	switch key := public.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "unknown"
}

// Serial is a certificate's serial number as openssl prints it.
func Serial(c *x509.Certificate) string { return fmt.Sprintf("%X", c.SerialNumber) }

func day(t time.Time) string { return t.UTC().Format(time.RFC3339) }
