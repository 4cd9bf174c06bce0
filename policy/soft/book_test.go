package soft

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"sallyport/policy"
)

// rig is a book with a policy in force, a clock that the test turns, and the sparing half of an engine: a negotiation with
// a peer that answers nothing, of four first messages, that ends when the last has been waited for.
type rig struct {
	t    *testing.T
	now  time.Time
	book *Book
	cfg  Config
	spd  *policy.SPD
}

const (
	fileHost = "192.0.2.66" // the silent one
	lanHost  = "10.1.0.5"
)

var generous = Limits{Allow: true, Max: 4096, MaxPerPeer: 256, Alarm: 256, InboundPerSource: 6, InboundPerFilter: 60}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

func packet(protocol uint8, from, to string) policy.Packet {
	source, destination := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	return policy.Packet{Source: source.Addr(), Destination: destination.Addr(), Protocol: protocol, SourcePort: source.Port(), DestinationPort: destination.Port(), HasPorts: true}
}

func tcp(from, to string) policy.Packet { return packet(6, from, to) }

// rule is a rule of its own name: its tunnel and its peer are called alike.
type rule struct {
	name        string
	destination string
	protocol    uint8
	port        uint16 // of the destination, 0 is any
	kind        policy.ActionKind
	fallback    bool
}

// compiled is the SPD of rules. Fallback is set in the SPD itself: on most of what is tried here the configuration
// refuses it.
func compiled(t *testing.T, rules ...rule) *policy.SPD {
	t.Helper()
	set := &policy.Set{Active: "test", Policies: []policy.Policy{{Name: "test"}}}
	fallback := map[string]bool{}
	for _, r := range rules {
		filter := policy.Filter{Source: prefix("10.1.0.0/24"), Destination: prefix(r.destination), Protocol: r.protocol, SourcePort: policy.AnyPort, DestinationPort: policy.AnyPort, Mirrored: true}
		if r.port != 0 {
			filter.DestinationPort = policy.PortRange{First: r.port, Last: r.port}
		}
		set.FilterLists = append(set.FilterLists, policy.FilterList{Name: r.name, Updated: time.Unix(1, 0), Filters: []policy.Filter{filter}})
		action, like := policy.FilterAction{Name: r.name, Kind: r.kind}, policy.Rule{Name: r.name, FilterList: r.name, FilterAction: r.name, Ports: policy.PortsAll}
		if r.kind == policy.ActionNegotiate {
			action.Methods, like.AuthMethods, like.Tunnel = []string{"aes128gcm16"}, []string{"psk"}, r.name
		}
		set.FilterActions = append(set.FilterActions, action)
		set.Policies[0].Rules = append(set.Policies[0].Rules, like)
		fallback[r.name] = r.fallback
	}
	spd, _, err := policy.Compile(set, policy.Environment{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range spd.Entries {
		spd.Entries[i].Fallback = fallback[spd.Entries[i].Rule]
	}
	return spd
}

func prefix(text string) policy.AddressSpec {
	return policy.Range(policy.RangeOf(netip.MustParsePrefix(text)))
}

// newRig is a book for rules, whose peers are at 192.0.2.66 and behind that.
func newRig(t *testing.T, limits Limits, rules ...rule) *rig {
	t.Helper()
	r := &rig{t: t, now: time.Unix(1_000_000, 0), book: New()}
	r.configure(limits, rules...)
	r.empty()
	return r
}

// fileServer is the rule that most of these tests need: all traffic of the LAN with one host falls back.
var fileServer = rule{name: "files", destination: fileHost + "/32", kind: policy.ActionNegotiate, fallback: true}

func (r *rig) configure(limits Limits, rules ...rule) []Ended {
	r.t.Helper()
	r.spd = compiled(r.t, rules...)
	r.cfg = Config{Limits: limits, Filters: Filters(r.spd)}
	for i := range r.spd.Entries {
		if e := &r.spd.Entries[i]; e.Verdict == policy.VerdictRequire {
			r.cfg.Entries = append(r.cfg.Entries, e.ID)
		}
	}
	for i, rule := range rules {
		r.cfg.Peers = append(r.cfg.Peers, Peer{Name: rule.name, Identity: rule.name, Remote: addr(fileHost), Tunnels: []string{rule.name}})
		for range i {
			r.cfg.Peers[i].Remote = r.cfg.Peers[i].Remote.Next()
		}
	}
	return r.book.Configure(r.now, r.cfg)
}

// empty holds that there is no soft SA: every case begins with that.
// S-048
func (r *rig) empty() {
	r.t.Helper()
	if n := len(r.book.SAs()); n != 0 {
		r.t.Fatalf("%d soft SAs, expected none", n)
	}
}

func (r *rig) pass(d time.Duration) []Ended {
	r.now = r.now.Add(d)
	return r.book.Tick(r.now)
}

// ask has a packet of the LAN's need an SA; inbound it came from outside.
func (r *rig) ask(p policy.Packet, inbound bool) Answer {
	r.t.Helper()
	port := policy.PortsLAN
	if inbound {
		port = policy.PortsWAN
	}
	e, ok := r.spd.Match(p, port)
	if !ok {
		r.t.Fatalf("no filter for %+v", p)
	}
	return r.book.Ask(r.now, Request{Entry: e.ID, Peer: e.Tunnel, Tunnel: e.Tunnel, Packet: p, Inbound: inbound})
}

// silence is a negotiation of four messages without answer.
func (r *rig) silence(peer string) Outcome {
	r.pass(4 * time.Second)
	return r.book.Silent(r.now, peer)
}

// made has a packet lead to its soft SA.
func (r *rig) made(p policy.Packet) SA {
	r.t.Helper()
	r.ask(p, false)
	o := r.silence(fileServer.name)
	if len(o.Made) != 1 {
		r.t.Fatalf("made %+v, expected one soft SA", o.Made)
	}
	return o.Made[0]
}

var toServer = tcp(lanHost+":40000", fileHost+":445")

// Of what a filter may say, only to negotiate with the flag may lead to a soft SA.
// S-042, C-11
func TestOnlyNegotiateWithTheFlagFallsBack(t *testing.T) {
	made := map[string]int{}
	for _, kind := range []policy.ActionKind{policy.ActionPermit, policy.ActionBlock, policy.ActionNegotiate} {
		for _, flag := range []bool{false, true} {
			r := newRig(t, generous, rule{name: fileServer.name, destination: fileHost + "/32", kind: kind, fallback: flag})
			for range 3 {
				r.ask(toServer, false)
				made[fmt.Sprint(kind, " ", flag)] += len(r.silence(fileServer.name).Made)
			}
		}
	}
	want := map[string]int{"permit false": 0, "permit true": 0, "block false": 0, "block true": 0, "negotiate false": 0, "negotiate true": 1}
	for cell, n := range want {
		if made[cell] != n {
			t.Errorf("%s: %d soft SAs, want %d", cell, made[cell], n)
		}
	}
}

// A policy that is called "Require" or "Request", whatever it is called, makes none without the flag.
// C-11
func TestWithoutTheFlagThereIsNeverOne(t *testing.T) {
	r := newRig(t, generous, rule{name: "Require Security", destination: fileHost + "/32", kind: policy.ActionNegotiate})
	for i := range 1000 {
		r.ask(tcp(fmt.Sprintf("10.1.0.%d:4000", i%250+1), fileHost+":445"), false)
		if o := r.silence("Require Security"); len(o.Made) > 0 || o.Next != nil {
			t.Fatalf("try %d: %+v", i, o)
		}
	}
	r.empty()
}

// What asked less than three seconds before the peer's silence is known waits for a negotiation of its own.
// S-043, S-054, C-02
func TestThreeSecondsForEachSelector(t *testing.T) {
	r := newRig(t, generous, fileServer)
	r.ask(toServer, false)
	r.pass(2*time.Second + 999*time.Millisecond)
	o := r.book.Silent(r.now, "files")
	if len(o.Made) != 0 || o.Next == nil || o.Next.Packet != toServer {
		t.Fatalf("at 2.999 s: %+v", o)
	}
	r.empty()
	r.pass(time.Millisecond)
	if o = r.book.Silent(r.now, "files"); len(o.Made) != 1 || o.Next != nil {
		t.Fatalf("at 3 s: %+v", o)
	}

	r = newRig(t, generous, fileServer) // two askers, one of them late
	late := tcp("10.1.0.6:40000", fileHost+":445")
	r.ask(toServer, false)
	r.pass(2 * time.Second)
	r.ask(late, false)
	r.pass(2 * time.Second)
	if o = r.book.Silent(r.now, "files"); len(o.Made) != 1 || o.Made[0].Local != addr(lanHost) || o.Next == nil || o.Next.Packet != late {
		t.Fatalf("the first window: %+v", o)
	}
	if o = r.silence("files"); len(o.Made) != 1 || o.Made[0].Local != late.Source || o.Next != nil {
		t.Fatalf("the second window: %+v", o)
	}
}

// Without word of IKE that its four messages are through, no time makes a soft SA; nor does ICMP, of which the book has no
// notion.
// S-044, S-050, C-02, C-03
func TestTimeAloneMakesNone(t *testing.T) {
	r := newRig(t, generous, fileServer)
	for range 60 {
		if a := r.ask(toServer, false); !a.Negotiate {
			t.Fatalf("answer %+v", a)
		}
		r.pass(5 * time.Second)
		r.empty()
	}
}

// A host without IPsec that sends first is negotiated with too, and gets its soft SA.
// S-044
func TestInboundFirst(t *testing.T) {
	r := newRig(t, generous, fileServer)
	p := tcp(fileHost+":51000", lanHost+":445")
	if a := r.ask(p, true); !a.Negotiate || a.Refused != "" {
		t.Fatalf("answer %+v", a)
	}
	o := r.silence("files")
	if len(o.Made) != 1 || o.Made[0].Local != addr(lanHost) || o.Made[0].Remote != addr(fileHost) {
		t.Fatalf("made %+v", o.Made)
	}
}

// Any datagram of the peer's ends the chance, whenever it comes, and for five minutes after the last.
// S-045, S-051, C-01
func TestWhatIsHeardEndsTheChance(t *testing.T) {
	for _, after := range []time.Duration{100 * time.Millisecond, 2900 * time.Millisecond, 3100 * time.Millisecond} {
		r := newRig(t, generous, fileServer)
		r.ask(toServer, false)
		r.pass(after)
		r.book.Heard(r.now, addr(fileHost))
		if o := r.silence("files"); len(o.Made) > 0 || o.Next != nil {
			t.Fatalf("heard after %s: %+v", after, o)
		}
		if a := r.ask(toServer, false); !a.Negotiate || a.Refused != Heard {
			t.Fatalf("heard after %s: answer %+v", after, a)
		}
		r.now = r.now.Add(Mute - 5*time.Second) // 299 s and less after what was heard
		if r.ask(toServer, false).Refused != Heard || len(r.silence("files").Made) != 0 {
			t.Fatalf("heard after %s: fell back within five minutes", after)
		}
		r.pass(time.Second)
		r.made(toServer)
	}
}

// With a soft SA alive the first datagram ends it, before anything else sees it.
// S-051
func TestWhatIsHeardEndsTheSoftSA(t *testing.T) {
	r := newRig(t, generous, fileServer, rule{name: "other", destination: "192.0.2.67/32", kind: policy.ActionNegotiate, fallback: true})
	sa := r.made(toServer)
	r.ask(tcp(lanHost+":1", "192.0.2.67:445"), false)
	if o := r.silence("other"); len(o.Made) != 1 {
		t.Fatalf("made %+v", o.Made)
	}
	if ended := r.book.Heard(r.now, addr("192.0.2.99")); len(ended) != 0 {
		t.Errorf("a stranger ended %+v", ended)
	}
	ended := r.book.Heard(r.now, addr(fileHost))
	if len(ended) != 1 || ended[0].Key != sa.Key || ended[0].Reason != Heard {
		t.Fatalf("ended %+v", ended)
	}
	if left := r.book.SAs(); len(left) != 1 || left[0].Peer != "other" {
		t.Errorf("left %+v", left)
	}
	if s := r.book.State(r.now, "files"); s.Shut != Heard || !s.Until.Equal(r.now.Add(300*time.Second)) || s.Live != 0 {
		t.Errorf("state %+v", s)
	}
}

// A peer that has proved who it is never gets one again, until it is another peer.
// S-045, S-051
func TestAnAuthenticatedPeerGetsNone(t *testing.T) {
	r := newRig(t, generous, fileServer)
	r.made(toServer)
	if ended := r.book.Established("files"); len(ended) != 1 || ended[0].Reason != Authenticated {
		t.Fatalf("ended %+v", ended)
	}
	for range 100 {
		r.pass(time.Hour)
		if a := r.ask(toServer, false); !a.Negotiate || a.Refused != Authenticated || len(r.silence("files").Made) != 0 {
			t.Fatalf("answer %+v", a)
		}
	}
	r.configure(generous, fileServer) // a reload of the same
	if r.ask(toServer, false).Refused != Authenticated {
		t.Error("a reload forgot that the peer speaks IPsec")
	}
	r.configure(generous) // without the peer, and with it again
	r.configure(generous, fileServer)
	if r.ask(toServer, false).Refused != Authenticated {
		t.Error("a policy without the peer had it forgotten that the peer speaks IPsec")
	}
	r.cfg.Peers[0].Renewed = true
	r.book.Configure(r.now, r.cfg)
	r.made(toServer)
}

// What was heard at an address is not forgotten with the peer there.
// S-051
func TestAPolicyWithoutThePeer(t *testing.T) {
	r := newRig(t, generous, fileServer)
	r.book.Heard(r.now, addr(fileHost))
	r.pass(time.Minute)
	r.configure(generous)
	r.configure(generous, fileServer)
	if r.ask(toServer, false).Refused != Heard {
		t.Error("it was forgotten that something came from the peer's address")
	}
	r.pass(Mute)
	r.configure(generous, fileServer)
	r.made(toServer)
}

// Silence of which nobody can be certain makes no soft SA: something for an IKE port was lost before it was heard, or what was sent did not leave.
// S-043, S-044, S-045
func TestDoubt(t *testing.T) {
	for reason, doubt := range map[Reason]func(*rig){
		Lost:   func(r *rig) { r.book.Lost(r.now) },
		Unsent: func(r *rig) { r.book.Unsent(r.now, addr(fileHost)) },
	} {
		r := newRig(t, generous, fileServer)
		r.ask(toServer, false)
		doubt(r)
		at := r.now
		if o := r.silence("files"); len(o.Made) != 0 || o.Next != nil || r.book.Counts().Refused[reason] != 1 {
			t.Errorf("%s: made %+v, refused %v", reason, o.Made, r.book.Counts().Refused)
		}
		if st := r.book.State(r.now, "files"); st.Doubt != reason || !st.Doubted.Equal(at) {
			t.Errorf("%s: %+v", reason, st)
		}
		r.made(toServer)
		if st := r.book.State(r.now, "files"); st.Doubt != "" || !st.Doubted.IsZero() {
			t.Errorf("%s: silence was believed, and %+v", reason, st)
		}
	}
}

// A soft SA ends 300 seconds after its creation, whatever passes by it; then IKE is asked anew.
// S-047, C-04
func TestThreeHundredSecondsFromCreation(t *testing.T) {
	r := newRig(t, generous, fileServer)
	sa := r.made(toServer)
	if at := r.book.Next(); !at.Equal(r.now.Add(300 * time.Second)) {
		t.Errorf("it ends at %s", at)
	}
	for range 299 { // a packet every second
		if ended := r.pass(time.Second); len(ended) > 0 {
			t.Fatalf("gone after %s", r.now.Sub(sa.Created))
		}
		if a := r.ask(toServer, false); a.Negotiate || a.Refused != "" {
			t.Fatalf("answer %+v", a)
		}
		r.book.Used(sa.Key)
	}
	if len(r.book.SAs()) != 1 {
		t.Fatal("gone at 299 s")
	}
	if ended := r.pass(time.Second); len(ended) != 1 || ended[0].Reason != Expired {
		t.Fatalf("at 300 s ended %+v", ended)
	}
	if !r.book.Next().IsZero() {
		t.Error("something is to end")
	}
	if a := r.ask(toServer, false); !a.Negotiate {
		t.Errorf("answer %+v, expected a negotiation", a)
	}
}

// S-048
func TestFlush(t *testing.T) {
	r := newRig(t, generous, fileServer)
	r.made(toServer)
	if ended := r.book.Flush(); len(ended) != 1 || ended[0].Reason != Flushed {
		t.Fatalf("ended %+v", ended)
	}
	r.empty()
	if a := r.ask(tcp(fileHost+":51000", lanHost+":445"), true); !a.Negotiate {
		t.Errorf("answer %+v, expected a negotiation", a)
	}
}

// A full table ends a part at a time, the oldest first, and each once: by an operator's flush, and when its time is over.
// S-048, S-090
func TestAFullTableEndsByParts(t *testing.T) {
	limits := generous
	limits.Max, limits.MaxPerPeer = 1000, 1000
	for reason, part := range map[Reason]func(*rig) []Ended{
		Flushed: func(r *rig) []Ended { return r.book.Flush() },
		Expired: func(r *rig) []Ended { return r.book.Tick(r.now) },
	} {
		r := newRig(t, limits, rule{name: "site", destination: "10.2.0.0/16", kind: policy.ActionNegotiate, fallback: true})
		for i := range limits.Max {
			if i == 600 {
				r.silence("site")
				r.pass(time.Second)
			}
			r.ask(tcp(lanHost+":1", fmt.Sprintf("10.2.%d.%d:445", i>>8, i&0xff)), false)
		}
		r.silence("site")
		r.now = r.now.Add(Lifetime)
		var ended []Ended
		for left := limits.Max; left > 0; left = len(r.book.SAs()) {
			if next := r.book.Next(); next.After(r.now) {
				t.Fatalf("%s: %d are left, and the next one ends in %s", reason, left, next.Sub(r.now))
			}
			some := part(r)
			if len(some) != min(left, AtOnce) {
				t.Fatalf("%s: %d of %d ended", reason, len(some), left)
			}
			ended = append(ended, some...)
		}
		if !slices.IsSortedFunc(ended, func(a, c Ended) int { return compareSAs(&a.SA, &c.SA) }) || r.book.Counts().Ended[reason] != uint64(limits.Max) {
			t.Errorf("%s: in another order, or not once each: %v", reason, r.book.Counts().Ended)
		}
	}
}

// A soft SA for TCP 445 is for that: another port, another pair of addresses, another filter ask for themselves.
// S-049, C-05
func TestOnlyTheTriggeringSelector(t *testing.T) {
	smb, ssh := fileServer, fileServer
	smb.protocol, smb.port = 6, 445
	ssh.name, ssh.protocol, ssh.port = "ssh", 6, 22
	r := newRig(t, generous, smb, ssh)
	sa := r.made(toServer)
	if !sa.Traffic.Matches(toServer, true) || !sa.Traffic.Matches(tcp(fileHost+":445", lanHost+":40000"), false) {
		t.Errorf("traffic %s", sa.Traffic)
	}
	for _, p := range []policy.Packet{tcp(lanHost+":40000", fileHost+":22"), tcp("10.1.0.6:40000", fileHost+":445")} {
		if a := r.ask(p, false); !a.Negotiate {
			t.Errorf("%+v goes by the soft SA of another selector", p)
		}
	}
	if sa.Traffic.Matches(tcp(lanHost+":40000", fileHost+":22"), true) || sa.Traffic.Matches(tcp("10.1.0.6:40000", fileHost+":445"), true) {
		t.Errorf("traffic %s is wider than its packet", sa.Traffic)
	}
}

// A host that has sent to a group gets no unicast answer in clear.
// S-052
func TestAnswersToGroups(t *testing.T) {
	r := newRig(t, generous, fileServer)
	asker := netip.MustParseAddrPort(fileHost + ":5353")
	r.book.Group(r.now, asker, 17)
	reply := packet(17, lanHost+":5353", asker.String())
	if a := r.ask(reply, false); a.Refused != Group || !a.Negotiate || len(r.silence("files").Made) != 0 {
		t.Errorf("answer %+v", a)
	}
	if n := r.book.Counts().Refused[Group]; n != 1 { // soft_refused_mcast
		t.Errorf("%d refused for that", n)
	}
	group := Request{Entry: r.cfg.Filters[0].Entry, Peer: "files", Tunnel: "files", Packet: packet(17, lanHost+":5353", "224.0.0.251:5353")}
	if a := r.book.Ask(r.now, group); a.Refused != Group {
		t.Errorf("to the group itself: %+v", a)
	}
	r.made(packet(17, lanHost+":5353", fileHost+":5354")) // another port was not asked from
	r.book.Flush()
	r.pass(GroupMemory)
	r.made(reply)
	r.book.Flush()

	r.ask(reply, false) // the group's packet is seen after what it provokes
	r.book.Group(r.now, asker, 17)
	if o := r.silence("files"); len(o.Made) != 0 {
		t.Errorf("made %+v", o.Made)
	}
}

// More senders to groups than there is room for close the book, they do not open it.
// S-052
func TestTooManyGroupSenders(t *testing.T) {
	r := newRig(t, generous, fileServer)
	source := addr("198.18.0.0")
	for range 3 * groupsMax {
		source = source.Next()
		r.book.Group(r.now, netip.AddrPortFrom(source, 1), 17)
	}
	if n := len(r.book.groups.until); n > groupsMax {
		t.Errorf("%d senders are remembered", n)
	}
	if a := r.ask(toServer, false); a.Refused != Group {
		t.Errorf("answer %+v", a)
	}
	r.pass(GroupMemory)
	r.made(toServer)
}

// A sender that found no room is not forgotten when others are: for five minutes from its packet on it may be anybody. Nor is one of whom the data plane
// could tell nothing.
// S-052
func TestUnknownGroupSender(t *testing.T) {
	for _, unknown := range []bool{false, true} {
		r := newRig(t, generous, fileServer)
		source := addr("198.18.0.0")
		if !unknown {
			for range groupsMax {
				source = source.Next()
				r.book.Group(r.now, netip.AddrPortFrom(source, 1), 17)
			}
		}
		r.pass(GroupMemory - time.Second)
		if unknown {
			r.book.Group(r.now, netip.AddrPort{}, 0)
		} else {
			r.book.Group(r.now, netip.AddrPortFrom(source.Next(), 1), 17)
		}
		r.pass(GroupMemory - time.Second)
		if a := r.ask(toServer, false); a.Refused != Group {
			t.Errorf("unknown %v: answer %+v", unknown, a)
		}
		r.pass(time.Second)
		r.made(toServer)
	}
}

// A configuration that no longer allows it ends what there is: without fallback, with another traffic, without the peer,
// with soft_sa: deny. What it does allow stays.
// S-047, S-051
func TestAnotherConfiguration(t *testing.T) {
	narrow, plain, moved := fileServer, fileServer, fileServer
	narrow.protocol, narrow.port = 6, 445
	plain.fallback = false
	moved.name = "moved"
	deny := generous
	deny.Allow = false
	small := generous
	small.Max = 0
	for name, x := range map[string]struct {
		limits Limits
		rules  []rule
		reason Reason
	}{
		"the same":            {generous, []rule{fileServer}, ""},
		"another rule":        {generous, []rule{fileServer, {name: "web", destination: "192.0.2.80/32", kind: policy.ActionPermit}}, ""},
		"without fallback":    {generous, []rule{plain}, Policy},
		"of one port":         {generous, []rule{narrow}, Policy},
		"of another peer":     {generous, []rule{moved}, Policy},
		"without the rule":    {generous, nil, Policy},
		"deny":                {deny, []rule{fileServer}, Denied},
		"with no room at all": {small, []rule{fileServer}, Policy},
	} {
		r := newRig(t, generous, fileServer)
		sa := r.made(toServer)
		ended := r.configure(x.limits, x.rules...)
		switch {
		case x.reason == "" && (len(ended) != 0 || len(r.book.SAs()) != 1):
			t.Errorf("%s: ended %+v", name, ended)
		case x.reason != "" && (len(ended) != 1 || ended[0].Reason != x.reason || ended[0].Key != sa.Key):
			t.Errorf("%s: ended %+v, want reason %s", name, ended, x.reason)
		case x.reason != "":
			r.empty()
		}
	}
	r := newRig(t, deny, fileServer)
	if a := r.ask(toServer, false); a.Refused != Denied || !a.Negotiate || len(r.silence("files").Made) != 0 {
		t.Errorf("with deny: %+v", a)
	}
}

// What waits is for the configuration in which it asked, or one that says the same.
func TestWaitingOverAReload(t *testing.T) {
	r := newRig(t, generous, fileServer)
	r.ask(toServer, false)
	r.configure(generous, fileServer)
	if o := r.silence("files"); len(o.Made) != 1 {
		t.Errorf("made %+v", o.Made)
	}
	plain := fileServer
	plain.fallback = false
	r = newRig(t, generous, fileServer)
	r.ask(toServer, false)
	r.configure(generous, plain)
	if o := r.silence("files"); len(o.Made) != 0 || r.book.Counts().Waiting != 0 {
		t.Errorf("made %+v", o.Made)
	}
}

// Of one create, use and end each is told once.
// S-055
func TestUseIsToldOnce(t *testing.T) {
	r := newRig(t, generous, fileServer)
	sa := r.made(toServer)
	if _, first := r.book.Used(sa.Key); !first {
		t.Error("the first use is none")
	}
	if _, again := r.book.Used(sa.Key); again {
		t.Error("the second use is a first one")
	}
	if _, unknown := r.book.Used(Key{Entry: 99}); unknown {
		t.Error("what is not there was used")
	}
	if ended := r.book.Flush(); len(ended) != 1 || !ended[0].Used || ended[0].Rule != "files" || ended[0].Filter == "" {
		t.Errorf("ended %+v", ended)
	}
}

// What the data plane refuses is no soft SA.
func TestRefusedByTheDataPlane(t *testing.T) {
	r := newRig(t, generous, fileServer)
	r.book.Refused([]SA{r.made(toServer)})
	r.empty()
	if c := r.book.Counts(); c.Created != 0 || c.Refused[Plane] != 1 {
		t.Errorf("counts %+v", c)
	}
}

// What the data plane has no place for any more ends here too; what it says of others is nothing.
func TestEndedByTheDataPlane(t *testing.T) {
	r := newRig(t, generous, fileServer)
	sa := r.made(toServer)
	if ended := r.book.Over([]Key{{Entry: 77}, sa.Key, sa.Key}); len(ended) != 1 || ended[0].Key != sa.Key || ended[0].Reason != Policy {
		t.Errorf("ended %+v", ended)
	}
	r.empty()
}

// S-090
func TestTheAlarm(t *testing.T) {
	limits := generous
	limits.Alarm = 2
	r := newRig(t, limits, fileServer)
	r.made(toServer)
	if r.book.Counts().Alarm {
		t.Error("one is an alarm")
	}
	r.made(tcp("10.1.0.6:1", fileHost+":445"))
	if !r.book.Counts().Alarm {
		t.Error("two are none")
	}
	r.book.Flush()
	if r.book.Counts().Alarm {
		t.Error("none is an alarm")
	}
}

// A million hosts that know no IPsec: the book stops at its limits, all in all and for each peer, and what it holds grows
// no further.
// S-090
func TestAMillionSilentTargets(t *testing.T) {
	var rules []rule
	for i := range 20 {
		rules = append(rules, rule{name: fmt.Sprint("site", i), destination: fmt.Sprintf("172.%d.0.0/16", 16+i), kind: policy.ActionNegotiate, fallback: true})
	}
	r := newRig(t, generous, rules...)
	ids := map[string]uint32{}
	for i := range r.spd.Entries {
		if e := &r.spd.Entries[i]; e.Verdict == policy.VerdictProtect {
			ids[e.Tunnel] = e.ID
		}
	}
	memory := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	const targets = 1_000_000
	refused, after := uint64(0), 0
	for i := range targets {
		site := i % len(rules)
		p := policy.Packet{Source: addr(lanHost), Destination: netip.AddrFrom4([4]byte{172, byte(16 + site), byte(i / 20 >> 8), byte(i / 20)}), Protocol: 6, HasPorts: true, DestinationPort: 445}
		if a := r.book.Ask(r.now, Request{Entry: ids[rules[site].name], Peer: rules[site].name, Tunnel: rules[site].name, Packet: p}); a.Refused != "" {
			refused++
		}
		if i%100_000 == 99_999 { // two seconds for each hundred thousand
			r.pass(4 * time.Second)
			for _, rule := range rules {
				r.book.Silent(r.now, rule.name)
			}
		}
		if i == targets/10 {
			after = memory()
		}
	}
	c := r.book.Counts()
	if c.Live != 4096 || c.Created != 4096 || c.Waiting != 0 {
		t.Errorf("%d soft SAs and %d waiting of %d made, want 4096 and none", c.Live, c.Waiting, c.Created)
	}
	if refused != targets-4096 || c.Refused[Full]+c.Refused[FullOfPeer] != refused {
		t.Errorf("%d refused, counted %v, want %d", refused, c.Refused, targets-4096)
	}
	if grown := memory() - after; grown > 1<<20 {
		t.Errorf("memory grew by %d bytes after the first hundred thousand", grown)
	}
	for _, rule := range rules {
		if n := r.book.State(r.now, rule.name).Live; n > 256 {
			t.Errorf("%d soft SAs of peer %s", n, rule.name)
		}
	}
}

// Clear packets from outside start no more negotiations than the limits say, for each source and for each filter,
// however many come and from wherever, and what is remembered of them is bounded.
// S-090, C-18
func TestInboundTriggersAreLimited(t *testing.T) {
	r := newRig(t, generous, fileServer, rule{name: "site", destination: "10.2.0.0/16", kind: policy.ActionNegotiate})
	begun := 0
	source := addr("10.2.0.0")
	for range 100_000 { // within 100 s
		r.pass(time.Millisecond)
		source = source.Next()
		if !netip.MustParsePrefix("10.2.0.0/16").Contains(source) {
			source = addr("10.2.0.1")
		}
		if r.ask(tcp(source.String()+":1", lanHost+":445"), true).Negotiate {
			begun++
		}
	}
	if most := 100 + filterBurst; begun > most || begun < 100 {
		t.Errorf("%d negotiations in 100 s of 60 a minute and %d at once", begun, filterBurst)
	}
	if n := r.book.Counts().Refused[RateFilter]; n != uint64(100_000-begun) {
		t.Errorf("%d refused for the filter's rate", n)
	}
	if n := len(r.book.inbound.sources); n > begun {
		t.Errorf("%d sources are remembered", n)
	}
	begun = 0
	for range 60 { // one source, another filter
		r.pass(time.Second)
		if r.ask(tcp(fileHost+":1", lanHost+":445"), true).Negotiate {
			begun++
		}
	}
	if begun < 6 || begun > 6+sourceBurst {
		t.Errorf("%d negotiations of one source within a minute", begun)
	}
	if n := r.book.Counts().Refused[RateSource]; n != uint64(60-begun) {
		t.Errorf("%d refused for the source's rate", n)
	}
}

// The table of sources is bounded even where the filters' rates would let it grow.
// S-090
func TestSourcesAreBounded(t *testing.T) {
	limits := generous
	limits.InboundPerFilter = 1_000_000
	r := newRig(t, limits, rule{name: "site", destination: "10.2.0.0/16", kind: policy.ActionNegotiate})
	source := addr("10.2.0.0")
	for range 3 * sourcesMax {
		source = source.Next()
		r.pass(time.Millisecond)
		r.ask(tcp(source.String()+":1", lanHost+":445"), true)
	}
	if n := len(r.book.inbound.sources); n > sourcesMax {
		t.Errorf("%d sources are remembered", n)
	}
	r.pass(time.Minute)
	if a := r.ask(tcp(source.Next().String()+":1", lanHost+":445"), true); !a.Negotiate {
		t.Errorf("no room a minute later: %+v", a)
	}
}

// What asked and was forgotten by IKE makes room in the end.
func TestWaitingIsForgotten(t *testing.T) {
	limits := generous
	limits.Max, limits.MaxPerPeer = 2, 2
	r := newRig(t, limits, fileServer)
	for i := range 2 {
		r.ask(tcp(fmt.Sprintf("10.1.0.%d:1", i+1), fileHost+":445"), false)
	}
	third := tcp("10.1.0.9:1", fileHost+":445")
	if a := r.ask(third, false); a.Refused != FullOfPeer || !a.Negotiate {
		t.Errorf("answer %+v", a)
	}
	r.pass(waitsFor)
	r.made(third)
}

// An operator who takes a peer down takes its soft SAs away.
func TestDown(t *testing.T) {
	r := newRig(t, generous, fileServer)
	r.made(toServer)
	if ended := r.book.Down("files"); len(ended) != 1 || ended[0].Reason != Down {
		t.Errorf("ended %+v", ended)
	}
	if ended := slices.Concat(r.book.Down("nobody"), r.book.Established("nobody")); len(ended) != 0 || r.book.State(r.now, "nobody") != (State{}) {
		t.Errorf("of nobody ended %+v", ended)
	}
}

// What one peer has proved stands when another of the same identity gets a new key.
// S-045, S-051
func TestAProofIsThePeersOwn(t *testing.T) {
	other := rule{name: "other", destination: "192.0.2.67/32", kind: policy.ActionNegotiate, fallback: true}
	r := newRig(t, generous, fileServer, other)
	shared := func(renewed string) {
		r.configure(generous, fileServer, other)
		for i := range r.cfg.Peers {
			p := &r.cfg.Peers[i]
			p.Identity, p.Renewed = "shared", p.Name == renewed
		}
		r.book.Configure(r.now, r.cfg)
	}
	shared("")
	r.book.Established("files")
	for _, renewed := range []string{"other", "", "other"} {
		shared(renewed)
		if a := r.ask(toServer, false); a.Refused != Authenticated {
			t.Fatalf("after a new key of %q: answer %+v", renewed, a)
		}
	}
	shared("files")
	r.made(toServer)
}

// Many peers at one address cost a datagram only as many as may fall back, and what is heard counts for all of them.
// S-051
func TestHeardWithManyPeers(t *testing.T) {
	r := newRig(t, generous, fileServer)
	for i := range 10_000 {
		r.cfg.Peers = append(r.cfg.Peers, Peer{Name: fmt.Sprint("plain", i), Remote: addr(fileHost)})
	}
	r.book.Configure(r.now, r.cfg)
	if n := len(r.book.at[addr(fileHost)]); n != 1 {
		t.Errorf("%d peers are looked at, expected 1", n)
	}
	r.book.Heard(r.now, addr(fileHost))
	for _, name := range []string{"files", "plain7"} {
		if s := r.book.State(r.now, name); s.Shut != Heard {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// Senders beyond those that can be remembered do not each have all of them looked through.
// S-090
func TestGroupSendersAreSweptOnceASecond(t *testing.T) {
	r := newRig(t, generous, fileServer)
	source := addr("198.18.0.0")
	note := func() time.Time {
		source = source.Next()
		r.book.Group(r.now, netip.AddrPortFrom(source, 1), 17)
		return r.book.groups.swept
	}
	for range groupsMax {
		note()
	}
	first := note()
	for range 9 {
		r.pass(100 * time.Millisecond)
		if swept := note(); !swept.Equal(first) {
			t.Fatalf("swept again after %s", swept.Sub(first))
		}
	}
	r.pass(100 * time.Millisecond)
	if swept := note(); !swept.Equal(first.Add(time.Second)) {
		t.Errorf("swept %s later, expected a second", swept.Sub(first))
	}
}
