package appliance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"sallyport/appliance/api"
	"sallyport/ike"
	"sallyport/policy"
)

// verb is an order of an operator's about tunnels.
type verb struct {
	path  string
	whole bool // of a peer it concerns the IKE SA, not each child
	alone bool // it concerns nothing but IKE SAs
	event func(child) ike.Event
	// done says what has become of a target: by the state now, and by a fact since the order. Empty: nothing yet.
	state func(child, []ike.SAInfo) (result string)
	fact  func(child, ike.Fact) (result string)
	// was says the same before the order; what it names is not waited for.
	was func(child, []ike.SAInfo) (result string)
}

var verbs = []verb{
	{
		path:  api.PathUp,
		event: func(c child) ike.Event { return ike.Initiate{Peer: c.peer, Child: c.name} },
		was:   func(c child, infos []ike.SAInfo) string { return when(isUp(c, infos), api.ResultWasUp) },
		state: func(c child, infos []ike.SAInfo) string { return when(isUp(c, infos), api.ResultUp) },
		fact:  failing,
	},
	{
		path:  api.PathDown,
		event: func(c child) ike.Event { return ike.Terminate{Peer: c.peer, Child: c.name} },
		was:   func(c child, infos []ike.SAInfo) string { return when(isDown(c, infos), api.ResultWasDown) },
		state: func(c child, infos []ike.SAInfo) string { return when(isDown(c, infos), api.ResultDown) },
		fact:  func(child, ike.Fact) string { return "" },
	},
	{
		path:  api.PathRekey,
		whole: true,
		event: func(c child) ike.Event { return ike.Rekey{Peer: c.peer, Child: c.name} },
		was:   func(c child, infos []ike.SAInfo) string { return when(!isUp(c, infos), api.ResultNotUp) },
		state: func(child, []ike.SAInfo) string { return "" },
		fact: func(c child, f ike.Fact) string {
			if f.Peer == c.peer && (f.Kind == ike.ChildRekeyed && c.name == f.Child || c.name == "" && (f.Kind == ike.IKERekeyed || f.Kind == ike.IKEReplaced)) {
				return api.ResultRekeyed
			}
			return failing(c, f)
		},
	},
	{
		path:  api.PathReauthenticate,
		whole: true,
		alone: true,
		event: func(c child) ike.Event { return ike.Reauthenticate{Peer: c.peer} },
		was:   func(c child, infos []ike.SAInfo) string { return when(!isUp(c, infos), api.ResultNoIKE) },
		state: func(child, []ike.SAInfo) string { return "" },
		fact: func(c child, f ike.Fact) string {
			if f.Peer == c.peer && f.Kind == ike.IKEReplaced && f.Reason == ike.DeletedReauth {
				return api.ResultReauthenticated
			}
			return failing(c, f)
		},
	},
}

func when(is bool, result string) string {
	if is {
		return result
	}
	return ""
}

// isUp reports whether packets can leave by a child, or without a name whether the peer has an IKE SA.
func isUp(c child, infos []ike.SAInfo) bool {
	mine := slices.DeleteFunc(slices.Clone(infos), func(i ike.SAInfo) bool { return i.Peer != c.peer })
	if c.name == "" {
		return slices.ContainsFunc(mine, func(i ike.SAInfo) bool { return i.State == "established" })
	}
	return hasOutbound(mine, c.name)
}

// isDown reports whether nothing is left of a child.
func isDown(c child, infos []ike.SAInfo) bool {
	return !slices.ContainsFunc(infos, func(i ike.SAInfo) bool {
		if i.Peer != c.peer {
			return false
		}
		return i.SPIi != 0 && c.name == "" || slices.ContainsFunc(i.Children, func(installed ike.ChildInfo) bool { return installed.Name == c.name })
	})
}

// failing reports whether what we began for a child has failed: that of the child itself, or of the IKE SA that it needs.
func failing(c child, f ike.Fact) string {
	mine := f.Kind == ike.Failed && f.Role == ike.RoleInitiator && f.Peer == c.peer && (f.Child == "" || f.Child == c.name)
	return when(mine, api.ResultFailed)
}

// maxWait bounds how long an order may be waited for.
const maxWait = 10 * time.Minute

// routeOrders routes up, down, rekey and reauthenticate.
func (g *Gateway) routeOrders(mux *http.ServeMux) {
	for _, v := range verbs {
		mux.HandleFunc("POST "+v.path, func(w http.ResponseWriter, r *http.Request) {
			outcomes, err := g.act(w, r, v)
			respond(w, outcomes, err)
		})
	}
}

// act checks an operator's order, gives it to the engine, and waits for what comes of it as long as is wanted.
func (g *Gateway) act(w http.ResponseWriter, r *http.Request, v verb) ([]api.Outcome, error) {
	var wanted api.Action
	if err := decode(w, r, controlBody, &wanted); err != nil {
		return nil, err
	}
	wait := time.Duration(wanted.Wait * float64(time.Second))
	if wait < 0 || wait > maxWait {
		return nil, badRequest{fmt.Errorf("wait: expected 0 to %.0f seconds, found %v", maxWait.Seconds(), wanted.Wait)}
	}
	orders, err := g.targets(wanted)
	if err == nil && v.alone && len(orders) > 0 && orders[0].name != "" {
		err = fmt.Errorf("expected a peer, found rule %q: what is authenticated is the IKE SA, that of peer %q", orders[0].name, orders[0].peer)
	}
	if err != nil {
		return nil, badRequest{err}
	}
	before, err := g.negotiator.snapshot(r.Context())
	if err != nil {
		return nil, err
	}
	from := g.events.now()
	met := map[string]metDown{}
	for _, c := range orders {
		m, err := g.negotiator.order(r.Context(), v.event(c))
		if err != nil {
			return nil, err
		}
		if _, again := met[c.peer]; !again { // several tunnels of one peer, of which the first order ends all soft SAs
			met[c.peer] = m
		}
	}
	course := newCourse(v, g.eachOf(orders, v.whole), before)
	course.note(met)
	if wait > 0 {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(wait + controlTimeout)) // not on a test's recorder
		ctx, cancel := context.WithTimeout(r.Context(), wait)
		defer cancel()
		if err := g.await(ctx, course, from); err != nil {
			return nil, err
		}
	}
	return course.outcomes, nil
}

// targets are the peers, or the children, that an order names.
func (g *Gateway) targets(wanted api.Action) ([]child, error) {
	switch {
	case wanted.All && wanted.Name+wanted.Peer+wanted.Child == "":
		var all []child
		for _, peer := range slices.Sorted(maps.Keys(g.negotiator.names.Load().peers())) {
			all = append(all, child{peer: peer})
		}
		return all, nil
	case wanted.All, wanted.Name != "" && wanted.Peer+wanted.Child != "":
		return nil, errors.New("expected a name, or a peer, or all, found more than one of them")
	case wanted.Name != "":
		return g.negotiator.find(wanted.Name)
	}
	return []child{{wanted.Peer, wanted.Child}}, g.negotiator.known(wanted.Peer, wanted.Child)
}

// known checks that the configuration has the peer and, if named, the child.
func (n *negotiator) known(peer, name string) error {
	peers := n.names.Load().peers()
	children := peers[peer]
	switch {
	case len(peers) == 0:
		return noPeer(peer)
	case len(children) == 0:
		return fmt.Errorf("peer %q: expected one of %s", peer, strings.Join(slices.Sorted(maps.Keys(peers)), ", "))
	case name != "" && !slices.Contains(children, name):
		return fmt.Errorf("peer %s has no Child SA %q: expected one of %s", peer, name, strings.Join(children, ", "))
	}
	return nil
}

// find reads the name of a peer, of a tunnel that a peer has, or of a rule that has several.
func (n *negotiator) find(name string) ([]child, error) {
	peers := n.names.Load().peers()
	if len(peers[name]) > 0 {
		return []child{{peer: name}}, nil
	}
	var found []child
	for _, peer := range slices.Sorted(maps.Keys(peers)) {
		for _, tunnel := range peers[peer] {
			if tunnel == name || policy.SplitFrom(tunnel) == name {
				found = append(found, child{peer, tunnel})
			}
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case len(peers) == 0:
		return nil, noPeer(name)
	}
	return nil, fmt.Errorf("%.64q: expected a peer (%s) or a rule that one protects", name, strings.Join(slices.Sorted(maps.Keys(peers)), ", "))
}

// noPeer is the error of a gateway that negotiates with no peer, whoever was meant.
func noPeer(name string) error {
	return fmt.Errorf("%.64q: expected a peer, found none with whom anything is negotiated: a rule of the active policy has to name it, and neither ike.enabled nor ports[].ike may be off", name)
}

// eachOf is every child of the peers that are named, unless it is about their IKE SAs.
func (g *Gateway) eachOf(orders []child, whole bool) (each []child) {
	peers := g.negotiator.names.Load().peers()
	for _, c := range orders {
		if c.name != "" || whole {
			each = append(each, c)
			continue
		}
		for _, name := range peers[c.peer] {
			each = append(each, child{c.peer, name})
		}
	}
	return each
}

// course is what becomes of an order's targets.
type course struct {
	verb
	targets  []child
	outcomes []api.Outcome
}

func newCourse(v verb, targets []child, before []ike.SAInfo) *course {
	c := &course{verb: v, targets: targets}
	for _, t := range targets {
		o := api.Outcome{Peer: t.peer, Child: t.name, Result: v.was(t, before)}
		if o.Result == "" {
			o.Result = api.ResultOrdered
		}
		c.outcomes = append(c.outcomes, o)
	}
	return c
}

// note adds what an order to take tunnels down has met: soft SAs, which end with those of IKE, and tunnels without any SA that
// would have been negotiated. Who has ended clear text is not to read that nothing has changed.
func (c *course) note(met map[string]metDown) {
	for i := range c.outcomes {
		o := &c.outcomes[i]
		m := met[o.Peer]
		if o.Result == api.ResultWasDown && !m.closed[o.Child] {
			o.Result = api.ResultClosed
		}
		o.Soft = m.soft[o.Child]
		delete(m.soft, o.Child)
	}
	for i := range c.outcomes { // those of the peer's other tunnels end too
		o := &c.outcomes[i]
		for _, n := range met[o.Peer].soft {
			o.Soft += n
		}
		clear(met[o.Peer].soft)
	}
}

// settle notes what has come about, and reports whether all has.
func (c *course) settle(result func(child) (result, why string)) bool {
	all := true
	for i, t := range c.targets {
		o := &c.outcomes[i]
		if o.Result != api.ResultOrdered {
			continue
		}
		if r, why := result(t); r != "" {
			o.Result, o.Why = r, why
			continue
		}
		all = false
	}
	return all
}

// await follows the facts of IKE from a number on until all has come about, or ctx ends.
func (g *Gateway) await(ctx context.Context, c *course, from uint64) error {
	for {
		infos, err := g.negotiator.snapshot(ctx)
		if errors.Is(err, errStopping) {
			return err
		}
		if err == nil && c.settle(func(t child) (string, string) { return c.state(t, infos), "" }) {
			return nil
		}
		facts, next, more := g.events.read(from)
		from = next
		for _, f := range facts {
			if c.settle(func(t child) (string, string) {
				return c.fact(t, f.Fact), failureText(ike.Failure{Reason: f.Reason, Detail: f.Detail})
			}) {
				return nil
			}
		}
		if len(facts) > 0 {
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			c.settle(func(child) (string, string) { return api.ResultLate, "" })
			return nil
		}
	}
}
