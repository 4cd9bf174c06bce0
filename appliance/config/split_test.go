package config

import (
	"strings"
	"testing"

	"sallyport/ike"
)

// An SA of IKEv1 carries one selector. A rule with several is a tunnel for each with a peer that IKEv1 may be spoken with, and one tunnel with others; each
// tunnel is as its rule says.
func TestTunnelForEachSelector(t *testing.T) {
	text := strings.Replace(base, "destination: 10.2.0.0/24}", "destination: 10.2.0.0/24}, {source: 10.1.0.0/24, destination: 10.3.0.0/24}", 1)
	text = strings.Replace(text, "action: negotiate}", "action: negotiate, encapsulation: {dscp: 46}, lifetime: {time: 20m}}", 1)
	for _, test := range []struct {
		version ike.Version
		want    string
	}{
		{ike.V2, "to-site-b"},
		{ike.V1, "to-site-b: 10.1.0.0/24 === 10.2.0.0/24, to-site-b: 10.1.0.0/24 === 10.3.0.0/24"},
		{ike.VAny, "to-site-b: 10.1.0.0/24 === 10.2.0.0/24, to-site-b: 10.1.0.0/24 === 10.3.0.0/24"},
	} {
		c := mustParse(t, text)
		c.plan.peers[0].Version = test.version
		out, err := c.Compile(c.Environment)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		carried := 0
		for _, child := range out.Peers[0].Children {
			names = append(names, child.Name)
			carried += len(child.Selectors)
			if c.Encapsulation(child.Name) != c.Encapsulation("to-site-b") || c.Encapsulation(child.Name) == DefaultEncapsulation() || child.RekeyTime != c.plan.children[0].child.RekeyTime {
				t.Errorf("%v: child %q is not as its rule: %+v", test.version, child.Name, child)
			}
		}
		if got := strings.Join(names, ", "); got != test.want || carried != 2 {
			t.Errorf("%v: children %s with %d selectors, expected %s with 2", test.version, got, carried, test.want)
		}
	}
}
