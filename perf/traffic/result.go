package traffic

/*
#include "traffic.h"
*/
import "C"

import (
	"time"
	"unsafe"

	"github.com/HdrHistogram/hdrhistogram-go"

	"sallyport/pmd/eal"
)

// Result is what a trial has counted. Counts are exact.
type Result struct {
	Started     time.Time      `json:"started"`
	Seconds     float64        `json:"seconds"` // from the first packet that was due to the last one sent
	Interrupted bool           `json:"interrupted,omitempty"`
	Verdict     Verdict        `json:"verdict"`            // empty: interrupted before there was something to judge
	Findings    []string       `json:"findings,omitempty"` // what is behind the verdict, in words
	Streams     []StreamResult `json:"streams"`
	Ports       []PortResult   `json:"ports"` // protected, unprotected
	// Negotiation is how the tunnels came up; nil: their keys were given by hand.
	Negotiation *Negotiation `json:"negotiation,omitempty"`
	// Sequence is the highest sequence number that an SA to the gateway has sent, 0 in clear.
	Sequence uint64 `json:"sequence"`
}

// StreamResult is of one stream. Packets count at the clear side of the gateway, octets are of Ethernet frames in clear with their check sequence.
type StreamResult struct {
	Name        string    `json:"name"`
	Direction   Direction `json:"direction"`
	Flows       int       `json:"flows"`
	Wished      Rate      `json:"wished"`        // none: as fast as it goes
	Offered     uint64    `json:"offered"`       // packets that were due
	Sent        uint64    `json:"sent"`          // that the port took
	SentOctets  uint64    `json:"sent_octets"`   // of frames as they left, ESP included
	Missed      uint64    `json:"missed"`        // due when the tester was late, and given up
	NoBuffer    uint64    `json:"no_buffer"`     // of those missed: there was no buffer
	Withheld    uint64    `json:"withheld"`      // due while their tunnel was not there
	Unsent      uint64    `json:"unsent"`        // that the port had no room for until the end
	Received    uint64    `json:"received"`      // intact, without duplicates
	Octets      uint64    `json:"octets"`        // received, duplicates included
	Lost        uint64    `json:"lost"`          // sent and not received
	Reordered   uint64    `json:"reordered"`     // received behind a later one of their flow (RFC 4737 section 3)
	Duplicates  uint64    `json:"duplicates"`    // beside the first
	TooOld      uint64    `json:"too_old"`       // so late that nobody knows whether they are duplicates; not received
	SentPackets float64   `json:"sent_rate"`     // packets a second
	GotPackets  float64   `json:"received_rate"` // packets a second
	LossRatio   float64   `json:"loss_ratio"`    // of those sent
	Latency     Latency   `json:"latency"`       // of those received
	Quiet       float64   `json:"quiet"`         // seconds that packets were sent for after the last one had arrived
	Exhausted   bool      `json:"sa_used_up"`    // an SA had no sequence number left, or no room for a packet
}

// Latency has times in nanoseconds, from before a packet is encrypted to after its burst was received. With no packet all are 0.
type Latency struct {
	Count  int64  `json:"count"`
	Min    uint64 `json:"min_ns"`
	Median uint64 `json:"median_ns"`
	P99    uint64 `json:"p99_ns"`
	P999   uint64 `json:"p99_9_ns"`
	Max    uint64 `json:"max_ns"`

	// Histogram has all of them, with 3 significant figures, up to 10 s.
	Histogram *hdrhistogram.Histogram `json:"-"`
}

// PortResult has the frames that a port received, and what became of those that are no stream's.
type PortResult struct {
	Name         string `json:"name"`
	Frames       uint64 `json:"frames"`
	Octets       uint64 `json:"octets"`
	ARP          uint64 `json:"arp"`
	ICMP         uint64 `json:"icmp"` // ICMPv6 and neighbour discovery too
	IKE          uint64 `json:"ike"`
	Foreign      uint64 `json:"foreign"`       // nothing of ours
	Fragments    uint64 `json:"fragments"`     // are not put together
	Mangled      uint64 `json:"mangled"`       // ours once
	Reflected    uint64 `json:"reflected"`     // what was sent here came back here
	Cleartext    uint64 `json:"cleartext"`     // should have been ESP
	OtherAddress uint64 `json:"other_address"` // from or to other addresses than the flow has, or the tunnel
	OtherTunnel  uint64 `json:"other_tunnel"`  // by the SA of another tunnel
	Stale        uint64 `json:"stale"`         // of another trial
	UnknownSPI   uint64 `json:"unknown_spi"`
	Integrity    uint64 `json:"integrity"` // ICV wrong
	Malformed    uint64 `json:"malformed"` // ESP of a wrong length or padding, or without a packet inside
	Unread       uint64 `json:"unread"`    // of ARP, ICMP and IKE: no time to look at them
	Rivals       uint64 `json:"rivals"`    // answers for the gateway by a second MAC address
	Usurped      uint64 `json:"usurped"`   // answers by others for the tester's own addresses

	// What the port's driver says it lost before the tester saw it.
	Missed   uint64 `json:"rx_missed"`
	Errors   uint64 `json:"rx_errors"`
	NoBuffer uint64 `json:"rx_no_buffer"`
	TxErrors uint64 `json:"tx_errors"`
}

// Totals of all streams.
func (r *Result) Totals() (offered, sent, received uint64) {
	for i := range r.Streams {
		offered, sent, received = offered+r.Streams[i].Offered, sent+r.Streams[i].Sent, received+r.Streams[i].Received
	}
	return offered, sent, received
}

// Of the histogram's layout, as traffic.h has it.
const (
	trackable = C.TRAFFIC_TRACKABLE
	figures   = 3
)

func (t *Tester) streamResult(i int, seconds float64) StreamResult {
	c, sink, s := t.streams[i].c, t.streams[i].sink, &t.config.Streams[i]
	r := StreamResult{
		Name: s.Name, Direction: s.Direction, Flows: s.Flows, Wished: s.Rate,
		Offered: uint64(c.built + c.missed + c.withheld), Withheld: uint64(c.withheld), Sent: uint64(c.sent), SentOctets: uint64(c.sent_octets), Missed: uint64(c.missed), NoBuffer: uint64(c.no_buffer),
		Unsent: uint64(c.unsent), Exhausted: c.exhausted != 0,
		Octets: uint64(sink.octets), Duplicates: uint64(sink.duplicates), Reordered: uint64(sink.reordered), TooOld: uint64(sink.too_old),
		Received: uint64(sink.packets - sink.duplicates - sink.too_old),
	}
	r.Lost = r.Sent - min(r.Received, r.Sent)
	if r.Sent > 0 {
		r.LossRatio = float64(r.Lost) / float64(r.Sent)
	}
	if seconds > 0 {
		r.SentPackets, r.GotPackets = float64(r.Sent)/seconds, float64(r.Received)/seconds
	}
	if r.Received > 0 && c.last > sink.last {
		r.Quiet = float64(c.last-sink.last) / float64(eal.TSCHz())
	}
	r.Latency = latencyOf(sink)
	return r
}

// latencyOf reads what C has counted in the library's own layout.
func latencyOf(sink *C.struct_traffic_sink) Latency {
	counts := make([]int64, C.TRAFFIC_COUNTS)
	copy(counts, unsafe.Slice((*int64)(unsafe.Pointer(sink.counts)), C.TRAFFIC_COUNTS))
	h := hdrhistogram.Import(&hdrhistogram.Snapshot{LowestTrackableValue: 1, HighestTrackableValue: trackable, SignificantFigures: figures, Counts: counts})
	l := Latency{Count: h.TotalCount(), Histogram: h}
	if l.Count == 0 {
		return l
	}
	at := func(percent float64) uint64 { return min(uint64(h.ValueAtQuantile(percent)), uint64(sink.longest)) }
	l.Min, l.Median, l.P99, l.P999, l.Max = uint64(sink.shortest), max(at(50), uint64(sink.shortest)), at(99), at(99.9), uint64(sink.longest)
	return l
}

func (t *Tester) portResult(i int) (PortResult, error) {
	s := &t.ports[i].receiver.seen
	r := PortResult{
		Name: portName(i), Frames: uint64(s.frames), Octets: uint64(s.octets), ARP: uint64(s.arp), ICMP: uint64(s.icmp), IKE: uint64(s.ike),
		Foreign: uint64(s.foreign), Fragments: uint64(s.fragments), Mangled: uint64(s.mangled), Reflected: uint64(s.reflected),
		Cleartext: uint64(s.cleartext), OtherAddress: uint64(s.other_address), OtherTunnel: uint64(s.other_tunnel), Stale: uint64(s.stale),
		UnknownSPI: uint64(s.unknown_spi), Integrity: uint64(s.forged), Malformed: uint64(s.malformed), Unread: uint64(s.unread),
	}
	station := &t.ports[i].station // nobody hears any more
	r.Rivals, r.Usurped = uint64(station.rivals), uint64(station.usurped)
	stats, err := t.ports[i].device.Port.Stats()
	before := t.ports[i].before
	r.Missed, r.Errors = stats.RxMissed-before.RxMissed, stats.RxErrors-before.RxErrors
	r.NoBuffer, r.TxErrors = stats.RxNoBuffer-before.RxNoBuffer, stats.TxErrors-before.TxErrors
	return r, err
}
