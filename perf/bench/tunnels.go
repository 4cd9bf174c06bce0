package bench

import (
	"fmt"
	"io"
)

// tunnelsTarget is what a packet may cost with the most tunnels, to what the same packet costs with one. Nothing fails when it
// costs more: figures of a noisy machine are for people.
const tunnelsTarget = 1.8

// TunnelsRow is what the same packets cost when they are spread over some number of tunnels: a flow for each of the most
// tunnels, in random order, in every row but the first, which has one flow and is there for scale. All rows of a direction
// take turns, each with a lead, and the ratio is the median of those within a round.
type TunnelsRow struct {
	Row
	ToOne       float64 `json:"one_tunnel_ratio"` // cycles, to those of one tunnel with as many flows
	ToOneMin    float64 `json:"one_tunnel_ratio_min"`
	ToOneMax    float64 `json:"one_tunnel_ratio_max"`
	ToOneTarget float64 `json:"one_tunnel_ratio_target,omitempty"` // in the row with the most tunnels
	Lead        int     `json:"lead_windows"`                      // before each window, without a measurement

	toOne []float64
}

const tunnelsSize = 64 // bytes of an inner packet

// tunnelsLead is the windows that a gateway runs before each that is measured. The tables and packets of one fill the caches that the others had: without
// a lead a window is that of a gateway that has just begun, for the first 10 passes over 60,000 flows, which are 100 ms.
const tunnelsLead = 2

func (o *Options) tunnelsTable() table {
	steps := []int{1, 1000, 10000, maxTunnels}
	if o.Quick {
		steps = []int{1, 10, 100}
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
		t.loads = append(t.loads, loads)
	}
	t.run = func(s *stand) (all []any, err error) {
		fmt.Fprintf(o.Out, tunnelsHeading, tunnelsSize, flows, tunnelsLead, tunnelsTarget, flows)
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

// measureTunnels makes the rows of a direction: one flow, then one tunnel with all flows, then the others.
func (o *Options) measureTunnels(s *stand, loads []load) (list []TunnelsRow, err error) {
	rows, rounds, err := s.measure(tableTunnels, o.Windows, loads...)
	if err != nil {
		return nil, err
	}
	const one = 1
	for i, row := range rows {
		ratio := ratios(rounds[i], rounds[one], round.perPacket)
		t := TunnelsRow{Row: row, ToOne: ratio.median, ToOneMin: ratio.min, ToOneMax: ratio.max, Lead: tunnelsLead, toOne: ratio.values}
		if i == len(rows)-1 {
			t.ToOneTarget = tunnelsTarget
		}
		list = append(list, t)
	}
	return list, nil
}

const tunnelsHeading = `
many tunnels: AES-GCM-128, packets of %d bytes, %d flows in random order over so many tunnels; first one flow alone, for scale; before each window %d without a measurement
                    cycles per packet      to one tunnel [%.2f]   floor          ratio
direction  tunnels  median (min-max)       with %d flows       median         to the floor
`

func printTunnelsRow(w io.Writer, r *TunnelsRow) {
	tunnels := fmt.Sprint(r.Tunnels)
	if r.Flows == 1 {
		tunnels = "1 flow"
	}
	fmt.Fprintf(w, "%-10s %7s  %-21s  %-22s  %-13s  %.2f\n", r.Direction, tunnels,
		fmt.Sprintf("%.0f (%.0f-%.0f)", r.CyclesPerPacket, r.CyclesPerPacketMin, r.CyclesPerPacketMax),
		fmt.Sprintf("%.2f (%.2f-%.2f)", r.ToOne, r.ToOneMin, r.ToOneMax), fmt.Sprintf("%.0f", r.FloorCyclesPerPacket), r.Ratio)
}
