package interop

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	"sallyport/perf/peers"
)

// libreswan is a connection of the daemon with the keys of its own words, in place of those that it has for every case.
func libreswan(keys map[string]string, changes ...func(b *bed, t *peers.LibreswanTunnel)) theirs {
	return func(ctx context.Context, b *bed, c testCase, name string) (peers.Daemon, error) {
		all := map[string]string{"ikev2": "insist", "authby": "secret", "left": b.B.WANAddress.String(), "right": b.A.WANAddress.String(),
			"leftsubnet": b.B.LAN.String(), "rightsubnet": b.A.LAN.String(), "pfs": "no", "rekey": "no"}
		setup := map[string]string{}
		if c.v1 {
			all["ikev2"], setup["ikev1-policy"] = "no", "accept"
		}
		maps.Copy(all, keys)
		maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
		tunnel := peers.LibreswanTunnel{Name: name, Connection: all, Setup: setup, Secret: fmt.Sprintf("%s %s : PSK %q", b.B.WANAddress, b.A.WANAddress, psk)}
		for _, change := range changes {
			change(b, &tunnel)
		}
		return peers.StartLibreswan(ctx, b.guest, tunnel)
	}
}

// TestLibreswan: every case of libreswan, whose ESP and AH are the Linux kernel's.
// S-060: either end starts.
func TestLibreswan(t *testing.T) {
	b := newBed(t)
	cases := []testCase{
		{name: "psk", core: true, ike: "aes256gcm16-prfsha256-modp2048", esp: "aes256gcm16", wire: plainESP,
			theirs: libreswan(map[string]string{"ike": "aes_gcm256-sha2_256;modp2048", "phase2alg": "aes_gcm256"})},
		{name: "cbc", ike: "aes256-sha512-ecp384", esp: "aes128-sha256", wire: plainESP,
			theirs: libreswan(map[string]string{"ike": "aes256-sha2_512;dh20", "phase2alg": "aes128-sha2_256"})},
		{name: "nat", ike: "aes128-sha256-curve25519", esp: "chacha20poly1305", wire: espInUDP,
			theirs: libreswan(map[string]string{"ike": "aes128-sha2_256;dh31", "phase2alg": "chacha20_poly1305", "encapsulation": "yes"})},
		{name: "ah", ike: "aes128-sha256-modp2048", ah: "sha256", wire: plainAH,
			theirs: libreswan(map[string]string{"ike": "aes128-sha2_256;modp2048", "phase2": "ah", "phase2alg": "sha2_256"})},
		{name: "transport", core: true, ike: "aes128-sha256-modp2048", esp: "aes128gcm16", wire: plainESP, ours: transport(b), traffic: betweenGateways,
			check: wantMode("transport"), theirs: libreswan(map[string]string{"ike": "aes128-sha2_256;modp2048", "phase2alg": "aes_gcm128",
				"type": "transport", "leftsubnet": "", "rightsubnet": ""})},
		{name: "esn", ike: "aes128-sha256-modp2048", esp: "aes128-sha256-esn", wire: plainESP, check: wantESN,
			theirs: libreswan(map[string]string{"ike": "aes128-sha2_256;modp2048", "phase2alg": "aes128-sha2_256", "esn": "yes"})},
		libreswanCertificate(t, b, "rsa", rsa2048, "rsa-sha2"),
		libreswanCertificate(t, b, "fragmentation", rsa4096, "rsa-sha2").with(wantFragments),
		{name: "ppk", ike: "aes256gcm16-prfsha256-modp2048", esp: "aes256gcm16", wire: plainESP, ours: ours{files: map[string][]byte{}}.withPPK(),
			theirs: libreswan(map[string]string{"ike": "aes_gcm256-sha2_256;modp2048", "phase2alg": "aes_gcm256", "ppk": "insist"},
				func(b *bed, t *peers.LibreswanTunnel) {
					t.Secret += fmt.Sprintf("\n%s %s : PPKS %q %q", b.B.WANAddress, b.A.WANAddress, ppkID, ppk)
				})},
		libreswanCertificate(t, b, "ecdsa", p256, "ecdsa-sha2"),
		{name: "rekey", core: true, ike: "aes256gcm16-prfsha256-modp2048", esp: "aes256gcm16", wire: plainESP, check: rekeyBothWays,
			theirs: libreswan(map[string]string{"ike": "aes_gcm256-sha2_256;modp2048", "phase2alg": "aes_gcm256"})},
	}

	runCases(t, b, b.libreswanVersion(t), cases)
}

func (b *bed) libreswanVersion(t *testing.T) string {
	t.Helper()
	name, _, _ := strings.Cut(b.version(t, "/usr/libexec/ipsec/pluto", "--version"), " IKE") // before all that it was built with
	return name
}

// libreswanCertificate is a case with certificates of a kind; authby is the daemon's word for how both sign.
func libreswanCertificate(t *testing.T, b *bed, name string, kind keyKind, authby string) testCase {
	t.Helper()
	return testCase{name: name, core: true, ike: "aes128gcm16-prfsha256-ecp256", esp: "aes128gcm16", wire: plainESP, ours: chainOf(t, b, kind).ours(),
		theirs: libreswanCertified(t, b, kind, map[string]string{"ike": "aes_gcm128-sha2_256;dh19", "phase2alg": "aes_gcm128", "authby": authby})}
}

// libreswanCertified is a connection with certificates of a kind.
func libreswanCertified(t *testing.T, b *bed, kind keyKind, keys map[string]string, changes ...func(b *bed, t *peers.LibreswanTunnel)) theirs {
	t.Helper()
	c := chainOf(t, b, kind)
	bundle, err := c.pkcs12(c.b, nameB)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(keys, map[string]string{"leftcert": nameB, "leftsendcert": "always", "sendca": "all", "leftid": "@" + nameB, "rightid": "@" + nameA,
		"leftrsasigkey": "%cert", "rightrsasigkey": "%cert"})
	return libreswan(keys, append(changes, func(_ *bed, t *peers.LibreswanTunnel) {
		t.PKCS12, t.Password, t.Authorities = bundle, bundlePassword, [][]byte{c.root.pem()}
	})...)
}
