package crypto

import "testing"

// S-057: the weaker of two algorithms must not stand first: DES before 3DES, MD5 before SHA-1,
// nor any of them before what is good today.
func TestWeakFirst(t *testing.T) {
	for _, c := range []struct {
		proposals    []string
		weak, strong string
	}{
		{[]string{"3des-des-sha1-md5-prfsha1-prfmd5-ecp256"}, "", ""},
		{[]string{"des-3des-sha1-ecp256"}, "des", "3des"},
		{[]string{"3des-md5-sha1-ecp256"}, "prfmd5", "prfsha1"},
		{[]string{"aes128-prfsha256-md5-sha1-ecp256"}, "md5", "sha1"},
		{[]string{"aes128-sha256-ecp256", "des-sha256-ecp256", "3des-sha256-ecp256"}, "des", "3des"},
		{[]string{"3des-sha256-ecp256", "aes128gcm16-prfsha256-ecp256"}, "3des", "aes128gcm16"},
		{[]string{"aes128gcm16-prfsha256-ecp256", "aes128-sha256-ecp256", "3des-sha1-ecp256"}, "", ""},
	} {
		var list []Proposal
		for _, text := range c.proposals {
			p, err := ParseIKEProposalWithLegacy(text)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, p)
		}
		if weak, strong := WeakFirst(list); weak != c.weak || strong != c.strong {
			t.Errorf("%q: %q before %q, expected %q and %q", c.proposals, weak, strong, c.weak, c.strong)
		}
	}
	for _, list := range [][]Proposal{DefaultIKEProposals(), DefaultESPProposals()} {
		if weak, strong := WeakFirst(list); weak != "" {
			t.Errorf("the defaults have %s before %s", weak, strong)
		}
	}
}
