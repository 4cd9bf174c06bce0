package wire

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// A golden is one payload and the octets of the chain that holds it alone, spelled field by field from the diagrams of RFC 7296.
type golden struct {
	name    string
	payload Payload
	octets  string
}

var goldens = []golden{
	{"SA of IKE", &SA{Proposals: []Proposal{{Number: 1, Protocol: ProtocolIKE, Transforms: []Transform{
		{Type: TransformEncr, ID: 20, KeyBits: 128}, {Type: TransformPRF, ID: 5}, {Type: TransformDH, ID: 19}}}}},
		`00 00 0028
		 00 00 0024 01 01 00 03
		 03 00 000c 01 00 0014 800e 0080
		 03 00 0008 02 00 0005
		 00 00 0008 04 00 0013`},
	{"SA of ESP with two proposals", &SA{Proposals: []Proposal{
		{Number: 1, Protocol: ProtocolESP, SPI: []byte{0xc1, 2, 3, 4}, Transforms: []Transform{{Type: TransformEncr, ID: 20, KeyBits: 256}, {Type: TransformESN, ID: ESNYes}}},
		{Number: 2, Protocol: ProtocolAH, SPI: []byte{0xc1, 2, 3, 4}, Transforms: []Transform{{Type: TransformInteg, ID: 12}}}}},
		`00 00 0038
		 02 00 0020 01 03 04 02 c1020304
		 03 00 000c 01 00 0014 800e 0100
		 00 00 0008 05 00 0001
		 00 00 0014 02 02 04 01 c1020304
		 00 00 0008 03 00 000c`},
	{"SA of a rekeyed IKE SA", &SA{Proposals: []Proposal{{Number: 3, Protocol: ProtocolIKE, SPI: []byte{1, 2, 3, 4, 5, 6, 7, 8},
		Transforms: []Transform{{Type: TransformDH, ID: 31}}}}},
		`00 00 001c 00 00 0018 03 01 08 01 0102030405060708 00 00 0008 04 00 001f`},
	{"SA with other attributes", &SA{Proposals: []Proposal{{Number: 1, Protocol: ProtocolIKE, Transforms: []Transform{{Type: 9, ID: 7, KeyBits: 192,
		Attributes: []Attribute{{Type: 0x7fff, Short: true, Value: []byte{0xab, 0xcd}}, {Type: 3, Value: []byte{1, 2, 3}}, {Type: 4}}}}}}},
		`00 00 0027 00 00 0023 01 01 00 01 00 00 001b 09 00 0007 800e 00c0 ffff abcd 0003 0003 010203 0004 0000`},
	{"KE", &KE{Group: 31, Data: []byte{0xaa, 0xbb, 0xcc}}, `00 00 000b 001f 0000 aabbcc`},
	{"IDi by address", &ID{Initiator: true, Type: IDIPv4Address, Data: []byte{192, 0, 2, 1}}, `00 00 000c 01 000000 c0000201`},
	{"IDr by name", &ID{Type: IDFQDN, Data: []byte("gw-b.example")}, `00 00 0014 02 000000 67772d622e6578616d706c65`},
	{"IDi with reserved octets", &ID{Initiator: true, Type: IDKeyID, Reserved: [3]byte{1, 2, 3}, Data: []byte{9}}, `00 00 0009 0b 010203 09`},
	{"IDr null", &ID{Type: IDNull}, `00 00 0008 0d 000000`},
	{"CERT", &Cert{Encoding: CertX509Signature, Data: []byte{0x30, 0x82}}, `00 00 0007 04 3082`},
	{"CERTREQ", &CertReq{Encoding: CertX509Signature}, `00 00 0005 04`},
	{"AUTH", &Auth{Method: AuthSharedKeyMIC, Data: []byte{1, 2, 3, 4}}, `00 00 000c 02 000000 01020304`},
	{"Nonce", &Nonce{Data: bytes.Repeat([]byte{0x5a}, 16)}, `00 00 0014 5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a`},
	{"Notify", NewNotify(NotifyInitialContact, nil), `00 00 0008 00 00 4000`},
	{"Notify with SPI", RekeySA(ProtocolESP, 0xc1020304), `00 00 000c 03 04 4009 c1020304`},
	{"Notify with data", InvalidKEPayload(20), `00 00 000a 00 00 0011 0014`},
	{"Delete of Child SAs", &Delete{Protocol: ProtocolESP, SPIs: []uint32{0xc1020304, 5}}, `00 00 0010 03 04 0002 c1020304 00000005`},
	{"Delete of the IKE SA", &Delete{Protocol: ProtocolIKE}, `00 00 0008 01 00 0000`},
	{"Vendor ID", &VendorID{Data: []byte("x")}, `00 00 0005 78`},
	{"TSi", &TS{Initiator: true, Selectors: []TrafficSelector{
		{Type: TSIPv4Range, Protocol: 6, StartPort: 80, EndPort: 443, Start: netip.MustParseAddr("10.1.0.0"), End: netip.MustParseAddr("10.1.0.255")},
		{Type: TSIPv6Range, EndPort: 65535, Start: netip.MustParseAddr("2001:db8::"), End: netip.MustParseAddr("2001:db8::ff")}}},
		`00 00 0040 02 000000
		 07 06 0010 0050 01bb 0a010000 0a0100ff
		 08 00 0028 0000 ffff 20010db8000000000000000000000000 20010db80000000000000000000000ff`},
	{"TSr with OPAQUE ports and an unknown type", &TS{Selectors: []TrafficSelector{
		{Type: TSIPv4Range, StartPort: 65535, EndPort: 0, Start: netip.MustParseAddr("0.0.0.0"), End: netip.MustParseAddr("255.255.255.255")},
		{Type: 10, Protocol: 1, Unknown: []byte("label")}}},
		`00 00 0021 02 000000 07 00 0010 ffff 0000 00000000 ffffffff 0a 01 0009 6c6162656c`},
	{"Configuration", &Configuration{Type: ConfigRequest, Attributes: []ConfigAttribute{{Type: 1}, {Type: 3, Value: []byte{192, 0, 2, 53}}}},
		`00 00 0014 01 000000 0001 0000 0003 0004 c0000235`},
	{"EAP", &EAP{Message: []byte{1, 9, 0, 5, 1}}, `00 00 0009 01 09 0005 01`},
	{"unknown", &Unknown{Type: 200, Body: []byte{0xde, 0xad}}, `00 00 0006 dead`},
}

func TestGoldenPayloads(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			want := octets(t, g.octets)
			first, got, err := MarshalPayloads([]Payload{g.payload})
			if err != nil || first != g.payload.PayloadType() || !bytes.Equal(got, want) {
				t.Errorf("emitted as %v\n%x (%v), expected\n%x", first, got, err, want)
			}
			parsed, err := ParsePayloads(first, want)
			if err != nil {
				t.Fatal(err)
			}
			if !equal(parsed, []Payload{g.payload}) {
				t.Errorf("parsed as\n%#v, expected\n%#v", parsed[0], g.payload)
			}
		})
	}
}

// What RFC 7296 tells a receiver to ignore is ignored: reserved fields, the critical bit of a known payload, the protocol of a notification without SPI.
func TestIgnoredFields(t *testing.T) {
	cases := []golden{
		{"critical bit of a known payload", &KE{Group: 31, Data: []byte{1}}, `00 80 0009 001f 0000 01`},
		{"reserved bits of the payload header", &KE{Group: 31, Data: []byte{1}}, `00 7f 0009 001f 0000 01`},
		{"reserved octets of KE", &KE{Group: 31, Data: []byte{1}}, `00 00 0009 001f ffff 01`},
		{"reserved octets of AUTH", &Auth{Method: AuthSharedKeyMIC, Data: []byte{1}}, `00 00 0009 02 ffffff 01`},
		{"protocol of a notification without SPI", NewNotify(NotifyInitialContact, nil), `00 00 0008 01 00 4000`},
		{"reserved octets of SA", &SA{Proposals: []Proposal{{Number: 1, Protocol: ProtocolIKE, Transforms: []Transform{{Type: TransformPRF, ID: 5}}}}},
			`00 00 0014 00 ff 0010 01 01 00 01 00 ff 0008 02 ff 0005`},
		{"reserved bit of a configuration attribute", &Configuration{Type: ConfigReply, Attributes: []ConfigAttribute{{Type: 1}}}, `00 00 000c 02 ffffff 8001 0000`},
	}
	for _, c := range cases {
		parsed, err := ParsePayloads(c.payload.PayloadType(), octets(t, c.octets))
		if err != nil || !equal(parsed, []Payload{c.payload}) {
			t.Errorf("%s: parsed as %#v (%v), expected %#v", c.name, parsed, err, c.payload)
		}
	}
}

func TestSignedOctetsOfID(t *testing.T) {
	id := &ID{Initiator: true, Type: IDIPv4Address, Reserved: [3]byte{7, 8, 9}, Data: []byte{192, 0, 2, 1}}
	if got, want := id.SignedOctets(), octets(t, "01 070809 c0000201"); !bytes.Equal(got, want) {
		t.Errorf("AUTH would cover %x, expected %x", got, want)
	}
}

func TestHeader(t *testing.T) {
	b := octets(t, `0102030405060708 1112131415161718 2e 20 23 08 00000001 00000025 21 00 0009 eeeeeeeeee`)
	m := mustParse(t, b)
	want := Header{InitiatorSPI: 0x0102030405060708, ResponderSPI: 0x1112131415161718, NextPayload: PayloadEncrypted, Major: 2,
		Exchange: ExchangeIKEAuth, Flags: FlagInitiator, MessageID: 1, Length: 37}
	if m.Header != want {
		t.Errorf("header is %+v, expected %+v", m.Header, want)
	}
	if m.Response() || !m.FromInitiator() {
		t.Errorf("flags %v read as response %t, from initiator %t", m.Flags, m.Response(), m.FromInitiator())
	}
	if sk := Find[*Encrypted](m.Payloads); sk.FirstPayload != PayloadSA || !bytes.Equal(sk.AAD, b[:32]) || !bytes.Equal(sk.Body, b[32:]) {
		t.Errorf("SK is %#v", sk)
	}
	emitted, err := m.Marshal()
	if err != nil || !bytes.Equal(emitted, b) {
		t.Errorf("emitted as %x (%v), expected %x", emitted, err, b)
	}
}

func TestFragmentPayload(t *testing.T) {
	b := octets(t, `0102030405060708 1112131415161718 35 20 23 08 00000001 00000027 23 00 000b 0001 0003 eeeeee`)
	m := mustParse(t, b)
	want := &Fragment{FirstPayload: PayloadIDi, Number: 1, Total: 3, Body: b[36:], AAD: b[:36]} // RFC 7383 2.5: up to and with the total
	if !equal(m.Payloads, []Payload{want}) {
		t.Errorf("parsed as %#v, expected %#v", m.Payloads[0], want)
	}
	if got := m.String(); got != "IKE_AUTH request 1 [ SKF(1/3) ]" {
		t.Errorf("printed as %s", got)
	}
}

// Parsed values keep nothing of the caller's buffer, and growing one does not overwrite another.
func TestParsedValuesAreOwned(t *testing.T) {
	d := bytes.Clone(captured(t)[0].message)
	m := mustParse(t, d)
	clear(d)
	nonce := Find[*Nonce](m.Payloads)
	ke := bytes.Clone(Find[*KE](m.Payloads).Data)
	_ = append(Find[*KE](m.Payloads).Data, bytes.Repeat([]byte{0xff}, 32)...)
	if want := octets(t, "6713a9935c95cb6057ff02d2184b2507b6d39b3ceea96d4db104eccb6d658e0e"); !bytes.Equal(nonce.Data, want) {
		t.Errorf("the nonce became %x, expected %x", nonce.Data, want)
	}
	if ke[0] != 0x40 {
		t.Errorf("the key exchange value begins with %#x, expected 0x40", ke[0])
	}
}

// Printing a message, in whatever way, shows names only.
func TestPrintingShowsNoContent(t *testing.T) {
	content := bytes.Repeat([]byte("S"), 20)
	m := &Message{Header: Header{Exchange: ExchangeIKEAuth, Flags: FlagResponse, MessageID: 7}, Payloads: []Payload{
		&ID{Type: IDKeyID, Data: content}, &Auth{Method: AuthSharedKeyMIC, Data: content}, &Delete{Protocol: ProtocolESP},
		&Configuration{Type: ConfigReply}, &EAP{Message: content}, &Unknown{Type: 99, Body: content}, NewNotify(40000, content), NewNotify(8000, content)}}
	want := "IKE_AUTH response 7 [ IDr AUTH D(ESP) CP(CFG_REPLY) EAP ?(99) N(status 40000) N(error 8000) ]"
	if m.String() != want {
		t.Errorf("printed as %s, expected %s", m, want)
	}
	for _, printed := range []string{fmt.Sprintf("%+v", m), fmt.Sprintf("%+v", *m), fmt.Sprintf("%+v", m.Payloads)} {
		if strings.Contains(printed, "SSSS") || strings.Contains(printed, "83 83") {
			t.Errorf("printing shows content: %s", printed)
		}
	}
	if text, _ := m.MarshalText(); string(text) != want {
		t.Errorf("encoded as %s, expected %s", text, want)
	}
}
