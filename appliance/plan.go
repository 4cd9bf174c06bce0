package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"sallyport/appliance/api"
	"sallyport/appliance/config"
	"sallyport/ike"
	"sallyport/pipeline"
	"sallyport/policy"
)

// plan is a change that has been checked whole and can be carried out or undone.
type plan struct {
	manager  *manager
	inline   bool // the negotiator does not run yet
	next     *running
	names    resolvedNames
	tunnels  []string // claimed
	prepared prepared
	change   api.Change
}

// plan checks a request and does everything that can fail.
func (m *manager) plan(ctx context.Context, before *running, r request) (*plan, error) {
	next := *before
	next.generation, next.changed = before.generation+1, m.now()
	p := &plan{manager: m, next: &next, names: m.names}
	if r.text != nil {
		text, err := r.text(before)
		if err != nil {
			return nil, err
		}
		next.text = text
	}
	if r.text != nil || r.fresh {
		if err := p.parse(before, r.fresh); err != nil {
			return nil, err
		}
	}
	if r.overlay != nil {
		var err error
		if next.overlay, err = r.overlay(before); err != nil {
			return nil, err
		}
	}
	if err := p.build(ctx); err != nil {
		p.wipe(before)
		return nil, err
	}
	if err := p.describe(ctx, before); err != nil {
		return nil, errors.Join(err, p.undo(ctx))
	}
	return p, nil
}

// parse reads the text and holds it against what cannot change while the gateway runs.
func (p *plan) parse(before *running, fresh bool) error {
	known := p.names.known()
	if fresh {
		known = nil
	}
	cfg, err := p.manager.parse(p.next.text, known)
	if err != nil {
		return refuse(err)
	}
	if keys := config.RestartKeys(before.cfg, cfg); len(keys) > 0 {
		cfg.Wipe()
		r := &refused{final: true}
		for _, key := range keys {
			r.errs = append(r.errs, api.ConfigError{File: cfg.Path, Key: key, Message: "expected no change while the gateway runs, found one: this needs a restart"})
		}
		return r
	}
	p.next.cfg = cfg
	p.next.overlay = before.overlay.on(before.cfg, cfg)
	p.names = p.names.with(cfg.Names(), fresh)
	return nil
}

// build compiles the policy, claims cells and has the data plane prepare it all.
func (p *plan) build(ctx context.Context) error {
	next := p.next
	compiled, err := next.overlay.compile(next.cfg)
	if err != nil {
		return refuse(err)
	}
	next.spd, next.peers, next.response, next.manual = compiled.SPD, compiled.Peers, compiled.DefaultResponse, compiled.Manual
	next.addresses, _ = next.overlay.present(next.cfg)
	p.change.Policy, next.warnings = next.spd.Policy, slices.Clone(compiled.Warnings)
	p.tunnels = tunnelsOf(next.spd, next.peers)
	cells, err := p.claim(ctx)
	if errors.Is(err, pipeline.ErrNoCell) {
		return p.noRoom(err)
	}
	if err != nil {
		return fmt.Errorf("cells of the new policy's tunnels: %w; nothing has changed", err)
	}
	s, unusable := snapshot(next.cfg, next.spd, next.addresses, cells)
	next.warnings = append(next.warnings, unusable...)
	p.prepared, err = p.manager.prepare(s)
	if err != nil {
		return errors.Join(fmt.Errorf("preparing the data plane: %w; nothing has changed", err), p.release(ctx))
	}
	return nil
}

// noRoom says why there are not cells enough: until a change is over, the tunnels
// before it and those after it need theirs.
func (p *plan) noRoom(err error) error {
	var present []string // sorted
	if before := p.manager.running.Load(); before != nil {
		present = tunnelsOf(before.spd, before.peers)
	}
	inForce, fresh, most := len(present), 0, p.next.cfg.Dataplane.MaxTunnels
	for _, tunnel := range p.tunnels {
		if _, known := slices.BinarySearch(present, tunnel); !known {
			fresh++
		}
	}
	if inForce+fresh <= most {
		return fmt.Errorf("cells of the new policy's tunnels: %w: %d tunnels are in force and %d are new, which %d cells (dataplane.max_tunnels) are enough for, but those of former tunnels are not free yet; nothing has changed: try again in a minute",
			err, inForce, fresh, most)
	}
	return refuse(&config.Error{File: p.next.cfg.Path, Key: "dataplane.max_tunnels", Text: fmt.Sprintf(
		"expected room for the %d tunnels that are in force and the %d new ones, which a change needs at once, found %d: set it to %d or more and restart, or take rules away in one change and add the new ones in the next",
		inForce, fresh, most, inForce+fresh)})
}

// claim gives the tunnels their cells.
func (p *plan) claim(ctx context.Context) (map[string]pipeline.CellID, error) {
	if p.inline {
		return p.manager.negotiator.cells.claim(p.tunnels)
	}
	return p.manager.negotiator.claim(ctx, p.tunnels)
}

func (p *plan) release(ctx context.Context) error {
	if p.inline {
		return p.manager.negotiator.cells.release(p.tunnels)
	}
	return p.manager.negotiator.release(ctx, p.tunnels)
}

// takeover is what the negotiator is told; publish lets the workers see the policy.
func (p *plan) takeover(publish func()) takeover {
	return takeover{tunnels: p.tunnels, peers: p.next.reconfigure(), manual: p.next.manual, encapsulation: p.next.cfg.Encapsulation, auth: p.next.cfg.Auth,
		spd: p.next.spd, soft: p.next.cfg.Soft.Limits,
		dynamic: p.next.overlay.dynamic, publish: publish}
}

// undo gives back what was taken for a change that does not come about.
func (p *plan) undo(ctx context.Context) error {
	p.prepared.Discard()
	p.wipe(p.manager.running.Load())
	return p.release(ctx)
}

// wipe forgets the keys of a configuration that is not to be in force.
func (p *plan) wipe(before *running) {
	if p.next.cfg != before.cfg {
		p.next.cfg.Wipe()
	}
}

// describe says what the change does to filters and SAs.
func (p *plan) describe(ctx context.Context, before *running) error {
	d := policy.Diff(before.spd, p.next.spd)
	c := &p.change
	c.Added, c.Removed, c.Changed = d.Added, d.Removed, d.Changed
	for _, warning := range p.next.warnings { // those in force were said when they came
		if !slices.Contains(before.warnings, warning) {
			c.Warnings = append(c.Warnings, warning)
		}
	}
	if p.next.cfg != before.cfg {
		c.Warnings = append(c.Warnings, ExpiryWarnings(p.next.cfg.Auth.Certificates, p.next.changed)...)
	}
	note := func(changed bool, format string, args ...any) {
		if changed {
			c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
		}
	}
	note(d.OldPolicy != d.NewPolicy, "active policy: %s, before %s", cmp.Or(d.NewPolicy, "none"), cmp.Or(d.OldPolicy, "none"))
	note(d.DefaultChanged, "default action: %s, before %s", d.NewDefault, d.OldDefault)
	note(d.LevelChanged, "exemption level: %s, before %s", d.NewLevel, d.OldLevel)
	c.Notes = append(c.Notes, p.names.since(p.manager.names)...)
	negotiated, err := p.manager.negotiator.snapshot(ctx)
	if err != nil {
		return err
	}
	moves := func(peer string) bool {
		return !slices.ContainsFunc(negotiated, func(sa ike.SAInfo) bool { return sa.Peer == peer && !sa.MOBIKE })
	}
	endings := append(ike.Endings(before.peers, p.next.peers, moves), endedStrangers(negotiated, before, p.next)...)
	c.Ended, c.Kept = endedSAs(negotiated, endings)
	endedManual(c, before.manual, p.next.manual)
	return nil
}

// endedSAs divides the Child SAs that are up into those that end and those that stay.
func endedSAs(negotiated []ike.SAInfo, endings []ike.Ending) (ended []api.EndedSA, kept []string) {
	why := map[child]string{}
	for _, e := range endings {
		why[child{e.Peer, e.Child}] = e.Why
	}
	seen := map[child]bool{}
	for _, info := range negotiated {
		for _, c := range info.Children {
			name := child{info.Peer, c.Name}
			if seen[name] {
				continue // a rekey is under way
			}
			seen[name] = true
			if reason := why[name]; reason != "" {
				ended = append(ended, api.EndedSA{Peer: name.peer, Child: name.name, Why: reason})
			} else {
				kept = append(kept, name.peer+"/"+name.name)
			}
		}
	}
	slices.Sort(kept)
	slices.SortFunc(ended, func(a, b api.EndedSA) int { return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Child, b.Child)) })
	return ended, kept
}
