package hostile

import (
	"context"

	"sallyport/ike"
)

// Scenario is an attack.
type Scenario struct {
	Name    string
	Summary string // for a list

	version  ike.Version // of the peers that connect meanwhile
	attack   func(ctx context.Context, b *bed) (attack, error)
	refusals []string // counters of which one rises at least
	firsts   bool     // its messages begin negotiations: how many the gateway refuses for its time is judged
	silent   bool     // it is from the LAN, to hosts behind peers that never answer
	most     int      // messages that make sense; 0: any number
}

// attack sends so many messages more, and returns how many the link took.
type attack func(ctx context.Context, messages int) (taken int, err error)

// scenarios are all attacks, in the order in which they run.
var scenarios = []Scenario{
	{Name: "init-random", Summary: "IKE_SA_INIT requests from random addresses", version: ike.V2, attack: flood(ike.V2, anywhere),
		firsts: true, refusals: []string{string(ike.DropNoPolicy)}},
	{Name: "init-forged", Summary: "IKE_SA_INIT requests in the names of real peers", version: ike.V2, attack: flood(ike.V2, inNames(ike.V2)),
		firsts: true, refusals: []string{string(ike.RefuseCookie)}},
	{Name: "main-random", Summary: "first messages of IKEv1's main mode from random addresses", version: ike.V1, attack: flood(ike.V1, anywhere),
		firsts: true, refusals: []string{string(ike.DropNoPolicy)}},
	{Name: "main-forged", Summary: "first messages of IKEv1's main mode in the names of real peers", version: ike.V1, attack: flood(ike.V1, inNames(ike.V1)),
		firsts: true, refusals: []string{string(ike.RefuseNew), string(ike.RefuseHalfOpen)}},
	{Name: "auth-garbage", Summary: "IKE_AUTH requests without sense after sound IKE_SA_INIT exchanges", version: ike.V2, attack: follow(ike.V2, garbage),
		refusals: []string{string(ike.DropIntegrity)}},
	{Name: "fragments", Summary: "fragments of IKEv1's messages that never end", version: ike.V1, attack: follow(ike.V1, fragments),
		refusals: []string{string(ike.RefuseFragments)}},
	{Name: "replay", Summary: "the IKE_SA_INIT request of a peer that is connected, again and again", version: ike.V2, attack: again(0, false),
		refusals: []string{string(ike.DropNoState)}},
	{Name: "retransmission", Summary: "the IKE_AUTH request of a peer that is connected, again and again", version: ike.V2, attack: again(1, false),
		refusals: []string{string(ike.RefuseRate)}},
	{Name: "nat-hopping", Summary: "the same from a port after the other, as behind a NAT that never keeps one", version: ike.V2, attack: again(1, true),
		refusals: []string{string(ike.RefuseRate)}},
	{Name: "rekeys", Summary: "rekeys by an authenticated peer that never stops", version: ike.V2, attack: storm,
		refusals: []string{string(ike.RefuseRequests)}, most: 5000},
	{Name: "deletes", Summary: "unprotected deletes for every SPI on the IKE SA of a peer", version: ike.V2, attack: deletes,
		refusals: []string{string(ike.DropCleartext)}},
	{Name: "insider-deletes", Summary: "deletes for SPIs that are not its own, by an authenticated peer that never stops", version: ike.V2, attack: deletesInside,
		refusals: []string{string(ike.RefuseRequests)}, most: 5000},
	{Name: "insider-deletes-v1", Summary: "the same by IKEv1, for every SPI", version: ike.V1, attack: deletesInsideV1,
		refusals: []string{string(ike.RefuseRequests)}},
	{Name: "unreachable", Summary: "ICMP of routers that call the peer's host or port unreachable, and packets too long", version: ike.V2, attack: unreachables,
		refusals: []string{"no_filter"}},
	{Name: "silent-targets", Summary: "packets of the LAN to hosts behind peers that never answer, where clear text is allowed", version: ike.V2, attack: targets,
		refusals: []string{"soft_refused table_full"}, silent: true},
}

// sample is how many messages are sent before anything else is looked at.
const sample = 256

// turn is the same of a scenario.
func (s *Scenario) turn() int {
	if s.most > 0 {
		return 1
	}
	return sample
}

// port is that which a scenario attacks.
func (s *Scenario) port() string {
	if s.silent {
		return "lan"
	}
	return "wan"
}

// messages is how many a scenario sends.
func (s *Scenario) messages(o *Options) int {
	if s.most > 0 {
		return min(s.most, o.Messages)
	}
	return o.Messages
}

// Scenarios are all of them, in the order in which they run.
func Scenarios() []Scenario { return scenarios }

// Names are those of all scenarios.
func Names() (names []string) {
	for _, s := range scenarios {
		names = append(names, s.Name)
	}
	return names
}
