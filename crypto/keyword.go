package crypto

import (
	"fmt"
	"slices"
	"strings"
)

// keyword is one word of the proposal language. The words are those strongSwan
// uses, because operators know them.
type keyword struct {
	name    string
	kind    TransformType
	id      uint16
	keyBits int
}

func (k keyword) transform() Transform {
	return Transform{Type: k.kind, ID: k.id, KeyBits: uint16(k.keyBits)}
}

// The first word for an algorithm is the one that String writes; later ones are
// other spellings of it.
var keywordTable = []keyword{
	{"aes128gcm16", TransformEncr, uint16(EncrAESGCM16), 128},
	{"aes192gcm16", TransformEncr, uint16(EncrAESGCM16), 192},
	{"aes256gcm16", TransformEncr, uint16(EncrAESGCM16), 256},
	{"aes128gcm12", TransformEncr, uint16(EncrAESGCM12), 128},
	{"aes192gcm12", TransformEncr, uint16(EncrAESGCM12), 192},
	{"aes256gcm12", TransformEncr, uint16(EncrAESGCM12), 256},
	{"aes128gcm8", TransformEncr, uint16(EncrAESGCM8), 128},
	{"aes192gcm8", TransformEncr, uint16(EncrAESGCM8), 192},
	{"aes256gcm8", TransformEncr, uint16(EncrAESGCM8), 256},
	{"aes128", TransformEncr, uint16(EncrAESCBC), 128},
	{"aes192", TransformEncr, uint16(EncrAESCBC), 192},
	{"aes256", TransformEncr, uint16(EncrAESCBC), 256},
	{"chacha20poly1305", TransformEncr, uint16(EncrChaCha20Poly1305), 0},
	{"aes128ccm16", TransformEncr, uint16(EncrAESCCM16), 128},
	{"aes192ccm16", TransformEncr, uint16(EncrAESCCM16), 192},
	{"aes256ccm16", TransformEncr, uint16(EncrAESCCM16), 256},
	{"aes128ccm12", TransformEncr, uint16(EncrAESCCM12), 128},
	{"aes192ccm12", TransformEncr, uint16(EncrAESCCM12), 192},
	{"aes256ccm12", TransformEncr, uint16(EncrAESCCM12), 256},
	{"aes128ccm8", TransformEncr, uint16(EncrAESCCM8), 128},
	{"aes192ccm8", TransformEncr, uint16(EncrAESCCM8), 192},
	{"aes256ccm8", TransformEncr, uint16(EncrAESCCM8), 256},
	{"aes128ctr", TransformEncr, uint16(EncrAESCTR), 128},
	{"aes192ctr", TransformEncr, uint16(EncrAESCTR), 192},
	{"aes256ctr", TransformEncr, uint16(EncrAESCTR), 256},
	{"aes128gmac", TransformEncr, uint16(EncrNullAESGMAC), 128},
	{"aes192gmac", TransformEncr, uint16(EncrNullAESGMAC), 192},
	{"aes256gmac", TransformEncr, uint16(EncrNullAESGMAC), 256},
	{"3des", TransformEncr, uint16(Encr3DES), 0},
	{"des", TransformEncr, uint16(EncrDES), 0},
	{"null", TransformEncr, uint16(EncrNull), 0},
	{"sha1", TransformInteg, uint16(IntegHMACSHA1), 0},
	{"sha256", TransformInteg, uint16(IntegHMACSHA256), 0},
	{"sha384", TransformInteg, uint16(IntegHMACSHA384), 0},
	{"sha512", TransformInteg, uint16(IntegHMACSHA512), 0},
	{"aesxcbc", TransformInteg, uint16(IntegAESXCBC), 0},
	{"aescmac", TransformInteg, uint16(IntegAESCMAC), 0},
	{"md5", TransformInteg, uint16(IntegHMACMD5), 0},
	{"aes128gmac", TransformInteg, uint16(IntegAESGMAC128), 0},
	{"aes192gmac", TransformInteg, uint16(IntegAESGMAC192), 0},
	{"aes256gmac", TransformInteg, uint16(IntegAESGMAC256), 0},
	{"prfsha1", TransformPRF, uint16(PRFHMACSHA1), 0},
	{"prfsha256", TransformPRF, uint16(PRFHMACSHA256), 0},
	{"prfsha384", TransformPRF, uint16(PRFHMACSHA384), 0},
	{"prfsha512", TransformPRF, uint16(PRFHMACSHA512), 0},
	{"prfaesxcbc", TransformPRF, uint16(PRFAESXCBC), 0},
	{"prfaescmac", TransformPRF, uint16(PRFAESCMAC), 0},
	{"prfmd5", TransformPRF, uint16(PRFHMACMD5), 0},
	{"modp2048", TransformDH, uint16(DHMODP2048), 0},
	{"modp3072", TransformDH, uint16(DHMODP3072), 0},
	{"modp4096", TransformDH, uint16(DHMODP4096), 0},
	{"modp6144", TransformDH, uint16(DHMODP6144), 0},
	{"modp8192", TransformDH, uint16(DHMODP8192), 0},
	{"ecp256", TransformDH, uint16(DHECP256), 0},
	{"ecp384", TransformDH, uint16(DHECP384), 0},
	{"ecp521", TransformDH, uint16(DHECP521), 0},
	{"ecp224", TransformDH, uint16(DHECP224), 0},
	{"ecp224bp", TransformDH, uint16(DHBrainpool224), 0},
	{"ecp256bp", TransformDH, uint16(DHBrainpool256), 0},
	{"ecp384bp", TransformDH, uint16(DHBrainpool384), 0},
	{"ecp512bp", TransformDH, uint16(DHBrainpool512), 0},
	{"curve25519", TransformDH, uint16(DHCurve25519), 0},
	{"curve448", TransformDH, uint16(DHCurve448), 0},
	{"modp768", TransformDH, uint16(DHMODP768), 0},
	{"modp1024", TransformDH, uint16(DHMODP1024), 0},
	{"modp1536", TransformDH, uint16(DHMODP1536), 0},
	{"ecp192", TransformDH, uint16(DHECP192), 0},
	{"mlkem512", TransformDH, uint16(DHMLKEM512), 0},
	{"mlkem768", TransformDH, uint16(DHMLKEM768), 0},
	{"mlkem1024", TransformDH, uint16(DHMLKEM1024), 0},
	{"noesn", TransformESN, uint16(ESNNo), 0},
	{"esn", TransformESN, uint16(ESNYes), 0},

	{"aes", TransformEncr, uint16(EncrAESCBC), 128},
	{"aes128gcm", TransformEncr, uint16(EncrAESGCM16), 128},
	{"aes192gcm", TransformEncr, uint16(EncrAESGCM16), 192},
	{"aes256gcm", TransformEncr, uint16(EncrAESGCM16), 256},
	{"aes128gcm128", TransformEncr, uint16(EncrAESGCM16), 128},
	{"aes192gcm128", TransformEncr, uint16(EncrAESGCM16), 192},
	{"aes256gcm128", TransformEncr, uint16(EncrAESGCM16), 256},
	{"aes128gcm96", TransformEncr, uint16(EncrAESGCM12), 128},
	{"aes192gcm96", TransformEncr, uint16(EncrAESGCM12), 192},
	{"aes256gcm96", TransformEncr, uint16(EncrAESGCM12), 256},
	{"aes128gcm64", TransformEncr, uint16(EncrAESGCM8), 128},
	{"aes192gcm64", TransformEncr, uint16(EncrAESGCM8), 192},
	{"aes256gcm64", TransformEncr, uint16(EncrAESGCM8), 256},
	{"aes128ccm128", TransformEncr, uint16(EncrAESCCM16), 128},
	{"aes192ccm128", TransformEncr, uint16(EncrAESCCM16), 192},
	{"aes256ccm128", TransformEncr, uint16(EncrAESCCM16), 256},
	{"aes128ccm96", TransformEncr, uint16(EncrAESCCM12), 128},
	{"aes192ccm96", TransformEncr, uint16(EncrAESCCM12), 192},
	{"aes256ccm96", TransformEncr, uint16(EncrAESCCM12), 256},
	{"aes128ccm64", TransformEncr, uint16(EncrAESCCM8), 128},
	{"aes192ccm64", TransformEncr, uint16(EncrAESCCM8), 192},
	{"aes256ccm64", TransformEncr, uint16(EncrAESCCM8), 256},
	{"sha", TransformInteg, uint16(IntegHMACSHA1), 0},
	{"sha2_256", TransformInteg, uint16(IntegHMACSHA256), 0},
	{"sha2_384", TransformInteg, uint16(IntegHMACSHA384), 0},
	{"sha2_512", TransformInteg, uint16(IntegHMACSHA512), 0},
	{"x25519", TransformDH, uint16(DHCurve25519), 0},
	{"x448", TransformDH, uint16(DHCurve448), 0},
}

// parseKeywords splits "a-b-c" and looks each word up. Only words of the given
// kinds that the protocol can use are known to the caller's place; any other is an
// error that lists them.
func parseKeywords(text string, p Protocol, kinds ...TransformType) ([]keyword, error) {
	var words []keyword
	for name := range strings.SplitSeq(text, "-") {
		word, ok := lookUp(name, p, kinds)
		if _, refused := refusedExchanges[name[strings.Index(name, "_")+1:]]; refused {
			return nil, fmt.Errorf("%s: %s", quoted(name), whyRefused)
		}
		if !ok {
			return nil, fmt.Errorf("unknown word %s%s, expected one of %s%s", quoted(name), meant(name, p, kinds), wordList(p, kinds...), additionalHint(kinds))
		}
		words = append(words, word)
	}
	return words, nil
}

// maxQuoted is how much of a text an error shows, in octets: the text may be of any length.
const maxQuoted = 120

func quoted(text string) string {
	if len(text) > maxQuoted {
		return fmt.Sprintf("%q...", text[:maxQuoted])
	}
	return fmt.Sprintf("%q", text)
}

// meant is the word that an unknown one stands for, if only capitals and separators tell the two apart: "AES128_GCM16".
func meant(name string, p Protocol, kinds []TransformType) string {
	plain := func(text string) string { return strings.ReplaceAll(strings.ToLower(text), "_", "") }
	for _, k := range keywordTable {
		if _, known := inTable(k.name, p, kinds); known && plain(k.name) == plain(name) {
			return ": did you mean " + k.name + "?"
		}
	}
	return ""
}

// lookUp finds a word. Before that of a key exchange "ke1_" to "ke7_" make it an additional
// one, "ke1_mlkem768", and "ke1_none" is the alternative to do without (RFC 9370).
func lookUp(name string, p Protocol, kinds []TransformType) (keyword, bool) {
	kind, method, ok := cutAdditional(name)
	switch {
	case !ok:
		return inTable(name, p, kinds)
	case !slices.Contains(kinds, TransformDH):
		return keyword{}, false
	case method == noExchange:
		return keyword{name, kind, uint16(DHNone), 0}, true
	}
	word, ok := inTable(method, p, []TransformType{TransformDH})
	return keyword{name, kind, word.id, 0}, ok
}

func inTable(name string, p Protocol, kinds []TransformType) (keyword, bool) {
	i := slices.IndexFunc(keywordTable, func(k keyword) bool {
		return k.name == name && slices.Contains(kinds, k.kind) && k.transform().serves(p)
	})
	if i < 0 {
		return keyword{}, false
	}
	return keywordTable[i], true
}

const (
	additionalPrefix = "ke"
	noExchange       = "none"
)

// cutAdditional splits "ke1_mlkem768".
func cutAdditional(name string) (kind TransformType, method string, ok bool) {
	number, method, ok := strings.Cut(strings.TrimPrefix(name, additionalPrefix), "_")
	if !ok || !strings.HasPrefix(name, additionalPrefix) || len(number) != 1 {
		return 0, "", false
	}
	kind = AdditionalKE(int(number[0]) - '1')
	_, ok = kind.additional()
	return kind, method, ok
}

func additionalHint(kinds []TransformType) string {
	if !slices.Contains(kinds, TransformDH) {
		return ""
	}
	return fmt.Sprintf("; %s1_ to %s%d_ before a key exchange make it an additional one", additionalPrefix, additionalPrefix, AdditionalKEs)
}

// keywordFor returns the canonical word of an algorithm, or its IANA name when
// it has none.
func keywordFor(kind TransformType, id uint16, keyBits int) string {
	if i, ok := kind.additional(); ok {
		method := noExchange
		if id != uint16(DHNone) {
			method = keywordFor(TransformDH, id, keyBits)
		}
		return fmt.Sprintf("%s%d_%s", additionalPrefix, i+1, method)
	}
	for _, k := range keywordTable {
		if k.kind == kind && k.id == id && k.keyBits == keyBits {
			return k.name
		}
	}
	return Transform{Type: kind, ID: id, KeyBits: uint16(keyBits)}.String()
}

// Keyword is the word of the configuration, or the IANA name of what has none.
func (t Transform) Keyword() string { return keywordFor(t.Type, t.ID, int(t.KeyBits)) }

// wordList lists the canonical words of some kinds that the protocol can use, in table
// order. Additional key exchanges have those of the first one.
func wordList(p Protocol, kinds ...TransformType) string {
	var names []string
	if _, ok := kinds[0].additional(); ok {
		kinds = []TransformType{TransformDH}
	}
	for _, k := range keywordTable {
		if slices.Contains(kinds, k.kind) && k.transform().serves(p) && keywordFor(k.kind, k.id, k.keyBits) == k.name {
			names = append(names, k.name)
		}
	}
	return strings.Join(names, " ")
}
