package importer

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// pick is one of the texts.
func pick(r *rand.Rand, texts ...string) string { return texts[r.IntN(len(texts))] }

// Odd names and values: all of them are right in themselves.
var (
	oddNames     = []string{"a", "A", "a b", "a-b", "Büro", "Buro", "政策", "策略", strings.Repeat("long", 30), strings.Repeat("long", 30) + "x", "r-2", "r", "- -", "yes", "1.5", "null"}
	oddAddresses = []string{"me", "any", "10.1.0.0", "10.2.0.1", "192.0.2.1", "198.51.100.9", "10.0.0.1-10.0.0.9", "fd00::1", "fd00::/16", "224.0.0.5", "255.255.255.255", "10.1.0.255",
		"dns", "gateway", "host.example", "::ffff:10.0.0.1", "169.254.1.1", "198.18.0.0-198.18.255.255"}
	oddEndpoints = []string{"192.0.2.1", "198.51.100.9", "203.0.113.5", "192.0.2.2", "fd00::9", "gw.example"}
	oddTexts     = []string{"", "plain", "# no comment", "a: b", "- x", "'", "{}", "tab\there", "ü", "&x *y", "%z", "\u2028", "\u0085"}
)

// What is made always loads, whatever names, addresses and combinations the source has: 500 scripts of odd but right commands.
func TestNetshOutputLoads(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 17))
	made := 0
	for range 500 {
		var s strings.Builder
		names := func() string { return `"` + pick(r, oddNames...) + `"` }
		fmt.Fprintf(&s, "add policy name=%s assign=%s description=\"%s\" mmlifetime=%d pollinginterval=%d\n", names(), pick(r, "yes", "no"), pick(r, oddTexts...), r.IntN(20000), r.IntN(3000))
		policyName := strings.Split(s.String(), `"`)[1]
		for range 1 + r.IntN(6) {
			fmt.Fprintf(&s, "add filter filterlist=%s srcaddr=%s dstaddr=%s mirrored=%s protocol=%s description=\"%s\"\n", names(), pick(r, oddAddresses...), pick(r, oddAddresses...),
				pick(r, "yes", "no"), pick(r, "any", "tcp", "icmp", "46", "255"), pick(r, oddTexts...))
		}
		for _, action := range []string{"permit", "block", "negotiate", "negotiate qmpfs=yes soft=yes inpass=yes qmsecmethods=\"ESP[AES128,SHA1]:5s AH[MD5]\""} {
			fmt.Fprintf(&s, "add filteraction name=\"action %s\" action=%s\n", action[:3]+fmt.Sprint(len(action)), action)
		}
		lists := strings.Split(s.String(), "filterlist=")[1:]
		for i := range 1 + r.IntN(6) {
			list, _, _ := strings.Cut(pick(r, lists...), " srcaddr")
			fmt.Fprintf(&s, "add rule name=\"%s%s\" policy=\"%s\" filterlist=%s filteraction=\"action %s\"", pick(r, oddNames...), strings.Repeat("_", i), policyName, list, pick(r, "per6", "blo5", "neg9", "neg9", "neg75"))
			if r.IntN(2) == 0 {
				fmt.Fprintf(&s, " tunnel=%s", pick(r, oddEndpoints...))
			}
			fmt.Fprintf(&s, " conntype=%s psk=key%d description=\"%s\"\n", pick(r, "all", "lan", "dialup"), r.IntN(3), pick(r, oddTexts...))
		}
		made += loads(t, s.String(), Netsh)
	}
	t.Logf("%d of 500 became configurations", made)
	if made < 50 {
		t.Errorf("%d of 500 became configurations: the test proves little", made)
	}
}

// The same for swanctl.conf.
func TestSwanctlOutputLoads(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 23))
	made := 0
	for range 500 {
		var s strings.Builder
		s.WriteString("connections {\n")
		for i := range 1 + r.IntN(4) {
			fmt.Fprintf(&s, "\"%s%d\" {\nlocal_addrs = %s\nremote_addrs = %s\nrekey_time = %d\ndpd_delay = %d\n", pick(r, oddNames...), i, pick(r, "%any", "192.0.2.1", "192.0.2.7", "fd00::1"),
				pick(r, "%any", "198.51.100.9", "203.0.113.5", "192.0.2.7", "gw.example"), r.IntN(1000000), r.IntN(100000))
			fmt.Fprintf(&s, "local { auth = psk\nid = %s }\nremote { auth = psk\nid = %s }\nchildren {\n", pick(r, "a.example", "192.0.2.1", "@x"), pick(r, "b.example", "%any", "c@example", "\"CN=x\""))
			for j := range 1 + r.IntN(3) {
				fmt.Fprintf(&s, "\"%s%d\" {\nlocal_ts = %s\nremote_ts = %s\nmode = %s\nstart_action = %s\nrekey_time = %d\nreplay_window = %d\n}\n", pick(r, oddNames...), j, tss(r), tss(r),
					pick(r, "tunnel", "tunnel", "pass", "drop", "transport"), pick(r, "trap", "start", "none"), r.IntN(100000), r.IntN(20000))
			}
			s.WriteString("}\n}\n")
		}
		s.WriteString("}\nsecrets { ike { secret = key } }\n")
		made += loads(t, s.String(), Swanctl)
	}
	t.Logf("%d of 500 became configurations", made)
	if made < 50 {
		t.Errorf("%d of 500 became configurations: the test proves little", made)
	}
}

func tss(r *rand.Rand) string {
	var list []string
	for range 1 + r.IntN(3) {
		list = append(list, pick(r, "dynamic", "10.1.0.0/16", "10.1.2.3/24", "0.0.0.0/0", "::/0", "fd00::/8", "10.0.0.1-10.0.0.9", "192.0.2.1")+pick(r, "", "", "[tcp]", "[udp/53]", "[47]"))
	}
	return strings.Join(list, ",")
}

// loads is 1 for a file that becomes a configuration, which then has to load, and 0 for one that is refused.
func loads(t *testing.T, text string, run func(string, []byte) (*Result, error)) int {
	t.Helper()
	result, err := run("file", []byte(text))
	if err != nil {
		return 0
	}
	if _, err := parse(t, result); err != nil {
		t.Fatalf("%v\n%s\n%s", err, text, result.YAML)
	}
	return 1
}
