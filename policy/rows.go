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
	Destination     string `json:"destination"`
	Protocol        string `json:"protocol"`
	SourcePort      string `json:"source_port"`
	DestinationPort string `json:"destination_port"`
	Ports           string `json:"ports"`
	Verdict         string `json:"verdict"`
	Tunnel          string `json:"tunnel,omitempty"`
}

// Rows is the whole SPD in the order in which a packet meets it: exemptions (S-032), entries by descending weight
// (S-108), and the default action.
func (s *SPD) Rows() []Row {
	var rows []Row
	for _, x := range s.Exemptions {
		for _, f := range x.Filters {
			row := box(f).row()
			row.ID, row.Rule, row.Specificity = x.ID, "(exempt)", "before all filters"
			row.Filter, row.Ports, row.Verdict = x.Name, PortsAll.String(), VerdictPermit.String()
			rows = append(rows, row)
		}
	}
	for i := range s.Entries {
		e := &s.Entries[i]
		row := box{e.Source, e.Destination, e.Protocol, e.SourcePort, e.DestinationPort}.row()
		row.ID, row.Weight, row.Specificity = e.ID, e.Weight, DescribeWeight(e.Weight)
		row.Rule, row.FilterList, row.Filter, row.Mirror = e.Rule, e.FilterList, e.FilterName, e.Mirror
		row.Ports, row.Verdict, row.Tunnel = e.Ports.String(), e.Verdict.String(), e.Tunnel
		rows = append(rows, row)
	}
	return append(rows, Row{
		Rule: "(default)", Specificity: "after all filters", Source: "any", Destination: "any", Protocol: "any",
		SourcePort: "any", DestinationPort: "any", Ports: PortsAll.String(), Verdict: s.DefaultAction.String(),
	})
}

func (b box) row() Row {
	return Row{
		Source: b.Source.String(), Destination: b.Destination.String(), Protocol: ProtocolName(b.Protocol),
		SourcePort: b.SourcePort.String(), DestinationPort: b.DestinationPort.String(),
	}
}
