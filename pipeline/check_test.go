package pipeline

import (
	"bytes"
	"fmt"
	"slices"
)

// tally is how packets ended, by drop reason and by the other ends.
func (r *rig) tally() map[string]uint64 {
	all := map[string]uint64{}
	c := r.d.Counters()
	for _, p := range c.Ports[:len(c.Ports)-1] {
		for reason, n := range p.Drops {
			all[reason] += n
		}
		all["forwarded"] += p.Forwarded
		all["delivered"] += p.Delivered
		all["waiting"] += p.Waiting
		all["reassembling"] += p.Reassembling
		all["merged"] += p.Merged
		all["split"] += p.Split
	}
	return all
}

// ends is what changed between two tallies.
func ends(before, after map[string]uint64) map[string]int {
	changed := map[string]int{}
	for name, n := range after {
		if n != before[name] {
			changed[name] = int(n - before[name])
		}
	}
	return changed
}

// puntNames are the kinds of enum sp_punt.
var puntNames = []disposition{packetARP, packetIKE, packetLocal, packetNeighbour, packetAcquire, packetDropped, packetDropped, packetDiscovery, packetEcho, "early", packetDropped, packetDropped, packetDropped, packetDropped}

// check sends one frame through the fast path and through the reference and compares where it ended, why, and every byte
// that left. It returns the reference's outcome and what the slow path sent in answer.
func (r *rig) check(port int, frame []byte) (want outcome, answers [2][][]byte) {
	r.t.Helper()
	return r.checkOn(0, port, frame)
}

func (r *rig) checkOn(worker, port int, frame []byte) (want outcome, answers [2][][]byte) {
	r.t.Helper()
	before := r.tally()
	r.enqueue(worker, port, frame)
	r.settle()
	var got [2][][]byte
	for i := range got {
		got[i] = r.sent(i)
	}
	after := ends(before, r.tally())
	want = r.ref.process(port, frame)
	expected := map[string]int{}
	var frames [2][][]byte
	expect := func(end string, n int) {
		if n != 0 {
			expected[end] = n
		}
	}
	expect("reassembling", -want.Merged-want.With)
	expect("merged", want.Merged)
	switch want.Disposition {
	case packetForwarded:
		expect("forwarded", 1+len(want.More))
		expect("split", len(want.More))
		frames[want.Port] = append([][]byte{want.Frame}, want.More...)
	case packetDropped:
		expect(want.Reason, 1+want.With)
	case packetReassembling:
		expected["reassembling"]++
	case packetNeighbour, packetAcquire:
		expected["waiting"] = 1
	default:
		expected["delivered"] = 1
	}
	if fmt.Sprint(after) != fmt.Sprint(expected) {
		r.t.Fatalf("port %d frame % x:\n fast path %v\n reference %+v", port, frame, after, want)
	}
	for i := range got {
		if !slices.EqualFunc(got[i], frames[i], bytes.Equal) {
			r.t.Fatalf("port %d frame % x:\n fast path sent on port %d % x\n reference          % x", port, frame, i, got[i], frames[i])
		}
	}
	if want.Disposition == packetDropped && (slices.Contains([]string{"clear_on_protected", "multicast", "broadcast"}, want.Reason) || isToIKEPort(frame)) {
		r.serveAll() // which may hear of it
		return want, answers
	}
	if want.Disposition == packetForwarded || want.Disposition == packetGroup || want.Disposition == packetReassembling || want.Disposition == packetDropped && want.Reason != "ttl_expired" && want.Reason != "mtu_exceeded" {
		return want, answers
	}
	if n := r.serveAll(); n != 1 {
		r.t.Fatalf("port %d frame % x: %d packets for the slow path, want 1 (%s)", port, frame, n, want.Disposition)
	}
	x := &r.d.slow.batch[0]
	if puntNames[x.kind] != want.Disposition || want.MTU != 0 && int(x.mtu) != want.MTU {
		r.t.Fatalf("port %d frame % x: slow path got kind %d, mtu %d; reference %+v", port, frame, x.kind, x.mtu, want)
	}
	r.settle()
	for i := range answers {
		answers[i] = r.sent(i)
	}
	return want, answers
}

// isToIKEPort reports a datagram of which the slow path hears when it is dropped, if it is from a peer.
func isToIKEPort(frame []byte) bool {
	frame = untagPriority(frame)
	if len(frame) <= etherHeaderLen {
		return false
	}
	ip, reason := parseIP(frame[etherHeaderLen:])
	if reason != "" {
		return false
	}
	p := tupleOf(ip)
	return p.Protocol == protocolUDP && (p.DestinationPort == portIKE || p.DestinationPort == portIKENATT)
}

// wantDrop checks a frame and that it ended for this reason.
func (r *rig) wantDrop(port int, frame []byte, reason string) {
	r.t.Helper()
	if o, _ := r.check(port, frame); o.Disposition != packetDropped || o.Reason != reason {
		r.t.Fatalf("frame % x: %+v, want a drop for %s", frame, o, reason)
	}
}

// wantForward checks a frame and that it left by this port; it returns the frame that left.
func (r *rig) wantForward(port int, frame []byte, out int) []byte {
	r.t.Helper()
	o, _ := r.check(port, frame)
	if o.Disposition != packetForwarded || o.Port != out {
		r.t.Fatalf("frame % x: %+v, want it forwarded to port %d", frame, o, out)
	}
	return o.Frame
}
