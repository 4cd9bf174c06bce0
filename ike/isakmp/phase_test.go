package isakmp

import (
	"strings"
	"testing"
)

func TestPhase1(t *testing.T) {
	base := []Attribute{Basic(1, 7), Basic(2, 4), Basic(3, 9), Basic(4, 19)}
	with := func(more ...Attribute) []Attribute { return append(base[:len(base):len(base)], more...) }
	seconds, kilobytes := Basic(11, 1), Basic(11, 2)
	want := Phase1{Encryption: EncryptionAES, Hash: HashSHA256, Auth: AuthECDSASHA256P256, Group: 19}
	lives := func(seconds, kilobytes uint32) Phase1 {
		p := want
		p.Lifetime = Lifetime{Seconds: seconds, Kilobytes: kilobytes}
		return p
	}
	keyed := want
	keyed.KeyBits = 192
	for _, c := range []struct {
		name       string
		id         uint8
		attributes []Attribute
		want       Phase1
		says       string
	}{
		{"no lifetime", 1, base, want, ""},
		{"another order", 1, []Attribute{base[3], base[2], base[1], base[0]}, want, ""},
		{"key length", 1, with(Basic(14, 192)), keyed, ""},
		{"seconds in the basic form", 1, with(seconds, Basic(12, 28800)), lives(28800, 0), ""},
		{"seconds in two octets of the variable form", 1, with(seconds, Attribute{Type: 12, Value: []byte{0x70, 0x80}}), lives(28800, 0), ""},
		{"seconds in four octets", 1, with(seconds, Attribute{Type: 12, Value: []byte{0, 1, 0x51, 0x80}}), lives(86400, 0), ""},
		{"seconds in eight octets", 1, with(seconds, Attribute{Type: 12, Value: []byte{0, 0, 0, 0, 0, 1, 0x51, 0x80}}), lives(86400, 0), ""},
		{"seconds without end", 1, with(seconds, Attribute{Type: 12, Value: []byte{1, 0, 0, 0, 0, 0, 0, 0}}), lives(1<<32-1, 0), ""},
		{"no limit", 1, with(seconds, Number(12, 0)), lives(0, 0), ""},
		{"both lifetimes", 1, with(kilobytes, Number(12, 1<<20), seconds, Number(12, 3600)), lives(3600, 1<<20), ""},

		{"another transform", 2, base, Phase1{}, "transform 2 of ISAKMP, expected 1"},
		{"no group", 1, base[:3], Phase1{}, "lacks an attribute"},
		{"no encryption", 1, base[1:], Phase1{}, "lacks an attribute"},
		{"nothing", 1, nil, Phase1{}, "lacks an attribute"},
		{"a group of one's own", 1, with(Basic(5, 1)), Phase1{}, "attribute 5 is not supported"},
		{"encryption twice", 1, with(Basic(1, 5)), Phase1{}, "attribute 1 twice"},
		{"key length zero", 1, with(Basic(14, 0)), Phase1{}, "attribute 14 is zero"},
		{"key length in the variable form", 1, with(Attribute{Type: 14, Value: []byte{0, 192}}), Phase1{}, "attribute 14 has the variable form"},
		{"duration alone", 1, with(Basic(12, 3600)), Phase1{}, "without a type before it"},
		{"type alone", 1, with(seconds), Phase1{}, "life type without a duration"},
		{"type and something else", 1, with(seconds, Basic(14, 192), Basic(12, 3600)), Phase1{}, "life type without a duration"},
		{"type twice", 1, with(seconds, seconds, Basic(12, 3600)), Phase1{}, "life type without a duration"},
		{"seconds twice", 1, with(seconds, Basic(12, 3600), seconds, Basic(12, 3600)), Phase1{}, "life type 1 twice"},
		{"type in the variable form", 1, with(Attribute{Type: 11, Value: []byte{0, 1}}, Basic(12, 3600)), Phase1{}, "attribute 11 has the variable form"},
		{"unknown type", 1, with(Basic(11, 3), Basic(12, 3600)), Phase1{}, "life type 3"},
		{"duration of nine octets", 1, with(seconds, Attribute{Type: 12, Value: make([]byte, 9)}), Phase1{}, "attribute 12 has 9 octets, expected a number of 1 to 8"},
		{"duration of no octets", 1, with(seconds, Attribute{Type: 12}), Phase1{}, "attribute 12 has 0 octets"},
	} {
		got, err := (&Transform{Number: 1, ID: c.id, Attributes: c.attributes}).Phase1()
		if got != c.want || (err == nil) != (c.says == "") || err != nil && (!typed(err) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, %+v (%v), expected %v or %q", c.name, got, got.Lifetime, err, c.want, c.says)
		}
	}
}

func TestPhase2(t *testing.T) {
	for _, c := range []struct {
		name       string
		attributes []Attribute
		want       Phase2
		says       string
	}{
		{"nothing", nil, Phase2{}, ""},
		{"AES-CBC with HMAC", []Attribute{Basic(1, 1), Number(2, 3600), Basic(1, 2), Number(2, 4608000), Basic(4, 1), Basic(5, 5), Basic(6, 256), Basic(3, 14)},
			Phase2{Encapsulation: EncapsulationTunnel, Auth: AuthHMACSHA256, KeyBits: 256, Group: 14, Lifetime: Lifetime{3600, 4608000}}, ""},
		{"transport in UDP of the drafts", []Attribute{Basic(4, 61444), Basic(5, 2)}, Phase2{Encapsulation: EncapsulationUDPTransportDraft, Auth: AuthHMACSHA1}, ""},
		{"ESN", []Attribute{Basic(11, 1), Basic(4, 3)}, Phase2{Encapsulation: EncapsulationUDPTunnel, ESN: true}, ""},
		{"ESN with another value", []Attribute{Basic(11, 2)}, Phase2{}, "extended sequence numbers 2"},
		{"key rounds", []Attribute{Basic(7, 12)}, Phase2{}, "attribute 7 is not supported"},
		{"mode twice", []Attribute{Basic(4, 1), Basic(4, 2)}, Phase2{}, "attribute 4 twice"},
		{"group in the variable form", []Attribute{{Type: 3, Value: []byte{0, 14}}}, Phase2{}, "attribute 3 has the variable form"},
		{"type alone", []Attribute{Basic(1, 1), Basic(4, 1)}, Phase2{}, "life type without a duration"},
	} {
		got, err := (&Transform{Number: 1, ID: 12, Attributes: c.attributes}).Phase2()
		if got != c.want || (err == nil) != (c.says == "") || err != nil && (!typed(err) || NotifyFor(err) != NotifyAttributesNotSupported || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, %+v (%v), expected %v or %q", c.name, got, got.Lifetime, err, c.want, c.says)
		}
	}
}

func TestChosen(t *testing.T) {
	transforms := func(n int) []Transform { return make([]Transform, n) }
	for _, c := range []struct {
		proposals []Proposal
		says      string
	}{
		{[]Proposal{{Number: 2, Transforms: transforms(1)}}, ""},
		{[]Proposal{{Number: 2, Protocol: ProtocolAH, Transforms: transforms(1)}, {Number: 2, Protocol: ProtocolESP, Transforms: transforms(1)}}, ""},
		{[]Proposal{{Number: 1, Transforms: transforms(1)}, {Number: 2, Transforms: transforms(1)}}, "proposals 1 and 2"},
		{[]Proposal{{Number: 1, Protocol: ProtocolESP, Transforms: transforms(2)}}, "2 transforms for ESP"},
		{[]Proposal{{Number: 1, Transforms: transforms(1)}, {Number: 1, Protocol: ProtocolAH, Transforms: transforms(3)}}, "3 transforms for AH"},
	} {
		got, err := (&SA{Proposals: c.proposals}).Chosen()
		if (err == nil) != (c.says == "") || err == nil && len(got) != len(c.proposals) || err != nil && (NotifyFor(err) != NotifyBadProposalSyntax || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%+v: %d chosen (%v), expected %q", c.proposals, len(got), err, c.says)
		}
	}
}

func TestAlternatives(t *testing.T) {
	for _, c := range []struct{ numbers, want []uint8 }{ // want: how many are in each group
		{[]uint8{0}, []uint8{1}}, {[]uint8{1, 2, 3}, []uint8{1, 1, 1}}, {[]uint8{1, 1}, []uint8{2}}, {[]uint8{1, 1, 2, 5, 5, 5}, []uint8{2, 1, 3}}, {nil, nil},
	} {
		sa := &SA{}
		for _, number := range c.numbers {
			sa.Proposals = append(sa.Proposals, Proposal{Number: number})
		}
		var got []uint8
		var all []Proposal
		for _, group := range sa.Alternatives() {
			got, all = append(got, uint8(len(group))), append(all, group...)
		}
		if !equal(got, c.want) || !equal(all, sa.Proposals) {
			t.Errorf("proposals %v are in groups of %v, expected %v", c.numbers, got, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		Phase1{EncryptionAES, 256, HashSHA256, AuthPreSharedKey, 14, Lifetime{}}.String(): "AES-CBC-256, SHA2-256, MODP-2048, pre-shared key",
		Phase1{EncryptionDES, 0, HashMD5, AuthRSASignature, 1, Lifetime{}}.String():       "DES-CBC, MD5, MODP-768, RSA signature",
		Phase2{EncapsulationTunnel, AuthHMACSHA1, 128, 5, true, Lifetime{}}.String():      "128 bits, HMAC-SHA-1, ESN, MODP-1536, tunnel",
		Phase2{}.String():                             "",
		ExchangeQuick.String():                        "quick mode",
		ExchangeType(99).String():                     "exchange 99",
		PayloadNATDDraft.String():                     "NAT-D (draft)",
		ProtocolESP.String():                          "ESP",
		IDUserFQDN.String():                           "ID_USER_FQDN",
		CertEncoding(200).String():                    "certificate encoding 200",
		ESPAESGCM16.String():                          "AES-GCM-16",
		AHAESXCBC.String():                            "AES-XCBC",
		Encapsulation(9).String():                     "encapsulation mode 9",
		NotifyRUThere.String():                        "R-U-THERE",
		NotifyUnequalPayloadLengths.String():          "UNEQUAL-PAYLOAD-LENGTHS",
		NotifyType(31).String():                       "error 31",
		NotifyType(20000).String():                    "status 20000",
		(FlagEncryption | FlagCommit | 0x80).String(): "encryption|commit|reserved",
		KindMainAuth.String():                         "main mode with ID",
		KindUnsupported.String():                      "unsupported message",
		(&Fragment{Number: 2}).String():               "FRAG(2)",
		(&Fragment{Number: 3, Last: true}).String():   "FRAG(3, last)",
		(&SyntaxError{Err: errLifeTypeAlone}).Error(): "isakmp message: a life type without a duration behind it",
		(&SyntaxError{Payload: PayloadKE, Err: errLifeTypeAlone}).Error(): "isakmp message: KE payload: a life type without a duration behind it",
	} {
		if got != want {
			t.Errorf("printed as %q, expected %q", got, want)
		}
	}
	for number := NotifyType(1); number <= 30; number++ {
		if strings.HasPrefix(number.String(), "error") {
			t.Errorf("error %d has no name", number)
		}
	}
}
