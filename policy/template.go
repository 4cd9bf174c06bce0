package policy

import (
	"fmt"
	"slices"
	"strings"
)

// templates are the permits that replace broad exemptions (S-038): each is traffic between anybody and the listed
// servers, both ways.
var templates = map[string][]Filter{
	"exempt-dns": {
		{Name: "dns-udp", Protocol: protocolUDP, DestinationPort: PortRange{First: 53, Last: 53}},
		{Name: "dns-tcp", Protocol: protocolTCP, DestinationPort: PortRange{First: 53, Last: 53}},
	},
	"exempt-netbios": {{Name: "netbios-names", Protocol: protocolUDP, DestinationPort: PortRange{First: 137, Last: 137}}},
	"exempt-dc":      {{Name: "directory-server"}}, // all traffic, Kerberos and LDAP among it
}

// TemplateFilters is the filters of a template for its servers, to be used with an action that permits.
func TemplateFilters(template string, servers []AddressSpec) ([]Filter, error) {
	pattern, known := templates[template]
	if !known {
		return nil, fmt.Errorf("expected %s, found %q", oneOf(templates), template)
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("template %s: expected at least one server, found none", template)
	}
	var filters []Filter
	var seen []string
	for _, server := range servers {
		text := server.String()
		switch {
		case server.kind == addressAny || server.kind == addressMine || server.kind == addressRange && (server.span == AnyIPv4() || server.span == AnyIPv6()):
			return nil, fmt.Errorf("template %s: expected the address of a server, found %s", template, text)
		case slices.Contains(seen, text):
			return nil, fmt.Errorf("template %s: expected each server once, found %s for the second time", template, text)
		}
		seen = append(seen, text)
		for _, f := range pattern {
			f.Name, f.Source, f.Destination, f.Mirrored = f.Name+"-"+strings.TrimPrefix(text, namePrefix), Any(), server, true
			filters = append(filters, f)
		}
	}
	return filters, nil
}
