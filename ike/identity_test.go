package ike

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"sallyport/ike/wire"
)

func TestParseIdentity(t *testing.T) {
	for text, want := range map[string]struct {
		kind  wire.IDType
		shown string // empty: as written
	}{
		"192.0.2.1":                       {wire.IDIPv4Address, ""},
		"2001:db8::1":                     {wire.IDIPv6Address, ""},
		"address:2001:DB8::1":             {wire.IDIPv6Address, "2001:db8::1"},
		"gw-a.example":                    {wire.IDFQDN, ""},
		"fqdn:gw-a.example":               {wire.IDFQDN, "gw-a.example"},
		"fqdn:192.0.2.1":                  {wire.IDFQDN, ""},
		"fqdn:keyid:x":                    {wire.IDFQDN, ""},
		"fqdn:a@b":                        {wire.IDFQDN, ""},
		"admin@example.org":               {wire.IDRFC822Address, ""},
		"mail:admin@example.org":          {wire.IDRFC822Address, "admin@example.org"},
		"mail:a=b@example.org":            {wire.IDRFC822Address, ""},
		"fqdn:a..b":                       {wire.IDFQDN, ""},
		"fqdn:10.1.2.3/24":                {wire.IDFQDN, ""},
		"gw_7":                            {wire.IDFQDN, ""},
		"keyid:group-7":                   {wire.IDKeyID, ""},
		"keyid:0x00ff":                    {wire.IDKeyID, ""},
		"keyid:0x6162":                    {wire.IDKeyID, "keyid:ab"},
		"keyid:0x3078":                    {wire.IDKeyID, ""},
		"CN=gw-a,O=Example,C=DE":          {wire.IDDERASN1DN, ""},
		"dn:CN=gw-a, O = Example , C=DE":  {wire.IDDERASN1DN, "CN=gw-a,O=Example,C=DE"},
		`CN=\20gw\2c a\ ,O=Müller \+ Co`:  {wire.IDDERASN1DN, `CN=\ gw\, a\ ,O=Müller \+ Co`},
		"UID=7+CN=gw,DC=example,DC=org":   {wire.IDDERASN1DN, "CN=gw+UID=7,DC=example,DC=org"},
		"2.5.4.3=gw":                      {wire.IDDERASN1DN, "CN=gw"},
		"1.2.3.4=#0401ff,E=a@example.org": {wire.IDDERASN1DN, "1.2.3.4=#0401ff,emailAddress=a@example.org"},
	} {
		shown := want.shown
		if shown == "" {
			shown = text
		}
		id, err := ParseIdentity(text)
		if err != nil || id.Type != want.kind || id.String() != shown {
			t.Errorf("%q: %v %v, %v, expected %v %s", text, id.Type, id, err, want.kind, shown)
		}
		if again, err := ParseIdentity(id.String()); err != nil || !again.Equal(id) {
			t.Errorf("%q shows as %s, which reads as %v, %v", text, id, again, err)
		}
	}
	for _, text := range []string{"", "with space", "tab\t", "grüße.example", "fe80::1%eth0 x", "fe80::1%eth0", "*.example", "%any", "address:gw", "dn:gw", "dn:", "mail:gw",
		"mail:@x", "keyid:", "keyid:0x", "keyid:0x1", "keyid:a b", "CN=", "CN=a,", "=a", "X=a", "CN=a\\", `CN=\zz`, "CN=#04", "CN=#0401ff00", "C=Österreich", "1.=a",
		"192.0.2", "192.0.2.256", "192.0.2.1/32", "2001:db8::g", "key:7", "a..b", "gw.", "#abcd", `gw\a`, strings.Repeat("a", 64), "gw.7",
		strings.Repeat("a", maxIdentity+1)} {
		if id, err := ParseIdentity(text); err == nil {
			t.Errorf("%q: %v, expected an error", text, id)
		}
	}
}

// What a peer calls itself can be anything: it must not write into logs what it likes.
func TestIdentityIsFitForLogs(t *testing.T) {
	for _, id := range []Identity{{wire.IDFQDN, "a\nb"}, {wire.IDKeyID, "\x1b[2J"}, {wire.IDDERASN1DN, "\x30\x00"}, {wire.IDNull, ""}, {wire.IDIPv4Address, "ab"},
		{wire.IDDERASN1DN, name{{{"\x55\x04\x03", 12, "a\x1b\u202e\u0085b"}}}.der()}, {wire.IDFQDN, strings.Repeat("x", 5000)}} {
		text := id.String()
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == '\u202e' || r == '\u0085' }) || len(text) > maxIdentity+3 {
			t.Errorf("%q", text)
		}
	}
}

func TestEqualIdentities(t *testing.T) {
	read := func(text string) Identity {
		t.Helper()
		id, err := ParseIdentity(text)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	printable := Identity{wire.IDDERASN1DN, name{{{"\x55\x04\x06", 19, "DE"}}, {{"\x55\x04\x03", 19, "gw  A "}}}.der()}
	bmp := Identity{wire.IDDERASN1DN, name{{{"\x55\x04\x06", 19, "DE"}}, {{"\x55\x04\x03", 30, "\x00g\x00w\x00 \x00a"}}}.der()}
	for _, c := range []struct {
		a, b Identity
		same bool
	}{
		{read("gw-a.example"), read("GW-A.Example"), true},
		{read("gw-a.example"), read("gw-b.example"), false},
		{read("admin@example.org"), read("admin@EXAMPLE.org"), true},
		{read("admin@example.org"), read("Admin@example.org"), false},
		{read("keyid:a"), read("keyid:A"), false},
		{read("fqdn:a@b"), read("mail:a@b"), false},
		{read("keyid:gw-a.example"), read("gw-a.example"), false},
		{read("CN=gw a,C=DE"), printable, true},
		{read("CN=gw a,C=DE"), bmp, true},
		{read("CN=gw a,C=de"), bmp, true},
		{read("CN=gw a"), bmp, false},
		{read("C=DE,CN=gw a"), bmp, false},
		{read("CN=gw+UID=7,C=DE"), read("UID=7+CN=GW,C=DE"), true},
		{read("CN=gw,C=DE"), read("CN=gw+C=DE"), false},
		{read("CN=a,O=b"), read(`CN=a\,O=b`), false},
		{read("1.2.3=#040161"), read("1.2.3=#040141"), false},
		{AddressIdentity(netip.MustParseAddr("192.0.2.1")), read("address:192.0.2.1"), true},
		{Identity{wire.IDDERASN1DN, "rubbish"}, Identity{wire.IDDERASN1DN, "rubbish"}, true},
		{Identity{wire.IDDERASN1DN, "rubbish"}, Identity{wire.IDDERASN1DN, "Rubbish"}, false},
	} {
		if c.a.Equal(c.b) != c.same || c.b.Equal(c.a) != c.same {
			t.Errorf("%v and %v: equal %t, expected %t", c.a, c.b, !c.same, c.same)
		}
	}
}

// The DER of a name, against one made by OpenSSL for /C=DE/O=Example/CN=gw-a.
func TestNameDER(t *testing.T) {
	const want = "302e310b30090603550406130244453110300e060355040a0c074578616d706c65310d300b06035504030c0467772d61"
	id, err := ParseIdentity("CN=gw-a,O=Example,C=DE")
	if got := hex.EncodeToString([]byte(id.Data)); err != nil || got != want {
		t.Errorf("%s, %v\nexpected %s", got, err, want)
	}
}

// FuzzIdentity reads what text says and what octets hold: what was read shows as something that reads the same again.
func FuzzIdentity(f *testing.F) {
	for _, text := range []string{"gw", "a@b", "CN=a+O=b,C=DE", `dn:CN=\ a\,`, "keyid:0x00", "address:::1", "fqdn:a=b", "1.2.3=#0400", "C=#0C00"} {
		f.Add(text, uint8(wire.IDDERASN1DN))
	}
	f.Fuzz(func(t *testing.T, text string, kind uint8) {
		octets := Identity{wire.IDType(kind), text}
		_, _ = octets.String(), octets.Equal(Identity{wire.IDType(kind), text + "x"})
		id, err := ParseIdentity(text)
		if err != nil {
			return
		}
		if again, err := ParseIdentity(id.String()); len(id.String()) <= maxIdentity && (err != nil || !again.Equal(id)) {
			t.Errorf("%q is %v %x, shows as %s, which is %x, %v", text, id.Type, id.Data, id, again.Data, err)
		}
	})
}
