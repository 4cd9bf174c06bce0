package policy

import (
	"cmp"
	"slices"
)

// MainModeFilter says between which addresses IKE may speak about protection: the filters that negotiate, less their
// protocol and ports (S-014). Source is the local side and Destination the remote one.
type MainModeFilter struct {
	Weight              uint32
	Source, Destination AddrRange
	Rules               []MainModeRule // in the order of their names
}

// MainModeRule is a rule that gave a main-mode filter.
type MainModeRule struct {
	Rule, Tunnel string
	AuthMethods  []string // in order of preference
	Origin       Origin
}

// mainModeFilters is one filter for each pair of addresses that the entries protect, the heaviest first.
func mainModeFilters(drafts []*draft) []MainModeFilter {
	var filters []MainModeFilter
	byPair := map[[2]AddrRange]int{}
	type source struct {
		filter       int
		rule, tunnel string
	}
	seen := map[source]bool{}
	for _, d := range drafts {
		if d.Verdict != VerdictProtect || d.manual {
			continue
		}
		pair := [2]AddrRange{d.Source, d.Destination}
		i, known := byPair[pair]
		if !known {
			i = len(filters)
			byPair[pair] = i
			filters = append(filters, MainModeFilter{Weight: d.traffic().addressWeight(), Source: d.Source, Destination: d.Destination})
		}
		if from := (source{i, d.Rule, d.Tunnel}); !seen[from] {
			seen[from] = true
			filters[i].Rules = append(filters[i].Rules, MainModeRule{Rule: d.Rule, Tunnel: d.Tunnel, AuthMethods: d.authMethods, Origin: d.RuleOrigin})
		}
	}
	for i := range filters {
		slices.SortFunc(filters[i].Rules, func(a, b MainModeRule) int {
			return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Tunnel, b.Tunnel))
		})
	}
	slices.SortFunc(filters, func(a, b MainModeFilter) int {
		if order := cmp.Compare(b.Weight, a.Weight); order != 0 {
			return order
		}
		return compareBox(&box{Source: a.Source, Destination: a.Destination}, &box{Source: b.Source, Destination: b.Destination})
	})
	return filters
}

// MainModeRow is one line of `filters show --mm`.
type MainModeRow struct {
	Weight      uint32   `json:"weight"`
	Specificity string   `json:"specificity"` // the weight in words
	Source      string   `json:"source"`
	Destination string   `json:"destination"`
	Rules       []string `json:"rules"`
	Tunnels     []string `json:"tunnels"`      // of the rule at the same place
	AuthMethods []string `json:"auth_methods"` // of all rules, in order of preference
}

// MainModeRows is the main-mode filters in the order of weight.
func (s *SPD) MainModeRows() []MainModeRow {
	rows := make([]MainModeRow, 0, len(s.MainMode))
	for i := range s.MainMode {
		f := &s.MainMode[i]
		row := MainModeRow{Weight: f.Weight, Specificity: DescribeWeight(f.Weight), Source: f.Source.String(), Destination: f.Destination.String()}
		for _, r := range f.Rules {
			row.Rules, row.Tunnels = append(row.Rules, r.Rule), append(row.Tunnels, r.Tunnel)
			for _, method := range r.AuthMethods {
				if !slices.Contains(row.AuthMethods, method) {
					row.AuthMethods = append(row.AuthMethods, method)
				}
			}
		}
		rows = append(rows, row)
	}
	return rows
}
