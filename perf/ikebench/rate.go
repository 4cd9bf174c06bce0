package ikebench

import (
	"runtime"
	"slices"
	"time"

	"sallyport/ike"
)

// RateRow is how fast IKE SAs with one Child SA each are made, the two ends joined in memory: two round trips each, by IKEv1 four and a half. A window makes many of
// them; figures are medians over windows. All is CPU time of one core.
type RateRow struct {
	Table          string  `json:"table"`
	Version        string  `json:"ike"`
	Authentication string  `json:"authentication"`
	Cookie         bool    `json:"cookie"` // the responder demands one: three round trips
	Windows        int     `json:"windows"`
	Negotiations   int     `json:"negotiations_per_window"`
	Initiator      float64 `json:"initiator_ike_sas_per_second"`
	InitiatorMin   float64 `json:"initiator_ike_sas_per_second_min"`
	InitiatorMax   float64 `json:"initiator_ike_sas_per_second_max"`
	Responder      float64 `json:"responder_ike_sas_per_second"`
	ResponderMin   float64 `json:"responder_ike_sas_per_second_min"`
	ResponderMax   float64 `json:"responder_ike_sas_per_second_max"`
	Arithmetic     float64 `json:"arithmetic_us"` // of one end: what crypto/ecdh and the signatures take alone, the floor
	CheckMicros    float64 `json:"certificate_check_us"`
	Bytes          float64 `json:"bytes_per_ike_sa"` // sent by both ends
}

// sample is one window.
type sample struct{ initiator, responder, check, bytes float64 }

// rates measures one way to authenticate.
func rates(m method, cookie bool, windows, negotiations int) (RateRow, error) {
	row := RateRow{Table: tableRates, Version: m.version.String(), Authentication: m.name, Cookie: cookie, Windows: windows, Negotiations: negotiations}
	limits := Unlimited()
	if cookie {
		limits.CookieThreshold = -1
	}
	p, err := newPair(windows*negotiations, m, limits, nil)
	if err != nil {
		return row, err
	}
	var samples []sample
	for w := range windows {
		s, err := p.window(w*negotiations, negotiations)
		if err != nil {
			return row, err
		}
		samples = append(samples, s)
	}
	row.Initiator, row.InitiatorMin, row.InitiatorMax = spread(samples, func(s sample) float64 { return s.initiator })
	row.Responder, row.ResponderMin, row.ResponderMax = spread(samples, func(s sample) float64 { return s.responder })
	row.CheckMicros, _, _ = spread(samples, func(s sample) float64 { return s.check })
	row.Bytes, _, _ = spread(samples, func(s sample) float64 { return s.bytes })
	row.Arithmetic, err = m.arithmetic()
	return row, err
}

// window makes a number of IKE SAs and shares the CPU time out among the ends.
func (p *pair) window(from, n int) (sample, error) {
	p.forget()
	runtime.GC() // what was made before is no part of this window
	before, err := processTime()
	if err != nil {
		return sample{}, err
	}
	if err := p.establish(from, from+n); err != nil {
		return sample{}, err
	}
	after, err := processTime()
	if err != nil {
		return sample{}, err
	}
	i, r := &p.initiator, &p.responder
	check := i.checked + r.checked
	whole := (after - before).Seconds()
	share := func(t time.Duration) float64 {
		return float64(n) / (whole * t.Seconds() / (i.spent + r.spent + check).Seconds())
	}
	return sample{share(i.spent), share(r.spent), whole * check.Seconds() / (i.spent + r.spent + check).Seconds() / float64(2*n) * 1e6,
		float64(i.bytes+r.bytes) / float64(n)}, nil
}

// spread is median, least and largest.
func spread[T any](samples []T, of func(T) float64) (median, least, largest float64) {
	var values []float64
	for _, s := range samples {
		values = append(values, of(s))
	}
	slices.Sort(values)
	return values[len(values)/2], values[0], values[len(values)-1]
}

// HoldRow is what an IKE SA with one Child SA weighs at one end, once it is up and the garbage of making it is gone.
type HoldRow struct {
	Table          string  `json:"table"`
	Version        string  `json:"ike"`
	Authentication string  `json:"authentication"`
	Pairs          int     `json:"ike_and_child_sas"`
	Bytes          float64 `json:"bytes_of_go_memory"` // in use by the heap, whole spans, and by stacks
	Target         float64 `json:"bytes_of_go_memory_target"`
	Peer           float64 `json:"bytes_of_peer_without_sas"` // on top: what the configuration of one weighs
}

// holdTarget is how much Go memory an IKE SA with one Child SA may take.
const holdTarget = 24 << 10

func hold(m method, pairs int) (HoldRow, error) {
	row := HoldRow{Table: tableHold, Version: m.version.String(), Authentication: m.name, Pairs: pairs, Target: holdTarget}
	empty := inUse()
	p, err := newPair(pairs, m, Unlimited(), nil)
	if err != nil {
		return row, err
	}
	configured := inUse()
	if err := p.establish(0, pairs); err != nil {
		return row, err
	}
	held := inUse()
	row.Peer, row.Bytes = float64(configured-empty)/float64(2*pairs), float64(held-configured)/float64(2*pairs) // two ends
	runtime.KeepAlive(p)
	return row, nil
}

// inUse is the Go memory in use after a collection.
func inUse() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers let go
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapInuse + stats.StackInuse
}

// UpkeepRow is what one end of many tunnels costs in an hour of keeping them up.
type UpkeepRow struct {
	Table     string  `json:"table"`
	Tunnels   int     `json:"tunnels"`
	Checks    int     `json:"liveness_checks_per_hour"` // of both ends
	Rekeys    int     `json:"rekeys_per_hour"`          // of IKE SAs and Child SAs
	Liveness  float64 `json:"liveness_core_percent"`
	Rekey     float64 `json:"rekey_core_percent"`
	Together  float64 `json:"core_percent"`
	Target    float64 `json:"core_percent_target"`
	Lifetime  string  `json:"lifetime"`
	Simulated string  `json:"simulated"`
}

// upkeepTarget is the share of a core, in percent, that may go into liveness and rekeys of 10,000 tunnels.
const upkeepTarget = 5

// upkeep lets time pass over tunnels that nobody uses, which is the most that liveness can cost: some minutes of checks, then the hour in
// which every IKE SA and every Child SA is rekeyed, from which the checks are taken out.
func upkeep(m method, tunnels int, minutes time.Duration) (UpkeepRow, error) {
	row := UpkeepRow{Table: tableUpkeep, Tunnels: tunnels, Target: upkeepTarget, Lifetime: time.Hour.String(), Simulated: minutes.String()}
	p, err := newPair(tunnels, m, Unlimited(), func(peer *ike.Peer) {
		peer.RekeyTime = time.Hour
		peer.Children[0].RekeyTime = time.Hour
		if peer.Local != hub { // one end begins: both would rekey each other's
			peer.RekeyTime, peer.Children[0].RekeyTime = 24*time.Hour, 24*time.Hour
		}
	})
	if err != nil {
		return row, err
	}
	if err := p.establish(0, tunnels); err != nil {
		return row, err
	}
	checks, cost, err := p.pass(minutes)
	if err != nil {
		return row, err
	}
	hours := minutes.Hours()
	row.Checks, row.Liveness = int(float64(checks)/hours), 100*cost.Seconds()/minutes.Seconds()
	for _, s := range []*side{&p.initiator, &p.responder} {
		s.rekeyed = 0
	}
	silence := time.Hour - minutes
	_, cost, err = p.pass(silence)
	if err != nil {
		return row, err
	}
	row.Rekeys = p.initiator.rekeyed
	row.Rekey = max(0, 100*cost.Seconds()/silence.Seconds()-row.Liveness)
	row.Together = row.Liveness + row.Rekey
	return row, nil
}

// pass lets time go by and says how many requests that took of both ends and what CPU time of one of them.
func (p *pair) pass(d time.Duration) (requests int, cost time.Duration, err error) {
	p.forget()
	before, err := processTime()
	if err != nil {
		return 0, 0, err
	}
	for end := p.now.Add(d); ; {
		s := &p.initiator
		if r := &p.responder; s.next.IsZero() || !r.next.IsZero() && r.next.Before(s.next) {
			s = r
		}
		if s.next.IsZero() || s.next.After(end) {
			p.now = end
			break
		}
		if s.next.After(p.now) {
			p.now = s.next
		}
		p.step(s, ike.Tick{})
	}
	after, err := processTime()
	if failed := p.failure(); failed != nil {
		return 0, 0, failed
	}
	return (p.initiator.sent + p.responder.sent) / 2, (after - before) / 2, err
}
