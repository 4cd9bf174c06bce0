package policy

// Row is one line of `show filters`: an exemption, an entry, or what happens to the rest.
type Row struct {
	ID              uint32 `json:"id"` // counter; 0 for the default
	Weight          uint32 `json:"weight"`
	Specificity     string `json:"specificity"` // the weight in words
	Rule            string `json:"rule"`
	FilterList      string `json:"filter_list"`
	Filter          string `json:"filter"`
	Mirror          bool   `json:"mirror"`
	Source          string `json:"source"`
	SourceName      string `json:"source_name,omitempty"` // DNS name that the address comes from
	Destination     string `json:"destination"`
	DestinationName string `json:"destination_name,omitempty"`
	Protocol        string `json:"protocol"`
	SourcePort      string `json:"source_port"`
	DestinationPort string `json:"destination_port"`
	Ports           string `json:"ports"`
	Verdict         string `json:"verdict"`
	Tunnel          string `json:"tunnel,omitempty"`
	Passthrough     bool   `json:"passthrough,omitempty"`
	Fallback        bool   `json:"fallback,omitempty"`
	Origin          string `json:"origin,omitempty"`      // file and line of the filter
	RuleOrigin      string `json:"rule_origin,omitempty"` // and of its rule
}

// exemptRule is what rows of exemptions have in place of a rule.
const exemptRule = "(exempt)"

// Rows is the whole SPD in the order in which a packet meets it: exemptions (S-032), entries by descending weight
// (S-108), and the default action.
func (s *SPD) Rows() []Row {
	return append(s.filterRows(), Row{
		Rule: "(default)", Specificity: "after all filters", Source: "any", Destination: "any", Protocol: "any",
		SourcePort: "any", DestinationPort: "any", Ports: PortsAll.String(), Verdict: s.DefaultAction.String(),
	})
}

// filterRows is the rows without the default action.
func (s *SPD) filterRows() []Row {
	rows := make([]Row, 0, len(s.Exemptions)+len(s.Entries)+1)
	for i := range s.Exemptions {
		rows = append(rows, s.Exemptions[i].Row())
	}
	for i := range s.Entries {
		rows = append(rows, s.Entries[i].row())
	}
	return rows
}

func (e *Entry) row() Row {
	row := box{e.Source, e.Destination, e.Protocol, e.SourcePort, e.DestinationPort}.row()
	row.ID, row.Weight, row.Specificity = e.ID, e.Weight, DescribeWeight(e.Weight)
	if e.FilterList == DynamicList {
		row.Specificity = "after all rules"
	}
	row.Rule, row.FilterList, row.Filter, row.Mirror = e.Rule, e.FilterList, e.FilterName, e.Mirror
	row.SourceName, row.DestinationName = e.SourceName, e.DestinationName
	row.Ports, row.Verdict, row.Tunnel = e.Ports.String(), e.Verdict.String(), e.Tunnel
	row.Passthrough, row.Fallback = e.Passthrough, e.Fallback
	row.Origin, row.RuleOrigin = e.Origin.String(), e.RuleOrigin.String()
	return row
}

// reversed is the row of the packets that go the other way.
func (r Row) reversed() Row {
	r.Source, r.SourceName, r.SourcePort, r.Destination, r.DestinationName, r.DestinationPort =
		r.Destination, r.DestinationName, r.DestinationPort, r.Source, r.SourceName, r.SourcePort
	return r
}

func (b box) row() Row {
	return Row{
		Source: b.Source.String(), Destination: b.Destination.String(), Protocol: ProtocolName(b.Protocol),
		SourcePort: b.SourcePort.String(), DestinationPort: b.DestinationPort.String(),
	}
}
