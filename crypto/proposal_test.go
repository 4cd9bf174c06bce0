package crypto

import (
	"reflect"
	"strings"
	"testing"
)

func TestSuiteText(t *testing.T) {
	for _, s := range Suites() {
		parsed, err := ParseSuite(s.String())
		if err != nil || parsed != s {
			t.Errorf("%q parses to %v, error %v", s, parsed, err)
		}
	}
	for text, want := range map[string]string{
		"aes": "", "aes-sha": "aes128-sha1", "sha256-aes256": "aes256-sha256", "aes128gcm": "aes128gcm16",
		"aes256gcm128": "aes256gcm16", "aes192gcm64": "aes192gcm8", "aes128-sha2_512": "aes128-sha512",
		"aes128gcm16-sha1": "", "aes128": "", "sha1": "", "": "", "-": "", "aes128-aes256-sha1": "", "aes128-sha1-sha256": "",
		"AES128-sha1": "", "aes128-sha1-modp2048": "", "aes128-sha1 ": "",
		"3des-md5": "3des-md5", "des-sha1": "des-sha1", "null-sha256": "null-sha256", "null": "", "aesxcbc-aes128ctr": "aes128ctr-aesxcbc",
		"aes192ctr": "", "aes256ccm96": "aes256ccm12", "aes128ccm64": "aes128ccm8", "aes128gmac": "aes128gmac", "aes128gmac-sha1": "",
		"aes128-aes128gmac": "", "chacha20poly1305": "chacha20poly1305", "chacha20poly1305-sha1": "", "aes128-aescmac": "aes128-aescmac",
	} {
		s, err := ParseSuite(text)
		if want == "" && err == nil || want != "" && (err != nil || s.String() != want) {
			t.Errorf("%q parses to %q, error %v, expected %q", text, s, err, want)
		}
	}
}

func TestSuiteLengths(t *testing.T) {
	type lengths struct{ key, salt, integ, keymat, iv, icv, block int }
	for text, want := range map[string]lengths{
		"aes128gcm16":   {16, 4, 0, 20, 8, 16, 4},
		"aes192gcm12":   {24, 4, 0, 28, 8, 12, 4},
		"aes256gcm8":    {32, 4, 0, 36, 8, 8, 4},
		"aes128-sha1":   {16, 0, 20, 36, 16, 12, 16},
		"aes192-sha256": {24, 0, 32, 56, 16, 16, 16},
		"aes256-sha384": {32, 0, 48, 80, 16, 24, 16},
		"aes256-sha512": {32, 0, 64, 96, 16, 32, 16},

		"chacha20poly1305":  {32, 4, 0, 36, 8, 16, 4},
		"aes128ccm8":        {16, 3, 0, 19, 8, 8, 4},
		"aes256ccm16":       {32, 3, 0, 35, 8, 16, 4},
		"aes192gmac":        {24, 4, 0, 28, 8, 16, 4},
		"aes128ctr-aesxcbc": {16, 4, 16, 36, 8, 12, 4},
		"3des-md5":          {24, 0, 16, 40, 8, 12, 8},
		"des-aescmac":       {8, 0, 16, 24, 8, 12, 8},
		"null-sha256":       {0, 0, 32, 32, 0, 16, 4},

		"AH sha256":     {0, 0, 32, 32, 0, 16, 0},
		"AH aesxcbc":    {0, 0, 16, 16, 0, 12, 0},
		"AH aes256gmac": {0, 4, 32, 36, 8, 16, 0},
	} {
		parse, text := ParseSuite, text
		if word, isAH := strings.CutPrefix(text, "AH "); isAH {
			parse, text = ParseAHSuite, word
		}
		s, err := parse(text)
		if err != nil {
			t.Fatal(err)
		}
		found := lengths{s.KeyLen(), s.SaltLen(), s.IntegKeyLen(), s.KeymatLen(), s.IVLen(), s.ICVLen(), s.BlockSize()}
		if found != want {
			t.Errorf("%s: %+v, expected %+v", text, found, want)
		}
		if aead := s.Integ == IntegNone; s.AEAD() != aead {
			t.Errorf("%s: AEAD %t", text, s.AEAD())
		}
	}
}

func TestAHSuiteText(t *testing.T) {
	for _, s := range AHSuites() {
		parsed, err := ParseAHSuite(s.String())
		if err != nil || parsed != s || !s.AH() {
			t.Errorf("%q parses to %v, error %v, AH %t", s, parsed, err, s.AH())
		}
	}
	for _, text := range []string{"", "aes128", "aes128-sha1", "sha1-sha256", "null", "esn", "sha1-noesn", "aes128gcm16"} {
		if s, err := ParseAHSuite(text); err == nil {
			t.Errorf("AH suite %q parses to %v", text, s)
		}
	}
	for name, s := range map[string]Suite{"key without cipher": {KeyBits: 128, Integ: IntegHMACSHA1}, "unknown": {Integ: 99}, "zero": {}} {
		if s.Validate() == nil {
			t.Errorf("%s: %+v is valid", name, s)
		}
	}
}

// TestSuiteUses counts the suites of each protocol, and checks that an IKE SA has all those
// of ESP but the two that hide nothing.
func TestSuiteUses(t *testing.T) {
	const aead, classic, integ = 9 + 9 + 3 + 1, 3 + 3 + 3, 7
	if esp, want := len(Suites()), aead+classic*integ; esp != want {
		t.Errorf("%d suites of ESP, expected %d", esp, want)
	}
	if ah := len(AHSuites()); ah != integ+3 {
		t.Errorf("%d suites of AH, expected %d", ah, integ+3)
	}
	if ike, want := len(IKESuites()), aead-3+(classic-1)*integ; ike != want {
		t.Errorf("%d suites of IKE, expected %d", ike, want)
	}
	for _, s := range IKESuites() {
		if s.Encr == EncrNull || s.Encr == EncrNullAESGMAC {
			t.Errorf("IKE SAs may use %s", s)
		}
	}
	for _, word := range []string{"aes128gmac", "null-sha256"} {
		if p, err := ParseIKEProposal(word + "-prfsha256-ecp256"); err == nil {
			t.Errorf("IKE proposal %s was taken", p)
		}
		p, err := ParseESPProposalWithLegacy(word)
		if err != nil {
			t.Error(err)
		}
		p.Protocol, p.PRF, p.DH, p.ESN = ProtocolIKE, []PRFID{PRFHMACSHA256}, []DHID{DHECP256}, nil
		if p.Validate() == nil {
			t.Errorf("IKE proposal %s is valid", p)
		}
	}
}

// TestLegacy checks that what is weak is marked so, in suites and in proposals.
func TestLegacy(t *testing.T) {
	for _, s := range append(Suites(), AHSuites()...) {
		text := "-" + s.String() + "-"
		weak := strings.Contains(text, "des-") || strings.Contains(text, "-null-") || strings.Contains(text, "-md5-")
		if s.Legacy() != weak {
			t.Errorf("%s: legacy %t", s, s.Legacy())
		}
	}
	p, err := ParseESPProposalWithLegacy("3des-aes128-null-sha256-md5-modp2048")
	if err != nil {
		t.Fatal(err)
	}
	if found := strings.Join(p.Legacy(), " "); found != "3des null md5" {
		t.Errorf("legacy in %s: %q", p, found)
	}
	for _, p := range append(DefaultIKEProposals(), DefaultESPProposals()...) {
		if names := p.Legacy(); len(names) > 0 {
			t.Errorf("the defaults have %v", names)
		}
	}
}

// TestTransformNumbers checks the registry against the numbers of IANA's IKEv2 registry.
func TestTransformNumbers(t *testing.T) {
	for word, want := range map[string]Transform{
		"aes128": {1, 12, 128}, "aes256": {1, 12, 256}, "aes128gcm8": {1, 18, 128}, "aes128gcm12": {1, 19, 128},
		"aes192gcm16": {1, 20, 192}, "prfsha1": {2, 2, 0}, "prfsha256": {2, 5, 0}, "prfsha384": {2, 6, 0},
		"prfsha512": {2, 7, 0}, "prfmd5": {2, 1, 0}, "prfaesxcbc": {2, 4, 0}, "prfaescmac": {2, 8, 0}, "sha1": {3, 2, 0}, "sha256": {3, 12, 0}, "sha384": {3, 13, 0}, "sha512": {3, 14, 0},
		"modp768": {4, 1, 0}, "modp1024": {4, 2, 0}, "modp1536": {4, 5, 0}, "modp2048": {4, 14, 0}, "modp3072": {4, 15, 0}, "modp4096": {4, 16, 0},
		"modp6144": {4, 17, 0}, "modp8192": {4, 18, 0}, "ecp256": {4, 19, 0}, "ecp384": {4, 20, 0}, "ecp521": {4, 21, 0}, "ecp192": {4, 25, 0},
		"ecp224": {4, 26, 0}, "ecp224bp": {4, 27, 0}, "ecp256bp": {4, 28, 0}, "ecp384bp": {4, 29, 0}, "ecp512bp": {4, 30, 0},
		"curve25519": {4, 31, 0}, "curve448": {4, 32, 0}, "mlkem512": {4, 35, 0}, "mlkem768": {4, 36, 0}, "mlkem1024": {4, 37, 0},
		"noesn": {5, 0, 0}, "esn": {5, 1, 0}, "des": {1, 2, 0}, "3des": {1, 3, 0}, "null": {1, 11, 0}, "aes128ctr": {1, 13, 128},
		"aes256ccm8": {1, 14, 256}, "aes128ccm12": {1, 15, 128}, "aes192ccm16": {1, 16, 192}, "aes256gmac": {1, 21, 256},
		"chacha20poly1305": {1, 28, 0}, "md5": {3, 1, 0}, "aesxcbc": {3, 5, 0}, "aescmac": {3, 8, 0},
	} {
		protocol := ProtocolESP
		if want.Type == TransformPRF {
			protocol = ProtocolIKE
		}
		found, err := parseKeywords(word, protocol, want.Type)
		if err != nil || found[0].transform() != want {
			t.Errorf("%s is %v, error %v, expected %+v", word, found, err, want)
		}
		if name := want.String(); strings.Contains(name, "_0") || name == "" {
			t.Errorf("%s has the name %q", word, name)
		}
	}
	for i, word := range []string{"aes128gmac", "aes192gmac", "aes256gmac"} {
		found, err := parseKeywords(word, ProtocolAH, TransformInteg)
		if want := (Transform{3, uint16(9 + i), 0}); err != nil || found[0].transform() != want {
			t.Errorf("%s of AH is %v, error %v, expected %+v", word, found, err, want)
		}
	}
	// Every word stands for something that exists.
	for _, k := range keywordTable {
		known := false
		switch k.kind {
		case TransformEncr:
			_, known = encrByID(EncrID(k.id))
		case TransformInteg:
			_, known = integByID(IntegID(k.id))
		case TransformPRF:
			_, known = prfByID(PRFID(k.id))
		case TransformDH:
			_, known = exchangeByID(DHID(k.id))
		case TransformESN:
			known = k.id <= 1
		}
		if !known {
			t.Errorf("word %q stands for %v, which is not in the registry", k.name, k.transform())
		}
	}
}

func TestParseProposals(t *testing.T) {
	ike, esp, ah := ParseIKEProposal, ParseESPProposal, ParseAHProposal
	weakIKE, weak := ParseIKEProposalWithLegacy, ParseESPProposalWithLegacy
	cases := []struct {
		parse func(string) (Proposal, error)
		text  string
		want  string // canonical form, or part of the error after "error: "
	}{
		{ike, "aes128gcm16-prfsha256-ecp256", "aes128gcm16-prfsha256-ecp256"},
		{ike, "aes128-aes256-sha256-ecp256", "aes128-aes256-prfsha256-sha256-ecp256"},
		{ike, "aes128-sha256-sha1-modp2048-x25519", "aes128-prfsha256-prfsha1-sha256-sha1-modp2048-curve25519"},
		{ike, "ecp256-prfsha384-aes256gcm16", "aes256gcm16-prfsha384-ecp256"},
		{ike, "aes256gcm16-sha384-ecp384", "aes256gcm16-prfsha384-ecp384"},
		{ike, "aes256-sha512-prfsha256-modp2048", "aes256-prfsha256-sha512-modp2048"},
		{ike, "aes128gcm16-ecp256", "error: no PRF, expected one of prfsha1 prfsha256"},
		{ike, "aes128-sha256", "error: no key exchange, expected one of modp2048"},
		{ike, "aes128-prfsha256-ecp256", "error: needs an integrity algorithm, expected one of sha1"},
		{ike, "sha256-ecp256", "error: no cipher, expected one of aes128gcm16"},
		{ike, "aes128gcm16-aes128-sha256-ecp256", "error: AEAD and other ciphers in one proposal"},
		{ike, "aes128gcm16-sha256-prfsha256-ecp256", "error: protects integrity itself, remove AUTH_HMAC_SHA2_256_128"},
		{ike, "aes128gcm16-prfsha256-ecp256-esn", `error: unknown word "esn"`},
		{ike, "aes128gcm16-prfsha256-ecp257", `error: unknown word "ecp257", expected one of aes128gcm16`},
		{ike, "AES128_GCM16-prfsha256-ecp256", `error: unknown word "AES128_GCM16": did you mean aes128gcm16?, expected one of`},
		{esp, "aes128-SHA2_256", `error: unknown word "SHA2_256": did you mean sha2_256?`},
		{esp, "PRFSHA256", `error: unknown word "PRFSHA256", expected one of`},
		{ike, "aes128gcm16-prfsha256-ecp256-ecp256", "error: a second time"},
		{ike, "aes128gcm16-aes128gcm-prfsha256-ecp256", "error: a second time"},
		{ike, "", `error: unknown word ""`},
		{ike, "aes256gcm16-prfsha384-x25519-ke1_mlkem768", "aes256gcm16-prfsha384-curve25519-ke1_mlkem768"},
		{ike, "aes256gcm16-prfsha384-mlkem768", "aes256gcm16-prfsha384-mlkem768"},
		{ike, "aes128-sha256-ke7_mlkem512-x25519-ke2_ecp384-ke1_mlkem1024-ke1_mlkem768-ke1_none",
			"aes128-prfsha256-sha256-curve25519-ke1_mlkem1024-ke1_mlkem768-ke1_none-ke2_ecp384-ke7_mlkem512"},
		{ike, "aes128-sha256-ke1_mlkem768", "error: no key exchange, expected one of modp2048"},
		{ike, "aes128-sha256-x25519-ke1_x25519", "error: additional key exchange 1 is Curve25519, which the proposal has already"},
		{ike, "aes128-sha256-x25519-ke1_mlkem768-ke2_mlkem768", "error: additional key exchange 2 is ml-kem-768, which the proposal has already"},
		{ike, "aes128-sha256-x25519-ke1_mlkem768-ke1_mlkem768", "error: a second time"},
		{ike, "aes128-sha256-x25519-ke8_mlkem768", `error: unknown word "ke8_mlkem768"`},
		{ike, "aes128-sha256-x25519-ke0_mlkem768", `error: ke1_ to ke7_ before a key exchange`},
		{ike, "aes128-sha256-x25519-ke1_ke2_mlkem768", `error: unknown word`},
		{ike, "aes128-sha256-x25519-ke1_sha256", `error: unknown word`},
		{ike, "aes128-sha256-none", `error: unknown word "none"`},
		{esp, "aes128gcm16-x25519-ke1_mlkem768", "aes128gcm16-curve25519-noesn-ke1_mlkem768"},
		{esp, "aes128gcm16-ke1_mlkem768", "error: additional key exchange 1 without a first key exchange"},
		{esp, "aes128gcm16", "aes128gcm16-noesn"},
		{esp, "aes256-sha256", "aes256-sha256-noesn"},
		{esp, "aes128gcm16-aes256gcm16-ecp256", "aes128gcm16-aes256gcm16-ecp256-noesn"},
		{esp, "aes128-sha256-noesn", "aes128-sha256-noesn"},
		{esp, "aes128-sha1-esn-noesn", "aes128-sha1-esn-noesn"},
		{esp, "aes128gcm16-sha256", "error: protects integrity itself, remove AUTH_HMAC_SHA2_256_128"},
		{esp, "chacha20poly1305-esn", "chacha20poly1305-esn"},
		{esp, "aes128ccm16-aes256gmac", "aes128ccm16-aes256gmac-noesn"},
		{weak, "null-3des-aescmac", "null-3des-aescmac-noesn"},
		{esp, "3des-null-aes128-sha1", "error: weak 3des and null, expected others"},
		{esp, "aes128-md5", "error: weak md5"},
		{weak, "null", "error: ENCR_NULL needs an integrity algorithm"},
		{ike, "aes128gmac-prfsha256-ecp256", `error: unknown word "aes128gmac"`},
		{ike, "chacha20poly1305-prfsha256-ecp256", "chacha20poly1305-prfsha256-ecp256"},
		{ike, "aes128ccm12-aescmac-ecp256", "aes128ccm12-prfaescmac-ecp256"},
		{ike, "aes256ctr-aesxcbc-modp2048", "aes256ctr-prfaesxcbc-aesxcbc-modp2048"},
		{ike, "3des-md5-modp2048", "error: weak 3des and prfmd5 and md5, expected others"},
		{weakIKE, "3des-md5-modp2048", "3des-prfmd5-md5-modp2048"},
		{esp, "aes128", "error: needs an integrity algorithm"},
		{esp, "aes128gcm16-aes128-sha1", "error: AEAD and other ciphers in one proposal"},
		{esp, "aes128gcm16-prfsha256", `error: unknown word "prfsha256"`},
		{esp, "esn", "error: no cipher"},
		{ah, "sha256", "sha256-noesn"},
		{ah, "sha384-sha256-esn-noesn", "sha384-sha256-esn-noesn"},
		{ah, "aes256gmac-ecp256", "aes256gmac-ecp256-noesn"},
		{ah, "esn", "error: no integrity algorithm, expected one of sha1"},
		{ah, "aes128-sha256", `error: unknown word "aes128"`},
		{ah, "md5", "error: weak md5, expected others"},
	}
	for _, c := range cases {
		p, err := c.parse(c.text)
		if part, isError := strings.CutPrefix(c.want, "error: "); isError {
			if err == nil || !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), `proposal "`+c.text+`"`) {
				t.Errorf("%q: error %v, expected one about %q", c.text, err, part)
			}
			continue
		}
		if err != nil || p.String() != c.want {
			t.Errorf("%q is %q, error %v, expected %q", c.text, p, err, c.want)
			continue
		}
		if again, err := c.parse(p.String()); err != nil || !reflect.DeepEqual(again, p) {
			t.Errorf("%q parses to %q, error %v", p, again, err)
		}
	}
}

func TestProposalTransforms(t *testing.T) {
	p, err := ParseIKEProposal("aes128-aes256-sha256-ecp256-curve25519-ke1_mlkem768-ke3_none")
	if err != nil {
		t.Fatal(err)
	}
	want := []Transform{{1, 12, 128}, {1, 12, 256}, {2, 5, 0}, {3, 12, 0}, {4, 19, 0}, {4, 31, 0}, {6, 36, 0}, {8, 0, 0}}
	if found := p.Transforms(); !reflect.DeepEqual(found, want) {
		t.Errorf("transforms %v, expected %v", found, want)
	}
	var names []string
	for _, s := range p.Suites() {
		names = append(names, s.String())
	}
	if found := strings.Join(names, " "); found != "aes128-sha256 aes256-sha256" {
		t.Errorf("suites %s", found)
	}
}

// TestProposalValidate breaks a good proposal in ways that no text can.
func TestProposalValidate(t *testing.T) {
	for name, spoil := range map[string]func(*Proposal){
		"no cipher":      func(p *Proposal) { p.Ciphers = nil },
		"key length":     func(p *Proposal) { p.Ciphers[0].KeyBits = 100 },
		"unknown cipher": func(p *Proposal) { p.Ciphers[0].Encr = 3 },
		"unknown PRF":    func(p *Proposal) { p.PRF = append(p.PRF, 99) },
		"unknown group":  func(p *Proposal) { p.DH = append(p.DH, 99) },
		"unknown hash":   func(p *Proposal) { p.Integ = append(p.Integ, 99) },
		"unknown ESN":    func(p *Proposal) { p.ESN = append(p.ESN, 2) },
		"no ESN in ESP":  func(p *Proposal) { p.Protocol = ProtocolESP },
	} {
		p, err := ParseIKEProposal("aes128-sha256-ecp256")
		if err != nil {
			t.Fatal(err)
		}
		if spoil(&p); p.Validate() == nil {
			t.Errorf("%s: %v is valid", name, p)
		}
	}
}

// TestDefaultProposals checks that the defaults are sound and that AES-GCM is first.
func TestDefaultProposals(t *testing.T) {
	for _, c := range []struct {
		parse func(string) (Proposal, error)
		list  []Proposal
	}{{ParseIKEProposal, DefaultIKEProposals()}, {ParseESPProposal, DefaultESPProposals()}} {
		if first := c.list[0].Ciphers[0]; first != (Cipher{EncrAESGCM16, 128}) {
			t.Errorf("%s: the first cipher is %v", c.list[0].Protocol, first)
		}
		for _, p := range c.list {
			if again, err := c.parse(p.String()); err != nil || !reflect.DeepEqual(again, p) {
				t.Errorf("default %q parses to %q, error %v", p, again, err)
			}
		}
	}
	DefaultIKEProposals()[0].DH[0] = 0
	if DefaultIKEProposals()[0].DH[0] == 0 {
		t.Error("a caller can change the defaults")
	}
}

// FuzzParseProposal wants what parses to print as what parses to the same.
func FuzzParseProposal(f *testing.F) {
	f.Add("aes128gcm16-prfsha256-ecp256")
	f.Add("aes128-aes256-sha256-modp2048-esn")
	f.Add("aes256gcm16-prfsha384-x25519-ke1_mlkem768-ke1_none")
	f.Add("-")
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func(string) (Proposal, error){ParseIKEProposalWithLegacy, ParseESPProposalWithLegacy} {
			p, err := parse(text)
			if err != nil {
				continue
			}
			if again, err := parse(p.String()); err != nil || !reflect.DeepEqual(again, p) {
				t.Errorf("%q is %q, which parses to %q, error %v", text, p, again, err)
			}
		}
	})
}
