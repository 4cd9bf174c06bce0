package isakmp

import (
	"bytes"
	"slices"
	"testing"
)

// The octets are those that the RFCs and public lists of vendor IDs print.
var vendorCases = []struct {
	octets string
	vendor Vendor
	name   string
}{
	{"afcad713 68a1f1c9 6b8696fc 7757 0100", VendorDPD, "DPD"},                   // RFC 3706 5.1
	{"4a131c81 07035845 5c5728f2 0e95452f", VendorNATT, "NAT-T RFC 3947"},        // RFC 3947 3.1
	{"7d9419a6 5310ca6f 2c179d92 15529d56", VendorNATTDraft03, "NAT-T draft 03"}, // the drafts
	{"90cb8091 3ebb696e 086381b5 ec427b1f", VendorNATTDraft02Newline, `NAT-T draft 02\n`},
	{"cd604643 35df21f8 7cfdb2fc 68b6a448", VendorNATTDraft02, "NAT-T draft 02"},
	{"16f6ca16 e4a4066d 83821a0f 0aeaa862", VendorNATTDraft01, "NAT-T draft 01"},
	{"4485152d 18b6bbcd 0be8a846 9579ddcc", VendorNATTDraft00, "NAT-T draft 00"},
	{"4048b7d5 6ebce885 25e7de7f 00d6c2d3", VendorFragmentation, "FRAGMENTATION"},
	{"4048b7d5 6ebce885 25e7de7f 00d6c2d3 80000000", VendorFragmentation, "FRAGMENTATION"},
	{"1e2b5169 05991c7d 7c96fcbf b587e461 00000009", VendorMicrosoft, "MS NT5 ISAKMPOAKLEY 9"},
	{"1e2b5169 05991c7d 7c96fcbf b587e461", VendorMicrosoft, "MS NT5 ISAKMPOAKLEY"},
	{"12f5f28c 457168a9 702d9fe2 74cc 0100", VendorCiscoUnity, "Cisco Unity"},
	{"09002689 dfd6b712", VendorXAUTH, "XAUTH"},
	{"882fe56d 6fd20dbc 2251613b 2ebe5beb", VendorStrongSwan, "strongSwan"},
	{"4f452d4c 69627265 7377616e 2d 342e3130", VendorLibreswan, "libreswan 4.10"},
	{"4f452d4c 69627265 7377616e 2d 342e0a30", VendorLibreswan, "libreswan"}, // a version that would break a line of a log
	{"4f454e76 51726d45 4a527670", VendorLibreswan, "libreswan"},
	{"4f457154 6f527674 6c77", VendorOpenswan, "Openswan"},
	{"4f535741", VendorOpenswan, "Openswan"},
	{"7003cbc1 097dbe9c 2600ba69 83bc8b35", VendorRacoon, "racoon"},

	{"", VendorUnknown, ""},
	{"78", VendorUnknown, ""},
	{"afcad713 68a1f1c9 6b8696fc 7757", VendorUnknown, ""},                // no version
	{"4a131c81 07035845 5c5728f2 0e95452f 00", VendorUnknown, ""},         // longer
	{"4a131c81 07035845 5c5728f2 0e9545", VendorUnknown, ""},              // shorter
	{"4048b7d5 6ebce885 25e7de7f 00d6c2d3 8000", VendorUnknown, ""},       // half of the capabilities
	{"1e2b5169 05991c7d 7c96fcbf b587e461 0000000009", VendorUnknown, ""}, // five octets of version
}

func TestVendors(t *testing.T) {
	for _, c := range vendorCases {
		v := &VendorID{Data: octets(t, c.octets)}
		if v.Vendor() != c.vendor || v.Name() != c.name {
			t.Errorf("%s is vendor %d, %q, expected %d, %q", c.octets, v.Vendor(), v.Name(), c.vendor, c.name)
		}
		want := "V"
		if c.name != "" {
			want = "V(" + c.name + ")"
		}
		if v.String() != want {
			t.Errorf("%s is printed as %s, expected %s", c.octets, v, want)
		}
	}
}

func TestVendorsWeSend(t *testing.T) {
	for vendor, want := range map[Vendor]string{
		VendorDPD: vendorCases[0].octets, VendorNATT: vendorCases[1].octets, VendorNATTDraft02Newline: vendorCases[3].octets, VendorFragmentation: vendorCases[8].octets,
	} {
		if got := NewVendorID(vendor); !bytes.Equal(got.Data, octets(t, want)) || got.Vendor() != vendor {
			t.Errorf("vendor %d is sent as %x, expected %s", vendor, got.Data, want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("an unknown vendor has a vendor ID")
		}
	}()
	NewVendorID(VendorUnknown)
}

func TestFragmentationCapability(t *testing.T) {
	for text, want := range map[string]bool{
		"4048b7d5 6ebce885 25e7de7f 00d6c2d3":          true, // Windows
		"4048b7d5 6ebce885 25e7de7f 00d6c2d3 80000000": true, // strongSwan
		"4048b7d5 6ebce885 25e7de7f 00d6c2d3 c0000000": true, // Cisco
		"4048b7d5 6ebce885 25e7de7f 00d6c2d3 40000000": false,
		"afcad713 68a1f1c9 6b8696fc 7757 0100":         false,
	} {
		if got := (&VendorID{Data: octets(t, text)}).Fragmentation(); got != want {
			t.Errorf("%s: takes fragments %t, expected %t", text, got, want)
		}
	}
	var drafts []Vendor
	for v := VendorUnknown; v <= VendorRacoon; v++ {
		if v.NATTDraft() {
			drafts = append(drafts, v)
		}
	}
	if want := []Vendor{VendorNATTDraft03, VendorNATTDraft02Newline, VendorNATTDraft02, VendorNATTDraft01, VendorNATTDraft00}; !slices.Equal(drafts, want) {
		t.Errorf("drafts are %v, expected %v", drafts, want)
	}
}
