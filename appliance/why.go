package appliance

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"sallyport/appliance/api"
	"sallyport/ike"
	"sallyport/ike/ikev1"
	"sallyport/pki"
	"sallyport/policy"
	"sallyport/policy/soft"
)

// why puts together all that is known of why a peer's tunnels are up or not.
func (g *Gateway) why(ctx context.Context, query url.Values) (*api.Why, error) {
	name := query.Get("peer")
	if name == "" {
		return nil, badRequest{fmt.Errorf("expected peer=NAME")}
	}
	found, err := g.negotiator.find(name)
	if err != nil {
		return nil, badRequest{err}
	}
	peer := found[0].peer
	infos, err := g.negotiator.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	infos = slices.DeleteFunc(infos, func(i ike.SAInfo) bool { return i.Peer != peer })
	now := g.running()
	configured, known := now.peer(peer, infos)
	if !known || len(infos) == 0 {
		return nil, badRequest{fmt.Errorf("peer %q: it has just gone", peer)}
	}
	w := newWhy(configured, infos, time.Now())
	if w.Stray != nil && slices.ContainsFunc(now.peers, func(p ike.Peer) bool { return p.Remote.String() == w.Stray.Remote }) {
		w.Stray = nil // a peer that was configured since
	}
	if w.Path, err = g.pathTo(configured); err != nil {
		return nil, err
	}
	w.Fallback = g.fallbackOf(configured, w)
	w.Todo = todo(w)
	return w, nil
}

// fallbackOf is how it stands with the peer's traffic in clear, nil where no rule of the peer's says that it may be.
func (g *Gateway) fallbackOf(peer ike.Peer, w *api.Why) *api.WhyFallback {
	st := g.negotiator.soft.state(peer.Name)
	if !st.Fallback && !slices.ContainsFunc(g.running().deniedFallback(), func(r policy.Rule) bool {
		return slices.ContainsFunc(peer.Children, func(c ike.Child) bool { return policy.SplitFrom(c.Name) == r.Tunnel })
	}) {
		return nil
	}
	if !st.Fallback {
		st.Shut = soft.Denied
	}
	f := &api.WhyFallback{SoftSAs: st.Live, Waiting: st.Waiting, Refused: string(st.Shut), Until: st.Until}
	closed := strings.HasPrefix(w.Verdict, "down") || len(w.Tunnels) > 0 && !slices.ContainsFunc(w.Tunnels, func(t api.WhyTunnel) bool { return !t.Down })
	if f.Text = fallbackText(st, closed, time.Now()); st.Live > 0 {
		f.Text = clearText(st.Live)
	}
	return f
}

// deniedFallback are the rules that would let their traffic pass in clear, were it not for soft_sa: deny.
func (now *running) deniedFallback() []policy.Rule {
	set := now.cfg.Policy
	i := slices.IndexFunc(set.Policies, func(p policy.Policy) bool { return p.Name == set.Active })
	if !set.SoftDenied || i < 0 {
		return nil
	}
	falls := map[string]bool{}
	for j := range set.FilterActions {
		falls[set.FilterActions[j].Name] = set.FilterActions[j].FallbackClear
	}
	return slices.DeleteFunc(slices.Clone(set.Policies[i].Rules), func(r policy.Rule) bool { return !falls[r.FilterAction] })
}

// peer is a peer of the configuration, or what the default response rule has made of one.
func (now *running) peer(name string, infos []ike.SAInfo) (ike.Peer, bool) {
	for _, p := range now.peers {
		if p.Name == name {
			return p, true
		}
	}
	if !ike.IsDynamic(name) || len(infos) == 0 || len(now.response) == 0 {
		return ike.Peer{}, false
	}
	info := infos[len(infos)-1]
	return now.response[0].Met(info.Local.Addr(), info.Remote.Addr(), ike.Identity{}), true
}

// newWhy is what configuration and engine know of a peer.
func newWhy(peer ike.Peer, infos []ike.SAInfo, now time.Time) *api.Why {
	info := infos[len(infos)-1] // the youngest IKE SA
	w := &api.Why{Peer: peer.Name, IKE: peer.Version.String(), Version: info.Version.Number(), Vendors: info.Vendors, State: info.State, Since: info.Since, Clock: now, NextAttempt: info.NextAttempt,
		Local: info.Local.Addr().String(), Remote: info.Remote.Addr().String()}
	up := 0
	for _, c := range peer.Children {
		t := api.WhyTunnel{Name: c.Name, Start: c.Start.String(), Up: hasOutbound(infos, c.Name), Down: slices.Contains(info.Down, c.Name)}
		if t.Up {
			up++
		}
		w.Tunnels = append(w.Tunnels, t)
	}
	switch {
	case info.State == "down":
		w.Verdict = "down by an operator"
	case up == len(peer.Children):
		w.Verdict = "up"
	case up > 0:
		w.Verdict = "partly up"
	default:
		w.Verdict = "not up"
	}
	for _, i := range infos {
		if i.Attempt != nil {
			w.Trying = attemptView(peer, i.Attempt, now)
		}
	}
	w.Failed, w.PeersFailed = failureView(peer, info.Failure, now), failureView(peer, info.PeerFailure, now)
	w.Refused, w.Dropped, w.Stray, w.Unproven = noteView(info.Refused), noteView(info.Dropped), noteView(info.Stray), noteView(info.Unproven)
	return w
}

// hasOutbound reports whether packets can leave by a Child SA of that name.
func hasOutbound(infos []ike.SAInfo, name string) bool {
	return slices.ContainsFunc(infos, func(i ike.SAInfo) bool {
		return slices.ContainsFunc(i.Children, func(c ike.ChildInfo) bool { return c.Name == name && c.Outbound })
	})
}

// pathTo asks the data plane how IKE to the peer leaves.
func (g *Gateway) pathTo(peer ike.Peer) (path api.WhyPath, err error) {
	path.Port, path.Link = portOf(g.running().addresses, peer.Local), "up"
	if hop, found := g.plane.Neighbour(peer.Remote); found {
		path.Port, path.NextHop, path.Neighbour = hop.Port, hop.Address.String(), cmp.Or(hop.MAC.String(), "unresolved")
	}
	down, err := g.portsWithoutLink()
	if err == nil && down[peer.Local] != "" {
		path.Link = "down"
	}
	return path, err
}

func noteView(n ike.Note) *api.WhyNote {
	if n.Count == 0 {
		return nil
	}
	return &api.WhyNote{Reason: string(n.Reason), Remote: n.Remote.Addr().String(), At: n.At, Count: n.Count}
}

func failureView(peer ike.Peer, f ike.Failure, now time.Time) *api.WhyAttempt {
	if f.Reason == "" {
		return nil
	}
	view := &api.WhyAttempt{Began: f.At}
	if f.Attempt != nil {
		view = attemptView(peer, f.Attempt, now)
	}
	view.Ended, view.Reason, view.Detail = f.At, string(f.Reason), f.Detail
	markFault(view, f.Reason)
	return view
}

func attemptView(peer ike.Peer, a *ike.Attempt, now time.Time) *api.WhyAttempt {
	view := &api.WhyAttempt{Role: a.Role.String(), Began: a.Began, Exchange: a.Exchange, Sent: a.Sent, NextSending: a.NextSending, Answer: a.Answer,
		Cookies: a.Cookies, NAT: natText(ike.SAInfo{NATLocal: a.NATLocal, NATRemote: a.NATRemote}), Fragments: a.Fragments}
	c := comparison{peer: peer.Complete(), older: ikev1.Complete(peer), attempt: a}
	view.Rows = c.rows()
	if peer.LocalAuth == ike.AuthSignature && peer.Credential != nil {
		view.Certificates = certificateViews(peer.Credential.Certificates[:1], true, now)
	}
	view.Certificates = append(view.Certificates, certificateViews(a.Theirs.Certificates, false, now)...)
	return view
}

// certificateViews reads certificates as far as they can be read.
func certificateViews(chain [][]byte, ours bool, now time.Time) (views []api.WhyCertificate) {
	for _, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			views = append(views, api.WhyCertificate{Ours: ours, Subject: "unreadable", Fault: err.Error()})
			continue
		}
		view := api.WhyCertificate{Ours: ours, Subject: pki.Subject(c), Issuer: pki.Issuer(c), NotBefore: c.NotBefore, NotAfter: c.NotAfter}
		switch {
		case now.Before(c.NotBefore):
			view.Fault = "not yet valid by our clock"
		case now.After(c.NotAfter):
			view.Fault = "over by our clock"
		}
		views = append(views, view)
	}
	return views
}
