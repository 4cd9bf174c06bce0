package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"

	"sallyport/perf/report"
)

const tableHeading = `                                                                       cycles per packet              floor         = source + crypto          ratio
direction  algorithm              encapsulation              size   flows tunnels   Mpps   Gbps  median (min-max)   median (min-max)                   median (min-max) [target]
`

func printHeading(w io.Writer, m report.Machine, o *Options) {
	fmt.Fprintf(w, "%s\n", m)
	fmt.Fprintf(w, "floor: packets from net_pcap (infinite_rx) and freed, plus crypto alone over the same bytes\n")
	fmt.Fprintf(w, "one worker; %d windows of each, alternating, of %s or one pass over all flows; inner packet sizes in bytes; Gbps of inner packets\n",
		o.Windows, o.Window)
}

func printRow(w io.Writer, r *Row) {
	target, size := "", fmt.Sprint(r.Size)
	if r.RatioTarget > 0 {
		target = fmt.Sprintf(" [%.2f]", r.RatioTarget)
	}
	if r.Size != math.Trunc(r.Size) {
		size = "IMIX"
	}
	fmt.Fprintf(w, "%-10s %-22s %-24s %6s %7d %7d %6.2f %6.2f  %6.0f (%.0f-%.0f)   %6.0f (%.0f-%.0f) = %4.0f + %4.0f   %5.2f (%.2f-%.2f)%s\n",
		r.Direction, r.Algorithm, r.Encapsulation, size, r.Flows, r.Tunnels, r.Mpps, r.Gbps,
		r.CyclesPerPacket, r.CyclesPerPacketMin, r.CyclesPerPacketMax,
		r.FloorCyclesPerPacket, r.FloorCyclesPerPacketMin, r.FloorCyclesPerPacketMax, r.SourceCyclesPerPacket, r.CryptoCyclesPerPacket,
		r.Ratio, r.RatioMin, r.RatioMax, target)
}

// printSAs says what an SA weighs.
func printSAs(w io.Writer, rows []Row) {
	largest := map[string]float64{}
	for _, r := range rows {
		largest[r.Direction] = max(largest[r.Direction], r.SABytes)
	}
	for _, d := range []Direction{Outbound, Inbound} {
		if bytes, ok := largest[string(d)]; ok {
			fmt.Fprintf(w, "an %s SA takes %.0f bytes of DPDK memory beside its crypto session\n", d, bytes)
		}
	}
}

// checkFiles finds out whether what is measured can be written.
func (o *Options) checkFiles() error {
	if o.Append {
		if _, err := readJSON(o.JSON); err != nil {
			return err
		}
	}
	return report.Writable(o.JSON, o.Report, o.HTML)
}

// readJSON reads rows to add to.
func readJSON(name string) (rows []any, err error) {
	b, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(b, &rows)
	}
	if err != nil {
		return nil, fmt.Errorf("bench: rows to add to: %w", err)
	}
	return rows, nil
}

// writeJSON makes the file, or adds to its rows. Without a name it writes nothing.
func writeJSON(name string, rows []any, add bool) error {
	if name == "" {
		return nil
	}
	if add {
		before, err := readJSON(name)
		if err != nil {
			return err
		}
		rows = append(before, rows...)
	}
	b, err := json.MarshalIndent(append([]any{}, rows...), "", "  ")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return report.WriteFile(name, append(b, '\n'))
}
