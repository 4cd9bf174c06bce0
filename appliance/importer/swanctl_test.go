package importer

import (
	"fmt"
	"strings"
	"testing"
)

// connectionOf is a swanctl.conf of one connection with one child.
func connectionOf(connection, local, child string) []byte {
	return fmt.Appendf(nil, `connections { site {
local_addrs = 192.0.2.1
remote_addrs = 198.51.100.1
%s
local { auth = psk
%s
}
remote { auth = psk }
children { net { local_ts = 10.0.0.0/16
remote_ts = 10.1.0.0/16
start_action = trap
%s
} } } }
secrets { ike { secret = "kW7#pQ2mLx9vRt4ZcHs8nYd6fJ" } }
`, connection, local, child)
}

// What is carried over of a connection, in the words of the gateway, or the note of its line that says what was not.
func TestSwanctlCarriesOver(t *testing.T) {
	for _, c := range []struct {
		connection, local, child string
		yaml, note               string // expected; a note of its line only
	}{
		{local: `id = "C=CH, O=Example Ltd, CN=gw.example.ch"`, yaml: "local_id: CN=gw.example.ch,O=Example Ltd,C=CH"},
		{local: `id = "/C=CH/O=Example/CN=gw"`, yaml: "local_id: CN=gw,O=Example,C=CH"},
		{local: `id = "asn1dn:C=CH, CN=gw"`, yaml: "local_id: CN=gw,C=CH"},
		{local: `id = "asn1dn:#3000"`, note: "6 lost: id = "},
		{local: `id = "C=CH, CN=*"`, note: "6 lost: id = "},
		{local: `id = keyid:branch-7`, yaml: "local_id: keyid:branch-7"},
		{local: `id = "keyid:0x41"`, yaml: "local_id: keyid:0x30783431"},
		{local: `id = "@#0a1b"`, yaml: "local_id: keyid:0x0a1b"},
		{local: `id = email:gw@example.org`, yaml: "local_id: gw@example.org"},
		{connection: "reauth_time = 24h", yaml: "reauth: 24h"},
		{connection: "reauth_time = 30s", yaml: "reauth: 1m", note: "4 changed: reauth_time of 30s is now 1m"},
		{connection: "mobike = yes", yaml: "mobike: true"},
		{connection: "over_time = 10m", note: "4 changed: connection \"site\": over_time is not carried over"},
		{connection: "unique = replace", note: "4 changed: connection \"site\": unique is not carried over"},
		{child: "ah_proposals = sha256-ecp256", yaml: "ah_proposals: [sha256-ecp256]", note: "12 changed: child \"net\": AH authenticates and encrypts nothing"},
		{child: "ah_proposals = md5", note: "12 lost: ah_proposals: \"md5\" is not offered"},
		{child: "esp_proposals = 3des-md5\nah_proposals = sha256", note: "13 lost: child \"net\": AH is left out"},
		{child: "rekey_bytes = 1000000000000", yaml: "lifetime: {kilobytes: 976562500}"},
		{child: "life_bytes = 1100000000000", yaml: "lifetime: {kilobytes: 976562500}"},
		{child: "rekey_packets = 200000000\nlife_packets = 300000000", yaml: "lifetime: {packets: 200000000}", note: "13 changed: child \"net\": life_packets is not carried over"},
		{child: "rekey_packets = 1000", yaml: "lifetime: {packets: 148809523}", note: "12 changed: child \"net\": rekey_packets is now 148809523 packets"},
		{child: "rand_bytes = 1000", note: "12 changed: child \"net\": rand_bytes is not carried over"},
		{child: "close_action = start", note: "12 changed: child \"net\": close_action is not carried over"},
	} {
		text := show(Swanctl("site.conf", connectionOf(c.connection, c.local, c.child)))
		for _, want := range []string{c.yaml, c.note} {
			if !strings.Contains(text, want) {
				t.Errorf("%s%s%s: expected %q in\n%s", c.connection, c.local, c.child, want, text)
			}
		}
		if c.yaml != "" && c.note == "" && strings.Contains(text, "not carried over") {
			t.Errorf("%s%s%s: carried over, and said not to be:\n%s", c.connection, c.local, c.child, text)
		}
	}
	// Another identity of the same kind finds its key by whichever form it is written in.
	text := show(Swanctl("site.conf", []byte(strings.Replace(string(connectionOf("", `id = "/C=CH/CN=gw"`, "")), "secrets { ike {", "secrets { ike { id = \"C=CH, CN=gw\"\n", 1))))
	if !strings.Contains(text, "site.psk from line") {
		t.Errorf("no key:\n%s", text)
	}
}
