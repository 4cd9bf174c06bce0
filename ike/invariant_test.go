package ike

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"sallyport/ike/wire"
	"sallyport/policy"
)

// established insists on exactly one IKE SA and one Child SA of each name, the same at both ends, in use.
func (l *link) established(children ...string) {
	l.t.Helper()
	l.consistent()
	for _, n := range []*end{l.a, l.b} {
		var found []string
		for _, sa := range n.engine.Snapshot() {
			if sa.State != "established" {
				l.t.Errorf("%s: IKE SA is %s (%s), expected established", n.name, sa.State, sa.Failure.Detail)
			}
			for _, c := range sa.Children {
				found = append(found, cellOf(c.Name, c.Worker))
				if !c.Outbound || n.cells[cellOf(c.Name, c.Worker)] != c.SPIOut {
					l.t.Errorf("%s: packets of %s do not leave by its Child SA %#x", n.name, c.Name, c.SPIOut)
				}
			}
		}
		slices.Sort(found)
		if !slices.Equal(found, children) {
			l.t.Errorf("%s: children %v, expected %v", n.name, found, children)
		}
		if got := len(n.engine.Snapshot()); got != 1 {
			l.t.Errorf("%s: %d IKE SAs, expected 1", n.name, got)
		}
	}
}

// consistent is the invariant of a quiet wire: no SA is there on one side only, no SPI is forgotten, nothing is there twice.
func (l *link) consistent() {
	l.t.Helper()
	if a, b := l.a.ikeSAs(), l.b.ikeSAs(); !slices.Equal(a, b) {
		l.t.Errorf("IKE SAs differ: a has %v, b has %v", a, b)
	}
	for _, pair := range [][2]*end{{l.a, l.b}, {l.b, l.a}} {
		from, to := pair[0], pair[1]
		for spi, sa := range from.outbound {
			in, ok := to.inbound[spi]
			if !ok || !bytes.Equal(in.Keymat.Bytes(), sa.Keymat.Bytes()) || in.UDPEncap != sa.UDPEncap || in.ESN != sa.ESN ||
				in.Protocol != sa.Protocol || in.Transport != sa.Transport {
				l.t.Errorf("%s sends by SPI %#x, which %s does not have or has otherwise", from.name, spi, to.name)
			}
			seenApart := sa.Transport && sa.UDPEncap // each end has the addresses that it sees
			if !seenApart && !sameSelectors(sa.Selectors, mirrored(in.Selectors)) {
				l.t.Errorf("SPI %#x: %s protects %v, %s takes %v", spi, from.name, sa.Selectors, to.name, in.Selectors)
			}
		}
		if len(from.outbound) != len(to.inbound) {
			l.t.Errorf("%s has %d outbound SAs, %s has %d inbound", from.name, len(from.outbound), to.name, len(to.inbound))
		}
		if len(from.allocated) != len(from.inbound) {
			l.t.Errorf("%s: %d SPIs reserved, %d installed", from.name, len(from.allocated), len(from.inbound))
		}
		if len(from.cells) != len(from.outbound) {
			l.t.Errorf("%s: %d outbound SAs for %d cells", from.name, len(from.outbound), len(from.cells))
		}
		if h := from.engine.halfOpen; h.Total() != 0 || h.Entries() != 0 {
			l.t.Errorf("%s: half-open count %+v, expected none", from.name, h)
		}
		if queued := from.engine.queued; queued != 0 {
			l.t.Errorf("%s: %d octets of fragments wait, expected none", from.name, queued)
		}
	}
}

func sameSelectors(x, y []policy.Selector) bool { return covers(x, y) && covers(y, x) }

// ikeSAs lists the SPI pairs of the established IKE SAs.
func (n *end) ikeSAs() []string {
	var list []string
	for _, sa := range n.engine.Snapshot() {
		if sa.SPIi != 0 {
			list = append(list, fmt.Sprintf("%x-%x %s", sa.SPIi, sa.SPIr, sa.State))
		}
	}
	slices.Sort(list)
	return list
}

// count is how many facts of a kind, and of a reason if one is given, an end has reported.
func (n *end) count(kind FactKind, reason Reason) int {
	found := 0
	for _, f := range n.facts {
		if f.Kind == kind && (reason == "" || f.Reason == reason) {
			found++
		}
	}
	return found
}

func (n *end) expect(kind FactKind, reason Reason, times int) {
	n.link.t.Helper()
	if got := n.count(kind, reason); got != times {
		n.link.t.Errorf("%s: %d facts %v %s, expected %d\n%s", n.name, got, kind, reason, times, n.story())
	}
}

// story is the list of facts, for failures.
func (n *end) story() string {
	var b strings.Builder
	for _, f := range n.facts {
		fmt.Fprintf(&b, "  %s %v %s %s %s\n", f.Time.Format("15:04:05.000"), f.Kind, cellOf(f.Child, f.Worker), f.Reason, f.Detail)
	}
	return b.String()
}

// header of the i-th packet in flight.
func (l *link) header(i int) wire.Header {
	h, err := wire.ParseHeader(l.wire[i].payload)
	if err != nil {
		l.t.Fatalf("packet %d in flight: %v", i, err)
	}
	return h
}

// expectWire insists on what is in flight: "a: IKE_SA_INIT request 0".
func (l *link) expectWire(expected ...string) {
	l.t.Helper()
	var found []string
	for i, p := range l.wire {
		if p.esp {
			continue
		}
		from, h := "a", l.header(i)
		if p.to == l.a {
			from = "b"
		}
		kind := "request"
		if h.Response() {
			kind = "response"
		}
		found = append(found, fmt.Sprintf("%s: %v %s %d", from, h.Exchange, kind, h.MessageID))
	}
	if !slices.Equal(found, expected) {
		l.t.Fatalf("in flight:\n  %s\nexpected:\n  %s", strings.Join(found, "\n  "), strings.Join(expected, "\n  "))
	}
}
