package config

import (
	"fmt"
	"time"

	"sallyport/policy"
)

// filterList makes a list of the filters in the file, or of those that its template stands for (S-038).
func (b *builder) filterList(key string, raw *fileFilterList) policy.FilterList {
	b.name(key+".name", raw.Name, nil)
	list := policy.FilterList{Name: raw.Name, Updated: time.Time(raw.Updated), Origin: b.origin(key)}
	hasFilters, hasServers := b.has(key+".filters"), b.has(key+".servers")
	switch templated := b.has(key + ".template"); {
	case templated && hasFilters:
		b.add(key+".template", "expected filters or a template, found both: write two lists")
	case templated:
		list.Filters = b.templateFilters(key, raw)
	case hasServers:
		b.add(key+".servers", "expected servers for a template only, found no template")
	case len(raw.Filters) == 0:
		b.add(key+".filters", "is missing: expected at least one filter, or a template with its servers")
	}
	for i := range raw.Filters {
		list.Filters = append(list.Filters, b.filter(fmt.Sprintf("%s.filters[%d]", key, i), &raw.Filters[i]))
	}
	return list
}

func (b *builder) filter(key string, raw *fileFilter) policy.Filter {
	b.name(key+".name", raw.Name, nil)
	return policy.Filter{
		Name: raw.Name, Source: raw.Source, Destination: raw.Destination, Protocol: uint8(raw.Protocol),
		SourcePort: raw.SourcePort, DestinationPort: raw.DestinationPort, Mirrored: raw.Mirrored, Origin: b.origin(key),
	}
}

// templateFilters is what a template and its servers stand for. All of them have the line of the template.
func (b *builder) templateFilters(key string, raw *fileFilterList) []policy.Filter {
	switch {
	case raw.Template == "" || b.anyWithin(key+".servers"): // wrong, and reported
		return nil
	case len(raw.Servers) == 0:
		b.add(key+".servers", "is missing: expected the addresses of the servers that template %s is for", raw.Template)
		return nil
	}
	filters, err := policy.TemplateFilters(string(raw.Template), raw.Servers)
	if err != nil {
		b.add(key+".servers", "%s", err)
	}
	for i := range filters {
		filters[i].Origin = b.origin(key + ".template")
	}
	return filters
}
