package config

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeResolver answers from a table and notes what it was asked.
type fakeResolver struct {
	mutex   sync.Mutex
	answers map[string][]string
	asked   []string
}

func (r *fakeResolver) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.asked = append(r.asked, network+" "+host)
	texts, known := r.answers[host]
	if !known {
		return nil, errors.New("no\nsuch host")
	}
	var addresses []netip.Addr
	for _, text := range texts {
		addresses = append(addresses, netip.MustParseAddr(text))
	}
	return addresses, nil
}

// parseNames parses the base configuration with filters from the LAN to some destinations.
func parseNames(t *testing.T, r Resolver, known map[string][]netip.Addr, destinations ...string) (*Config, error) {
	t.Helper()
	var filters []string
	for _, d := range destinations {
		filters = append(filters, "{source: 10.1.0.0/24, destination: \""+d+"\"}")
	}
	text := replaced(t, "{source: 10.1.0.0/24, destination: 10.2.0.0/24}", strings.Join(filters, ", "))
	folder := t.TempDir()
	writeKey(t, folder, "site-b.psk", goodKey)
	return ParseWith(filepath.Join(folder, "gw.yaml"), []byte(text), Options{Machine: twoCores(), Resolver: r, Known: known, Now: time.Unix(1e9, 0)})
}

// rowsTo is what the compiled table has toward other gateways' hosts.
func rowsTo(c *Config) []string {
	var destinations []string
	for _, e := range c.SPD.Entries {
		if !e.Mirror {
			destinations = append(destinations, e.Destination.String())
		}
	}
	slices.Sort(destinations)
	return destinations
}

// A name is asked for once, and is one filter for each address. It stands for the same addresses until it is asked for
// again, whatever the resolver says meanwhile.
// S-020
func TestNamesAreResolvedOnce(t *testing.T) {
	r := &fakeResolver{answers: map[string][]string{"host.example": {"10.2.0.3", "10.2.0.1", "10.2.0.2", "10.2.0.1"}}}
	if _, err := parseNames(t, r, nil, "dns:host.example", "dns:HOST.example.", "10.9.0.1"); err == nil {
		t.Error("two filters that are the same were taken")
	}
	r.asked = nil
	c, err := parseNames(t, r, nil, "dns:HOST.example.", "10.9.0.1")
	if err != nil {
		t.Fatal(err)
	}
	three := []string{"10.2.0.1", "10.2.0.2", "10.2.0.3", "10.9.0.1"}
	names := c.Names()
	if !slices.Equal(rowsTo(c), three) || !slices.Equal(r.asked, []string{"ip host.example"}) {
		t.Errorf("filters to %v, asked %v", rowsTo(c), r.asked)
	}
	if len(names) != 1 || names[0].Name != "host.example" || fmt.Sprint(names[0].Addresses) != "[10.2.0.1 10.2.0.2 10.2.0.3]" || !names[0].Resolved.Equal(time.Unix(1e9, 0)) {
		t.Errorf("names %+v", names)
	}

	r.answers["host.example"], r.asked = append(r.answers["host.example"], "10.2.0.4"), nil
	known := map[string][]netip.Addr{"host.example": names[0].Addresses}
	c, err = parseNames(t, r, known, "dns:host.example", "10.9.0.1")
	if err != nil || !slices.Equal(rowsTo(c), three) || len(r.asked) != 0 || !c.Names()[0].Resolved.IsZero() {
		t.Errorf("known: filters to %v, asked %v, names %+v, error %v", rowsTo(c), r.asked, c.Names(), err)
	}
	c, err = parseNames(t, r, nil, "dns:host.example", "10.9.0.1")
	if err != nil || !slices.Equal(rowsTo(c), []string{"10.2.0.1", "10.2.0.2", "10.2.0.3", "10.2.0.4", "10.9.0.1"}) {
		t.Errorf("asked again: filters to %v, error %v", rowsTo(c), err)
	}
	if _, err = parseNames(t, nil, known, "dns:host.example"); err != nil {
		t.Errorf("without a resolver, all names known: %v", err)
	}
}

// Addresses of both IP versions count, as far as the other side of the filter has them, and IPv4 in the form of IPv6 is IPv4.
func TestNamesOfBothVersions(t *testing.T) {
	r := &fakeResolver{answers: map[string][]string{"host.example": {"::ffff:10.2.0.1", "2001:db8::1"}}}
	c, err := parseNames(t, r, nil, "dns:host.example")
	if err != nil || !slices.Equal(rowsTo(c), []string{"10.2.0.1"}) || len(c.Names()[0].Addresses) != 2 {
		t.Errorf("filters to %v, names %v, error %v", rowsTo(c), c.Names(), err)
	}
}

// A name without an address of a host is a mistake at its line, one for each name.
func TestNamesThatAreNone(t *testing.T) {
	many := make([]string, maxNameAddresses+1)
	for i := range many {
		many[i] = fmt.Sprintf("10.2.1.%d", i)
	}
	r := &fakeResolver{answers: map[string][]string{"empty.example": nil, "any.example": {"10.2.0.1", "0.0.0.0"}, "group.example": {"224.0.0.1"}, "loop.example": {"127.0.0.1"}, "many.example": many}}
	const key = "gw.yaml:13: filter_lists[0].filters[0].destination: "
	for name, want := range map[string]string{
		"none.example":  `expected a DNS name with an address, found "none.example": no such host`,
		"empty.example": "answered no address", "any.example": "answered 0.0.0.0, which is no address of a host", "group.example": "answered 224.0.0.1",
		"loop.example": "answered 127.0.0.1", "many.example": "answered 65 addresses, more than 64",
	} {
		_, err := parseNames(t, r, nil, "dns:"+name)
		if err == nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %s", name, err, want)
		}
	}
	for _, text := range []string{"dns:", "dns:10.2.0.1", "dns:a b", "dns:2001:db8::1"} {
		if _, err := parseNames(t, r, nil, text); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: error %v", text, err)
		}
	}
	if _, err := parseNames(t, nil, nil, "dns:host.example"); err == nil || !strings.Contains(err.Error(), "no resolver may be asked") {
		t.Errorf("without a resolver: error %v", err)
	}
	if _, err := parseNames(t, nil, map[string][]netip.Addr{"host.example": {netip.MustParseAddr("ff02::1")}}, "dns:host.example"); err == nil {
		t.Error("a known name stands for a group")
	}
}

// Names are asked for side by side, and there is a limit to how many a file may have.
func TestManyNames(t *testing.T) {
	r := &fakeResolver{answers: map[string][]string{}}
	var names []string
	for i := range maxNames + 1 {
		name := fmt.Sprintf("h%d.example", i)
		r.answers[name] = []string{fmt.Sprintf("10.2.%d.%d", i/250, 1+i%250)}
		names = append(names, "dns:"+name)
	}
	if _, err := parseNames(t, r, nil, names[:100]...); err != nil || len(r.asked) != 100 {
		t.Errorf("%d names asked, error %v", len(r.asked), err)
	}
	r.asked = nil
	_, err := parseNames(t, r, nil, names...)
	if err == nil || !strings.Contains(err.Error(), "filters[1024].destination: expected at most 1024 DNS names, found 1025") || len(r.asked) != 0 {
		t.Errorf("%d names asked, error %.200v", len(r.asked), err)
	}
}

// Templates stand for the filters that DNS, NetBIOS names and directory servers need, and servers may be names.
// S-038
func TestTemplates(t *testing.T) {
	parse := func(list string) (*Config, error) {
		text := replaced(t, "    filters: [{source: 10.1.0.0/24, destination: 10.2.0.0/24}]\n", list)
		text = strings.NewReplacer("action: negotiate", "action: permit", ", peer: site-b}", "}").Replace(text)
		folder := t.TempDir()
		writeKey(t, folder, "site-b.psk", goodKey)
		r := &fakeResolver{answers: map[string][]string{"dc.example": {"10.2.0.9", "10.2.0.8"}}}
		return ParseWith(filepath.Join(folder, "gw.yaml"), []byte(text), Options{Machine: twoCores(), Resolver: r})
	}
	for list, want := range map[string]string{
		"    template: exempt-dns\n    servers: [10.2.0.53]\n":                       "[10.2.0.53 tcp 53 10.2.0.53 udp 53]",
		"    template: exempt-netbios\n    servers: [10.2.0.53, 10.2.0.54]\n":        "[10.2.0.53 udp 137 10.2.0.54 udp 137]",
		"    template: exempt-dc\n    servers: [\"dns:dc.example\", 2001:db8::53]\n": "[10.2.0.8 any any 10.2.0.9 any any 2001:db8::53 any any]",
	} {
		c, err := parse(list)
		if err != nil {
			t.Fatal(err)
		}
		var rows []string
		for _, row := range c.SPD.Rows() {
			if row.Rule == "to-site-b" && !row.Mirror {
				rows = append(rows, row.Destination+" "+row.Protocol+" "+row.DestinationPort)
				if row.Verdict != "permit" || row.Source != "0.0.0.0/0" && row.Source != "::/0" || !strings.HasSuffix(row.Origin, "gw.yaml:13") {
					t.Errorf("row %+v", row)
				}
			}
		}
		slices.Sort(rows)
		if fmt.Sprint(rows) != want {
			t.Errorf("%s: %v, want %s", list, rows, want)
		}
	}
	const at = "gw.yaml:13: filter_lists[0]."
	for list, want := range map[string]string{
		"    template: exempt-smtp\n    servers: [10.2.0.53]\n":                      at + `template: expected exempt-dns, exempt-netbios or exempt-dc, found "exempt-smtp"`,
		"    template: exempt-dns\n":                                                 "gw.yaml:11: filter_lists[0].servers: is missing: expected the addresses of the servers",
		"    template: exempt-dns\n    servers: []\n":                                "gw.yaml:14: filter_lists[0].servers: is missing",
		"    template: exempt-dns\n    servers: [any]\n":                             "gw.yaml:14: filter_lists[0].servers: template exempt-dns: expected the address of a server, found any",
		"    template: exempt-dns\n    servers: [10.2.0.1, 10.2.0.1]\n":              "gw.yaml:14: filter_lists[0].servers: template exempt-dns: expected each server once",
		"    template: exempt-dns\n    servers: [10.2.0.300]\n":                      "gw.yaml:14: filter_lists[0].servers[0]: expected an address",
		"    template: exempt-dns\n    servers: [\"dns:none.example\"]\n":            "gw.yaml:14: filter_lists[0].servers[0]: expected a DNS name with an address",
		"    servers: [10.2.0.53]\n":                                                 at + "servers: expected servers for a template only, found no template",
		"    template: exempt-dns\n    filters: [{source: any, destination: any}]\n": at + "template: expected filters or a template, found both",
		"    filters: []\n": at + "filters: is missing: expected at least one filter, or a template",
		"":                  "gw.yaml:11: filter_lists[0].filters: is missing: expected at least one filter, or a template",
	} {
		_, err := parse(list)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error %v, want one, %s", list, err, want)
		}
	}
}
