package ike

import (
	"crypto"
	_ "crypto/sha1" // links the functions that hashID names
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"sallyport/ike/wire"
)

// hashID is a hash function as SIGNATURE_HASH_ALGORITHMS numbers it (RFC 7427 section 7).
type hashID uint16

const (
	hashSHA1     hashID = 1
	hashSHA256   hashID = 2
	hashSHA384   hashID = 3
	hashSHA512   hashID = 4
	hashIdentity hashID = 5 // RFC 8420: the signature algorithm does its own hashing
)

var hashFunctions = map[hashID]struct {
	name     string
	function crypto.Hash
}{
	hashSHA1: {"SHA-1", crypto.SHA1}, hashSHA256: {"SHA-256", crypto.SHA256}, hashSHA384: {"SHA-384", crypto.SHA384},
	hashSHA512: {"SHA-512", crypto.SHA512}, hashIdentity: {"Identity", 0},
}

func (h hashID) String() string {
	if known, ok := hashFunctions[h]; ok {
		return known.name
	}
	return fmt.Sprintf("hash %d", uint16(h))
}

// function is what to apply before signing, 0 for Identity.
func (h hashID) function() crypto.Hash { return hashFunctions[h].function }

func (h hashID) size() int { return h.function().Size() }

func (h hashID) digest(octets []byte) []byte {
	if h == hashIdentity {
		return octets
	}
	hash := h.function().New()
	hash.Write(octets)
	return hash.Sum(nil)
}

// acceptedHashes is what a peer may sign with. SHA-1 is no longer among them (RFC 8247 3.2).
func acceptedHashes(legacy bool) []hashID {
	list := []hashID{hashSHA256, hashSHA384, hashSHA512, hashIdentity}
	if legacy {
		list = append(list, hashSHA1)
	}
	return list
}

// signatureHashes is the notification that says that we know RFC 7427, and which hashes a peer may sign with (RFC 7427 section 4).
func signatureHashes(legacy bool) *wire.Notify {
	var data []byte
	for _, h := range acceptedHashes(legacy) {
		data = binary.BigEndian.AppendUint16(data, uint16(h))
	}
	return wire.NewNotify(wire.NotifySignatureHashAlgorithms, data)
}

// readHashes reads the peer's notification: those that we know, nil without one.
func readHashes(n *wire.Notify) []hashID {
	if n == nil {
		return nil
	}
	list := []hashID{}
	for data := n.Data; len(data) >= 2; data = data[2:] {
		h := hashID(binary.BigEndian.Uint16(data))
		if _, known := hashFunctions[h]; known && !slices.Contains(list, h) {
			list = append(list, h)
		}
	}
	return list
}

func describeHashes(list []hashID) string {
	if len(list) == 0 {
		return "no digital signature (RFC 7427)"
	}
	var names []string
	for _, h := range list {
		names = append(names, h.String())
	}
	return "digital signatures with " + strings.Join(names, ", ")
}
