package config

import (
	"fmt"
	"strings"
	"testing"
)

// withTunnels is the base configuration with n rules that negotiate.
func withTunnels(n int) string {
	var lists, rules strings.Builder
	for i := range n {
		fmt.Fprintf(&lists, "  - {name: l%d, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 172.%d.%d.%d}]}\n", i, 16+i>>16, i>>8&255, i&255)
		fmt.Fprintf(&rules, "      - {name: r%d, filter_list: l%d, filter_action: protect, peer: site-b}\n", i, i)
	}
	before, _, _ := strings.Cut(base, "      - {name: to-site-b")
	return strings.Replace(before, "filter_actions:\n", lists.String()+"filter_actions:\n", 1) + rules.String() + "active_policy: site\n"
}

// A policy with more tunnels than the data plane will have cells is a mistake in
// the file; tunnels of policies that are not active do not count.
func TestMoreTunnelsThanCells(t *testing.T) {
	const want = "dataplane.max_tunnels: expected room for the tunnels of the active policy, %d rules that negotiate, found %d: set it to %d or more"
	if _, err := parseBase(t, withTunnels(1100)); err == nil || !strings.Contains(err.Error(), "gw.yaml:2: "+fmt.Sprintf(want, 1100, 1024, 1100)) {
		t.Errorf("1100 tunnels with the default: %v", err)
	}
	limited := func(n int) string {
		return strings.Replace(withTunnels(3), "{workers: [1]}", fmt.Sprintf("\n  workers: [1]\n  max_tunnels: %d", n), 1)
	}
	mustParse(t, limited(3))
	_, err := parseBase(t, limited(2))
	if err == nil || !strings.Contains(err.Error(), "gw.yaml:4: "+fmt.Sprintf(want, 3, 2, 3)) {
		t.Errorf("3 tunnels with 2 cells: %v", err)
	}
	mustParse(t, strings.Replace(limited(2), "active_policy: site", "  - {name: idle, rules: []}\nactive_policy: idle", 1))
}
