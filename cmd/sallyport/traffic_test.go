package main

import (
	"strings"
	"testing"
)

// What lab traffic is not told, or told wrongly, is refused before it touches a port.
func TestTrafficThatCannotBe(t *testing.T) {
	whole := []string{"none.yaml", "--protected", "net_null", "--unprotected", "net_null"}
	with := func(more ...string) []string { return append(append([]string{}, whole...), more...) }
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no gateway":      {nil, "GATEWAY.yaml"},
		"no devices":      {[]string{"none.yaml"}, "expected a device such as net_af_packet,iface=eth1"},
		"no such file":    {whole, "none.yaml"},
		"no flows":        {with("--flows", "0"), "--flows 0: expected more than 0"},
		"no time":         {with("--time", "0s"), "--time 0s: expected more than 0"},
		"no burst":        {with("--burst", "0"), "--burst 0: expected more than 0"},
		"a time of words": {with("--time", "long"), "--time"},
	} {
		got := sallyport(t, append([]string{"lab", "traffic"}, c.args...)...)
		if got.code == exitGood || got.out != "" || !strings.Contains(got.err, c.want) {
			t.Errorf("%s: exit code %d, printed %q, expected %q in\n%s", name, got.code, got.out, c.want, got.err)
		}
	}
}
