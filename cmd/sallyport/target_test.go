package main

import (
	"strings"
	"testing"
)

// What lab hostile cannot attack is refused before anything is sent, with what was expected: all that is wrong with the addresses at once.
func TestTargetsThatCannotBe(t *testing.T) {
	whole := []string{"--target", "192.0.2.1", "--interface", "none0", "--source", "192.0.2.9"}
	with := func(more ...string) []string { return append(append([]string{}, whole...), more...) }
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"no addresses": {[]string{"--target", "gateway", "--source", "192.0.2.300", "--interface", "none0", "--via", "here", "--peer", "192.0.2.0/24"},
			[]string{`--target "gateway": expected an IPv4 address`, `--source "192.0.2.300": expected`, `--via "here": expected`, `--peer "192.0.2.0/24": expected`}},
		"nothing but a target":   {[]string{"--target", "192.0.2.1"}, []string{"--source is missing: expected", "--interface is missing: expected"}},
		"an empty target":        {[]string{"--target", "", "--interface", "none0", "--source", "192.0.2.9"}, []string{"say which by --target"}},
		"no target":              {[]string{"--peer", "192.0.2.3"}, []string{"say which by --target"}},
		"no target but a router": {[]string{"--via", "192.0.2.3", "init-random"}, []string{"say which by --target"}},
		"IPv6":                   {[]string{"--target", "2001:db8::1", "--interface", "none0", "--source", "2001:db8::9"}, []string{"target 2001:db8::1: expected the IPv4 address", "source 2001:db8::9: expected"}},
		"a group":                {with("--peer", "224.0.0.5"), []string{"peer 224.0.0.5: expected the IPv4 address of one host"}},
		"broadcast":              {with("--via", "255.255.255.255"), []string{"router 255.255.255.255: expected the IPv4 address of one host"}},
		"itself":                 {[]string{"--target", "192.0.2.1", "--interface", "none0", "--source", "192.0.2.1"}, []string{"source 192.0.2.1: expected another address than the target's"}},
		"before itself":          {with("--via", "192.0.2.1"), []string{"router 192.0.2.1: expected another address than the target's"}},
		"who asks is a peer":     {with("--peer", "192.0.2.9"), []string{"peer 192.0.2.9: expected another address than the source's"}},
		"no such interface":      {whole, []string{`interface "none0"`, "expected one of this host"}},
		"no Ethernet":            {[]string{"--target", "192.0.2.1", "--interface", "lo", "--source", "192.0.2.9"}, []string{"interface lo: expected an Ethernet interface that is up"}},
		"forged by nobody":       {with("init-forged"), []string{`scenario "init-forged"`, "with peers"}},
		"ours":                   {with("replay"), []string{`scenario "replay"`, "want init-random"}},
		"a tunnel's load":        {with("--load", "1000"), []string{"--load is of the tunnel of a gateway that is started here: leave it out"}},
		"a tunnel's windows":     {with("--windows", "3"), []string{"--windows is of the tunnel"}},
		"no messages":            {[]string{"--messages", "0"}, []string{"--messages 0: expected more than 0"}},
		"no windows":             {[]string{"--windows", "0"}, []string{"--windows 0: expected more than 0"}},
		"no load":                {[]string{"--load", "0"}, []string{"--load 0: expected more than 0"}},
		"too few":                {with("--messages", "1"), []string{"1 messages: want 1000 to"}},
	} {
		got := sallyport(t, append([]string{"lab", "hostile"}, c.args...)...)
		if got.code == exitGood || got.out != "" {
			t.Errorf("%s: exit code %d, printed %q", name, got.code, got.out)
		}
		for _, part := range c.want {
			if !strings.Contains(got.err, part) {
				t.Errorf("%s: expected %q in\n%s", name, part, got.err)
			}
		}
	}
}
