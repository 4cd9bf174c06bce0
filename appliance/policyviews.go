package appliance

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"

	"sallyport/appliance/api"
	"sallyport/appliance/config"
	"sallyport/pipeline"
	"sallyport/policy"
)

// routePolicy routes the views of what is stored and what is in force.
func (g *Gateway) routePolicy(mux *http.ServeMux, get func(path string, view func(*http.Request) (any, error))) {
	get(api.PathPolicy, func(*http.Request) (any, error) { return policiesView(g.running()), nil })
	get(api.PathMainMode, func(*http.Request) (any, error) { return g.running().spd.MainModeRows(), nil })
	get(api.PathExemptions, func(r *http.Request) (any, error) {
		return exemptionsView(g.running().spd, r.URL.Query().Get("level"), g.plane.Counters().Filters)
	})
	get(api.PathSAD, func(r *http.Request) (any, error) { return g.sadView(r) })
	mux.HandleFunc("POST "+api.PathFlushSAs, func(w http.ResponseWriter, r *http.Request) {
		flushed, err := g.flush(w, r)
		respond(w, flushed, err)
	})
	get(api.PathBackups, func(*http.Request) (any, error) { return g.manager.store.list() })
	get(api.PathExplain, func(r *http.Request) (any, error) { return g.explain(r.Context(), r.URL.Query()) })
}

// The default response rule as it is shown: it is part of every policy, and only
// whether it is on and its methods can be set (S-009).
const (
	defaultResponseRule   = "<Default Response>"
	defaultResponseList   = "<Dynamic>"
	defaultResponseAction = "Default Response"
)

// policiesView is what is stored, the one in force marked.
func policiesView(now *running) api.Policies {
	set := now.cfg.Policy
	view := api.Policies{
		Active: now.spd.Policy, Level: now.spd.Level.String(), IKE: now.cfg.IKEEnabled,
		Generation: now.generation, Changed: now.changed, Stored: make([]api.Policy, 0, len(set.Policies)),
	}
	actions := map[string]*policy.FilterAction{}
	for i := range set.FilterActions {
		actions[set.FilterActions[i].Name] = &set.FilterActions[i]
	}
	for i := range set.Policies {
		p := &set.Policies[i]
		shown := api.Policy{
			Name: p.Name, Description: p.Description, Active: p.Name == set.Active, Sample: p.Sample,
			DefaultAction: p.DefaultAction.String(), Origin: p.Origin.String(),
		}
		if shown.Active {
			shown.RefreshSeconds = now.cfg.Refresh.Seconds()
		}
		for j := range p.Rules {
			shown.Rules = append(shown.Rules, ruleView(&p.Rules[j], actions))
		}
		shown.Rules = append(shown.Rules, api.Rule{
			Name: defaultResponseRule, Enabled: p.DefaultResponse.Enabled, FilterList: defaultResponseList, FilterAction: defaultResponseAction,
			Action: policy.ActionNegotiate.String(), Methods: p.DefaultResponse.Methods, AuthMethods: p.DefaultResponse.AuthMethods, Ports: policy.PortsAll.String(),
		})
		view.Stored = append(view.Stored, shown)
	}
	return view
}

func ruleView(r *policy.Rule, actions map[string]*policy.FilterAction) api.Rule {
	rule := api.Rule{
		Name: r.Name, Enabled: true, FilterList: r.FilterList, FilterAction: r.FilterAction,
		AuthMethods: r.AuthMethods, Ports: max(r.Ports, policy.PortsAll).String(), Origin: r.Origin.String(),
	}
	if r.Ports != 0 {
		rule.Ports = r.Ports.String()
	}
	if a := actions[r.FilterAction]; a != nil {
		rule.Action, rule.Methods = a.Kind.String(), a.Methods
	}
	return rule
}

// exemptionsView is the rows of a level, without one those of the level in force,
// each with what it let pass (S-032).
func exemptionsView(spd *policy.SPD, level string, counted []pipeline.FilterCounters) (api.Exemptions, error) {
	wanted := spd.Level
	if level != "" {
		var err error
		if wanted, err = policy.ParseExemptionLevel(level); err != nil {
			return api.Exemptions{}, badRequest{err}
		}
	}
	hits := hitsOf(counted)
	inForce := map[uint32]bool{}
	for i := range spd.Exemptions {
		inForce[spd.Exemptions[i].ID] = true
	}
	view := api.Exemptions{Level: wanted.String(), InForce: spd.Level.String(), Rows: []api.Exemption{}}
	for _, state := range spd.ExemptionsAt(wanted) {
		x := &state.Exemption
		row := api.Exemption{
			ID: x.ID, Name: x.Name, Kind: x.Kind.String(), Direction: x.Direction(), InForce: inForce[x.ID], Why: state.Why,
			Packets: hits[x.ID].Packets, Bytes: hits[x.ID].Bytes, Filters: make([]string, 0, len(x.Filters)),
		}
		if state.InForce && !row.InForce {
			row.Why = fmt.Sprintf("it would be in force at level %s", wanted)
		}
		for _, f := range x.Filters {
			row.Filters = append(row.Filters, f.String())
		}
		view.Rows = append(view.Rows, row)
	}
	return view, nil
}

func hitsOf(counted []pipeline.FilterCounters) map[uint32]pipeline.FilterCounters {
	hits := make(map[uint32]pipeline.FilterCounters, len(counted))
	for _, c := range counted {
		hits[c.ID] = c
	}
	return hits
}

// flush ends soft SAs: those of negotiated ones are ended by down.
func (g *Gateway) flush(w http.ResponseWriter, r *http.Request) (flushed api.FlushedSAs, err error) {
	var wanted api.FlushSAs
	if err := decode(w, r, controlBody, &wanted); err != nil {
		return flushed, err
	}
	if !wanted.Soft {
		return flushed, badRequest{errors.New("soft: expected true, found false: only soft SAs can be flushed; down ends those of a peer")}
	}
	flushed.Soft = g.negotiator.soft.flush()
	g.log.Info("soft SAs flushed", "by", caller(r.Context()), "count", flushed.Soft)
	return flushed, nil
}

// sadView is every SA by its kind (S-108).
func (g *Gateway) sadView(r *http.Request) (api.SAD, error) {
	negotiated, err := g.negotiator.snapshot(r.Context())
	if err != nil {
		return api.SAD{}, err
	}
	states, err := g.negotiator.manualStates(r.Context())
	if err != nil {
		return api.SAD{}, err
	}
	view := api.SAD{MainMode: []api.IKE{}, QuickMode: sasView(g.plane.SACounters(), negotiated, g.manualNames(), g.offloadOf), Soft: g.negotiator.soft.views(), Manual: states}
	for _, sa := range ikeView(negotiated, nil) {
		if sa.InitiatorSPI != "" {
			view.MainMode = append(view.MainMode, sa)
		}
	}
	return view, nil
}

// manualNames is the manual SA of each tunnel in force that has one.
func (g *Gateway) manualNames() map[string]string {
	names := map[string]string{}
	for _, t := range g.running().manual {
		names[t.Rule] = t.SA.Name
	}
	return names
}

// list describes the backups, the latest first.
func (s *store) list() ([]api.Backup, error) {
	numbers, err := s.backups()
	if err != nil {
		return nil, err
	}
	list := make([]api.Backup, 0, len(numbers))
	for _, number := range slices.Backward(numbers) {
		one, err := s.describe(number)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it made room for another since
		case err != nil:
			return nil, err
		default:
			list = append(list, one)
		}
	}
	return list, nil
}

func (s *store) describe(number int) (api.Backup, error) {
	saved, err := s.saved(number)
	if err != nil {
		return api.Backup{}, err
	}
	text, err := s.on.Read(s.backupPath(number))
	if err != nil {
		return api.Backup{}, fmt.Errorf("backup %d: %w", number, err)
	}
	return api.Backup{Number: number, Saved: saved, Policy: config.ActivePolicyOf(text), Bytes: len(text)}, nil
}
