package interop

import (
	"context"
	"fmt"
	"testing"

	"sallyport/perf/peers"
)

// openiked is a connection of the daemon: its words for IKE, for the Child SA, and how the two authenticate.
func openiked(ike, child, auth string) theirs {
	return func(ctx context.Context, b *bed, c testCase, name string) (peers.Daemon, error) {
		return peers.StartOpenIKED(ctx, b.guest, peers.OpenIKEDTunnel{Name: name,
			Policy: fmt.Sprintf("esp from %s to %s local %s peer %s ikesa %s childsa %s %s", b.B.LAN, b.A.LAN, b.B.WANAddress, b.A.WANAddress, ike, child, auth)})
	}
}

// ikedPSK has both ends prove themselves with the preshared key.
func ikedPSK() string {
	return fmt.Sprintf("srcid 192.0.2.2 dstid 192.0.2.1 psk %q", psk)
}

// TestOpenIKED: every case of openiked. It gives its keys to the Linux kernel by PF_KEY, which has no names for HMAC-SHA2 and none for AES-GCM.
// S-060: either end starts.
func TestOpenIKED(t *testing.T) {
	b := newBed(t)
	cases := []testCase{
		{name: "psk", core: true, ike: "aes256-sha256-modp2048", esp: "aes256-sha1", wire: plainESP,
			theirs: openiked("enc aes-256 prf hmac-sha2-256 auth hmac-sha2-256 group modp2048", "enc aes-256 auth hmac-sha1", ikedPSK())},
		{name: "gcm", core: true, ike: "aes256gcm16-prfsha384-ecp384", esp: "aes128-sha1", wire: plainESP,
			theirs: openiked("enc aes-256-gcm prf hmac-sha2-384 group ecp384", "enc aes-128 auth hmac-sha1", ikedPSK())},
		{name: "curve25519", ike: "aes128gcm16-prfsha256-curve25519", esp: "aes192-sha1", wire: plainESP,
			theirs: openiked("enc aes-128-gcm prf hmac-sha2-256 group curve25519", "enc aes-192 auth hmac-sha1", ikedPSK())},
	}
	runCases(t, b, b.version(t, "iked", "-V"), cases)
}
