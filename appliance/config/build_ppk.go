package config

import (
	"fmt"

	"sallyport/ike"
)

// minPPKLength is for 256 bits (RFC 8784, section 6): 32 random bytes as base64 are 44 characters, as hexadecimal digits 64.
const minPPKLength = 43 // characters

// ppk reads the postquantum preshared key of a peer.
func (b *builder) ppk(key string, raw *filePeer, peer *ike.Peer) {
	if raw.PPKFile == "" {
		for _, name := range []string{"ppk_file", "ppk_id", "ppk_required"} {
			if b.has(key + "." + name) {
				b.add(key+"."+name, "expected a postquantum preshared key, found no name of a file for it in ppk_file")
			}
		}
		return
	}
	if raw.PPKID == "" || len(raw.PPKID) > ike.MaxPPKID {
		b.add(key+".ppk_id", "expected what names the postquantum preshared key to the peer, in 1 to %d bytes, found %d", ike.MaxPPKID, len(raw.PPKID))
	}
	secret, err := readLine(b.path, raw.PPKFile, "the postquantum preshared key", maxPSKFile, b.options.Machine.UID)
	if err != nil {
		b.add(key+".ppk_file", "%s", err)
		return
	}
	weakness := pskWeakness(secret.Bytes())
	switch {
	case peer.PSK.Len() > 0 && peer.PSK.Equal(secret):
		weakness = "expected a key of its own, found the preshared key of psk_file"
	case secret.Len() < minPPKLength:
		weakness = fmt.Sprintf("expected 32 random bytes or more as text of at least %d characters, found %d: openssl rand -base64 32 makes some", minPPKLength, secret.Len())
	}
	if weakness != "" {
		b.add(key+".ppk_file", "%s", weakness)
	}
	peer.PPK = &ike.PPK{ID: raw.PPKID, Key: secret, Required: raw.PPKRequired}
}
