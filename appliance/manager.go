package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/appliance/api"
	"sallyport/appliance/config"
	"sallyport/pipeline"
)

// manager holds the configuration in force and is the only way to another one.
// A change is a transaction: everything that can fail comes first, then the files
// are written, then data plane and IKE take over at once. One change at a time.
//
//	text ── parse ── compile ── claim cells ── prepare ──┬── dry run: say what would change, undo
//	        (errors: nothing has changed)                └── backup ── rename ── reconfigure IKE ── publish
//	                                                         (a crash leaves the old or the new file, whole)
type manager struct {
	log        *slog.Logger
	store      *store
	parse      func(text []byte, known map[string][]netip.Addr) (*config.Config, error)
	prepare    func(pipeline.Snapshot) (prepared, error)
	negotiator *negotiator
	now        func() time.Time
	every      func(time.Duration) (ticks <-chan time.Time, stop func()) // watch looks at the file
	counter    *prometheus.CounterVec

	running atomic.Pointer[running]
	turn    chan struct{} // holds one token: whoever has it changes what follows
	names   resolvedNames
	altered chan struct{} // wakes watch: the interval may be another
}

// prepared is a policy that the data plane can take at once; pipeline.Prepared is
// the real one.
type prepared interface {
	Publish()
	Discard()
}

func newManager(log *slog.Logger, loaded *Loaded, n *negotiator, prepare func(pipeline.Snapshot) (prepared, error)) *manager {
	m := &manager{
		log: log, store: loaded.store, parse: loaded.parse, prepare: prepare, names: loaded.names, negotiator: n, now: time.Now, every: tickEvery,
		counter: newChangeCounter(), turn: make(chan struct{}, 1), altered: make(chan struct{}, 1),
	}
	m.turn <- struct{}{}
	return m
}

// request is a wish to change what is in force.
type request struct {
	what   string // of the audit log: the order and its argument
	verb   string // of the metric
	by     string // who wants it
	dryRun bool

	// text is the configuration wanted, given that in force; nil keeps it. The file is
	// made to hold it, unless it comes from there: then the file is left alone.
	text     func(*running) ([]byte, error)
	fromFile bool
	// overlay is what is to differ from the file, given that in force; nil keeps it.
	overlay func(*running) (overlay, error)
	// fresh has every DNS name asked for again.
	fresh bool
}

// refused is an error in what was asked for, not in the gateway; nothing has changed.
type refused struct {
	errs  []api.ConfigError
	final bool // the same text will not do later either
}

func (r *refused) Error() string { return (&api.Refused{Errors: r.errs}).Error() }

// refuse makes one of an error, in which config.Errors may be joined.
func refuse(err error) error {
	r := &refused{}
	r.collect(err)
	return r
}

func (r *refused) collect(err error) {
	switch e := err.(type) {
	case *config.Error:
		r.errs = append(r.errs, api.ConfigError{File: e.File, Line: e.Line, Key: e.Key, Message: e.Text})
		r.final = r.final || !e.Transient
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			r.collect(one)
		}
	default:
		r.errs = append(r.errs, api.ConfigError{Message: err.Error()})
		r.final = true
	}
}

// change carries out a request, or with a dry run says what it would do. The
// error is a *refused, or a badRequest, where the request is at fault.
func (m *manager) change(ctx context.Context, r request) (*api.Change, error) {
	select {
	case <-m.turn:
		defer func() { m.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	// Half a change is none: from here on only the gateway's end ends it.
	ctx = context.WithoutCancel(ctx)
	change, err := m.transact(ctx, r)
	m.audit(r, change, err)
	return change, err
}

func (m *manager) transact(ctx context.Context, r request) (*api.Change, error) {
	before := m.running.Load()
	p, err := m.plan(ctx, before, r)
	if err != nil {
		return nil, err
	}
	if r.dryRun {
		return &p.change, p.undo(ctx)
	}
	if err := m.keep(r, p, before); err != nil {
		return nil, errors.Join(err, p.undo(ctx))
	}
	// The file says so now: what follows cannot fail, and a restart would come to the same.
	err = m.negotiator.reconfigure(ctx, p.takeover(func() {
		p.prepared.Publish()
		m.running.Store(p.next)
	}))
	if err != nil {
		p.prepared.Discard()
		return nil, fmt.Errorf("the configuration is in the file and comes into force at the next start: %w", err)
	}
	if p.next.cfg != before.cfg {
		m.negotiator.forget(ctx, before.cfg.Wipe)
	}
	m.names = p.names
	p.change.Applied = true
	select {
	case m.altered <- struct{}{}:
	default: // watch has yet to look at the change before
	}
	return &p.change, nil
}

// keep writes what a restart must find. Nothing is in force before it is written.
func (m *manager) keep(r request, p *plan, before *running) (err error) {
	if !maps.EqualFunc(p.names.Names, m.names.Names, resolvedName.equal) {
		if err := lasting(m.store.saveNames(p.names), &p.change); err != nil {
			return err
		}
	}
	overwritten := 0
	switch {
	case r.text == nil:
	case r.fromFile && string(p.next.text) == string(before.text):
	case r.fromFile:
		p.change.Backup, err = m.store.backup(before.text)
	default:
		p.change.Backup, overwritten, err = m.store.save(p.next.text, before.text)
	}
	if overwritten > 0 {
		p.change.Warnings = append(p.change.Warnings, fmt.Sprintf("the file held changes that were not in force: they are in backup %d", overwritten))
	}
	return lasting(err, &p.change)
}

// lasting turns the one error that comes after a file is in its place into a warning.
func lasting(err error, change *api.Change) error {
	if errors.Is(err, errNotLasting) {
		change.Warnings = append(change.Warnings, err.Error())
		return nil
	}
	return err
}

// audit says who wanted what and what came of it.
func (m *manager) audit(r request, change *api.Change, err error) {
	attrs := []any{"what", r.what, "by", r.by}
	if change != nil {
		attrs = append(attrs, "policy", change.Policy, "added", len(change.Added), "removed", len(change.Removed),
			"changed", len(change.Changed), "ended", len(change.Ended), "kept", len(change.Kept))
	}
	result := "applied"
	switch bad := (*refused)(nil); {
	case errors.As(err, &bad):
		result = "refused"
		m.log.Warn("policy change refused, nothing has changed", append(attrs, "errors", len(bad.errs))...)
		for _, e := range bad.errs {
			m.log.Warn("policy change refused", "what", r.what, "error", e.String())
		}
	case errors.As(err, new(badRequest)):
		result = "refused"
		m.log.Warn("policy change refused, nothing has changed", append(attrs, "error", err)...)
	case err != nil:
		result = "failed"
		m.log.Error("policy change failed", append(attrs, "error", err)...)
	case r.dryRun:
		result = "dry_run"
		m.log.Info("policy change tried", attrs...)
	default:
		m.log.Info("policy changed", append(attrs, "backup", change.Backup, "generation", m.running.Load().generation)...)
		for _, warning := range change.Warnings {
			m.log.Warn(warning)
		}
	}
	m.counter.WithLabelValues(r.verb, result).Inc()
}

// newChangeCounter counts changes by the order and what came of it, both from closed lists.
func newChangeCounter() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_policy_changes_total",
		Help: "Changes of the policy in force by order and result: applied, dry_run, refused or failed.",
	}, []string{"order", "result"})
}

// start puts the first configuration in force, before the negotiator runs.
func (m *manager) start(loaded *Loaded) error {
	p := &plan{manager: m, inline: true, names: m.names, next: &running{text: loaded.Text, cfg: loaded.Config, generation: 1, changed: m.now()}}
	if len(m.names.Names) > 0 {
		if err := lasting(m.store.saveNames(m.names), &p.change); err != nil {
			return err
		}
	}
	if err := p.build(context.Background()); err != nil {
		return err
	}
	m.running.Store(p.next)
	return m.negotiator.adopt(p.takeover(p.prepared.Publish))
}
