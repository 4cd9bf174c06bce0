package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"sallyport/appliance/api"
)

// table prints aligned columns under a heading line.
type table struct{ w *tabwriter.Writer }

func newTable(out io.Writer, heading ...string) table {
	t := table{tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)}
	t.row(heading...)
	return t
}

// row adds a line; an empty cell shows as a dash, so that columns stay readable.
func (t table) row(cells ...string) {
	for i, cell := range cells {
		cells[i] = cmp.Or(cell, "-")
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

func (t table) flush() error { return t.w.Flush() }

func portTable(out io.Writer, ports []api.Port) error {
	t := newTable(out, "PORT", "ROLE", "DEVICE", "DRIVER", "MAC", "MTU", "LINK", "QUEUES", "ADDRESSES")
	for _, p := range ports {
		t.row(p.Name, p.Role, p.Device, p.Driver, p.MAC, strconv.Itoa(p.MTU), p.Link, strconv.Itoa(p.Queues), strings.Join(p.Addresses, " "))
	}
	return t.flush()
}

func saTable(out io.Writer, sas []api.SA) error {
	t := newTable(out, "PEER", "CHILD", "DIRECTION", "SPI", "SUITE", "LOCAL", "REMOTE", "PACKETS", "BYTES", "DROPS", "AGE", "REKEY IN", "SELECTORS")
	now := time.Now()
	for _, s := range sas {
		t.row(s.Peer, s.Child, s.Direction, s.SPI, s.Suite, s.Local, s.Remote,
			number(s.Packets), number(s.Bytes), number(sum(s.Drops)),
			since(now, s.Established), until(now, s.RekeyAt), strings.Join(s.Selectors, ", "))
	}
	return t.flush()
}

func ikeTable(out io.Writer, sas []api.IKE) error {
	t := newTable(out, "PEER", "STATE", "ROLE", "SPI", "LOCAL", "REMOTE", "PROPOSAL", "AGE", "REKEY IN", "CHILDREN", "LAST FAILURE")
	now := time.Now()
	for _, s := range sas {
		spis := ""
		if s.InitiatorSPI != "" {
			spis = s.InitiatorSPI + "/" + s.ResponderSPI
		}
		t.row(s.Peer, s.State, s.Role, spis, s.Local, s.Remote, s.Proposal,
			since(now, s.Established), until(now, s.RekeyAt), strings.Join(s.Children, " "), s.LastFailure)
	}
	return t.flush()
}

func filterTable(out io.Writer, filters []api.Filter) error {
	t := newTable(out, "WEIGHT", "VERDICT", "CHILD", "SOURCE", "PORT", "DESTINATION", "PORT", "PROTOCOL", "PORTS", "RULE", "FILTER", "PACKETS", "BYTES")
	for _, f := range filters {
		t.row(strconv.FormatUint(uint64(f.Weight), 10), f.Verdict, f.Tunnel,
			f.Source, f.SourcePort, f.Destination, f.DestinationPort, f.Protocol, f.Ports, f.Rule, f.Filter, number(f.Packets), number(f.Bytes))
	}
	return t.flush()
}

func flowTable(out io.Writer, flows []api.Flow) error {
	t := newTable(out, "WORKER", "ARRIVED", "SOURCE", "DESTINATION", "PROTOCOL", "ACTION", "DETAIL", "FILTER")
	for _, f := range flows {
		t.row(strconv.Itoa(f.Worker), f.Arrived, f.Source, f.Destination, f.Protocol, f.Action, f.Detail, f.Filter)
	}
	return t.flush()
}

func counterTable(out io.Writer, counters api.Counters) error {
	t := newTable(out, "PORT", "RECEIVED", "FORWARDED", "DELIVERED", "HELD", "DROPPED", "TRANSMITTED", "DROPS BY REASON")
	for _, p := range counters.Ports {
		var reasons []string
		for _, reason := range slices.Sorted(maps.Keys(p.Drops)) {
			reasons = append(reasons, fmt.Sprintf("%s %d", reason, p.Drops[reason]))
		}
		t.row(p.Name, number(p.Received), number(p.Forwarded), number(p.Delivered), number(p.Held),
			number(sum(p.Drops)), number(p.Transmitted), strings.Join(reasons, ", "))
	}
	if err := t.flush(); err != nil {
		return err
	}
	balance := "received = forwarded + delivered + held + dropped, on every port"
	if !counters.Conserved {
		balance = "NOT BALANCED: " + counters.Imbalance
	}
	_, err := fmt.Fprintln(out, balance)
	return err
}

func dropTable(out io.Writer, drops []api.Drop) error {
	t := newTable(out, "PORT", "REASON", "PACKETS")
	for _, d := range drops {
		t.row(d.Port, d.Reason, number(d.Packets))
	}
	return t.flush()
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

func sum(counts map[string]uint64) (total uint64) {
	for _, n := range counts {
		total += n
	}
	return total
}

func since(now, then time.Time) string {
	if then.IsZero() {
		return ""
	}
	return now.Sub(then).Truncate(time.Second).String()
}

func until(now, then time.Time) string {
	if then.IsZero() {
		return ""
	}
	return then.Sub(now).Truncate(time.Second).String()
}
