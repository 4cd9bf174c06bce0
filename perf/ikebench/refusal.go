package ikebench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"sallyport/ike"
)

// RefusalRow is how many first messages that nobody wants one end turns away: in the names of many peers, or of nobody. All is CPU time of one core, and the messages are in memory.
type RefusalRow struct {
	Table    string  `json:"table"`
	Version  string  `json:"ike"`
	Why      string  `json:"why"`
	Windows  int     `json:"windows"`
	Messages int     `json:"messages_per_window"`
	Rate     float64 `json:"per_second"`
	Min      float64 `json:"per_second_min"`
	Max      float64 `json:"per_second_max"`
	Bytes    float64 `json:"bytes_allocated_for_each"` // and given back: what is kept does not grow
	Target   float64 `json:"per_second_target"`
}

// refusalTarget is how many a core should turn away in a second.
const refusalTarget = 100_000

// flood is one way in which first messages are turned away.
type flood struct {
	why    string
	method method
	limits ike.Limits
	from   func(n int) netip.Addr
	vary   bool          // what the message says, of IKEv1
	before time.Duration // how long it has gone on, a message a millisecond; then they come as often as the target says. 0: all come at one time
	expect ike.Reason
}

// victims is how many peers the end has that is flooded.
const victims = 1000

func inPeersNames(n int) netip.Addr { return remote(n % victims) }
func fromAnywhere(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{100, byte(n >> 16), byte(n >> 8), byte(n)})
}

func floods() []flood {
	full := Unlimited()
	full.HalfOpen = 16
	cookies := Unlimited()
	cookies.CookieThreshold = -1
	v2, v1 := psk(), psk().byV1()
	return []flood{
		{"no such peer", v2, Unlimited(), fromAnywhere, false, 0, ike.DropNoPolicy},
		{"cookie demanded", v2, cookies, inPeersNames, false, 0, ike.RefuseCookie},
		{"limit reached", v2, full, inPeersNames, false, 0, ike.RefuseHalfOpen},
		{"no such peer", v1, Unlimited(), fromAnywhere, true, 0, ike.DropNoPolicy},
		{"limit reached", v1, full, inPeersNames, true, 0, ike.RefuseHalfOpen},
		{"siege, one message", v1, full, inPeersNames, false, 2 * time.Second, ike.RefuseHalfOpen},
		{"siege, each another", v1, full, inPeersNames, true, 2 * time.Second, ike.RefuseHalfOpen},
	}
}

// refusals measures one of them.
func refusals(f flood, windows, messages int) (RefusalRow, error) {
	row := RefusalRow{Table: tableRefusals, Version: f.method.version.String(), Why: f.why, Windows: windows, Messages: messages, Target: refusalTarget}
	p, err := newPair(victims, f.method, f.limits, nil)
	if err != nil {
		return row, err
	}
	octets, err := p.opening()
	if err != nil {
		return row, err
	}
	n := 0
	next := func() ike.Datagram {
		n++
		fresh := slices.Clone(octets)
		binary.BigEndian.PutUint64(fresh, uint64(n)<<8|1)
		if f.vary { // the last payload, which is a vendor ID
			binary.BigEndian.PutUint32(fresh[len(fresh)-4:], uint32(n))
		}
		return ike.Datagram{Local: netip.AddrPortFrom(hub, 500), Remote: netip.AddrPortFrom(f.from(n), 500), Payload: fresh}
	}
	for until := p.now.Add(f.before); p.now.Before(until); p.now = p.now.Add(time.Millisecond) {
		p.initiator.engine.Step(p.now, next())
	}
	for range f.limits.HalfOpen % victims { // those that there is room for
		p.initiator.engine.Step(p.now, next())
	}
	var rates []float64
	for range windows {
		datagrams := make([]ike.Datagram, messages)
		for i := range datagrams {
			datagrams[i] = next()
		}
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began, err := processTime()
		if err != nil {
			return row, err
		}
		turned := 0
		for _, d := range datagrams {
			if f.before > 0 {
				p.now = p.now.Add(time.Second / refusalTarget)
			}
			for _, effect := range p.initiator.engine.Step(p.now, d) {
				if fact, ok := effect.(ike.Fact); ok && fact.Reason == f.expect {
					turned++
				}
			}
		}
		ended, err := processTime()
		if err != nil {
			return row, err
		}
		runtime.ReadMemStats(&after)
		if turned != messages {
			return row, fmt.Errorf("IKE%s, %s: %d of %d messages were turned away, expected all", row.Version, f.why, turned, messages)
		}
		rates = append(rates, float64(messages)/(ended-began).Seconds())
		row.Bytes = float64(after.TotalAlloc-before.TotalAlloc) / float64(messages)
	}
	row.Rate, row.Min, row.Max = spread(rates, func(rate float64) float64 { return rate })
	return row, nil
}

// opening is the first message of a peer.
func (p *pair) opening() ([]byte, error) {
	for _, effect := range p.responder.engine.Step(p.now, ike.Initiate{Peer: name(0)}) {
		if send, ok := effect.(ike.Send); ok {
			return send.Payload, nil
		}
	}
	return nil, errors.New("a peer does not begin")
}

const refusalsHeading = `
First messages that nobody wants, turned away in a second of one core
ike  why                  median (min-max)          target   bytes allocated for each
`
