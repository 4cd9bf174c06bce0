package ikev1

import (
	"slices"
	"testing"

	"sallyport/ike"
	"sallyport/ike/isakmp"
)

func TestVendors(t *testing.T) {
	of := func(list ...isakmp.Vendor) (payloads []isakmp.Payload) {
		for _, v := range list {
			payloads = append(payloads, isakmp.NewVendorID(v))
		}
		return payloads
	}
	peer, whole := &ike.Peer{}, &ike.Peer{FragmentSize: -1}
	for _, c := range []struct {
		name     string
		peer     *ike.Peer
		payloads []isakmp.Payload
		want     capabilities
	}{
		{"none", peer, nil, capabilities{}},
		{"ours", peer, vendors(peer), capabilities{true, true, natRFC, isakmp.VendorNATT,
			[]string{"DPD", "NAT-T RFC 3947", "NAT-T draft 03", `NAT-T draft 02\n`, "NAT-T draft 02", "FRAGMENTATION"}}},
		{"a draft", peer, of(isakmp.VendorNATTDraft02, isakmp.VendorNATTDraft02Newline), capabilities{nat: natDraft, natVendor: isakmp.VendorNATTDraft02Newline,
			names: []string{"NAT-T draft 02", `NAT-T draft 02\n`}}},
		{"drafts that stay on port 500", peer, of(isakmp.VendorNATTDraft00, isakmp.VendorNATTDraft01), capabilities{names: []string{"NAT-T draft 00", "NAT-T draft 01"}}},
		{"no fragments by the configuration", whole, of(isakmp.VendorFragmentation, isakmp.VendorMicrosoft),
			capabilities{names: []string{"FRAGMENTATION", "MS NT5 ISAKMPOAKLEY"}}},
		{"unknown ones", peer, []isakmp.Payload{&isakmp.VendorID{Data: []byte("whoever")}, &isakmp.VendorID{}}, capabilities{}},
	} {
		got := readVendors(c.peer, c.payloads)
		if got.dpd != c.want.dpd || got.fragments != c.want.fragments || got.nat != c.want.nat || got.natVendor != c.want.natVendor || !slices.Equal(got.names, c.want.names) {
			t.Errorf("%s: %+v, expected %+v", c.name, got, c.want)
		}
		again := readVendors(c.peer, got.agreed())
		if again.dpd != got.dpd || again.fragments != got.fragments || again.nat != got.nat || again.natVendor != got.natVendor {
			t.Errorf("%s: our answer says %+v, expected what was asked", c.name, again)
		}
		if n := len(got.agreed()); n > len(c.payloads) {
			t.Errorf("%s: %d vendor IDs are answered by %d", c.name, len(c.payloads), n)
		}
	}
	if isakmp.FindVendor(vendors(whole), isakmp.VendorFragmentation) != nil {
		t.Error("fragments are announced where the configuration has none")
	}
}

// What the vendor IDs of strongSwan and libreswan say.
func TestCapturedVendors(t *testing.T) {
	for name, want := range map[string]struct{ request, answer []string }{
		"ikev1-psk-pfs-tunnel":   {[]string{"XAUTH", "DPD", "NAT-T RFC 3947", `NAT-T draft 02\n`}, []string{"XAUTH", "DPD", "NAT-T RFC 3947"}},
		"ikev1-libreswan-ah-dpd": {[]string{"FRAGMENTATION", "DPD", "NAT-T draft 03", "NAT-T draft 02"}, []string{"XAUTH"}},
	} {
		c := readCapture(t, name)
		answer := slices.IndexFunc(c.messages, func(m *isakmp.Message) bool { return m.Responder != 0 })
		for i, m := range []*isakmp.Message{c.messages[0], c.messages[answer]} {
			got, expected := readVendors(&ike.Peer{}, m.Payloads), [][]string{want.request, want.answer}[i]
			if !got.dpd || got.nat != natRFC {
				t.Errorf("%s: message %d has DPD: %t, NAT traversal %d; expected that and RFC 3947", name, i+1, got.dpd, got.nat)
			}
			for _, n := range expected {
				if !slices.Contains(got.names, n) {
					t.Errorf("%s: message %d names %q, expected %q among them", name, i+1, got.names, n)
				}
			}
		}
	}
}
