package ikev1

import (
	"slices"
	"strings"
	"testing"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/isakmp"
)

func ikeProposals(t testing.TB, texts ...string) (list []crypto.IKEProposal) {
	t.Helper()
	for _, text := range texts {
		p, err := crypto.ParseIKEProposalWithLegacy(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

var byKey = []isakmp.AuthMethod{isakmp.AuthPreSharedKey}

// S-057, S-058: AES comes first in what is offered by default, and nothing of DES, 3DES, MD5, SHA-1 and the groups 1, 2 and 5 is in it.
// C-19: quick mode has a Diffie-Hellman exchange by default, with the groups of main mode.
func TestDefaultOffer(t *testing.T) {
	got := describePhase1(spread(DefaultIKEProposals(), byKey, isakmp.Lifetime{}))
	want := "aes256-sha256-ecp256 (pre-shared key), aes256-sha256-ecp384 (pre-shared key), aes256-sha256-modp2048 (pre-shared key), " +
		"aes128-sha256-ecp256 (pre-shared key), aes128-sha256-ecp384 (pre-shared key), aes128-sha256-modp2048 (pre-shared key)"
	if got != want {
		t.Errorf("main mode offers\n%s, expected\n%s", got, want)
	}
	whole := Complete(ike.Peer{Children: []ike.Child{{}}})
	if groups := quickGroups(whole.Children[0].Proposals); !slices.Equal(groups, whole.IKEProposals[0].DH) {
		t.Errorf("quick mode offers the groups %v, expected %v", groups, whole.IKEProposals[0].DH)
	}
	quick := quickTerms{proposals: whole.Children[0].Proposals, encapsulation: isakmp.EncapsulationTunnel}
	alternatives := quick.alternatives(only(crypto.DHECP256))
	if first := alternatives[0].esp[0].suite(); first.Encr != crypto.EncrAESGCM16 {
		t.Errorf("quick mode offers %v first, expected AES-GCM", first)
	}
	for _, a := range alternatives {
		for _, transform := range a.esp {
			if transform.suite().Legacy() {
				t.Errorf("quick mode offers %v by default", transform)
			}
		}
	}
}

// What IKEv1 has no number for is not offered, and what is weaker than asked for neither.
func TestSpread(t *testing.T) {
	for text, want := range map[string]string{
		"aes128-aes256-sha256-sha384-modp2048": "aes128-sha256-modp2048, aes128-sha384-modp2048, aes256-sha256-modp2048, aes256-sha384-modp2048",
		"aes128gcm16-prfsha256-ecp256":         "",
		"aes256ctr-sha256-ecp256":              "",
		"aes256-sha256-curve25519-modp3072":    "aes256-sha256-modp3072",
		"aes256-sha256-ecp256bp":               "",
		"aes256-aesxcbc-ecp256":                "",
		"aes192-sha256-prfsha512-ecp521":       "aes192-sha512-ecp521", // the PRF's hash is the hash
		"3des-des-md5-sha1-modp768-modp1024": "3des-md5-modp768, 3des-md5-modp1024, 3des-sha1-modp768, 3des-sha1-modp1024, " +
			"des-md5-modp768, des-md5-modp1024, des-sha1-modp768, des-sha1-modp1024",
		"aes256-sha256-ecp256-ke1_mlkem768":          "",
		"aes256-sha256-ecp256-ke1_mlkem768-ke1_none": "aes256-sha256-ecp256",
	} {
		list := spread(ikeProposals(t, text), byKey, isakmp.Lifetime{Seconds: 1})
		got := strings.ReplaceAll(describePhase1(list), " (pre-shared key)", "")
		if len(list) == 0 {
			got = ""
		}
		if got != want {
			t.Errorf("%s is spread to %q, expected %q", text, got, want)
		}
	}
	twice := spread(ikeProposals(t, "aes128-sha256-modp2048", "aes256-aes128-sha256-modp2048"), byKey, isakmp.Lifetime{})
	if len(twice) != 2 {
		t.Errorf("%d transforms, expected 2: %s", len(twice), describePhase1(twice))
	}
}

// received is an SA payload as it comes out of a message.
func received(t testing.TB, sa *isakmp.SA) *isakmp.SA {
	t.Helper()
	first, octets, err := isakmp.MarshalPayloads([]isakmp.Payload{sa})
	if err != nil {
		t.Fatal(err)
	}
	chain, err := isakmp.ParsePayloads(first, octets)
	if err != nil {
		t.Fatal(err)
	}
	return chain.Payloads[0].(*isakmp.SA)
}

// S-057, S-064: the responder takes the first of its own that is offered; the initiator takes nothing else for an answer.
func TestChoosePhase1(t *testing.T) {
	rsa := []isakmp.AuthMethod{isakmp.AuthRSASignature}
	for _, c := range []struct {
		name         string
		ours, theirs string
		methods      []isakmp.AuthMethod // theirs
		want, err    string
	}{
		{name: "our order counts", ours: "aes256-3des-sha256-modp2048", theirs: "3des-aes256-sha256-modp2048", want: "aes256-sha256-modp2048 (pre-shared key)"},
		{name: "one in common", ours: "aes128-sha256-sha1-modp2048", theirs: "aes256-aes128-sha1-modp1024-modp2048", want: "aes128-sha1-modp2048 (pre-shared key)"},
		{name: "no cipher", ours: "aes128-sha256-modp2048", theirs: "3des-sha256-modp2048",
			err: "peer offers 3des-sha256-modp2048 (pre-shared key); expected one of aes128-sha256-modp2048 (pre-shared key)"},
		{name: "no hash", ours: "aes128-sha256-modp2048", theirs: "aes128-sha1-modp2048", err: "peer offers aes128-sha1-modp2048"},
		{name: "no group", ours: "aes128-sha256-modp2048", theirs: "aes128-sha256-modp1024", err: "peer offers aes128-sha256-modp1024"},
		{name: "another method", ours: "aes128-sha256-modp2048", theirs: "aes128-sha256-modp2048", methods: rsa,
			err: "peer offers aes128-sha256-modp2048 (RSA signature); expected one of aes128-sha256-modp2048 (pre-shared key)"},
	} {
		methods := c.methods
		if methods == nil {
			methods = byKey
		}
		theirs := spread(ikeProposals(t, c.theirs), methods, isakmp.Lifetime{Seconds: 3600})
		choice, err := choosePhase1(spread(ikeProposals(t, c.ours), byKey, isakmp.Lifetime{Seconds: 28800}), received(t, offerPhase1(theirs)))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, expected %q", c.name, err, c.err)
			}
			continue
		}
		if err != nil || choice.String() != c.want || choice.Lifetime.Seconds != 3600 {
			t.Errorf("%s: chosen %v for %d s, error %v, expected %q for 3600 s", c.name, choice, choice.Lifetime.Seconds, err, c.want)
			continue
		}
		confirmed, err := confirmPhase1(theirs, received(t, choice.answer()))
		if err != nil || confirmed.Phase1 != choice.Phase1 || confirmed.prf != choice.prf || confirmed.dh != choice.dh || confirmed.cipher != choice.cipher {
			t.Errorf("%s: the initiator reads %v, error %v, expected %v", c.name, confirmed, err, choice)
		}
	}
}

// Offers that are no offers of main mode are passed over, and the one good transform among them is found.
func TestHostileOffersPhase1(t *testing.T) {
	good := isakmp.Phase1{Encryption: isakmp.EncryptionAES, KeyBits: 128, Hash: isakmp.HashSHA256, Auth: isakmp.AuthPreSharedKey, Group: 14}
	ours := []isakmp.Phase1{good}
	transform := good.Transform(7)
	broken := good.Transform(1)
	broken.Attributes = append(slices.Clone(broken.Attributes), isakmp.Basic(1000, 1))
	keyless := good
	keyless.KeyBits = 0
	isakmpOf := func(number uint8, transforms ...isakmp.Transform) isakmp.Proposal {
		return isakmp.Proposal{Number: number, Protocol: isakmp.ProtocolISAKMP, SPI: []byte{}, Transforms: transforms}
	}
	esp := isakmp.Proposal{Number: 3, Protocol: isakmp.ProtocolESP, SPI: []byte{1, 2, 3, 4}, Transforms: []isakmp.Transform{{ID: 12}}}
	together := isakmpOf(3, transform)
	for _, c := range []struct {
		name      string
		proposals []isakmp.Proposal
		taken     bool
	}{
		{"numbers from 0, as libreswan counts", []isakmp.Proposal{isakmpOf(0, transform)}, true},
		{"in the second proposal", []isakmp.Proposal{isakmpOf(1, broken), isakmpOf(2, transform)}, true},
		{"behind a transform with an unknown attribute", []isakmp.Proposal{isakmpOf(1, broken, transform)}, true},
		{"with an unknown attribute only", []isakmp.Proposal{isakmpOf(1, broken)}, false},
		{"without a key length", []isakmp.Proposal{isakmpOf(1, keyless.Transform(1))}, false},
		{"together with ESP", []isakmp.Proposal{together, esp}, false},
		{"another transform id", []isakmp.Proposal{isakmpOf(1, isakmp.Transform{ID: 2, Attributes: transform.Attributes})}, false},
	} {
		choice, err := choosePhase1(ours, received(t, &isakmp.SA{Proposals: c.proposals}))
		if (err == nil) != c.taken {
			t.Errorf("%s: chosen %v, error %v, expected to be taken: %t", c.name, choice, err, c.taken)
		}
		if err == nil && (choice.transform.Number != 7 || len(choice.answer().Proposals[0].Transforms) != 1) {
			t.Errorf("%s: the answer is %v, expected transform 7 as it came", c.name, choice.answer().Proposals)
		}
	}
}

// An answer has to be one of what was offered, but for its lifetime and its numbers.
func TestHostileAnswersPhase1(t *testing.T) {
	ours := spread(ikeProposals(t, "aes256-aes128-sha256-modp2048"), byKey, isakmp.Lifetime{Seconds: 28800})
	weaker := ours[1]
	weaker.Group = 2
	shorter := ours[1]
	shorter.Lifetime.Seconds = 600
	answer := func(number uint8, list ...isakmp.Phase1) *isakmp.SA {
		sa := offerPhase1(list)
		sa.Proposals[0].Number = number
		return sa
	}
	two := answer(1, ours[0])
	two.Proposals = append(two.Proposals, answer(2, ours[1]).Proposals...)
	for name, c := range map[string]struct {
		sa  *isakmp.SA
		err string
	}{
		"our second":           {answer(1, ours[1]), ""},
		"another number":       {answer(200, ours[1]), ""},
		"a shorter lifetime":   {answer(1, shorter), ""},
		"a group of its own":   {answer(1, weaker), "answer is aes128-sha256-modp1024 (pre-shared key); expected one of what we offered, aes256-sha256-modp2048"},
		"two transforms":       {answer(1, ours...), "expected the one chosen"},
		"two proposals":        {two, "expected those of one number"},
		"an answer about ESP":  {&isakmp.SA{Proposals: []isakmp.Proposal{{Protocol: isakmp.ProtocolESP, SPI: []byte{1, 2, 3, 4}, Transforms: []isakmp.Transform{{ID: 12}}}}}, "expected one for ISAKMP"},
		"nothing in it at all": {&isakmp.SA{Proposals: []isakmp.Proposal{{Protocol: isakmp.ProtocolISAKMP, Transforms: []isakmp.Transform{{ID: 1}}}}}, "lacks an attribute"},
	} {
		_, err := confirmPhase1(ours, received(t, c.sa))
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: error %v, expected %q", name, err, c.err)
		}
	}
}

// 100 proposals with 100 transforms each, of which the last one is what we want, are gone through once, and what is said of them stays short.
func TestManyProposals(t *testing.T) {
	ours := spread(ikeProposals(t, "aes256-sha256-modp2048"), byKey, isakmp.Lifetime{})
	var offered isakmp.SA
	for number := range uint8(100) {
		p := isakmp.Proposal{Number: number, Protocol: isakmp.ProtocolISAKMP}
		for i := range uint8(100) {
			weak := isakmp.Phase1{Encryption: isakmp.EncryptionDES, Hash: isakmp.HashMD5, Auth: isakmp.AuthMethod(i) + 1, Group: isakmp.Group(number) + 100}
			p.Transforms = append(p.Transforms, weak.Transform(i))
		}
		offered.Proposals = append(offered.Proposals, p)
	}
	_, err := choosePhase1(ours, &offered)
	if err == nil || len(err.Error()) > 2000 {
		t.Errorf("error %v, expected one of at most 2000 octets", err)
	}
	offered.Proposals[99].Transforms[99] = ours[0].Transform(255)
	if choice, err := choosePhase1(ours, &offered); err != nil || choice.number != 99 {
		t.Errorf("chosen %v of proposal %d, error %v, expected that of proposal 99", choice, choice.number, err)
	}
}

func TestAgreeLifetime(t *testing.T) {
	for _, c := range []struct {
		ours, theirs, want isakmp.Lifetime
		shorter            bool
	}{
		{isakmp.Lifetime{}, isakmp.Lifetime{}, isakmp.Lifetime{}, false},
		{isakmp.Lifetime{Seconds: 3600}, isakmp.Lifetime{Seconds: 600}, isakmp.Lifetime{Seconds: 600}, false},
		{isakmp.Lifetime{Seconds: 600}, isakmp.Lifetime{Seconds: 3600}, isakmp.Lifetime{Seconds: 600}, true},
		{isakmp.Lifetime{Seconds: 600}, isakmp.Lifetime{Seconds: 600}, isakmp.Lifetime{Seconds: 600}, false},
		{isakmp.Lifetime{Seconds: 600, Kilobytes: 5}, isakmp.Lifetime{Seconds: 60}, isakmp.Lifetime{Seconds: 60, Kilobytes: 5}, true},
		{isakmp.Lifetime{Seconds: 600}, isakmp.Lifetime{Seconds: 60, Kilobytes: 9}, isakmp.Lifetime{Seconds: 60, Kilobytes: 9}, false},
	} {
		if life, shorter := agreeLifetime(c.ours, c.theirs); life != c.want || shorter != c.shorter {
			t.Errorf("%v and %v make %v, ours shorter: %t; expected %v, %t", c.ours, c.theirs, life, shorter, c.want, c.shorter)
		}
	}
}

// What strongSwan and libreswan offered is chosen from as strongSwan did, and its answers are taken.
func TestCapturedPhase1(t *testing.T) {
	for _, v := range []struct {
		name, ours string
		first      int // message 2
		method     isakmp.AuthMethod
	}{
		{"ikev1-psk-pfs-tunnel", "aes256-sha256-modp2048", 1, isakmp.AuthPreSharedKey},
		{"ikev1-rsa-3des-md5-fragments", "3des-md5-modp1024", 1, isakmp.AuthRSASignature},
		{"ikev1-libreswan-ah-dpd", "3des-sha1-modp2048", 3, isakmp.AuthPreSharedKey},
	} {
		c := readCapture(t, v.name)
		request, answer := isakmp.Find[*isakmp.SA](c.messages[0].Payloads), isakmp.Find[*isakmp.SA](c.messages[v.first].Payloads)
		ours := spread(ikeProposals(t, v.ours), []isakmp.AuthMethod{v.method}, isakmp.Lifetime{})
		choice, err := choosePhase1(ours, request)
		if err != nil {
			t.Errorf("%s: %v", v.name, err)
			continue
		}
		confirmed, err := confirmPhase1(ours, answer)
		if err != nil || confirmed.Phase1 != choice.Phase1 {
			t.Errorf("%s: strongSwan answered %v for %v, error %v; expected %v for %v as we would", v.name, confirmed, confirmed.Lifetime, err, choice, choice.Lifetime)
		}
	}
}
