package bench

import (
	"errors"
	"fmt"
	"io"
	"net/netip"

	"sallyport/perf/report"
	"sallyport/pipeline"
	"sallyport/pmd/eal"
	"sallyport/policy"
)

// softTarget is what a packet by a soft SA may cost, to one that a filter permits.
const softTarget = 1.10

// SoftRow is what packets of one flow cost that pass in clear by a soft SA, beside the same packets by a filter that permits
// them. The two take turns within a round, and the ratio is the median of those within a round.
type SoftRow struct {
	Table string `json:"table"`
	Case  string `json:"case"`
	Size  int    `json:"size"`

	SoftCycles      float64 `json:"soft_cycles_per_packet"`
	SoftCyclesMin   float64 `json:"soft_cycles_per_packet_min"`
	SoftCyclesMax   float64 `json:"soft_cycles_per_packet_max"`
	PermitCycles    float64 `json:"permit_cycles_per_packet"`
	PermitCyclesMin float64 `json:"permit_cycles_per_packet_min"`
	PermitCyclesMax float64 `json:"permit_cycles_per_packet_max"`
	Ratio           float64 `json:"soft_ratio"`
	RatioMin        float64 `json:"soft_ratio_min"`
	RatioMax        float64 `json:"soft_ratio_max"`
	RatioTarget     float64 `json:"soft_ratio_target"`

	Windows int            `json:"windows"`
	Packets uint64         `json:"packets"`
	TSCHz   uint64         `json:"tsc_hz"`
	Machine report.Machine `json:"machine"`

	cycles [2][]float64 // permitted, by the soft SA
}

// softLoad is one flow in clear.
func softLoad() load {
	l := load{suite: cheapest, direction: Outbound, size: siteSize, flows: 1, tunnels: 1, workers: 1}
	l.site = newSite(false, l.flows, 1)
	return l
}

func (o *Options) softTable() table {
	t := table{loads: [][]load{{softLoad()}}, filters: []int{minFilters}}
	t.run = func(s *stand) (all []any, err error) {
		row, err := o.measureSoft(s)
		if err != nil {
			return nil, err
		}
		printSoftRow(o.Out, &row)
		return []any{row}, nil
	}
	return t
}

func (o *Options) measureSoft(s *stand) (row SoftRow, err error) {
	beds, err := newBeds(s.ctx, s.folder, softLoad())
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, beds.close()) }()
	defer quietCollector()()
	b := beds.list[0]
	if err := b.plane.SetCellState(b.site, pipeline.CellHold); err != nil {
		return row, err
	}
	var sent uint64
	var ratios []float64
	for range o.Windows {
		var round [2]measured
		for i := range round {
			if err := s.ctx.Err(); err != nil {
				return row, err
			}
			if err := b.speakClear(i == 1); err != nil {
				return row, err
			}
			err := s.cores[0].do(func() error {
				known, _, err := b.plane.RunFor(0, 0, b.load.pass())
				if err != nil {
					return err
				}
				packets, spent, err := b.plane.RunFor(0, s.window, b.load.pass())
				round[i] = measured{packets, float64(spent)}
				sent += known + packets
				return err
			})
			if err != nil {
				return row, err
			}
			row.cycles[i] = append(row.cycles[i], round[i].perPacket())
			row.Packets += round[i].packets
		}
		ratios = append(ratios, round[1].perPacket()/round[0].perPacket())
		collectGarbage()
	}
	permit, soft, ratio := spreadOfValues(row.cycles[0]), spreadOfValues(row.cycles[1]), spreadOfValues(ratios)
	row.Table, row.Case, row.Size = tableSoft, "one flow by a soft SA", siteSize
	row.SoftCycles, row.SoftCyclesMin, row.SoftCyclesMax = soft.median, soft.min, soft.max
	row.PermitCycles, row.PermitCyclesMin, row.PermitCyclesMax = permit.median, permit.min, permit.max
	row.Ratio, row.RatioMin, row.RatioMax, row.RatioTarget = ratio.median, ratio.min, ratio.max, softTarget
	row.Windows, row.TSCHz, row.Machine = o.Windows, eal.TSCHz(), s.machine
	return row, b.check([]uint64{sent})
}

// speakClear puts a policy of one filter in force that permits the flow of a site, or one that protects it and has fallback, with
// a soft SA for the flow's two addresses.
func (b *bed) speakClear(bySoft bool) error {
	rest := siteFilter{source: lanHosts, destination: remoteHosts}
	action := policy.FilterAction{Name: "permit", Kind: policy.ActionPermit}
	rule := policy.Rule{Name: "rest", FilterList: "rest"}
	if bySoft {
		action = policy.FilterAction{Name: "fallback", Kind: policy.ActionNegotiate, Methods: []string{b.load.suite.String()}, FallbackClear: true, FallbackClearOnWAN: true}
		rule.Tunnel, rule.AuthMethods = siteTunnel, []string{"psk"}
	}
	rule.FilterAction = action.Name
	spd, _, err := policy.Compile(&policy.Set{Active: "clear", FilterActions: []policy.FilterAction{action},
		FilterLists: []policy.FilterList{{Name: "rest", Filters: []policy.Filter{rest.filter("rest")}}},
		Policies:    []policy.Policy{{Name: "clear", Rules: []policy.Rule{rule}}}}, ownAddresses)
	if err != nil {
		return err
	}
	if err := b.plane.Apply(pipeline.Snapshot{SPD: spd, Tunnels: map[string]pipeline.CellID{siteTunnel: b.site}, Routes: routes()}); err != nil || !bySoft {
		return err
	}
	return b.plane.AddSoft([]pipeline.SoftSA{b.load.site.soft(spd)})
}

// soft is the soft SA of the first flow.
func (s *site) soft(spd *policy.SPD) pipeline.SoftSA {
	sa := pipeline.SoftSA{Local: netip.AddrFrom4(s.flows[0].source), Remote: netip.AddrFrom4(s.flows[0].destination)}
	for i := range spd.Entries {
		switch e := &spd.Entries[i]; e.Verdict {
		case policy.VerdictProtect:
			sa.Entry = e.ID
		case policy.VerdictRequire:
			sa.Mirror = e.ID
		}
	}
	return sa
}

func printSoftRow(w io.Writer, r *SoftRow) {
	fmt.Fprintf(w, "\n%s, %d bytes: %.0f (%.0f-%.0f) cycles per packet, by a filter that permits %.0f (%.0f-%.0f): %.3f (%.2f-%.2f) [%.2f]; %d rounds in which the two take turns\n",
		r.Case, r.Size, r.SoftCycles, r.SoftCyclesMin, r.SoftCyclesMax, r.PermitCycles, r.PermitCyclesMin, r.PermitCyclesMax, r.Ratio, r.RatioMin, r.RatioMax, r.RatioTarget, r.Windows)
}
