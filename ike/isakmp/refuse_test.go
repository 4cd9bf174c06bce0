package isakmp

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// Parts of SA payloads: DOI and situation, a transform without attributes, and a proposal around it.
const (
	ipsecDOI     = "00000001 00000001 "
	oneTransform = "00 00 0008 01 01 0000"
	oneProposal  = "00 00 0010 01 01 00 01 " + oneTransform
)

// Each case is a chain of one payload with one thing wrong, a part of what the error must say and the notification of RFC 2408 section 5.
func TestRefusedPayloads(t *testing.T) {
	cases := []struct {
		name   string
		first  PayloadType
		octets string
		says   string
		notify NotifyType
	}{
		{"no payload", PayloadNone, "", "without payloads", NotifyPayloadMalformed},
		{"header cut", PayloadKE, "00 00 00", "within the payload's 4-octet header", NotifyPayloadMalformed},
		{"reserved octet", PayloadKE, "00 80 0005 01", "reserved octet of its header is 128", NotifyPayloadMalformed},
		{"length below the header", PayloadKE, "00 00 0003 00", "length 3", NotifyPayloadMalformed},
		{"length beyond the message", PayloadKE, "00 00 0006 01", "length 6, expected 4 to the 5 left", NotifyPayloadMalformed},
		{"next payload missing", PayloadVendorID, "0d 00 0005 78", "within the payload's 4-octet header", NotifyPayloadMalformed},
		{"proposal outside of SA", PayloadProposal, oneProposal, "stands in a message", NotifyInvalidPayloadType},
		{"transform outside of SA", PayloadTransform, oneTransform, "stands in a message", NotifyInvalidPayloadType},
		{"fragment in an encrypted message", PayloadFragment, "00 00 0009 0001 01 01 ee", "expected it in clear only", NotifyPayloadMalformed},
		{"padding of 256 octets", PayloadVendorID, "00 00 0005 78" + strings.Repeat("00", 256), "256 octets after the last payload", NotifyPayloadMalformed},

		{"SA without DOI", PayloadSA, "00 00 0007 000000", "within its DOI", NotifyPayloadMalformed},
		{"SA without situation", PayloadSA, "00 00 000b 00000001 000000", "within its situation", NotifyPayloadMalformed},
		{"SA of another DOI", PayloadSA, "00 00 001c 00000002 00000001" + oneProposal, "DOI 2, expected 1", NotifyDOINotSupported},
		{"SA of another situation", PayloadSA, "00 00 001c 00000001 00000003" + oneProposal, "situation 0x3", NotifySituationNotSupported},
		{"SA without proposals", PayloadSA, "00 00 000c" + ipsecDOI, "proposal at position 1: the payload ends", NotifyBadProposalSyntax},
		{"proposal marker", PayloadSA, "00 00 001c" + ipsecDOI + "03 00 0010 01 01 00 01" + oneTransform, "next payload 3, expected 0 or 2", NotifyBadProposalSyntax},
		{"proposal promised and missing", PayloadSA, "00 00 001c" + ipsecDOI + "02 00 0010 01 01 00 01" + oneTransform, "proposal at position 2: the payload ends", NotifyBadProposalSyntax},
		{"proposal after the last", PayloadSA, "00 00 002c" + ipsecDOI + oneProposal + oneProposal, "16 octets after its end", NotifyPayloadMalformed},
		{"proposal length beyond the payload", PayloadSA, "00 00 001c" + ipsecDOI + "00 00 0011 01 01 00 01" + oneTransform, "length 17", NotifyBadProposalSyntax},
		{"proposal length below its header", PayloadSA, "00 00 001c" + ipsecDOI + "00 00 0003 01 01 00 01" + oneTransform, "length 3", NotifyBadProposalSyntax},
		{"proposal header cut", PayloadSA, "00 00 0013" + ipsecDOI + "00 00 0007 01 01 00", "3 octets after its length, expected at least 4", NotifyBadProposalSyntax},
		{"proposal numbers descending", PayloadSA, "00 00 002c" + ipsecDOI + "02 00 0010 02 01 00 01" + oneTransform + oneProposal, "proposal number 1 after 2", NotifyBadProposalSyntax},
		{"SPI beyond the proposal", PayloadSA, "00 00 001c" + ipsecDOI + "00 00 0010 01 03 09 01" + oneTransform, "SPI of 9 octets, but only 8", NotifyBadProposalSyntax},
		{"SPI of 3 octets for ESP", PayloadSA, "00 00 001f" + ipsecDOI + "00 00 0013 01 03 03 01 010203" + oneTransform, "SPI of 3 octets for ESP, expected 4", NotifyInvalidSPI},
		{"SPI of no octets for AH", PayloadSA, "00 00 001c" + ipsecDOI + "00 00 0010 01 02 00 01" + oneTransform, "SPI of 0 octets for AH, expected 4", NotifyInvalidSPI},
		{"SPI of 17 octets for ISAKMP", PayloadSA, "00 00 002d" + ipsecDOI + "00 00 0021 01 01 11 01" + strings.Repeat("00", 17) + oneTransform, "SPI of 17 octets for ISAKMP, expected at most 16", NotifyInvalidSPI},
		{"SPI of 3 octets for IPCOMP", PayloadSA, "00 00 001f" + ipsecDOI + "00 00 0013 01 04 03 01 010203" + oneTransform, "expected 2 or 4", NotifyInvalidSPI},
		{"no transforms", PayloadSA, "00 00 0014" + ipsecDOI + "00 00 0008 01 01 00 00", "0 transforms", NotifyBadProposalSyntax},
		{"more transforms than octets", PayloadSA, "00 00 001c" + ipsecDOI + "00 00 0010 01 01 00 02" + oneTransform, "2 transforms, but only 8 octets", NotifyBadProposalSyntax},
		{"fewer transforms than octets", PayloadSA, "00 00 0024" + ipsecDOI + "00 00 0018 01 01 00 01" + oneTransform + oneTransform, "8 octets after the last transform", NotifyBadProposalSyntax},
		{"last transform not marked", PayloadSA, "00 00 001c" + ipsecDOI + "00 00 0010 01 01 00 01 03 00 0008 01 01 0000", "marked as last: false", NotifyBadProposalSyntax},
		{"last transform marked early", PayloadSA, "00 00 0024" + ipsecDOI + "00 00 0018 01 01 00 02" + oneTransform + oneTransform, "marked as last: true", NotifyBadProposalSyntax},
		{"transform marker", PayloadSA, "00 00 001c" + ipsecDOI + "00 00 0010 01 01 00 01 02 00 0008 01 01 0000", "next payload 2, expected 0 or 3", NotifyBadProposalSyntax},
		{"transform length beyond the proposal", PayloadSA, "00 00 001c" + ipsecDOI + "00 00 0010 01 01 00 01 00 00 0009 01 01 0000", "length 9", NotifyBadProposalSyntax},
		{"transform header cut", PayloadSA, "00 00 001c" + ipsecDOI + "00 00 0010 01 01 00 01 00 00 0007 01 01 0000", "ends within its header", NotifyBadProposalSyntax},
		{"attribute cut", PayloadSA, "00 00 001f" + ipsecDOI + "00 00 0013 01 01 00 01 00 00 000b 01 01 0000 800e 00", "ends within an attribute", NotifyBadProposalSyntax},
		{"attribute beyond the transform", PayloadSA, "00 00 0020" + ipsecDOI + "00 00 0014 01 01 00 01 00 00 000c 01 01 0000 0003 0001", "attribute 3 has 1 octets, but only 0", NotifyBadProposalSyntax},
		{"too many attributes", PayloadSA, "00 00 00a0" + ipsecDOI + "00 00 0094 01 01 00 01 00 00 008c 01 01 0000" + strings.Repeat("80010001", 33), "more than 32 attributes", NotifyBadProposalSyntax},

		{"KE without data", PayloadKE, "00 00 0004", "no key exchange data", NotifyInvalidKeyInformation},
		{"nonce of 7 octets", PayloadNonce, "00 00 000b" + strings.Repeat("5a", 7), "7 octets, expected 8 to 256", NotifyPayloadMalformed},
		{"nonce of 257 octets", PayloadNonce, "00 00 0105" + strings.Repeat("5a", 257), "257 octets, expected 8 to 256", NotifyPayloadMalformed},
		{"HASH without data", PayloadHash, "00 00 0004", "0 octets, expected 1 to 64", NotifyInvalidHashInformation},
		{"HASH of 65 octets", PayloadHash, "00 00 0045" + strings.Repeat("11", 65), "65 octets, expected 1 to 64", NotifyInvalidHashInformation},
		{"SIG without data", PayloadSig, "00 00 0004", "no signature data", NotifyInvalidSignature},
		{"ID cut", PayloadID, "00 00 0007 01 00 00", "before its identification data", NotifyPayloadMalformed},
		{"ID address of 3 octets", PayloadID, "00 00 000b 01 00 0000 c00002", "3 octets of identification data for ID_IPV4_ADDR, expected 4", NotifyInvalidIDInformation},
		{"ID subnet of 4 octets", PayloadID, "00 00 000c 04 00 0000 c0000201", "ID_IPV4_ADDR_SUBNET, expected 8", NotifyInvalidIDInformation},
		{"ID IPv6 address of 4 octets", PayloadID, "00 00 000c 05 00 0000 c0000201", "ID_IPV6_ADDR, expected 16", NotifyInvalidIDInformation},
		{"ID IPv6 range of 16 octets", PayloadID, "00 00 0018 08 00 0000" + strings.Repeat("00", 16), "ID_IPV6_ADDR_RANGE, expected 32", NotifyInvalidIDInformation},
		{"ID name of no octets", PayloadID, "00 00 0008 02 00 0000", "expected at least 1", NotifyInvalidIDInformation},
		{"CERT cut", PayloadCert, "00 00 0004", "expected a certificate encoding", NotifyPayloadMalformed},
		{"CERT without data", PayloadCert, "00 00 0005 04", "no certificate data", NotifyInvalidCertificate},
		{"CERTREQ cut", PayloadCertReq, "00 00 0004", "expected a certificate encoding", NotifyPayloadMalformed},

		{"notification cut", PayloadNotify, "00 00 000b 00000001 00 00 60", "before its SPI", NotifyPayloadMalformed},
		{"notification of another DOI", PayloadNotify, "00 00 000c 00000002 00 00 6002", "DOI 2, expected 1 (IPsec) or 0", NotifyDOINotSupported},
		{"notification with SPI beyond it", PayloadNotify, "00 00 000d 00000001 03 04 4000 01", "SPI of 4 octets, but only 1", NotifyInvalidSPI},
		{"notification with SPI of 17 octets of ISAKMP", PayloadNotify, "00 00 001d 00000001 01 11 6002" + strings.Repeat("00", 17), "expected at most 16", NotifyInvalidSPI},
		{"notification with SPI of 8 octets of ESP", PayloadNotify, "00 00 0014 00000001 03 08 4000 0102030405060708", "SPI of 8 octets for ESP, expected 4", NotifyInvalidSPI},
		{"delete cut", PayloadDelete, "00 00 000b 00000001 03 04 00", "before its SPIs", NotifyPayloadMalformed},
		{"delete of another DOI", PayloadDelete, "00 00 0010 00000005 03 04 0001 01020304", "DOI 5", NotifyDOINotSupported},
		{"delete with SPI size 8", PayloadDelete, "00 00 0014 00000001 03 08 0001 0102030405060708", "expected a size of 4", NotifyInvalidSPI},
		{"delete with fewer SPIs than octets", PayloadDelete, "00 00 0014 00000001 03 04 0001 01020304 05060708", "1 SPIs of 4 octets for ESP in 8", NotifyInvalidSPI},
		{"delete with more SPIs than octets", PayloadDelete, "00 00 0010 00000001 03 04 0002 01020304", "2 SPIs of 4 octets for ESP in 4", NotifyInvalidSPI},
		{"delete of no SPIs", PayloadDelete, "00 00 000c 00000001 03 04 0000", "0 SPIs, expected 1", NotifyInvalidSPI},
		{"delete of half an ISAKMP SA", PayloadDelete, "00 00 0014 00000001 01 08 0001 0102030405060708", "expected a size of 16", NotifyInvalidSPI},
		{"delete of another protocol", PayloadDelete, "00 00 0010 00000001 04 04 0001 01020304", "IPCOMP, expected ISAKMP, AH or ESP", NotifyInvalidProtocolID},

		{"NAT-D of no octets", PayloadNATD, "00 00 0004", "0 octets, expected a hash", NotifyPayloadMalformed},
		{"NAT-D of 65 octets", PayloadNATDDraft, "00 00 0045" + strings.Repeat("11", 65), "65 octets, expected a hash", NotifyPayloadMalformed},
		{"NAT-OA cut", PayloadNATOA, "00 00 0007 010000", "before its address", NotifyPayloadMalformed},
		{"NAT-OA of a name", PayloadNATOA, "00 00 0009 02 000000 61", "ID_FQDN, expected ID_IPV4_ADDR", NotifyPayloadMalformed},
		{"NAT-OA of 5 octets", PayloadNATOADraft, "00 00 000d 01 000000 c000020100", "5 octets of address for ID_IPV4_ADDR, expected 4", NotifyPayloadMalformed},
		{"NAT-OA of IPv4 as IPv6", PayloadNATOA, "00 00 0018 05 000000 00000000000000000000ffffc0000201", "expected one of IPv4 or of IPv6", NotifyPayloadMalformed},
	}
	for _, c := range cases {
		chain, err := ParsePayloads(c.first, octets(t, c.octets))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(err.Error(), c.says) || NotifyFor(err) != c.notify {
			t.Errorf("%s: parsed as %v with error %v (%v), expected a SyntaxError that says %q (%v)", c.name, chain, err, NotifyFor(err), c.says, c.notify)
		}
	}
}

func TestRefusedHeaders(t *testing.T) {
	const cookies = "0102030405060708 1112131415161718 "
	for _, c := range []struct {
		name, octets, says string
		notify             NotifyType
	}{
		{"empty", "", "shorter than its 28-octet header", 0},
		{"27 octets", cookies + "00 10 05 00 00000001 000000", "shorter than its 28-octet header", 0},
		{"length below the datagram", cookies + "00 10 05 00 00000001 0000001b", "length of 27 octets, the datagram has 28", NotifyUnequalPayloadLengths},
		{"length above the datagram", cookies + "00 10 05 00 00000001 ffffffff", "length of 4294967295 octets", NotifyUnequalPayloadLengths},
		{"trailing octet", cookies + "00 10 05 00 00000001 0000001c 00", "length of 28 octets, the datagram has 29", NotifyUnequalPayloadLengths},
		{"octets after the last payload", cookies + "0d 10 05 00 00000001 00000022 00 00 0005 78 00", "1 octets after the last payload", NotifyUnequalPayloadLengths},
		{"octets without a payload", cookies + "00 10 05 00 00000001 0000001d 00", "1 octets after the last payload", NotifyUnequalPayloadLengths},
		{"initiator's cookie zero", "0000000000000000 1112131415161718 00 10 05 00 00000001 0000001c", "initiator's cookie is zero", NotifyInvalidCookie},
		{"reserved flags", cookies + "00 10 05 08 00000001 0000001c", "flags 0x08, expected only those of 0x07", NotifyInvalidFlags},
		{"version 2", cookies + "00 20 25 08 00000001 0000001c", "version 2.0, expected major version 1", NotifyInvalidMajorVersion},
		{"encrypted nothing", cookies + "08 10 05 01 00000001 0000001c", "expected ciphertext", NotifyPayloadMalformed},
		{"fragment cut", cookies + "84 10 02 00 00000000 00000023 00 00 0007 0001 01", "within its fragment id", NotifyPayloadMalformed},
		{"fragment number zero", cookies + "84 10 02 00 00000000 00000025 00 00 0009 0001 00 01 ee", "fragment number 0", NotifyPayloadMalformed},
		{"fragment number 65", cookies + "84 10 02 00 00000000 00000025 00 00 0009 0001 41 01 ee", "fragment number 65", NotifyPayloadMalformed},
		{"fragment without data", cookies + "84 10 02 00 00000000 00000024 00 00 0008 0001 01 01", "no data in fragment 1", NotifyPayloadMalformed},
	} {
		m, err := Parse(octets(t, c.octets))
		if err == nil || !typed(err) || !strings.Contains(err.Error(), c.says) || NotifyFor(err) != c.notify {
			t.Errorf("%s: parsed as %v with error %v (%v), expected one that says %q (%v)", c.name, m, err, NotifyFor(err), c.says, c.notify)
		}
	}
	h, err := ParseHeader(octets(t, cookies+"00 20 25 08 00000001 0000001c"))
	var version *VersionError
	if !errors.As(err, &version) || version.Major != 2 || h.Initiator != 0x0102030405060708 || h.MessageID != 1 {
		t.Errorf("header of version 2 is %+v with error %v, expected it filled beside a VersionError", h, err)
	}
	if h, err := ParseHeader(octets(t, cookies+"00 1f 05 00 00000001 0000001c")); err != nil || h.Minor != 15 {
		t.Errorf("minor version 15 gives %+v with error %v, expected it taken", h, err)
	}
	if NotifyFor(errors.New("another error")) != 0 || NotifyFor(nil) != 0 {
		t.Error("an error of others has a notification")
	}
}

// What would be refused by the peer's parser is refused before it is sent.
func TestRefusedEmissions(t *testing.T) {
	one := []Transform{{Number: 1, ID: TransformKeyIKE}}
	for _, c := range []struct {
		name     string
		payloads []Payload
		says     string
	}{
		{"too many payloads", make([]Payload, MaxPayloads+1), "65 payloads"},
		{"no proposals", []Payload{&SA{}}, "0 proposals"},
		{"too many proposals", []Payload{&SA{Proposals: make([]Proposal, MaxProposals+1)}}, "129 proposals"},
		{"ESP without SPI", []Payload{&SA{Proposals: []Proposal{{Protocol: ProtocolESP, Transforms: one}}}}, "expected 4"},
		{"too many transforms", []Payload{&SA{Proposals: []Proposal{{Protocol: ProtocolISAKMP, Transforms: make([]Transform, 256)}}}}, "256 transforms"},
		{"SPI of 256 octets", []Payload{&SA{Proposals: []Proposal{{Protocol: 9, SPI: make([]byte, 256), Transforms: one}}}}, "at most 255"},
		{"attribute type of 16 bits", []Payload{&SA{Proposals: []Proposal{{Protocol: ProtocolISAKMP, Transforms: []Transform{{Attributes: []Attribute{{Type: 0x8001}}}}}}}}, "at most 15 bits"},
		{"basic attribute of 3 octets", []Payload{&SA{Proposals: []Proposal{{Protocol: ProtocolISAKMP,
			Transforms: []Transform{{Attributes: []Attribute{{Type: 1, Short: true, Value: make([]byte, 3)}}}}}}}}, "expected 2"},
		{"attribute of 64 KiB", []Payload{&SA{Proposals: []Proposal{{Protocol: ProtocolISAKMP,
			Transforms: []Transform{{Attributes: []Attribute{{Type: 1, Value: make([]byte, 1<<16)}}}}}}}}, "at most 65535"},
		{"transform of 64 KiB", []Payload{&SA{Proposals: []Proposal{{Protocol: ProtocolISAKMP,
			Transforms: []Transform{{Attributes: []Attribute{{Type: 1, Value: make([]byte, 1<<16-1)}}}}}}}}, "in a proposal or transform"},
		{"short nonce", []Payload{&Nonce{Data: make([]byte, 7)}}, "7 octets"},
		{"known type as unknown", []Payload{&Unknown{Type: PayloadSA}}, "which is a known one"},
		{"no type as unknown", []Payload{&Unknown{}}, "stands in a message"},
		{"payload of 64 KiB", []Payload{&VendorID{Data: make([]byte, 1<<16)}}, "at most 65531"},
		{"chain too long", []Payload{&VendorID{Data: make([]byte, MaxMessage)}}, "expected at most 16384"},
		{"delete of nothing", []Payload{&Delete{DOI: DOIIPsec, Protocol: ProtocolESP}}, "0 SPIs"},
		{"too many SPIs", []Payload{DeleteSAs(ProtocolESP, make([]uint32, 1<<16)...)}, "65536 SPIs"},
		{"delete of an ISAKMP SA by SPI", []Payload{&Delete{DOI: DOIIPsec, Protocol: ProtocolISAKMP, SPIs: []uint32{1}, Cookies: make([]Cookies, 1)}}, "SPIs of another protocol"},
		{"NAT-OA of nothing", []Payload{&NATOA{}}, "expected one of IPv4"},
		{"NAT-OA with a zone", []Payload{&NATOA{Address: netip.MustParseAddr("fe80::1%eth0")}}, "without zone"},
		{"fragment zero", []Payload{&Fragment{Data: []byte{1}}}, "fragment number 0"},
	} {
		if _, _, err := MarshalPayloads(c.payloads); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, expected one that says %q", c.name, err, c.says)
		}
	}
	if _, err := Body(&Nonce{}); err == nil || !strings.Contains(err.Error(), "0 octets") {
		t.Errorf("the body of a nonce without octets gives error %v", err)
	}
	if _, err := (&Message{}).Marshal(); err == nil || !strings.Contains(err.Error(), "cookie is zero") {
		t.Errorf("a message without the initiator's cookie gives error %v", err)
	}
	if _, err := (Header{Cookies: Cookies{1, 2}}).Prefix(PayloadHash, MaxMessage); err == nil || !strings.Contains(err.Error(), "16412 octets to send") {
		t.Errorf("ciphertext of %d octets gives error %v", MaxMessage, err)
	}
	if _, err := (Header{Cookies: Cookies{1, 2}, Flags: 0x80}).Prefix(PayloadHash, 8); err == nil || !strings.Contains(err.Error(), "flags 0x81") {
		t.Errorf("reserved flags give error %v", err)
	}
}

func TestLimits(t *testing.T) {
	vendor := octets(t, "0d 00 0005 78")
	chain := bytes.Repeat(vendor, MaxPayloads)
	chain[len(chain)-len(vendor)] = 0
	if got, err := ParsePayloads(PayloadVendorID, chain); err != nil || len(got.Payloads) != MaxPayloads {
		t.Errorf("%d payloads give %v (%v)", MaxPayloads, got, err)
	}
	if _, err := ParsePayloads(PayloadVendorID, append(bytes.Clone(vendor), chain...)); err == nil || !strings.Contains(err.Error(), "more than 64 payloads") {
		t.Errorf("%d payloads give error %v, expected a refusal", MaxPayloads+1, err)
	}
	sa := &SA{}
	for range MaxProposals {
		sa.Proposals = append(sa.Proposals, Proposal{Number: 1, Protocol: ProtocolISAKMP, Transforms: []Transform{{ID: TransformKeyIKE}}})
	}
	first, b, err := MarshalPayloads([]Payload{sa})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParsePayloads(first, b); err != nil {
		t.Errorf("%d proposals give error %v", MaxProposals, err)
	}
	b[3] += 16 // one more proposal in the payload's length, and the last one marked as not the last
	b[len(b)-16] = byte(PayloadProposal)
	b = append(b, octets(t, oneProposal)...)
	if _, err := ParsePayloads(first, b); err == nil || !strings.Contains(err.Error(), "more than 128 proposals") {
		t.Errorf("%d proposals give error %v, expected a refusal", MaxProposals+1, err)
	}
	if _, err := Parse(make([]byte, MaxMessage+1)); !typed(err) {
		t.Errorf("a datagram of %d octets gives error %v", MaxMessage+1, err)
	}
	if _, err := ParsePayloads(PayloadVendorID, make([]byte, MaxMessage+1)); err == nil || !strings.Contains(err.Error(), "expected at most 16384") {
		t.Errorf("a chain of %d octets gives error %v, expected a refusal", MaxMessage+1, err)
	}
}
