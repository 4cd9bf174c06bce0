package ikev1

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/policy"
)

// What IKEv1 cannot say is told by its words, and what leaves nothing is refused.
func TestCheck(t *testing.T) {
	base := func() ike.Peer {
		return ike.Peer{Name: "site", Local: here, Remote: there, PSK: crypto.NewSecret([]byte("a key of the site")),
			Children: []ike.Child{{Name: "lan", Selectors: []policy.Selector{selector(t, "10.1.0.0/16", "10.2.0.0/16")}}}}
	}
	ports := func(p *ike.Peer) {
		p.Children[0].Selectors[0] = selector(t, "10.1.0.0/16", "10.2.0.0/16", 6)
		p.Children[0].Selectors[0].LocalPort = policy.PortRange{First: 1, Last: 9}
	}
	for _, c := range []struct {
		name          string
		change        func(*ike.Peer)
		warnings, err string
	}{
		{name: "defaults"},
		{name: "the defaults of IKEv2", change: func(p *ike.Peer) { p.IKEProposals = crypto.DefaultIKEProposals() },
			warnings: "IKEv1 has no aes128gcm16, aes256gcm16, curve25519, left out with it | IKEv1 has no curve25519, left out with it"},
		{name: "nothing of main mode", change: func(p *ike.Peer) { p.IKEProposals = ikeProposals(t, "aes128gcm16-prfsha256-ecp256") },
			warnings: "no aes128gcm16", err: "no IKE proposal is left for IKEv1"},
		{name: "a quantum-safe proposal only", change: func(p *ike.Peer) { p.IKEProposals = ikeProposals(t, "aes128-sha256-ecp256-ke1_mlkem768") },
			warnings: "no ke1_mlkem768", err: "no IKE proposal is left for IKEv1"},
		{name: "a hash that is no PRF", change: func(p *ike.Peer) { p.IKEProposals = ikeProposals(t, "aes128-sha256-sha1-prfsha256-ecp256") },
			warnings: "IKEv1 has no sha1, left out with it"},
		{name: "too many", change: func(p *ike.Peer) {
			p.IKEProposals = ikeProposals(t, "aes128-aes192-aes256-sha1-sha256-sha384-sha512-ecp256-ecp384-ecp521-modp2048-modp3072-modp4096-modp6144-modp8192-modp1024-modp1536-modp768",
				"3des-des-sha1-sha256-sha384-sha512-md5-ecp256-ecp384-ecp521-modp2048-modp3072-modp4096-modp6144-modp8192-modp1024-modp1536-modp768-ecp256bp",
				"aes128-aes192-aes256-md5-ecp256-ecp384-ecp521-modp2048-modp3072-modp4096-modp6144-modp8192-modp1024-modp1536-modp768")
		}, warnings: "no ecp256bp", err: "275 transforms"},
		{name: "nothing of quick mode", change: func(p *ike.Peer) { p.Children[0].Proposals = childProposals(t, "chacha20poly1305", "aes128-aescmac") },
			warnings: "no chacha20poly1305, left out with it | no aescmac, left out with it", err: "no proposal is left for IKEv1"},
		{name: "a bundle", change: func(p *ike.Peer) {
			p.Children[0].Bundle, p.Children[0].Proposals = true, childProposals(t, "aes128-sha256-ecp256", "AH sha256")
		}},
		{name: "nothing of a bundle's AH", change: func(p *ike.Peer) {
			p.Children[0].Bundle, p.Children[0].Proposals = true, childProposals(t, "aes128-sha256", "AH aescmac")
		}, warnings: "no aescmac, left out with it", err: "no bundle is left for IKEv1"},
		{name: "too many bundles", change: func(p *ike.Peer) {
			p.Children[0].Bundle, p.Children[0].Proposals = true, slices.Concat(slices.Repeat(childProposals(t, "aes128-sha256"), 16), slices.Repeat(childProposals(t, "AH sha256"), 16))
		}, err: "makes 256 bundles, expected at most 255"},
		{name: "a group of quick mode", change: func(p *ike.Peer) {
			p.Children[0].Proposals = childProposals(t, "aes128-sha256-curve25519", "aes128-sha256")
		},
			warnings: "no curve25519, left out with it"},
		{name: "two selectors", change: func(p *ike.Peer) {
			p.Children[0].Selectors = append(p.Children[0].Selectors, selector(t, "10.1.0.0/16", "10.3.0.0/16"))
		}, err: "2 selectors, 10.1.0.0/16 === 10.2.0.0/16, 10.1.0.0/16 === 10.3.0.0/16; IKEv1 negotiates one for each pair of SAs, expected a child for each"},
		{name: "a range of ports", change: ports, err: "10.1.0.0/16[1-9] === 10.2.0.0/16 tcp: the local ports are 1-9, and IKEv1 can say one port"},
		{name: "a range of ports, with IKEv2 to say it", change: func(p *ike.Peer) { p.Version = ike.VAny; ports(p) }, warnings: "not negotiated by IKEv1, only by IKEv2"},
		{name: "two methods", change: func(p *ike.Peer) { p.RemoteAuth = ike.AuthSignature },
			err: "this end proves itself by preshared_key and the peer by certificate; in IKEv1 both do by the same"},
		{name: "a PPK that is required", change: func(p *ike.Peer) { p.PPK = &ike.PPK{ID: "ppk", Required: true} }, err: "IKEv1 has none"},
		{name: "what has no effect", change: func(p *ike.Peer) { p.MOBIKE, p.Childless, p.PPK = true, true, &ike.PPK{ID: "ppk"} },
			warnings: "IKEv1 has no mobike, no childless, no a postquantum preshared key: without effect with it"},
	} {
		p := base()
		if c.change != nil {
			c.change(&p)
		}
		warnings, err := Check([]ike.Peer{p})
		var want []string
		if c.warnings != "" {
			want = strings.Split(c.warnings, " | ")
		}
		if len(warnings) != len(want) {
			t.Errorf("%s: warnings %q, expected %q", c.name, warnings, want)
			continue
		}
		for i := range want {
			if !strings.Contains(warnings[i], want[i]) || !strings.HasPrefix(warnings[i], `peer "site": `) {
				t.Errorf("%s: warning %q, expected %q", c.name, warnings[i], want[i])
			}
		}
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: error %v, expected %q", c.name, err, c.err)
		}
	}
}

// A pre-shared key is found by addresses alone: two peers that have the same ones have the same key.
func TestCheckKeysOfOneAddress(t *testing.T) {
	peer := func(name, remote, key string) ike.Peer {
		return ike.Peer{Name: name, Local: here, Remote: netip.MustParseAddr(remote), PSK: crypto.NewSecret([]byte(key))}
	}
	a := peer("a", "192.0.2.2", "one key")
	for _, c := range []struct {
		other ike.Peer
		err   string
	}{
		{peer("b", "192.0.2.2", "one key"), ""}, {peer("b", "192.0.2.3", "another key"), ""},
		{peer("b", "192.0.2.2", "another key"), `peer "b": another pre-shared key than that of peer "a"`},
	} {
		_, err := Check([]ike.Peer{a, c.other})
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%v: error %v, expected %q", c.other.Remote, err, c.err)
		}
	}
}
