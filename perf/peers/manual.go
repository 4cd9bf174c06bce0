package peers

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"sallyport/crypto"
)

// ManualSA is one direction of a Child SA with keys given by hand.
type ManualSA struct {
	SPI    uint32
	Keymat crypto.Secret // in the order of RFC 7296 section 2.17
}

// ManualTunnel is a pair of SAs between the guest and a peer, without IKE.
type ManualTunnel struct {
	Local, Remote       netip.Addr
	LocalNet, RemoteNet netip.Prefix
	Suite               crypto.Suite
	Out, In             ManualSA // as the guest sees them
}

// replayWindow of the guest's inbound SAs, in packets.
const replayWindow = "32"

// Install gives the guest's kernel the SAs and the policies that require them, in place of all it had.
func (m ManualTunnel) Install(ctx context.Context, g *Guest) error {
	ends := []string{"src", m.Local.String(), "dst", m.Remote.String()}
	back := []string{"src", m.Remote.String(), "dst", m.Local.String()}
	out, err := m.stateLine(ends, m.Out)
	if err != nil {
		return err
	}
	in, err := m.stateLine(back, m.In)
	if err != nil {
		return err
	}
	var batch strings.Builder
	for _, line := range [][]string{{"state", "flush"}, {"policy", "flush"}, out, in,
		m.policyLine("out", m.LocalNet, m.RemoteNet, ends), m.policyLine("in", m.RemoteNet, m.LocalNet, back)} {
		fmt.Fprintln(&batch, "xfrm", strings.Join(line, " "))
	}
	if err := os.WriteFile(filepath.Join(g.HostDir, "xfrm"), []byte(batch.String()), 0o600); err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	_, err = g.Run(ctx, "ip", "-batch", guestDir+"/xfrm")
	return err
}

// stateLine is ip-xfrm's words for one SA.
func (m ManualTunnel) stateLine(ends []string, sa ManualSA) ([]string, error) {
	line := append([]string{"state", "add"}, ends...)
	line = append(line, "proto", "esp", "spi", fmt.Sprintf("%#x", sa.SPI), "mode", "tunnel", "replay-window", replayWindow)
	keys := sa.Keymat.Bytes()
	if len(keys) != m.Suite.KeymatLen() {
		return nil, fmt.Errorf("peers: expected %d octets of key material for %s, found %d", m.Suite.KeymatLen(), m.Suite, len(keys))
	}
	bits := fmt.Sprint(m.Suite.ICVLen() * 8)
	if m.Suite.AEAD() {
		return append(line, "aead", "rfc4106(gcm(aes))", fmt.Sprintf("%#x", keys), bits), nil
	}
	cipher, integrity := keys[:m.Suite.KeyLen()], keys[m.Suite.KeyLen():]
	digest, known := kernelDigest[m.Suite.Integ]
	if !known {
		return nil, fmt.Errorf("peers: the kernel's name of integrity algorithm %s is not known", m.Suite.Integ)
	}
	return append(line, "enc", "cbc(aes)", fmt.Sprintf("%#x", cipher), "auth-trunc", digest, fmt.Sprintf("%#x", integrity), bits), nil
}

// kernelDigest is how the kernel calls the integrity algorithms.
var kernelDigest = map[crypto.IntegID]string{
	crypto.IntegHMACSHA1:   "hmac(sha1)",
	crypto.IntegHMACSHA256: "hmac(sha256)",
	crypto.IntegHMACSHA384: "hmac(sha384)",
	crypto.IntegHMACSHA512: "hmac(sha512)",
}

// policyLine is ip-xfrm's words for one policy.
func (m ManualTunnel) policyLine(direction string, source, destination netip.Prefix, ends []string) []string {
	line := []string{"policy", "add", "src", source.String(), "dst", destination.String(), "dir", direction, "tmpl"}
	return append(append(line, ends...), "proto", "esp", "mode", "tunnel")
}
