package appliance

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"sallyport/appliance/api"
	"sallyport/ike"
	"sallyport/pipeline"
	"sallyport/policy"
	"sallyport/policy/soft"
)

// softPlane is the part of the data plane that soft SAs need.
type softPlane interface {
	AddSoft(sas []pipeline.SoftSA) error
	RemoveSoft(sas []pipeline.SoftSA) []pipeline.SoftCounters
	SoftCounters() []pipeline.SoftCounters
	LostIKE() uint64
	UnsentIKE() []netip.Addr
	Doubt(to netip.Addr, until time.Time)
	Reaches(to netip.Addr, since time.Time) bool
}

// softSAs carries out what the book of soft SAs decides. Two goroutines do: that of the data plane's slow path, which hears
// peers before anything else does, and that of the engine, which knows of silence. What the book says and what the data
// plane does are one step under the lock: else a peer that is heard between the two would have its soft SA made after it was
// ended. The data plane's own lock is taken inside, and nobody who holds that comes here. What is to be told is told when
// the lock is free again: a log that is slow must not keep the slow path waiting.
type softSAs struct {
	plane softPlane
	log   *slog.Logger
	clock func() time.Time

	mu      sync.Mutex
	book    *soft.Book
	alarm   bool
	sent    pipeline.FilterHits // in clear by soft SAs that have ended
	came    pipeline.FilterHits
	lost    uint64 // messages to IKE ports that may have found no room on the way here, as far as the book knows
	skipped uint64 // that no session was made for: a soft SA has nothing to process (S-101)
	records []softRecord
	telling bool // somebody writes records
}

// softRecord is a line of the audit log.
type softRecord struct {
	level  slog.Level
	what   string
	fields []any
}

func newSoftSAs(p softPlane, clock func() time.Time, log *slog.Logger) *softSAs {
	return &softSAs{plane: p, log: log, clock: clock, book: soft.New()}
}

// note has a line of the audit log written by unlock.
func (s *softSAs) note(level slog.Level, what string, fields ...any) {
	s.records = append(s.records, softRecord{level, what, fields})
}

// unlock gives the book free, and writes what has been noted, in that order. While somebody writes, others leave theirs to it.
func (s *softSAs) unlock() {
	defer s.mu.Unlock()
	if s.telling {
		return
	}
	s.telling = true
	for len(s.records) > 0 {
		records := s.records
		s.records = nil
		s.mu.Unlock()
		for _, r := range records {
			s.log.Log(context.Background(), r.level, r.what, r.fields...)
		}
		s.mu.Lock()
	}
	s.telling = false
}

// ask takes a packet that needs an SA of a child, and says whether that is to be negotiated.
func (s *softSAs) ask(a pipeline.Acquire, of child) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteLost()
	return s.book.Ask(s.clock(), soft.Request{Entry: a.Entry, Peer: of.peer, Tunnel: of.name, Packet: a.Packet, Inbound: a.Inbound}).Negotiate
}

// group takes a packet to many that a filter with fallback dropped.
func (s *softSAs) group(g pipeline.Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book.Group(s.clock(), g.Source, g.Protocol)
}

// heard takes a datagram to an IKE port: what its sender's peer had in clear ends here, before the engine sees the datagram (S-051).
func (s *softSAs) heard(from netip.Addr) {
	s.mu.Lock()
	defer s.unlock()
	s.end(s.book.Heard(s.clock(), from.Unmap()))
}

// silent takes word of the engine that a peer has answered nothing. What asked too late for that comes back: the engine is to try once more.
func (s *softSAs) silent(peer string) *soft.Request {
	s.mu.Lock()
	defer s.unlock()
	s.noteLost()
	if to, at := s.book.LastSent(peer); to.IsValid() && !s.plane.Reaches(to, at) {
		s.book.Unsent(s.clock(), to)
	}
	o := s.book.Silent(s.clock(), peer)
	if len(o.Made) > 0 {
		o.Made = s.install(peer, o.Made)
	}
	if len(o.Made) == 0 {
		return o.Next
	}
	s.skipped += uint64(len(o.Made))
	for i := range o.Made {
		s.note(slog.LevelInfo, "soft_created", append(softFields(&o.Made[i]), "reason", string(ike.FailSilent), "until", o.Made[i].Expires())...)
	}
	s.watch()
	return o.Next
}

// install hands soft SAs to the data plane, which takes all or none, and gives those that it has taken: one that cannot be takes no other with it.
func (s *softSAs) install(peer string, made []soft.SA) (taken []soft.SA) {
	if s.plane.AddSoft(planeSoft(made)) == nil {
		return made
	}
	for i := range made {
		one := made[i : i+1]
		if err := s.plane.AddSoft(planeSoft(one)); err != nil {
			s.book.Refused(one)
			s.note(slog.LevelError, "soft_refused", append(softFields(&one[0]), "error", err)...)
			continue
		}
		taken = append(taken, one...)
	}
	return taken
}

// noteLost tells the book what speaks against silence. Messages to an IKE port were dropped for want of room: they came, and nobody has heard them. Any may
// have been the answer of the peer that seems silent, so that a flood, in whoever's name, makes no clear text. And to whom a message of ours has never left.
func (s *softSAs) noteLost() {
	if lost := s.plane.LostIKE(); lost != s.lost {
		s.lost = lost
		s.book.Lost(s.clock())
	}
	for _, to := range s.plane.UnsentIKE() {
		s.book.Unsent(s.clock(), to)
	}
}

// doubtFor is how long a next hop is asked after each message: as long as IKE waits for an answer at most.
const doubtFor = 10 * time.Second

// sending takes word that a message of IKE is about to leave. Silence says nothing where the next hop is gone, which may have answered a moment before: it is asked while silence lasts.
func (s *softSAs) sending(to netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.clock(); s.book.Sent(now, to.Unmap()) {
		s.plane.Doubt(to.Unmap(), now.Add(doubtFor))
	}
}

// unsent takes word that a message of IKE did not leave.
func (s *softSAs) unsent(to netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book.Unsent(s.clock(), to.Unmap())
}

// established takes word that a peer has proved who it is.
func (s *softSAs) established(peer string) {
	s.mu.Lock()
	defer s.unlock()
	s.end(s.book.Established(peer))
}

// down takes word that an operator has taken a peer down, and says how many soft SAs of each of its tunnels that has ended.
func (s *softSAs) down(peer string) map[string]int {
	s.mu.Lock()
	defer s.unlock()
	ended, byTunnel := s.book.Down(peer), map[string]int{}
	s.end(ended)
	for i := range ended {
		byTunnel[ended[i].Tunnel]++
	}
	return byTunnel
}

// flush ends all of them, and says how many there were.
func (s *softSAs) flush() (flushed int) {
	for some := soft.AtOnce; some == soft.AtOnce; flushed += some {
		some = s.flushSome()
	}
	return flushed
}

func (s *softSAs) flushSome() int {
	s.mu.Lock()
	defer s.unlock()
	ended := s.book.Flush()
	s.end(ended)
	return len(ended)
}

// configure puts another configuration in force.
func (s *softSAs) configure(c soft.Config) {
	s.mu.Lock()
	defer s.unlock()
	s.end(s.book.Configure(s.clock(), c))
	s.watch()
}

// useEvery is how often the data plane is asked whether something came in by a soft SA.
const useEvery = time.Second

// tick ends what is over, tells what is used, and says when to come again; the zero time where there is nothing to wait for.
func (s *softSAs) tick() time.Time {
	s.mu.Lock()
	defer s.unlock()
	now := s.clock()
	s.end(s.book.Tick(now))
	next := s.book.Next()
	if !next.After(now) { // nothing, or more that is over
		return next
	}
	counters := s.plane.SoftCounters()
	s.noteUse(counters)
	s.noteEnds(counters)
	if soon := now.Add(useEvery); soon.Before(next) {
		return soon
	}
	return next
}

// noteUse tells of each soft SA when something has come in by it for the first time.
func (s *softSAs) noteUse(counters []pipeline.SoftCounters) {
	for _, c := range counters {
		if c.In.Packets == 0 {
			continue
		}
		if sa, first := s.book.Used(soft.Key(c.SoftSA)); first {
			s.note(slog.LevelInfo, "soft_used", append(softFields(&sa), "packets", c.In.Packets, "bytes", c.In.Bytes)...)
		}
	}
}

// noteEnds ends here what the data plane has ended by itself, for something that it alone knew: an address that has become ours, for one.
func (s *softSAs) noteEnds(counters []pipeline.SoftCounters) {
	var over []soft.Key
	for _, c := range counters {
		if c.Ended {
			over = append(over, soft.Key(c.SoftSA))
		}
	}
	s.end(s.book.Over(over))
}

// end takes soft SAs out of the data plane.
func (s *softSAs) end(ended []soft.Ended) {
	if len(ended) == 0 {
		return
	}
	list := make([]pipeline.SoftSA, 0, len(ended))
	for i := range ended {
		list = append(list, pipeline.SoftSA(ended[i].Key))
	}
	counters := byKey(s.plane.RemoveSoft(list))
	for i := range ended {
		e := &ended[i]
		c := counters[pipeline.SoftSA(e.Key)]
		if c.In.Packets > 0 && !e.Used {
			s.note(slog.LevelInfo, "soft_used", append(softFields(&e.SA), "packets", c.In.Packets, "bytes", c.In.Bytes)...)
		}
		s.sent.Packets, s.sent.Bytes = s.sent.Packets+c.Out.Packets, s.sent.Bytes+c.Out.Bytes
		s.came.Packets, s.came.Bytes = s.came.Packets+c.In.Packets, s.came.Bytes+c.In.Bytes
		what := "soft_removed"
		if e.Reason == soft.Expired {
			what = "soft_expired"
		}
		s.note(slog.LevelInfo, what, append(softFields(&e.SA), "reason", string(e.Reason), "bytes_sent", c.Out.Bytes, "bytes_received", c.In.Bytes)...)
	}
	s.watch()
}

// watch raises the alarm, and ends it.
func (s *softSAs) watch() {
	c := s.book.Counts()
	if c.Alarm != s.alarm {
		s.alarm = c.Alarm
		if s.alarm {
			s.note(slog.LevelWarn, "soft_alarm: so many soft SAs pass traffic in clear as soft.alarm says; sallyport sa show --type soft lists them", "count", c.Live)
		} else {
			s.note(slog.LevelInfo, "soft_alarm_over", "count", c.Live)
		}
	}
}

func softFields(sa *soft.SA) []any {
	return []any{"peer", sa.Peer, "child", sa.Tunnel, "rule", sa.Rule, "filter", sa.Filter, "selector", sa.Traffic.String()}
}

func planeSoft(sas []soft.SA) []pipeline.SoftSA {
	list := make([]pipeline.SoftSA, 0, len(sas))
	for i := range sas {
		list = append(list, pipeline.SoftSA(sas[i].Key))
	}
	return list
}

// views are the soft SAs, the oldest first.
func (s *softSAs) views() []api.SoftSA {
	s.mu.Lock()
	defer s.mu.Unlock()
	counters, now, list := s.counters(), s.clock(), []api.SoftSA{}
	for _, sa := range s.book.SAs() {
		list = append(list, softView(&sa, counters[pipeline.SoftSA(sa.Key)], now))
	}
	return list
}

func softView(sa *soft.SA, c pipeline.SoftCounters, now time.Time) api.SoftSA {
	return api.SoftSA{
		Peer: sa.Peer, Child: sa.Tunnel, Rule: sa.Rule, Filter: sa.Filter, Selector: sa.Traffic.String(), Operation: softOperation, Protection: softProtection,
		Created: sa.Created, Age: now.Sub(sa.Created).Seconds(), Remaining: max(sa.Expires().Sub(now), 0).Seconds(),
		PacketsSent: c.Out.Packets, BytesSent: c.Out.Bytes, PacketsReceived: c.In.Packets, BytesReceived: c.In.Bytes,
	}
}

// warnedOfSoft has the views of SAs say that traffic passes in clear.
func (g *Gateway) warnedOfSoft(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == api.PathSAs || r.URL.Path == api.PathIKE {
			if n := g.negotiator.soft.count(); n > 0 {
				text := clearText(n)
				if other := w.Header().Get(api.WarningHeader); other != "" {
					text = other + "; " + text
				}
				w.Header().Set(api.WarningHeader, text)
			}
		}
		next.ServeHTTP(w, r)
	})
}

// clearText warns of soft SAs.
func clearText(n int) string {
	sas := "soft SAs"
	if n == 1 {
		sas = "soft SA"
	}
	return fmt.Sprintf("%d %s: traffic passes in CLEAR (sallyport sa show --type soft)", n, sas)
}

// count is how many soft SAs there are.
func (s *softSAs) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book.Counts().Live
}

// What stands in place of a transform (S-046, S-055).
const (
	softOperation  = "none"
	softProtection = "CLEAR"
)

// softTotals is what the metrics show.
type softTotals struct {
	soft.Counts
	sent, came pipeline.FilterHits
	skipped    uint64
}

func (s *softSAs) totals() softTotals {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := softTotals{Counts: s.book.Counts(), sent: s.sent, came: s.came, skipped: s.skipped}
	for _, c := range s.plane.SoftCounters() {
		t.sent.Packets, t.sent.Bytes = t.sent.Packets+c.Out.Packets, t.sent.Bytes+c.Out.Bytes
		t.came.Packets, t.came.Bytes = t.came.Packets+c.In.Packets, t.came.Bytes+c.In.Bytes
	}
	return t
}

// state is how a peer stands.
func (s *softSAs) state(peer string) soft.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book.State(s.clock(), peer)
}

// covering is the soft SA by which a packet that an entry decides would pass in clear, nil if by none.
func (s *softSAs) covering(entry uint32, p policy.Packet) *api.SoftSA {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sa := range s.book.SAs() {
		out, in := sa.Entry == entry && sa.Local == p.Source && sa.Remote == p.Destination, sa.Mirror == entry && sa.Remote == p.Source && sa.Local == p.Destination
		if out || in {
			view := softView(&sa, s.counters()[pipeline.SoftSA(sa.Key)], s.clock())
			return &view
		}
	}
	return nil
}

// counters is what the data plane has counted, by the soft SA.
func (s *softSAs) counters() map[pipeline.SoftSA]pipeline.SoftCounters {
	return byKey(s.plane.SoftCounters())
}

func byKey(list []pipeline.SoftCounters) map[pipeline.SoftSA]pipeline.SoftCounters {
	counters := make(map[pipeline.SoftSA]pipeline.SoftCounters, len(list))
	for _, c := range list {
		counters[c.SoftSA] = c
	}
	return counters
}

// softConfig is what the book is told of a policy in force. Before are the peers of the one before it.
func softConfig(limits soft.Limits, spd *policy.SPD, peers, before []ike.Peer) soft.Config {
	c := soft.Config{Limits: limits, Filters: soft.Filters(spd)}
	for i := range spd.Entries {
		if e := &spd.Entries[i]; e.Verdict == policy.VerdictRequire {
			c.Entries = append(c.Entries, e.ID)
		}
	}
	was := make(map[string]*ike.Peer, len(before))
	for i := range before {
		was[before[i].Name] = &before[i]
	}
	for i := range peers {
		p := soft.Peer{Name: peers[i].Name, Identity: identityOf(&peers[i]), Remote: peers[i].Remote}
		for _, c := range peers[i].Children {
			p.Tunnels = append(p.Tunnels, c.Name)
		}
		if old := was[p.Name]; old != nil && (old.Fallback || peers[i].Fallback) { // of many thousand peers those that it is of interest for
			p.Renewed = !old.PSK.Equal(peers[i].PSK) || old.RemoteAuth != peers[i].RemoteAuth
		}
		c.Peers = append(c.Peers, p)
	}
	return c
}

// identityOf is whom a peer proves to be: its address where nothing else is said.
func identityOf(p *ike.Peer) string {
	if p.RemoteID.IsZero() {
		return ike.AddressIdentity(p.Remote).String()
	}
	return p.RemoteID.String()
}
