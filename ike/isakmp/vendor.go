package isakmp

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// VendorID is a Vendor ID payload, RFC 2408 3.16: it names a program, or an extension that its sender speaks.
type VendorID struct{ Data []byte }

// Vendor is a vendor ID known by name.
type Vendor uint8

const (
	VendorUnknown            Vendor = iota
	VendorDPD                       // RFC 3706
	VendorNATT                      // RFC 3947
	VendorNATTDraft03               // draft-ietf-ipsec-nat-t-ike
	VendorNATTDraft02Newline        // most say draft 02 like this: the hash was taken of a line
	VendorNATTDraft02
	VendorNATTDraft01
	VendorNATTDraft00
	VendorFragmentation
	VendorMicrosoft // Windows, with a version
	VendorCiscoUnity
	VendorXAUTH
	VendorStrongSwan
	VendorLibreswan // with a version
	VendorOpenswan
	VendorRacoon
)

// vendorRow describes a vendor ID. Most are MD5 of a text, which tells what they are; some have more behind it, or less of it.
type vendorRow struct {
	vendor Vendor
	name   string
	octets []byte
	suffix []byte              // what we send behind octets
	extra  []int               // how many octets may follow; none: none. anyLength: as many as there are
	detail func([]byte) string // tells what follows
}

var anyLength = []int{-1}

const (
	versionedLength = 14 // of DPD and Unity: the first octets of an MD5, then a version
	xauthLength     = 8
)

var vendorTable = []vendorRow{
	{VendorDPD, "DPD", md5Of("CISCO-DEAD-PEER-DETECTION")[:versionedLength], []byte{1, 0}, []int{2}, nil}, // RFC 3706 5.1
	{VendorNATT, "NAT-T RFC 3947", md5Of("RFC 3947"), nil, nil, nil},                                      // RFC 3947 3.1
	{VendorNATTDraft03, "NAT-T draft 03", md5Of("draft-ietf-ipsec-nat-t-ike-03"), nil, nil, nil},
	{VendorNATTDraft02Newline, `NAT-T draft 02\n`, md5Of("draft-ietf-ipsec-nat-t-ike-02\n"), nil, nil, nil},
	{VendorNATTDraft02, "NAT-T draft 02", md5Of("draft-ietf-ipsec-nat-t-ike-02"), nil, nil, nil},
	{VendorNATTDraft01, "NAT-T draft 01", md5Of("draft-ietf-ipsec-nat-t-ike-01"), nil, nil, nil},
	{VendorNATTDraft00, "NAT-T draft 00", md5Of("draft-ietf-ipsec-nat-t-ike-00"), nil, nil, nil},
	{VendorFragmentation, "FRAGMENTATION", md5Of("FRAGMENTATION"), []byte{fragmentPhase1, 0, 0, 0}, []int{0, 4}, nil},
	{VendorMicrosoft, "MS NT5 ISAKMPOAKLEY", md5Of("MS NT5 ISAKMPOAKLEY"), nil, []int{0, 4}, bigEndian},
	{VendorCiscoUnity, "Cisco Unity", md5Of("CISCO-UNITY")[:versionedLength], []byte{1, 0}, []int{2}, nil},
	{VendorXAUTH, "XAUTH", md5Of("draft-ietf-ipsra-isakmp-xauth-06.txt")[:xauthLength], nil, nil, nil},
	{VendorStrongSwan, "strongSwan", md5Of("strongSwan"), nil, nil, nil},
	{VendorLibreswan, "libreswan", []byte("OE-Libreswan-"), nil, anyLength, version},
	{VendorLibreswan, "libreswan", []byte("OEN"), nil, anyLength, nil}, // 3.0 to 3.5
	{VendorOpenswan, "Openswan", []byte("OE"), nil, anyLength, nil},
	{VendorOpenswan, "Openswan", []byte("OSW"), nil, anyLength, nil},
	{VendorRacoon, "racoon", md5Of("KAME/racoon"), nil, nil, nil},
}

func md5Of(text string) []byte {
	sum := md5.Sum([]byte(text))
	return sum[:]
}

// bigEndian is the number in octets; none: no text.
func bigEndian(octets []byte) string {
	if len(octets) == 0 {
		return ""
	}
	number, _ := Attribute{Value: octets}.Number() // of 4 octets: never an error
	return fmt.Sprint(number)
}

// version is a version in letters that do no harm in a log.
func version(octets []byte) string {
	const longest = 24
	harmless := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune(".-+_~", r)
	}
	text := string(octets)
	if len(text) > longest || strings.ContainsFunc(text, func(r rune) bool { return !harmless(r) }) {
		return ""
	}
	return text
}

func (r *vendorRow) matches(data []byte) bool {
	if !bytes.HasPrefix(data, r.octets) {
		return false
	}
	more := len(data) - len(r.octets)
	return more == 0 && r.extra == nil || slices.Equal(r.extra, anyLength) || slices.Contains(r.extra, more)
}

func (p *VendorID) row() *vendorRow {
	for i := range vendorTable {
		if vendorTable[i].matches(p.Data) {
			return &vendorTable[i]
		}
	}
	return nil
}

// NewVendorID makes the vendor ID that we send for an extension.
func NewVendorID(v Vendor) *VendorID {
	for _, row := range vendorTable {
		if row.vendor == v {
			return &VendorID{Data: slices.Concat(row.octets, row.suffix)}
		}
	}
	panic(fmt.Sprintf("isakmp: no vendor ID for vendor %d", v))
}

// Vendor says whose it is.
func (p *VendorID) Vendor() Vendor {
	if row := p.row(); row != nil {
		return row.vendor
	}
	return VendorUnknown
}

// Capabilities of the fragmentation vendor ID: a bit each in the first octet behind the hash, as observed in Cisco's; a vendor ID without is one that can.
const fragmentPhase1 = 0x80

// Fragmentation says whether the sender of this vendor ID takes fragments in main mode and after.
func (p *VendorID) Fragmentation() bool {
	row := p.row()
	if row == nil || row.vendor != VendorFragmentation {
		return false
	}
	capabilities := p.Data[len(row.octets):]
	return len(capabilities) == 0 || capabilities[0]&fragmentPhase1 != 0
}

// NATTDraft says whether an extension is NAT traversal by a draft, which has payload types and encapsulation modes of its own.
func (v Vendor) NATTDraft() bool { return v >= VendorNATTDraft03 && v <= VendorNATTDraft00 }

// Name is the vendor with what the ID tells of its version, or "" for one that is not known.
func (p *VendorID) Name() string {
	row := p.row()
	if row == nil {
		return ""
	}
	if row.detail != nil {
		if detail := row.detail(p.Data[len(row.octets):]); detail != "" {
			return row.name + " " + detail
		}
	}
	return row.name
}

func (p *VendorID) PayloadType() PayloadType { return PayloadVendorID }

func (p *VendorID) String() string {
	if name := p.Name(); name != "" {
		return fmt.Sprintf("V(%s)", name)
	}
	return PayloadVendorID.String()
}

func (p *VendorID) check() error { return nil }

func (p *VendorID) read(body *cryptobyte.String) error {
	p.Data = rest(body)
	return nil
}

func (p *VendorID) write(body *cryptobyte.Builder) { body.AddBytes(p.Data) }
