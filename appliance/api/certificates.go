package api

import "time"

// Certificate is one that the configuration names. No field holds a private key.
type Certificate struct {
	Use         string    `json:"use"` // own, chain (sent with our own) or ca
	Subject     string    `json:"subject"`
	Names       []string  `json:"names,omitempty"` // alternative names
	Issuer      string    `json:"issuer"`
	Serial      string    `json:"serial"` // hexadecimal
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	DaysLeft    int       `json:"days_left"` // negative once it has ended
	Warning     string    `json:"warning,omitempty"`
	Key         string    `json:"key"` // ECDSA P-256
	Fingerprint string    `json:"fingerprint_sha256"`
	File        string    `json:"file"`
	Peers       []string  `json:"peers"`
}

// Revocation is what is known of revoked certificates, and of whom nothing was to be learned.
type Revocation struct {
	Mode    int          `json:"crl_mode"`
	OCSP    bool         `json:"ocsp"`
	CRLs    []CRL        `json:"crls"`
	Servers []DeadServer `json:"servers_left_alone"`
}

// CRL is one that is cached, or that a file of the operator's holds.
type CRL struct {
	Source     string    `json:"source"` // address or file
	File       bool      `json:"file"`   // of the operator's
	Issuer     string    `json:"issuer"`
	ThisUpdate time.Time `json:"this_update"`
	NextUpdate time.Time `json:"next_update"` // used until then
	Revoked    int       `json:"revoked"`     // certificates in it
	Bytes      int       `json:"bytes"`
}

// DeadServer is one that did not answer, or not well, and is not asked again before a time.
type DeadServer struct {
	Server string    `json:"server"`
	Until  time.Time `json:"until"`
	Error  string    `json:"error"`
}

// Flushed answers a flush.
type Flushed struct {
	CRLs int `json:"crls"` // how many were forgotten
}
