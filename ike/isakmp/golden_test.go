package isakmp

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// A golden is one payload and the octets of the chain that holds it alone, spelled field by field from the diagrams of the RFCs.
type golden struct {
	name    string
	payload Payload
	octets  string
}

var goldens = []golden{
	{"SA of main mode", &SA{Proposals: []Proposal{{Number: 1, Protocol: ProtocolISAKMP, Transforms: []Transform{
		{Number: 1, ID: TransformKeyIKE, Attributes: []Attribute{Basic(1, 7), Basic(14, 128), Basic(2, 2), Basic(4, 2), Basic(3, 1), Basic(11, 1), Number(12, 86400)}},
		{Number: 2, ID: TransformKeyIKE, Attributes: []Attribute{Basic(1, 5), Basic(2, 1), Basic(4, 1), Basic(3, 3)}}}}}},
		`00 00 0054 00000001 00000001
		 00 00 0048 01 01 00 02
		 03 00 0028 01 01 0000 8001 0007 800e 0080 8002 0002 8004 0002 8003 0001 800b 0001 000c 0004 00015180
		 00 00 0018 02 01 0000 8001 0005 8002 0001 8004 0001 8003 0003`},
	{"SA of quick mode: AH and ESP, or ESP", &SA{Proposals: []Proposal{
		{Number: 1, Protocol: ProtocolAH, SPI: []byte{0xc1, 2, 3, 4}, Transforms: []Transform{{Number: 1, ID: uint8(AHSHA1), Attributes: []Attribute{Basic(4, 2), Basic(5, 2)}}}},
		{Number: 1, Protocol: ProtocolESP, SPI: []byte{0xc1, 2, 3, 5}, Transforms: []Transform{{Number: 1, ID: uint8(ESP3DES), Attributes: []Attribute{Basic(4, 2)}}}},
		{Number: 2, Protocol: ProtocolESP, SPI: []byte{0xc1, 2, 3, 6}, Transforms: []Transform{{Number: 1, ID: uint8(ESPNull)}}}}},
		`00 00 0054 00000001 00000001
		 02 00 001c 01 02 04 01 c1020304
		 00 00 0010 01 03 0000 8004 0002 8005 0002
		 02 00 0018 01 03 04 01 c1020305
		 00 00 000c 01 03 0000 8004 0002
		 00 00 0014 02 03 04 01 c1020306
		 00 00 0008 01 0b 0000`},
	{"SA whose ISAKMP proposal has cookies", &SA{Proposals: []Proposal{{Number: 0, Protocol: ProtocolISAKMP, SPI: []byte{1, 2, 3, 4, 5, 6, 7, 8},
		Transforms: []Transform{{ID: TransformKeyIKE}}}}},
		`00 00 0024 00000001 00000001 00 00 0018 00 01 08 01 0102030405060708 00 00 0008 00 01 0000`},
	{"SA of an unknown protocol and attributes of all forms", &SA{Proposals: []Proposal{{Number: 1, Protocol: 9, SPI: []byte{1}, Transforms: []Transform{
		{Number: 9, ID: 200, Attributes: []Attribute{{Type: 0x7fff, Short: true, Value: []byte{0xab, 0xcd}}, {Type: 3, Value: []byte{1, 2, 3}}, {Type: 4}}}}}}},
		`00 00 002c 00000001 00000001 00 00 0020 01 09 01 01 01 00 00 0017 09 c8 0000 ffff abcd 0003 0003 010203 0004 0000`},
	{"KE", &KE{Data: []byte{0xaa, 0xbb, 0xcc}}, `00 00 0007 aabbcc`},
	{"ID of an address", &ID{Type: IDIPv4Address, Protocol: 17, Port: 500, Data: []byte{192, 0, 2, 1}}, `00 00 000c 01 11 01f4 c0000201`},
	{"ID of an IPv6 address", AddressID(netip.MustParseAddr("2001:db8::1")), `00 00 0018 05 00 0000 20010db8000000000000000000000001`},
	{"ID of a name", &ID{Type: IDFQDN, Data: []byte("gw-b.example")}, `00 00 0014 02 00 0000 67772d622e6578616d706c65`},
	{"ID of a user", &ID{Type: IDUserFQDN, Data: []byte("a@b")}, `00 00 000b 03 00 0000 614062`},
	{"ID of a subnet", SubnetID(netip.MustParsePrefix("10.1.2.3/20")), `00 00 0010 04 00 0000 0a010000 fffff000`},
	{"ID of an IPv6 subnet", SubnetID(netip.MustParsePrefix("2001:db8::/33")),
		`00 00 0028 06 00 0000 20010db8000000000000000000000000 ffffffff800000000000000000000000`},
	{"ID of a range", RangeID(netip.MustParseAddr("10.1.0.5"), netip.MustParseAddr("10.1.0.9")), `00 00 0010 07 00 0000 0a010005 0a010009`},
	{"ID of an IPv6 range", RangeID(netip.MustParseAddr("2001:db8::5"), netip.MustParseAddr("2001:db8::9")),
		`00 00 0028 08 00 0000 20010db8000000000000000000000005 20010db8000000000000000000000009`},
	{"ID of a DN", &ID{Type: IDDERASN1DN, Data: []byte{0x30, 0}}, `00 00 000a 09 00 0000 3000`},
	{"ID of a key", &ID{Type: IDKeyID, Data: []byte{9}}, `00 00 0009 0b 00 0000 09`},
	{"ID of an unknown type", &ID{Type: 77, Protocol: 6, Port: 80, Data: []byte{9}}, `00 00 0009 4d 06 0050 09`},
	{"CERT", &Cert{Encoding: CertX509Signature, Data: []byte{0x30, 0x82}}, `00 00 0007 04 3082`},
	{"CERTREQ", &CertReq{Encoding: CertX509Signature, Authority: []byte{0x30, 0}}, `00 00 0007 04 3000`},
	{"CERTREQ for any authority", &CertReq{Encoding: CertX509Signature}, `00 00 0005 04`},
	{"HASH", &Hash{Data: bytes.Repeat([]byte{0x11}, 16)}, `00 00 0014 11111111111111111111111111111111`},
	{"SIG", &Sig{Data: []byte{1, 2, 3, 4}}, `00 00 0008 01020304`},
	{"NONCE", &Nonce{Data: bytes.Repeat([]byte{0x5a}, 8)}, `00 00 000c 5a5a5a5a5a5a5a5a`},
	{"N of the ISAKMP SA", InitialContact(Cookies{0x0102030405060708, 0x1112131415161718}),
		`00 00 001c 00000001 01 10 6002 0102030405060708 1112131415161718`},
	{"N of an SA", Connected(ProtocolESP, 0xc1020304), `00 00 0010 00000001 03 04 4000 c1020304`},
	{"N without SPI", &Notify{DOI: DOIISAKMP, Protocol: ProtocolESP, Type: NotifyNoProposalChosen}, `00 00 000c 00000000 03 00 000e`},
	{"R-U-THERE", RUThere(Cookies{1, 2}, 0xa0b0c0d0), `00 00 0020 00000001 01 10 8d28 0000000000000001 0000000000000002 a0b0c0d0`},
	{"R-U-THERE-ACK", RUThereAck(Cookies{1, 2}, 0xa0b0c0d0), `00 00 0020 00000001 01 10 8d29 0000000000000001 0000000000000002 a0b0c0d0`},
	{"D of SAs", DeleteSAs(ProtocolESP, 0xc1020304, 5), `00 00 0014 00000001 03 04 0002 c1020304 00000005`},
	{"D of the ISAKMP SA", DeleteISAKMP(Cookies{0x0102030405060708, 0x1112131415161718}), `00 00 001c 00000001 01 10 0001 0102030405060708 1112131415161718`},
	{"V", &VendorID{Data: []byte("x")}, `00 00 0005 78`},
	{"NAT-D", &NATD{Hash: []byte{1, 2, 3, 4}}, `00 00 0008 01020304`},
	{"NAT-D of the drafts", &NATD{Draft: true, Hash: []byte{1, 2, 3, 4}}, `00 00 0008 01020304`},
	{"NAT-OA", &NATOA{Address: netip.MustParseAddr("192.0.2.9")}, `00 00 000c 01 000000 c0000209`},
	{"NAT-OA of the drafts", &NATOA{Draft: true, Address: netip.MustParseAddr("2001:db8::9")}, `00 00 0018 05 000000 20010db8000000000000000000000009`},
	{"unknown", &Unknown{Type: 200, Body: []byte{0xde, 0xad}}, `00 00 0006 dead`},
	{"attributes of a transaction", &Unknown{Type: PayloadAttributes, Body: []byte{1, 0, 0, 0}}, `00 00 0008 01000000`},
}

func TestGoldenPayloads(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			want := octets(t, g.octets)
			first, got, err := MarshalPayloads([]Payload{g.payload})
			if err != nil || first != g.payload.PayloadType() || !bytes.Equal(got, want) {
				t.Errorf("emitted as %v\n%x (%v), expected\n%x", first, got, err, want)
			}
			chain, err := ParsePayloads(first, want)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := Body(chain.Payloads[0]); err != nil || !bytes.Equal(body, want[4:]) || !bytes.Equal(chain.Octets, want) {
				t.Errorf("parsed with the body\n%x (%v), expected\n%x", body, err, want[4:])
			}
			if !equal(plain(chain.Payloads), []Payload{g.payload}) {
				t.Errorf("parsed as\n%#v, expected\n%#v", chain.Payloads[0], g.payload)
			}
			if body, err := Body(g.payload); err != nil || !bytes.Equal(body, want[4:]) {
				t.Errorf("body to be sent is\n%x (%v), expected\n%x", body, err, want[4:])
			}
		})
	}
}

// Reserved fields that no RFC has checked are ignored, and yet are part of the octets that hashes cover.
func TestIgnoredFields(t *testing.T) {
	sa := `00 00 0024 00000001 00000001 00 ee 0018 00 01 08 01 0102030405060708 00 ee 0008 00 01 eeee`
	chain, err := ParsePayloads(PayloadSA, octets(t, sa))
	if err != nil {
		t.Fatal(err)
	}
	if body, err := Body(chain.Payloads[0]); err != nil || !bytes.Equal(body, octets(t, sa)[4:]) {
		t.Errorf("SAi_b is %x (%v), expected the octets as they came", body, err)
	}
	if _, b, err := MarshalPayloads(chain.Payloads); err != nil || !bytes.Equal(b, octets(t, sa)) {
		t.Errorf("emitted again as %x (%v), expected the octets as they came", b, err)
	}
	_, b, err := MarshalPayloads(plain(chain.Payloads))
	if want := octets(t, strings.NewReplacer("eeee", "0000", "ee", "00").Replace(sa)); err != nil || !bytes.Equal(b, want) {
		t.Errorf("emitted from its fields as %x (%v), expected %x", b, err, want)
	}
	chain, err = ParsePayloads(PayloadNATOA, octets(t, `00 00 000c 01 eeeeee c0000209`))
	if want := []Payload{&NATOA{Address: netip.MustParseAddr("192.0.2.9")}}; err != nil || !equal(chain.Payloads, want) {
		t.Errorf("NAT-OA with reserved octets is refused: %v", err)
	}
	m := mustParse(t, octets(t, `0102030405060708 1112131415161718 84 10 02 00 00000000 00000025 00 00 0009 0001 01 ff ee`))
	if f := Find[*Fragment](m.Payloads); f == nil || !f.Last {
		t.Errorf("a fragment with other flags is %v, expected the last", f)
	}
}

// RFC 2409 appendix B: padding is of any content, and no hash covers it.
func TestPadding(t *testing.T) {
	const two, padding = `0b 00 0014 11111111111111111111111111111111 00 00 000c 00000001 00 00 6002`, 255
	want := octets(t, two)
	for n := range padding + 1 {
		chain, err := ParsePayloads(PayloadHash, append(bytes.Clone(want), bytes.Repeat([]byte{byte(n)}, n)...))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(chain.Octets, want) || !bytes.Equal(chain.Rest(), want[20:]) || len(chain.Payloads) != 2 {
			t.Errorf("with %d octets of padding: %x, after HASH %x", n, chain.Octets, chain.Rest())
		}
	}
	alone, err := ParsePayloads(PayloadHash, octets(t, `00 00 0005 11 00000000`))
	if err != nil || len(alone.Rest()) != 0 {
		t.Errorf("behind a HASH alone is %x (%v), expected nothing", alone.Rest(), err)
	}
}

func TestPrependHash(t *testing.T) {
	hash := bytes.Repeat([]byte{0x11}, 16)
	first, rest, err := MarshalPayloads([]Payload{&Nonce{Data: []byte("8 octets")}, &VendorID{Data: []byte("x")}})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := PrependHash(hash, first, rest)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ParsePayloads(PayloadHash, whole)
	want := []Payload{&Hash{Data: hash}, &Nonce{Data: []byte("8 octets")}, &VendorID{Data: []byte("x")}}
	if err != nil || !equal(chain.Payloads, want) || !bytes.Equal(chain.Rest(), rest) {
		t.Errorf("a hash before a chain makes %v (%v), expected %v", chain, err, want)
	}
	if b, err := PrependHash(hash, PayloadNone, nil); err != nil || !bytes.Equal(b, octets(t, `00 00 0014 11111111111111111111111111111111`)) {
		t.Errorf("a hash alone is %x (%v)", b, err)
	}
	if _, err := PrependHash(make([]byte, 65), PayloadNone, nil); err == nil {
		t.Error("a hash of 65 octets is sent")
	}
	if _, err := PrependHash(hash, first, make([]byte, MaxMessage)); err == nil {
		t.Error("a chain that is too long is sent")
	}
}

func TestHeader(t *testing.T) {
	b := octets(t, `0102030405060708 1112131415161718 08 10 20 03 a0b0c0d0 0000002c eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee`)
	m := mustParse(t, b)
	want := Header{Cookies: Cookies{0x0102030405060708, 0x1112131415161718}, NextPayload: PayloadHash, Major: 1, Exchange: ExchangeQuick,
		Flags: FlagEncryption | FlagCommit, MessageID: 0xa0b0c0d0, Length: 44}
	if m.Header != want || !m.Encrypted() {
		t.Errorf("header is %+v, expected %+v", m.Header, want)
	}
	if m.Payloads != nil || !bytes.Equal(m.Ciphertext, b[28:]) || !bytes.Equal(m.CookieOctets(), b[:16]) {
		t.Errorf("parsed with payloads %v and ciphertext %x", m.Payloads, m.Ciphertext)
	}
	if got := mustMarshal(t, m); !bytes.Equal(got, b) {
		t.Errorf("emitted as %x, expected %x", got, b)
	}
	prefix, err := Header{Cookies: want.Cookies, Exchange: ExchangeQuick, Flags: FlagCommit, MessageID: 0xa0b0c0d0}.Prefix(PayloadHash, 16)
	if err != nil || !bytes.Equal(prefix, b[:28]) {
		t.Errorf("the header before the ciphertext is %x (%v), expected %x", prefix, err, b[:28])
	}
}

// Parsed values keep nothing of the caller's buffer, and growing one does not overwrite another.
func TestParsedValuesAreOwned(t *testing.T) {
	d := bytes.Clone(captured(t, captures[0])[2].message) // message 3 of main mode: KE, NONCE, NAT-D, NAT-D
	nonce := bytes.Clone(Find[*Nonce](mustParse(t, d).Payloads).Data)
	m := mustParse(t, d)
	clear(d)
	_ = append(Find[*KE](m.Payloads).Data, bytes.Repeat([]byte{0xff}, 32)...)
	if got := Find[*Nonce](m.Payloads).Data; !bytes.Equal(got, nonce) || bytes.Equal(got, make([]byte, len(got))) {
		t.Errorf("the nonce became %x, expected %x", got, nonce)
	}
	padded := octets(t, `00 00 0005 78 00 00 00`)
	chain, err := ParsePayloads(PayloadVendorID, padded)
	if err != nil || cap(chain.Octets) != len(chain.Octets) {
		t.Errorf("the chain has room for %d octets beyond its %d (%v)", cap(chain.Octets), len(chain.Octets), err)
	}
}

// Printing a message, in whatever way, shows names only.
func TestPrintingShowsNoContent(t *testing.T) {
	content := bytes.Repeat([]byte("S"), 20)
	m := &Message{Header: Header{Exchange: ExchangeQuick, MessageID: 0x1f}, Payloads: []Payload{
		&Hash{Data: content}, &SA{}, &ID{Type: IDKeyID, Data: content}, DeleteSAs(ProtocolAH, 1), NewVendorID(VendorDPD), &VendorID{Data: content},
		&NATD{Hash: content}, &NATOA{Draft: true}, &Unknown{Type: 99, Body: content}, NewNotify(40000, Cookies{}, content), NewNotify(8000, Cookies{}, content), &Sig{Data: content}}}
	want := "quick mode 0000001f [ HASH SA ID D(AH) V(DPD) V NAT-D NAT-OA (draft) ?(99) N(status 40000) N(error 8000) SIG ]"
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
	encrypted := &Message{Header: Header{Exchange: ExchangeMain}, Ciphertext: content}
	if got := encrypted.String(); got != "main mode [ 20 octets of ciphertext ]" {
		t.Errorf("printed as %s", got)
	}
}
