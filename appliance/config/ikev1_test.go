package config

import (
	"fmt"
	"strings"
	"testing"

	"sallyport/crypto"
	"sallyport/ike"
)

// ofVersion is the base configuration with other keys of its peer.
func ofVersion(t *testing.T, keys string) string {
	t.Helper()
	return replaced(t, "remote: 192.0.2.2,", "remote: 192.0.2.2, "+keys+",")
}

// Without a word IKEv2 is spoken. A peer of IKEv1 has proposals that this can say, AES and SHA-2 first, and both warn at every start.
// S-057, S-058: without legacy_algorithms nothing of DES, 3DES, MD5, SHA-1 and the groups 1, 2 and 5 is offered.
func TestIKEVersion(t *testing.T) {
	for keys, want := range map[string]ike.Version{"mobike: false": ike.V2, "ike: v2": ike.V2, "ike: ~": ike.V2, "ike: v1": ike.V1, "ike: any": ike.VAny} {
		c := mustParse(t, ofVersion(t, keys))
		p := c.Peers[0]
		if p.Version != want || warns(c, "site-b", "IKEv1", "retired") != (want != ike.V2) {
			t.Errorf("%s: %v, warnings %q", keys, p.Version, c.Warnings)
		}
		if warns(c, "left out") {
			t.Errorf("%s: what holds without a word warns: %q", keys, c.Warnings)
		}
		if want != ike.V1 {
			continue
		}
		if first := p.IKEProposals[0]; first.Ciphers[0].Encr != crypto.EncrAESCBC || first.PRF[0] != crypto.PRFHMACSHA256 {
			t.Errorf("first proposal %v", first)
		}
		for _, proposal := range append(p.IKEProposals, p.Children[0].Proposals...) {
			if weak := proposal.Legacy(); len(weak) > 0 {
				t.Errorf("%v has %v", proposal, weak)
			}
		}
	}
	if _, err := parseBase(t, ofVersion(t, "ike: v3")); err == nil || !strings.Contains(err.Error(), `gw.yaml:9: peers[0].ike: expected v2, v1 or any, found "v3"`) {
		t.Errorf("error %v", err)
	}
}

// What IKEv1 cannot have, or cannot work with, is refused at its key with what to do; what it leaves out is a warning.
func TestIKEv1Checks(t *testing.T) {
	const v1, any = "ike: v1, ", "ike: any, "
	for _, c := range []struct{ keys, action, fails string }{
		{v1 + "mobike: true, local_id: gw-a.example", "", "peers[0].mobike: expected no mobike with ike: v1, because it has no messages"},
		{v1 + "redirect: true", "", "peers[0].redirect: expected no redirect with ike: v1"},
		{v1 + "ppk_file: site-c.psk, ppk_id: b", "", "peers[0].ppk_file: "},
		{v1 + "per_core: auto", "", "peers[0].per_core: expected no per_core with ike: v1"},
		{v1 + "reauth: 1h", "", "peers[0].reauth: expected no reauth with ike: v1, because each of its IKE SAs proves anew"},
		{v1 + "reauth: 0s, per_core: off, mobike: false, redirect: false, fragment_size: 0", "", ""},
		{v1 + "ike_proposals: [aes128-sha256-ecp256-ke1_mlkem768]", "", "peers[0].ike_proposals[0]: expected one key exchange with ike: v1"},
		{v1 + "ike_proposals: [aes128gcm16-prfsha256-ecp256]", "", `peers[0].ike_proposals: peer "site-b": no IKE proposal is left for IKEv1`},
		{any + "ike_proposals: [aes128gcm16-prfsha256-ecp256]", "", "or use ike: v2, which leaves IKEv1 out"},
		{v1, "esp_proposals: [chacha20poly1305]", `filter_actions[0].esp_proposals: peer "site-b": child "to-site-b": no proposal is left for IKEv1`},
		{v1, "ah_proposals: [aescmac]", "filter_actions[0].ah_proposals: "},
		{any + "mobike: true, local_id: gw-a.example, per_core: off, redirect: true", "", ""},
	} {
		text := strings.Replace(ofVersion(t, strings.TrimSuffix(c.keys, ", ")), "action: negotiate", strings.TrimSuffix("action: negotiate, "+c.action, ", "), 1)
		switch config, err := parseBase(t, text); {
		case c.fails == "" && err != nil:
			t.Errorf("%s: %v", c.keys, err)
		case c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)):
			t.Errorf("%s %s: error %v, want %s", c.keys, c.action, err, c.fails)
		case c.fails == "" && strings.Contains(c.keys, any) && !warns(config, "IKEv1 has no mobike"):
			t.Errorf("%s: warnings %q", c.keys, config.Warnings)
		}
	}
	ports := strings.Replace(ofVersion(t, "ike: v1"), "destination: 10.2.0.0/24}", "destination: 10.2.0.0/24, protocol: tcp, destination_port: 80-90}", 1)
	if _, err := parseBase(t, ports); err == nil || !strings.Contains(err.Error(), "policies[0].rules[0].filter_list: ") || !strings.Contains(err.Error(), "80-90, and IKEv1 can say one port") {
		t.Errorf("a range of ports: %v", err)
	}
	c := mustParse(t, strings.Replace(ofVersion(t, "ike: v1, ike_proposals: [aes128-sha256-ecp256-curve25519]"), "action: negotiate", "action: negotiate, esp_proposals: [aes128gcm16, chacha20poly1305]", 1))
	if !warns(c, `peer "site-b": IKE proposal`, "no curve25519, left out") || !warns(c, `child "to-site-b": proposal chacha20poly1305`, "left out") {
		t.Errorf("warnings %q", c.Warnings)
	}
}

// The keys and identities of IKEv1's peers: one key at one address, for main mode knows a peer by nothing else until it has the key.
func TestIKEv1Keys(t *testing.T) {
	peer := func(version, file string) string {
		return fmt.Sprintf("  - {name: site-c, local: 192.0.2.1, remote: 192.0.2.2, remote_id: c.example, ike: %s, auth: {psk_file: %s}}\nfilter_lists:\n", version, file)
	}
	text := strings.Replace(ofVersion(t, "ike: v1"), "filter_lists:\n", peer("v1", "site-c.psk"), 1)
	if _, err := parseBase(t, text); err == nil || !strings.Contains(err.Error(), `gw.yaml:10: peers[1].auth: peer "site-c": another pre-shared key than that of peer "site-b", which has the same addresses`) {
		t.Errorf("error %v", err)
	}
	mustParse(t, strings.Replace(text, "ike: v1, auth: {psk_file: site-c.psk}", "ike: v2, auth: {psk_file: site-c.psk}", 1))
}

// S-057: DES, MD5 and the groups 1 and 2 are off, are let in by legacy_algorithms with a warning at every start, and warn of an order that prefers the
// weaker one, in main mode and in quick mode.
func TestIKEv1Legacy(t *testing.T) {
	for weak, word := range map[string]string{
		"ike_proposals: [des-sha1-modp2048]": "des", "ike_proposals: [3des-md5-modp2048]": "md5", "ike_proposals: [3des-sha1-modp1024]": "modp1024",
		"ike_proposals: [3des-sha1-modp768]": "modp768",
	} {
		text := ofVersion(t, "ike: v1, "+weak)
		if _, err := parseBase(t, text); err == nil || !strings.Contains(err.Error(), "gw.yaml:9: peers[0].ike_proposals[0]: expected algorithms that still protect") || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: error %v", weak, err)
		}
		if c := mustParse(t, "legacy_algorithms: true\n"+text); !warns(c, `peer "site-b" uses`, word) {
			t.Errorf("%s: warnings %q", weak, c.Warnings)
		}
	}
	for order, says := range map[string]string{
		"ike_proposals: [des-sha1-modp2048, 3des-sha1-modp2048]":  "prefers des to 3des",
		"ike_proposals: [3des-md5-modp2048, 3des-sha1-modp2048]":  "prefers prfmd5 to prfsha1",
		"ike_proposals: [3des-sha1-modp2048, 3des-md5-modp2048]":  "",
		"ike_proposals: [3des-sha1-modp1024, 3des-sha1-modp2048]": "prefers modp1024 to modp2048",
	} {
		c := mustParse(t, "legacy_algorithms: true\n"+ofVersion(t, "ike: v1, "+order))
		if says == "" && warns(c, "weak_first") || says != "" && !warns(c, "peers[0].ike_proposals: weak_first", says) {
			t.Errorf("%s: warnings %q", order, c.Warnings)
		}
	}
}
