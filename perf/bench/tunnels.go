package bench

import (
	"fmt"
	"io"
)

// tunnelsTarget is what a packet may cost with the most tunnels, to what the same packet costs with one. Nothing fails when it
// costs more: figures of a noisy machine are for people.
const tunnelsTarget = 1.8

// flowsTarget is the same for many flows over some tunnels, to one flow.
const flowsTarget = 2.2

// TunnelsRow is what the same packets cost when they are spread over some number of tunnels: a flow for each of the most
// tunnels, in random order, in every row but the first, which has one flow, and the last, which has many flows for each of its tunnels. All rows of a direction
// take turns, each with a lead, and ratios are medians of those within a round.
type TunnelsRow struct {
	Row
	ToOne        float64 `json:"one_tunnel_ratio"` // cycles, to those of one tunnel with a flow for each of the most tunnels
	ToOneMin     float64 `json:"one_tunnel_ratio_min"`
	ToOneMax     float64 `json:"one_tunnel_ratio_max"`
	ToOneTarget  float64 `json:"one_tunnel_ratio_target,omitempty"` // in the row with the most tunnels
	ToFlow       float64 `json:"one_flow_ratio"`                    // cycles, to those of one flow in one tunnel
	ToFlowMin    float64 `json:"one_flow_ratio_min"`
	ToFlowMax    float64 `json:"one_flow_ratio_max"`
	ToFlowTarget float64 `json:"one_flow_ratio_target,omitempty"` // in the row with the most flows
	Lead         int     `json:"lead_windows"`                    // before each window, without a measurement

	toOne, toFlow []float64
}

const tunnelsSize = 64 // bytes of an inner packet

// tunnelsLead is the windows that a gateway runs before each that is measured. The tables and packets of one fill the caches that the others had: without
// a lead a window is that of a gateway that has just begun, for the first 10 passes over 60,000 flows, which are 100 ms.
const tunnelsLead = 2

func (o *Options) tunnelsTable() table {
	steps, mostFlows, someTunnels := []int{1, 1000, 10000, maxTunnels}, 100000, 1000
	if o.Quick {
		steps, mostFlows, someTunnels = []int{1, 10, 100}, 200, 10
	}
	flows := steps[len(steps)-1]
	var t table
	for _, direction := range o.Directions {
		one := load{suite: cheapest, direction: direction, size: tunnelsSize, flows: 1, tunnels: 1, order: randomOrder(1), workers: 1, lead: tunnelsLead}
		loads := []load{one}
		for _, tunnels := range steps {
			many := one
			many.flows, many.tunnels, many.order = flows, tunnels, randomOrder(flows)
			loads = append(loads, many)
		}
		most := one
		most.flows, most.tunnels, most.order = mostFlows, someTunnels, randomOrder(mostFlows)
		loads = append(loads, most)
		t.loads = append(t.loads, loads)
	}
	t.run = func(s *stand) (all []any, err error) {
		fmt.Fprintf(o.Out, tunnelsHeading, tunnelsSize, flows, tunnelsLead, tunnelsTarget, flowsTarget, flows)
		for _, loads := range t.loads {
			rows, err := o.measureTunnels(s, loads)
			if err != nil {
				return nil, err
			}
			for _, row := range rows {
				printTunnelsRow(o.Out, &row)
			}
			all = append(all, anyRows(rows)...)
		}
		return all, nil
	}
	return t
}

// measureTunnels makes the rows of a direction: one flow, then one tunnel with all flows, then more tunnels, then more flows.
func (o *Options) measureTunnels(s *stand, loads []load) (list []TunnelsRow, err error) {
	rows, rounds, err := s.measure(tableTunnels, o.Windows, loads...)
	if err != nil {
		return nil, err
	}
	const flow, one = 0, 1
	for i, row := range rows {
		ratio, toFlow := ratios(rounds[i], rounds[one], round.perPacket), ratios(rounds[i], rounds[flow], round.perPacket)
		t := TunnelsRow{Row: row, ToOne: ratio.median, ToOneMin: ratio.min, ToOneMax: ratio.max, ToFlow: toFlow.median, ToFlowMin: toFlow.min, ToFlowMax: toFlow.max,
			Lead: tunnelsLead, toOne: ratio.values, toFlow: toFlow.values}
		switch i {
		case len(rows) - 2:
			t.ToOneTarget = tunnelsTarget
		case len(rows) - 1:
			t.ToFlowTarget = flowsTarget
		}
		list = append(list, t)
	}
	return list, nil
}

const tunnelsHeading = `
many tunnels: AES-GCM-128, packets of %d bytes, %d flows in random order over so many tunnels; first one flow alone, last more flows; before each window %d without a measurement
                            cycles per packet      to one tunnel [%.2f]    to one flow [%.2f]     floor   ratio
direction    flows tunnels  median (min-max)       with %d flows        in one tunnel          median  to the floor
`

func printTunnelsRow(w io.Writer, r *TunnelsRow) {
	spread := func(format string, median, low, high float64) string {
		return fmt.Sprintf(format+" ("+format+"-"+format+")", median, low, high)
	}
	fmt.Fprintf(w, "%-10s %7d %7d  %-21s  %-23s  %-21s  %-6.0f  %.2f\n", r.Direction, r.Flows, r.Tunnels,
		spread("%.0f", r.CyclesPerPacket, r.CyclesPerPacketMin, r.CyclesPerPacketMax), spread("%.2f", r.ToOne, r.ToOneMin, r.ToOneMax),
		spread("%.2f", r.ToFlow, r.ToFlowMin, r.ToFlowMax), r.FloorCyclesPerPacket, r.Ratio)
}
