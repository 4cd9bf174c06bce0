package bench

import (
	"fmt"
	"slices"

	"sallyport/crypto"
)

// What a packet of one flow may cost at most, to the floor, by its size (of AES-GCM-128), and at 1400 bytes in any other row.
var (
	outboundTargets = map[int]float64{64: 1.2, 512: 1.1, 1400: 1.05}
	inboundTargets  = map[int]float64{64: 1.3, 512: 1.2, 1400: 1.15}
)

const largeTarget = 1.4

// largeSize is that of the packets that the largest number of targets is for.
const largeSize = 1400

var cheapest = crypto.Suite{Encr: crypto.EncrAESGCM16, KeyBits: 128}

// sizesTable has every combination of algorithm, direction, flows and size. With AES-GCM the floor's crypto is cpu-crypto of
// the device, as in all reports since the first.
func (o *Options) sizesTable(suites []crypto.Suite) table {
	var t table
	for _, suite := range suites {
		for _, direction := range o.Directions {
			for _, flows := range o.Flows {
				for _, size := range o.Sizes {
					l := load{suite: suite, direction: direction, size: size, flows: flows, tunnels: min(o.Tunnels, flows), source: o.SourcePackets, order: randomOrder(flows),
						workers: 1, viaDevice: isGCM(suite)}
					if size == largeSize {
						l.target = largeTarget
					}
					if flows == 1 && suite == cheapest {
						l.target = outboundTargets[size]
						if direction == Inbound {
							l.target = inboundTargets[size]
						}
					}
					t.loads = append(t.loads, []load{l})
				}
			}
		}
	}
	t.run = func(s *stand) ([]any, error) {
		fmt.Fprintf(o.Out, "\nsizes and flows; the floor's crypto for AES-GCM is cpu-crypto of the device\n")
		rows, err := o.runRows(s, tableSizes, t.loads)
		if err == nil {
			printSAs(o.Out, rows)
		}
		return anyRows(rows), err
	}
	return t
}

func isGCM(suite crypto.Suite) bool {
	return slices.Contains([]crypto.EncrID{crypto.EncrAESGCM8, crypto.EncrAESGCM12, crypto.EncrAESGCM16}, suite.Encr)
}

// runRows measures and prints loads one by one.
func (o *Options) runRows(s *stand, table string, loads [][]load) (all []Row, err error) {
	fmt.Fprint(o.Out, tableHeading)
	for _, l := range loads {
		rows, _, err := s.measure(table, o.Windows, l...)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			printRow(o.Out, &row)
		}
		all = append(all, rows...)
	}
	return all, nil
}

func anyRows[R any](rows []R) (all []any) {
	for _, row := range rows {
		all = append(all, row)
	}
	return all
}
