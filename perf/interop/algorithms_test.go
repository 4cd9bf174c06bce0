package interop

import (
	"slices"
	"strings"
	"testing"
)

// algorithmCases are every group, cipher, integrity algorithm and PRF of IKE that strongSwan has too, and every kind of ESP of the kernel.
// Each is used in one of them; those that no longer protect stand in a case of their own words.
func algorithmCases() []testCase {
	var all []testCase
	for _, suite := range []struct{ ike, esp string }{
		// groups
		{"aes128-sha256-modp2048", "aes128-sha256"},
		{"aes128-sha256-modp3072", "aes192-sha384"},
		{"aes192-sha384-modp4096", "aes256-sha512"},
		{"aes256-sha512-modp6144", "aes128-sha1"},
		{"aes128-sha256-modp8192", "aes128gcm8"},
		{"aes128-sha256-ecp224", "aes128gcm12"},
		{"aes128-sha256-ecp256", "aes192gcm16"},
		{"aes256-sha384-ecp384", "aes256gcm16"},
		{"aes256-sha512-ecp521", "chacha20poly1305"},
		{"aes128-sha256-ecp224bp", "aes128ccm8"},
		{"aes128-sha256-ecp256bp", "aes192ccm12"},
		{"aes128-sha256-ecp384bp", "aes256ccm16"},
		{"aes128-sha256-ecp512bp", "aes128-aesxcbc"},
		{"aes128-sha256-curve25519", "aes128-aescmac"},
		{"aes128-sha256-curve448", "aes128ctr-sha256"},
		// ciphers, integrity and PRF
		{"aes192gcm16-prfsha384-ecp256", "aes128gmac"},
		{"aes256gcm16-prfsha512-ecp256", "aes256gmac"},
		{"aes128gcm8-prfsha1-ecp256", "aes256ctr-sha512"},
		{"aes256gcm12-prfaesxcbc-ecp256", defaultESP},
		{"aes128ccm16-prfaescmac-ecp256", defaultESP},
		{"aes256ccm12-prfsha256-ecp256", defaultESP},
		{"aes192ccm8-prfsha256-ecp256", defaultESP},
		{"aes128ctr-sha1-ecp256", defaultESP},
		{"aes256ctr-aesxcbc-prfsha256-ecp256", defaultESP},
		{"aes192-aescmac-prfsha384-ecp256", defaultESP},
		{"chacha20poly1305-prfsha256-curve25519", defaultESP},
		{"aes256-sha256-prfsha512-ecp384", defaultESP},
		// by leave only
		{"3des-md5-modp1024", "3des-md5"},
		{"3des-sha1-modp1536", "3des-sha1"},
		{"aes128-sha1-modp768", "null-sha256"},
		{"aes128-sha1-ecp192", "des-sha1"},
	} {
		// What no other case of make test has of IKE.
		core := slices.Contains([]string{"aes256-sha512-ecp521", "aes128-sha256-curve25519", "chacha20poly1305-prfsha256-curve25519"}, suite.ike)
		c := testCase{name: suite.ike + "/" + suite.esp, core: core, ike: suite.ike, esp: suite.esp, theirs: strongSwan(), wire: plainESP, check: wantProposal,
			traffic: func(r *running) error { return pingAll(r.A.Host, r.B.HostAddress) }}
		if weak(suite.ike + "/" + suite.esp) {
			c.ours.top = legacy
		}
		all = append(all, c)
	}
	return all
}

// legacy lets our side use what no longer protects.
const legacy = "legacy_algorithms: true"

func weak(words string) bool {
	return slices.ContainsFunc([]string{"des-", "null-", "md5", "modp768", "modp1024", "modp1536", "ecp192", "3des"}, func(weak string) bool {
		return strings.Contains(words, weak)
	})
}

// wantProposal wants what the case says to have been agreed on.
func wantProposal(t *testing.T, r *running) {
	sa, err := r.gateway.IKE(t.Context())
	sa.Proposal, _, _ = strings.Cut(sa.Proposal, " ") // before IKEv1's method of authentication
	if err != nil || !strings.HasSuffix(sa.Proposal, r.ike[strings.LastIndex(r.ike, "-"):]) || !strings.HasPrefix(sa.Proposal, r.ike[:strings.Index(r.ike, "-")]) {
		t.Errorf("the IKE SA has %q (%v), want %s", sa.Proposal, err, r.ike)
	}
}
