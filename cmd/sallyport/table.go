package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"sallyport/appliance/api"
	"sallyport/policy"
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
	t := newTable(out, "PORT", "ROLE", "VLAN", "DEVICE", "DRIVER", "MAC", "MTU", "LINK", "QUEUES", "ADDRESSES")
	for _, p := range ports {
		vlan := ""
		if p.VLAN != 0 {
			vlan = strconv.Itoa(int(p.VLAN))
		}
		t.row(p.Name, p.Role, vlan, p.Device, p.Driver, p.MAC, strconv.Itoa(p.MTU), p.Link, strconv.Itoa(p.Queues), strings.Join(p.Addresses, " "))
	}
	return t.flush()
}

// saTable has no addresses, which the peer's line of ikeTable has; AGE and REKEY
// are the times since the SA was made and until it is replaced. WORKER is there
// where some have SAs of their own.
func saTable(out io.Writer, sas []api.SA) error {
	heading := []string{"PEER", "CHILD", "DIR", "SPI", "SUITE", "PACKETS", "BYTES", "DROPS", "AGE", "REKEY", "SELECTORS"}
	const workerColumn = 3
	byWorker := slices.ContainsFunc(sas, func(s api.SA) bool { return s.Worker != nil })
	if byWorker {
		heading = slices.Insert(heading, workerColumn, "WORKER")
	}
	t := newTable(out, heading...)
	now := time.Now()
	for _, s := range sas {
		cells := []string{cmp.Or(s.Peer, s.Manual), s.Child, strings.TrimSuffix(s.Direction, "bound"), s.SPI, s.Suite,
			number(s.Packets), number(s.Bytes), number(sum(s.Drops)),
			since(now, s.Established), until(now, s.RekeyAt), strings.Join(s.Selectors, ", ")}
		if byWorker {
			cells = slices.Insert(cells, workerColumn, workerOf(s))
		}
		t.row(cells...)
	}
	return t.flush()
}

// workerOf is the worker that an SA belongs to, as show flows counts them.
func workerOf(s api.SA) string {
	if s.Worker == nil {
		return "all"
	}
	return strconv.Itoa(*s.Worker)
}

// ikeTable has no SPIs, which are in the JSON and the log, so that it fits a
// terminal; below it stands what is in the way of each peer. IKE is there where
// one speaks IKEv1.
func ikeTable(out io.Writer, sas []api.IKE) error {
	heading := []string{"PEER", "STATE", "ROLE", "LOCAL", "REMOTE", "PROPOSAL", "AGE", "REKEY IN", "CHILDREN"}
	older := slices.ContainsFunc(sas, func(s api.IKE) bool { return s.Version == 1 })
	if older {
		heading = slices.Insert(heading, versionColumn, "IKE")
	}
	t := newTable(out, heading...)
	now := time.Now()
	var notes []string
	for _, s := range sas {
		cells := []string{s.Peer, s.State, s.Role, strings.TrimSuffix(s.Local, ikePort), strings.TrimSuffix(s.Remote, ikePort), s.Proposal,
			since(now, s.Established), until(now, s.RekeyAt), strings.Join(s.Children, " ")}
		if older {
			cells = slices.Insert(cells, versionColumn, "v"+strconv.Itoa(s.Version))
		}
		t.row(cells...)
		for _, note := range obstacles(s, now) {
			// A peer has one line for all of its IKE SAs.
			if line := s.Peer + ": " + note; !slices.Contains(notes, line) {
				notes = append(notes, line)
			}
		}
	}
	if err := t.flush(); err != nil || len(notes) == 0 {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s\n", strings.Join(notes, "\n"))
	return err
}

// versionColumn is where IKE stands, if it does.
const versionColumn = 1

// ikePort is the end of an IKE address that goes without saying (RFC 7296 section 2).
const ikePort = ":500"

// obstacles says why a peer has no tunnel, or had none a while ago.
func obstacles(s api.IKE, now time.Time) []string {
	var notes []string
	if s.DownPort != "" {
		notes = append(notes, fmt.Sprintf("port %s has no link", s.DownPort))
	}
	if s.Outstanding != "" {
		notes = append(notes, fmt.Sprintf("no response yet to %s; %d requests sent again since start", s.Outstanding, s.Resent))
	}
	// What failed before the IKE SA that there is stands in nobody's way any more.
	over := func(failed time.Time) bool { return s.State == "established" && failed.Before(s.Established) }
	if s.LastFailure != "" && !over(s.LastFailedAt) {
		notes = append(notes, fmt.Sprintf("last failure %s ago: %s", since(now, s.LastFailedAt), s.LastFailure))
	}
	if s.PeerFailure != "" && !over(s.PeerFailedAt) {
		notes = append(notes, fmt.Sprintf("the peer's last attempt failed %s ago: %s", since(now, s.PeerFailedAt), s.PeerFailure))
	}
	if !s.NextAttempt.IsZero() {
		notes = append(notes, "next attempt in "+until(now, s.NextAttempt))
	}
	return notes
}

// filterTable has no column for the Child SA, which has its rule's name. Below it stands what was dropped of what each filter decided.
func filterTable(out io.Writer, filters []api.Filter) error {
	t := newTable(out, "WEIGHT", "VERDICT", "SOURCE", "DESTINATION", "PROTOCOL", "PORTS", "RULE", "FILTER", "PACKETS", "BYTES")
	for _, f := range filters {
		t.row(weight(f.Row), f.Verdict, source(f.Row), destination(f.Row),
			f.Protocol, f.Ports, f.Rule, place(f.Row), number(f.Packets), number(f.Bytes))
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, f := range filters {
		if len(f.Drops) > 0 {
			fmt.Fprintf(out, "dropped of what %s %s decided: %s\n", f.Rule, place(f.Row), byReason(f.Drops))
		}
	}
	return nil
}

// weight is empty for what stands before and after all filters.
func weight(r policy.Row) string {
	if r.FilterList == "" {
		return ""
	}
	return strconv.FormatUint(uint64(r.Weight), 10)
}

// place is where a filter is written, without the folder, or what it is called
// where nobody wrote it.
func place(r policy.Row) string {
	if r.Origin == "" {
		return r.Filter
	}
	return filepath.Base(r.Origin)
}

// source and destination are the sides of a filter, with the DNS name that an address comes from (S-020).
func source(r policy.Row) string {
	return withPort(withName(r.Source, r.SourceName), r.SourcePort)
}

func destination(r policy.Row) string {
	return withPort(withName(r.Destination, r.DestinationName), r.DestinationPort)
}

func withName(address, name string) string {
	if name == "" {
		return address
	}
	return address + " (" + name + ")"
}

// withPort is addresses with the UDP or TCP port that a filter wants, if it does.
func withPort(addresses, port string) string {
	if port == "" || port == "any" {
		return addresses
	}
	return addresses + "[" + port + "]"
}

func flowTable(out io.Writer, flows []api.Flow) error {
	t := newTable(out, "WORKER", "ARRIVED", "SOURCE", "DESTINATION", "PROTOCOL", "ACTION", "DETAIL", "FILTER")
	for _, f := range flows {
		t.row(strconv.Itoa(f.Worker), f.Arrived, f.Source, f.Destination, f.Protocol, f.Action, f.Detail, f.Filter)
	}
	return t.flush()
}

func counterTable(out io.Writer, counters api.Counters) error {
	t := newTable(out, "PORT", "RECEIVED", "SPLIT", "FORWARDED", "DELIVERED", "HELD", "REASSEMBLING", "MERGED", "DROPPED", "TRANSMITTED", "DROPS BY REASON")
	for _, p := range counters.Ports {
		t.row(p.Name, number(p.Received), number(p.Split), number(p.Forwarded), number(p.Delivered), number(p.Held),
			number(p.Reassembling), number(p.Merged), number(sum(p.Drops)), number(p.Transmitted), byReason(p.Drops))
	}
	if err := t.flush(); err != nil {
		return err
	}
	balance := "received + split = forwarded + delivered + held + reassembling + merged + dropped, on every port"
	if !counters.Conserved {
		balance = "NOT BALANCED: " + counters.Imbalance
	}
	for _, p := range counters.Ports {
		if p.HandedOver > 0 {
			balance += fmt.Sprintf("\n%d packets came by %s to another worker than their SA's, and were handed over", p.HandedOver, p.Name)
		}
		if p.Early > 0 {
			balance += fmt.Sprintf("\n%d packets came by %s before their SA and waited for it: %d went on, %d waited too long", p.Early, p.Name, p.EarlyPassed, p.Drops["early_timeout"])
		}
	}
	if n := sum(counters.Unattributed); n > 0 {
		balance += fmt.Sprintf("\n%d of the drops are counted by no filter or SA, for want of room: %s", n, byReason(counters.Unattributed))
	}
	for _, p := range counters.SlowPath {
		if p.Full > 0 {
			balance += fmt.Sprintf("\nthe slow path was too busy for %d packets of class %s; %d found room, %d of them wait", p.Full, p.Class, p.Queued, p.Waiting)
		}
	}
	if full := counters.IKEQueueFull; full != (api.QueueFull{}) {
		balance += fmt.Sprintf("\nIKE was too busy for %d messages that begin a negotiation, for %d others and for %d wishes of the data plane; of strangers for %d and %d",
			full.Begin, full.Continue, full.Own, full.BeginStranger, full.ContinueStranger)
	}
	_, err := fmt.Fprintln(out, balance)
	return err
}

// byReason is what was dropped, in words.
func byReason(drops map[string]uint64) string {
	var reasons []string
	for _, reason := range slices.Sorted(maps.Keys(drops)) {
		reasons = append(reasons, fmt.Sprintf("%s %d", reason, drops[reason]))
	}
	return strings.Join(reasons, ", ")
}

func dropTable(out io.Writer, drops []api.Drop) error {
	t := newTable(out, "PORT", "REASON", "PACKETS")
	for _, d := range drops {
		t.row(d.Port, d.Reason, number(d.Packets))
	}
	return t.flush()
}

// counted is a number of things.
func counted(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
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
