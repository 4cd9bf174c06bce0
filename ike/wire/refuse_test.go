package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// Each case is a chain of one payload with one thing wrong, and a part of what the error must say.
func TestRefusedPayloads(t *testing.T) {
	cases := []struct {
		name   string
		first  PayloadType
		octets string
		says   string
	}{
		{"header cut", PayloadKE, "00 00 00", "within the payload's 4-octet header"},
		{"length below the header", PayloadKE, "00 00 0003 00", "length 3"},
		{"length beyond the message", PayloadKE, "00 00 000a 001f 0000 01", "length 10, expected 4 to the 9 left"},
		{"octets after the last payload", PayloadVendorID, "00 00 0005 78 00", "1 octets after the last payload"},
		{"octets without a payload", PayloadNone, "00", "1 octets after the last payload"},
		{"next payload missing", PayloadVendorID, "2b 00 0005 78", "within the payload's 4-octet header"},
		{"SK inside SK", PayloadEncrypted, "00 00 0005 78", "clear part of a message only"},
		{"SKF inside SK", PayloadFragment, "00 00 0009 0001 0001 78", "clear part of a message only"},

		{"SA without proposals", PayloadSA, "00 00 0004", "proposal 1: the payload ends"},
		{"proposal marker", PayloadSA, "00 00 0014 03 00 0010 01 01 00 01 00 00 0008 02 00 0005", "marker 3, expected 0 or 2"},
		{"proposal promised and missing", PayloadSA, "00 00 0014 02 00 0010 01 01 00 01 00 00 0008 02 00 0005", "proposal 2: the payload ends"},
		{"proposal after the last", PayloadSA, "00 00 0024 00 00 0010 01 01 00 01 00 00 0008 02 00 0005 00 00 0010 02 01 00 01 00 00 0008 02 00 0005", "16 octets after its end"},
		{"proposal length beyond the payload", PayloadSA, "00 00 0014 00 00 0011 01 01 00 01 00 00 0008 02 00 0005", "length 17"},
		{"proposal length below its header", PayloadSA, "00 00 0014 00 00 0003 01 01 00 01 00 00 0008 02 00 0005", "length 3"},
		{"proposal header cut", PayloadSA, "00 00 000b 00 00 0007 01 01 00", "3 octets after its length, expected at least 4"},
		{"proposal number zero", PayloadSA, "00 00 0014 00 00 0010 00 01 00 01 00 00 0008 02 00 0005", "number 0"},
		{"proposal number repeated", PayloadSA, "00 00 0024 02 00 0010 01 01 00 01 00 00 0008 02 00 0005 00 00 0010 01 01 00 01 00 00 0008 02 00 0005", "proposal 2 of 2 has number 1"},
		{"SPI beyond the proposal", PayloadSA, "00 00 0014 00 00 0010 01 03 09 01 00 00 0008 02 00 0005", "SPI of 9 octets, but only 8"},
		{"SPI of 3 octets for ESP", PayloadSA, "00 00 0017 00 00 0013 01 03 03 01 010203 00 00 0008 01 00 0014", "SPI of 3 octets for ESP, expected 4"},
		{"SPI of 4 octets for IKE", PayloadSA, "00 00 0018 00 00 0014 01 01 04 01 01020304 00 00 0008 01 00 0014", "SPI of 4 octets for IKE, expected 0 or 8"},
		{"no transforms", PayloadSA, "00 00 000c 00 00 0008 01 01 00 00", "0 transforms"},
		{"more transforms than octets", PayloadSA, "00 00 0014 00 00 0010 01 01 00 02 00 00 0008 02 00 0005", "2 transforms, but only 8 octets"},
		{"fewer transforms than octets", PayloadSA, "00 00 001c 00 00 0018 01 01 00 01 00 00 0008 02 00 0005 00 00 0008 02 00 0005", "8 octets after the last transform"},
		{"last transform not marked", PayloadSA, "00 00 0014 00 00 0010 01 01 00 01 03 00 0008 02 00 0005", "marked as last: false"},
		{"last transform marked early", PayloadSA, "00 00 001c 00 00 0018 01 01 00 02 00 00 0008 02 00 0005 00 00 0008 02 00 0005", "marked as last: true"},
		{"transform marker", PayloadSA, "00 00 0014 00 00 0010 01 01 00 01 02 00 0008 02 00 0005", "marker 2, expected 0 or 3"},
		{"transform length beyond the proposal", PayloadSA, "00 00 0014 00 00 0010 01 01 00 01 00 00 0009 02 00 0005", "length 9"},
		{"transform header cut", PayloadSA, "00 00 0014 00 00 0010 01 01 00 01 00 00 0007 02 00 0005", "ends within its header"},
		{"attribute cut", PayloadSA, "00 00 0017 00 00 0013 01 01 00 01 00 00 000b 01 00 0014 800e 00", "ends within an attribute"},
		{"attribute beyond the transform", PayloadSA, "00 00 0018 00 00 0014 01 01 00 01 00 00 000c 01 00 0014 0003 0001", "attribute 3 has 1 octets, but only 0"},
		{"key length in the long form", PayloadSA, "00 00 001a 00 00 0016 01 01 00 01 00 00 000e 01 00 0014 000e 0002 0080", "key length attribute"},
		{"key length zero", PayloadSA, "00 00 0018 00 00 0014 01 01 00 01 00 00 000c 01 00 0014 800e 0000", "key length attribute"},
		{"key length twice", PayloadSA, "00 00 001c 00 00 0018 01 01 00 01 00 00 0010 01 00 0014 800e 0080 800e 0100", "key length attribute"},
		{"too many attributes", PayloadSA, "00 00 0038 00 00 0034 01 01 00 01 00 00 002c 01 00 0014" + strings.Repeat("80010001", 9), "more than 8 attributes"},

		{"KE cut", PayloadKE, "00 00 0007 001f 00", "3 octets of body, expected at least 4"},
		{"KE without data", PayloadKE, "00 00 0008 001f 0000", "no key exchange data for group 31"},
		{"nonce of 15 octets", PayloadNonce, "00 00 0013" + strings.Repeat("5a", 15), "15 octets, expected 16 to 256"},
		{"nonce of 257 octets", PayloadNonce, "00 00 0105" + strings.Repeat("5a", 257), "257 octets, expected 16 to 256"},
		{"ID cut", PayloadIDi, "00 00 0007 01 0000", "before its identification data"},
		{"ID address of 3 octets", PayloadIDi, "00 00 000b 01 000000 c00002", "3 octets of identification data for ID_IPV4_ADDR, expected 4"},
		{"ID IPv6 address of 4 octets", PayloadIDr, "00 00 000c 05 000000 c0000201", "4 octets of identification data for ID_IPV6_ADDR, expected 16"},
		{"ID name of no octets", PayloadIDr, "00 00 0008 02 000000", "expected at least 1"},
		{"ID null with data", PayloadIDr, "00 00 0009 0d 000000 01", "expected none"},
		{"AUTH cut", PayloadAuth, "00 00 0007 02 0000", "before its authentication data"},
		{"AUTH without data", PayloadAuth, "00 00 0008 02 000000", "no authentication data for pre-shared key"},
		{"CERT cut", PayloadCert, "00 00 0004", "expected a certificate encoding"},
		{"CERT without data", PayloadCert, "00 00 0005 04", "no certificate data"},
		{"CERTREQ cut", PayloadCertReq, "00 00 0004", "expected a certificate encoding"},

		{"notification cut", PayloadNotify, "00 00 0007 00 00 40", "before its SPI"},
		{"notification with SPI beyond it", PayloadNotify, "00 00 0009 03 04 4009 01", "SPI of 4 octets, but only 1"},
		{"notification with SPI of IKE", PayloadNotify, "00 00 0010 01 08 4009 0102030405060708", "only for AH and ESP"},
		{"notification with SPI of nothing", PayloadNotify, "00 00 000c 00 04 4009 01020304", "only for AH and ESP"},
		{"notification with SPI of 3 octets", PayloadNotify, "00 00 000b 03 03 4009 010203", "expected 4"},
		{"delete cut", PayloadDelete, "00 00 0007 03 04 00", "before its SPIs"},
		{"delete with SPI size 8", PayloadDelete, "00 00 0010 03 08 0001 0102030405060708", "expected a size of 4"},
		{"delete with fewer SPIs than octets", PayloadDelete, "00 00 0010 03 04 0001 01020304 05060708", "1 SPIs of 4 octets for ESP in 8"},
		{"delete with more SPIs than octets", PayloadDelete, "00 00 000c 03 04 0002 01020304", "2 SPIs of 4 octets for ESP in 4"},
		{"delete of IKE with SPI", PayloadDelete, "00 00 0010 01 08 0001 0102030405060708", "expected a size of 0"},
		{"delete of IKE with a count", PayloadDelete, "00 00 0008 01 00 0001", "1 SPIs for IKE, expected none"},
		{"delete of another protocol", PayloadDelete, "00 00 000c 04 04 0001 01020304", "expected IKE, AH or ESP"},

		{"TS cut", PayloadTSi, "00 00 0007 01 0000", "before its selectors"},
		{"TS without selectors", PayloadTSi, "00 00 0008 00 000000", "0 selectors, expected 1 to 255"},
		{"more selectors than octets", PayloadTSr, "00 00 0018 05 000000 07 00 0010 0000 ffff 0a010000 0a0100ff", "5 selectors, but only 16"},
		{"fewer selectors than octets", PayloadTSr, "00 00 0028 01 000000 07 00 0010 0000 ffff 0a010000 0a0100ff 07 00 0010 0000 ffff 0a010000 0a0100ff", "16 octets after its end"},
		{"selector header cut", PayloadTSr, "00 00 001a 02 000000 07 00 0010 0000 ffff 0a010000 0a0100ff 0700", "within its header"},
		{"IPv4 selector of 40 octets", PayloadTSi, "00 00 0030 01 000000 07 00 0028" + strings.Repeat("00", 36), "length 40 for TS_IPV4_ADDR_RANGE, expected 16"},
		{"IPv6 selector of 16 octets", PayloadTSi, "00 00 0018 01 000000 08 00 0010 0000 ffff 0a010000 0a0100ff", "length 16 for TS_IPV6_ADDR_RANGE, expected 40"},
		{"unknown selector below its header", PayloadTSi, "00 00 000c 01 000000 63 00 0003", "length 3"},
		{"unknown selector beyond the payload", PayloadTSi, "00 00 000c 01 000000 63 00 0005", "length 5"},
		{"address range backwards", PayloadTSi, "00 00 0018 01 000000 07 00 0010 0000 ffff 0a0100ff 0a010000", "10.1.0.255 to 10.1.0.0 ends before it starts"},
		{"port range backwards", PayloadTSi, "00 00 0018 01 000000 07 00 0010 01bb 0050 0a010000 0a0100ff", "443 to 80 ends before it starts"},

		{"configuration cut", PayloadConfiguration, "00 00 0007 01 0000", "before its attributes"},
		{"configuration attribute cut", PayloadConfiguration, "00 00 000b 01 000000 0001 00", "3 octets left for an attribute, expected at least 4"},
		{"configuration attribute beyond the payload", PayloadConfiguration, "00 00 000c 01 000000 0001 0001", "1 octets, but only 0"},
		{"too many configuration attributes", PayloadConfiguration, "00 00 010c 01 000000" + strings.Repeat("00010000", 65), "more than 64 attributes"},
		{"EAP cut", PayloadEAP, "00 00 0007 01 09 00", "EAP message of 3 octets"},
		{"EAP length", PayloadEAP, "00 00 0009 01 09 0004 01", "length of 4 octets, the payload has 5"},
	}
	for _, c := range cases {
		payloads, err := ParsePayloads(c.first, octets(t, c.octets))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: parsed as %v with error %v, expected a SyntaxError that says %q", c.name, payloads, err, c.says)
		}
	}
}

func TestRefusedHeaders(t *testing.T) {
	const valid = "0102030405060708 1112131415161718 00 20 25 08 00000001 0000001c"
	for _, c := range []struct{ name, octets, says string }{
		{"empty", "", "shorter than its 28-octet header"},
		{"27 octets", valid[:len(valid)-2], "shorter than its 28-octet header"},
		{"length below the datagram", "0102030405060708 1112131415161718 00 20 25 08 00000001 0000001b", "length of 27 octets, the datagram has 28"},
		{"length above the datagram", "0102030405060708 1112131415161718 00 20 25 08 00000001 ffffffff", "length of 4294967295 octets"},
		{"trailing octet", valid + "00", "length of 28 octets, the datagram has 29"},
		{"initiator's SPI zero", "0000000000000000 1112131415161718 00 20 25 08 00000001 0000001c", "initiator's SPI is zero"},
		{"version 3", "0102030405060708 1112131415161718 00 31 25 08 00000001 0000001c", "version 3.1, expected major version 2"},
		{"version 1", "0102030405060708 1112131415161718 00 10 25 08 00000001 0000001c", "version 1.0"},
		{"SK not last", "0102030405060708 1112131415161718 2e 20 25 08 00000001 00000026 2b 00 0005 78 00 00 0005 78", "5 octets follow it, expected it last"},
		{"SK without body", "0102030405060708 1112131415161718 2e 20 25 08 00000001 00000020 00 00 0004", "no body, expected IV"},
		{"SKF cut", "0102030405060708 1112131415161718 35 20 25 08 00000001 00000023 00 00 0007 0001 00", "3 octets of body, expected the 4 of fragment number and total"},
		{"SKF number zero", "0102030405060708 1112131415161718 35 20 25 08 00000001 00000025 00 00 0009 0000 0001 ee", "fragment number 0 of 1"},
		{"SKF number above the total", "0102030405060708 1112131415161718 35 20 25 08 00000001 00000025 00 00 0009 0003 0002 ee", "fragment number 3 of 2"},
		{"SKF of too many", "0102030405060708 1112131415161718 35 20 25 08 00000001 00000025 00 00 0009 0001 ffff ee", "65535 fragments in total"},
		{"SKF number 2 with a first payload", "0102030405060708 1112131415161718 35 20 25 08 00000001 00000025 29 00 0009 0002 0002 ee", "names the first payload"},
		{"SKF without body", "0102030405060708 1112131415161718 35 20 25 08 00000001 00000024 00 00 0008 0001 0001", "no body"},
	} {
		m, err := Parse(octets(t, c.octets))
		if err == nil || !typed(err) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: parsed as %v with error %v, expected one that says %q", c.name, m, err, c.says)
		}
	}
	h, err := ParseHeader(octets(t, "0102030405060708 1112131415161718 00 31 25 08 00000001 0000001c"))
	var version *VersionError
	if !errors.As(err, &version) || version.Major != 3 || h.InitiatorSPI != 0x0102030405060708 || h.MessageID != 1 {
		t.Errorf("header of version 3 is %+v with error %v, expected it filled beside a VersionError", h, err)
	}
}

func TestCriticalPayload(t *testing.T) {
	_, err := ParsePayloads(200, octets(t, "2b 80 0005 01 00 00 0005 78"))
	var critical *CriticalError
	if !errors.As(err, &critical) || critical.Type != 200 {
		t.Fatalf("an unknown critical payload gives %v, expected a CriticalError with its type", err)
	}
	payloads, err := ParsePayloads(200, octets(t, "2b 00 0005 01 00 00 0005 78"))
	if want := []Payload{&Unknown{Type: 200, Body: []byte{1}}, &VendorID{Data: []byte("x")}}; err != nil || !equal(payloads, want) {
		t.Errorf("an unknown payload is parsed as %v (%v), expected it kept", payloads, err)
	}
	_, b, err := MarshalPayloads([]Payload{&Unknown{Type: 200, Critical: true, Body: []byte{1}}})
	if want := octets(t, "00 80 0005 01"); err != nil || !bytes.Equal(b, want) {
		t.Errorf("a critical payload is emitted as %x (%v), expected %x", b, err, want)
	}
}

func TestLimits(t *testing.T) {
	vendor := octets(t, "2b 00 0005 78")
	chain := bytes.Repeat(vendor, MaxPayloads)
	chain[len(chain)-len(vendor)] = 0
	if got, err := ParsePayloads(PayloadVendorID, chain); err != nil || len(got) != MaxPayloads {
		t.Errorf("%d payloads give %d (%v)", MaxPayloads, len(got), err)
	}
	if _, err := ParsePayloads(PayloadVendorID, append(bytes.Clone(vendor), chain...)); err == nil || !strings.Contains(err.Error(), "more than 64 payloads") {
		t.Errorf("%d payloads give error %v, expected a refusal", MaxPayloads+1, err)
	}
	proposals := func(n int) Payload {
		sa := &SA{}
		for i := range n {
			sa.Proposals = append(sa.Proposals, Proposal{Number: uint8(i + 1), Protocol: ProtocolIKE, Transforms: []Transform{{Type: TransformPRF, ID: 5}}})
		}
		return sa
	}
	first, b, err := MarshalPayloads([]Payload{proposals(MaxProposals)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParsePayloads(first, b); err != nil {
		t.Errorf("%d proposals give error %v", MaxProposals, err)
	}
	b[3] += 16 // one more proposal in the payload's length, and the last one marked as not the last
	b[len(b)-16] = moreProposals
	b = append(b, octets(t, "00 00 0010 41 01 00 01 00 00 0008 02 00 0005")...)
	if _, err := ParsePayloads(first, b); err == nil || !strings.Contains(err.Error(), "more than 64 proposals") {
		t.Errorf("%d proposals give error %v, expected a refusal", MaxProposals+1, err)
	}
	if _, err := Parse(make([]byte, MaxMessage+1)); !typed(err) {
		t.Errorf("a datagram of %d octets gives error %v", MaxMessage+1, err)
	}
	if _, err := ParsePayloads(PayloadVendorID, make([]byte, MaxMessage+1)); err == nil || !strings.Contains(err.Error(), "expected at most 16384") {
		t.Errorf("a chain of %d octets gives error %v, expected a refusal", MaxMessage+1, err)
	}
}

// What would be refused by the peer's parser is refused before it is sent.
func TestRefusedEmissions(t *testing.T) {
	address := netip.MustParseAddr
	for _, c := range []struct {
		name     string
		payloads []Payload
		says     string
	}{
		{"too many payloads", make([]Payload, MaxPayloads+1), "65 payloads"},
		{"no proposals", []Payload{&SA{}}, "0 proposals"},
		{"ESP without SPI", []Payload{&SA{Proposals: []Proposal{{Number: 1, Protocol: ProtocolESP, Transforms: make([]Transform, 1)}}}}, "expected 4"},
		{"too many transforms", []Payload{&SA{Proposals: []Proposal{{Number: 1, Protocol: ProtocolIKE, Transforms: make([]Transform, 256)}}}}, "256 transforms"},
		{"SPI of 256 octets", []Payload{&SA{Proposals: []Proposal{{Number: 1, Protocol: 9, SPI: make([]byte, 256), Transforms: make([]Transform, 1)}}}}, "at most 255"},
		{"attribute type of 16 bits", []Payload{&SA{Proposals: []Proposal{{Number: 1, Protocol: ProtocolIKE,
			Transforms: []Transform{{Attributes: []Attribute{{Type: 0x8001}}}}}}}}, "at most 15 bits"},
		{"short attribute of 3 octets", []Payload{&SA{Proposals: []Proposal{{Number: 1, Protocol: ProtocolIKE,
			Transforms: []Transform{{Attributes: []Attribute{{Type: 1, Short: true, Value: make([]byte, 3)}}}}}}}}, "expected 2"},
		{"attribute of 64 KiB", []Payload{&SA{Proposals: []Proposal{{Number: 1, Protocol: ProtocolIKE,
			Transforms: []Transform{{Attributes: []Attribute{{Type: 1, Value: make([]byte, 1<<16)}}}}}}}}, "in a proposal or transform"},
		{"notification of IKE", []Payload{&Notify{Protocol: ProtocolIKE, Type: NotifyInitialContact}}, "expected no protocol"},
		{"short nonce", []Payload{&Nonce{Data: make([]byte, 8)}}, "8 octets"},
		{"IPv6 address in an IPv4 selector", []Payload{&TS{Selectors: []TrafficSelector{{Type: TSIPv4Range, Start: address("::"), End: address("::1")}}}}, "expected IPv4"},
		{"IPv4 address in an IPv6 selector", []Payload{&TS{Selectors: []TrafficSelector{{Type: TSIPv6Range, Start: address("10.0.0.1"), End: address("10.0.0.1")}}}}, "expected IPv6"},
		{"no address in a selector", []Payload{&TS{Selectors: []TrafficSelector{{Type: TSIPv4Range}}}}, "expected IPv4"},
		{"known type as unknown", []Payload{&Unknown{Type: PayloadSA}}, "which is a known one"},
		{"payload after SK", []Payload{&Encrypted{Body: []byte{1}}, &Nonce{}}, "expected it last"},
		{"payload after SKF", []Payload{&Fragment{Number: 1, Total: 1, Body: []byte{1}}, &Nonce{}}, "expected it last"},
		{"payload of 64 KiB", []Payload{&VendorID{Data: make([]byte, 1<<16)}}, "at most 65531"},
		{"chain too long", []Payload{&VendorID{Data: make([]byte, MaxMessage)}}, "expected at most 16384"},
		{"too many configuration attributes", []Payload{&Configuration{Attributes: make([]ConfigAttribute, 65)}}, "more than 64"},
		{"configuration attribute type of 16 bits", []Payload{&Configuration{Attributes: []ConfigAttribute{{Type: 0x8000}}}}, "15 bits"},
		{"too many SPIs", []Payload{&Delete{Protocol: ProtocolESP, SPIs: make([]uint32, 1<<16)}}, "65536 SPIs"},
		{"delete of IKE with SPI", []Payload{&Delete{Protocol: ProtocolIKE, SPIs: []uint32{1}}}, "expected none"},
	} {
		if _, _, err := MarshalPayloads(c.payloads); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, expected one that says %q", c.name, err, c.says)
		}
	}
	if _, err := (&Message{}).Marshal(); err == nil || !strings.Contains(err.Error(), "SPI is zero") {
		t.Errorf("a message without the initiator's SPI gives error %v", err)
	}
	if _, err := EncryptedPrefix(Header{InitiatorSPI: 1}, PayloadNone, MaxMessage); err == nil || !strings.Contains(err.Error(), "16416 octets to send") {
		t.Errorf("an SK payload of %d octets gives error %v", MaxMessage, err)
	}
}
