package traffic

import (
	"slices"
	"testing"
)

// both are streams in both directions.
func both(s Stream) []Stream {
	out, in := s, s
	out.Direction, in.Direction = Outbound, Inbound
	return []Stream{out, in}
}

// A path without loss: all that was due was sent, and all that was sent has arrived, once and in order.
func TestCountsWithoutLoss(t *testing.T) {
	p := newPath(t)
	p.start(t)
	r := p.trial(t, p.config(both(Stream{Flows: 7, Sizes: IMIX(), Rate: Rate{Packets: 20000}})...), Load{})
	if r.Verdict != Forwards || len(r.Findings) != 0 {
		t.Errorf("verdict %s, %q", r.Verdict, r.Findings)
	}
	for _, s := range r.Streams {
		want(t, "offered", s.Offered, 2000)
		want(t, "sent", s.Sent, 2000)
		want(t, "received", s.Received, 2000)
		want(t, "lost", s.Lost, 0)
		want(t, "reordered, duplicates and too old", s.Reordered+s.Duplicates+s.TooOld, 0)
		want(t, "octets received", s.Octets, s.SentOctets)
		want(t, "times", uint64(s.Latency.Count), 2000)
		if l := s.Latency; l.Min == 0 || l.Min > l.Median || l.Median > l.P99 || l.P99 > l.P999 || l.P999 > l.Max {
			t.Errorf("latency out of order: %+v", l)
		}
	}
}

// A path that drops every hundredth packet of each direction.
func TestCountsLoss(t *testing.T) {
	p := newPath(t)
	var seen, dropped [2]uint64
	p.meddle = func(from int, frame []byte) [][]byte {
		if seen[from]++; seen[from]%100 == 0 {
			dropped[from]++
			return nil
		}
		return [][]byte{frame}
	}
	p.start(t)
	r := p.trial(t, p.config(both(Stream{Flows: 3, Rate: Rate{Packets: 50000}})...), Load{})
	for i, s := range r.Streams {
		want(t, "sent", s.Sent, 5000)
		want(t, "dropped", dropped[i], 50)
		want(t, "lost", s.Lost, 50)
		want(t, "received", s.Received, 4950)
		if s.LossRatio != 0.01 {
			t.Errorf("loss ratio %g, want 0.01", s.LossRatio)
		}
	}
}

// Every tenth packet comes twice, and of every seven of a flow the first comes last.
func TestCountsDuplicatesAndReordering(t *testing.T) {
	p := newPath(t)
	var seen int
	var late []byte
	p.meddle = func(_ int, frame []byte) (frames [][]byte) {
		seen++
		switch {
		case seen%7 == 1:
			late = frame
		case seen%7 == 0:
			frames = [][]byte{frame, late}
		default:
			frames = [][]byte{frame}
		}
		if seen%10 == 5 && seen%7 > 1 {
			frames = append(frames, frame)
		}
		return frames
	}
	p.start(t)
	r := p.trial(t, p.config(Stream{Direction: Outbound, Rate: Rate{Packets: 70000}}), Load{})
	duplicates := uint64(0)
	for i := 5; i <= 7000; i += 10 {
		if i%7 > 1 {
			duplicates++
		}
	}
	s := r.Streams[0]
	want(t, "sent", s.Sent, 7000)
	want(t, "received", s.Received, 7000)
	want(t, "reordered", s.Reordered, 1000)
	want(t, "duplicates", s.Duplicates, duplicates)
}

// What comes back so late that the receiver has forgotten its number is neither received nor a duplicate.
func TestCountsTooOld(t *testing.T) {
	p := newPath(t)
	flows := 1
	var first []byte
	var seen int
	p.meddle = func(_ int, frame []byte) [][]byte {
		if seen++; seen == 1 {
			first = slices.Clone(frame)
		}
		if seen == window(flows)+10 {
			return [][]byte{frame, first}
		}
		return [][]byte{frame}
	}
	p.start(t)
	r := p.trial(t, p.config(Stream{Direction: Inbound, Flows: flows, Rate: Rate{Packets: 700000}}), Load{Packets: uint64(window(flows)) + 20})
	s := r.Streams[0]
	want(t, "received", s.Received, s.Sent)
	want(t, "too old", s.TooOld, 1)
	want(t, "duplicates", s.Duplicates, 0)
}

// Each octet of a packet is looked at: whichever changes, the packet is mangled.
func TestCountsMangled(t *testing.T) {
	p := newPath(t)
	var seen int
	p.meddle = func(_ int, frame []byte) [][]byte {
		if seen%2 == 0 {
			frame[etherLen+seen/2%(len(frame)-etherLen)] ^= 1 << (seen / 2 % 8)
		}
		seen++
		return [][]byte{frame}
	}
	p.start(t)
	r := p.trial(t, p.config(Stream{Direction: Outbound, Sizes: Sizes{131}, Rate: Rate{Packets: 20000}}), Load{})
	want(t, "sent", r.Streams[0].Sent, 2000)
	want(t, "received", r.Streams[0].Received, 1000)
	want(t, "mangled", r.Ports[unprotected].Mangled, 1000)
	if r.Verdict != Mangles {
		t.Errorf("verdict %s, want %s", r.Verdict, Mangles)
	}
}
