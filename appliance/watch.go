package appliance

import (
	"bytes"
	"context"
	"errors"
	"os"
	"time"

	"sallyport/appliance/api"
)

// looksPerInterval is how often the file is looked at in each interval of the
// policy (refresh_seconds). A text is taken when it stood there at two looks: one
// that is being written is left alone. Two looks and the change itself fit into
// one interval (S-003).
const looksPerInterval = 4

// tickEvery is the clock of watch: ticks until stop.
func tickEvery(d time.Duration) (ticks <-chan time.Time, stop func()) {
	ticker := time.NewTicker(d)
	return ticker.C, ticker.Stop
}

// watch loads the configuration again at every SIGHUP, and when the file holds
// another text than that in force.
func (m *manager) watch(ctx context.Context, hangup <-chan os.Signal) {
	w := fileWatch{manager: m}
	for ctx.Err() == nil {
		interval := m.running.Load().cfg.Refresh
		var looks <-chan time.Time
		stop := func() {}
		if interval > 0 {
			looks, stop = m.every(interval / looksPerInterval)
		}
		w.during(ctx, interval, looks, hangup)
		stop()
	}
}

// fileWatch tells a text that is worth loading.
type fileWatch struct {
	manager *manager
	lost    bool   // the file was not there at the last look: said once
	last    []byte // of the look before
	tried   []byte // loaded already, in vain
	again   int    // looks until tried is loaded once more; 0 is never
}

// during watches until ctx ends or a policy with another interval is in force.
func (w *fileWatch) during(ctx context.Context, interval time.Duration, looks <-chan time.Time, hangup <-chan os.Signal) {
	m := w.manager
	for m.running.Load().cfg.Refresh == interval {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			_ = m.hear(ctx, "SIGHUP")
		case <-looks:
			w.look(ctx)
		case <-m.altered:
		}
	}
}

// look loads the file if it is worth it.
func (w *fileWatch) look(ctx context.Context) {
	m := w.manager
	text, err := m.store.read()
	if err != nil {
		if !w.lost {
			m.log.Warn("the watched file cannot be read; the policy in force stays", "error", err)
		}
		w.lost = true
		return
	}
	w.lost = false
	if !w.settled(text, m.running.Load().text) {
		return
	}
	if err := m.hear(ctx, "changed file"); err != nil && !isFinal(err) {
		w.again = looksPerInterval
	}
}

// settled reports whether the text has stood since the look before, is not in
// force and was not tried in vain, or is to be tried again now.
func (w *fileWatch) settled(text, inForce []byte) bool {
	same := w.last != nil && bytes.Equal(w.last, text)
	w.last = text
	switch {
	case bytes.Equal(text, inForce):
		w.tried = nil
		return false
	case !same:
		return false
	case w.tried == nil || !bytes.Equal(w.tried, text):
		w.tried, w.again = text, 0
		return true
	}
	if w.again == 0 {
		return false
	}
	w.again--
	return w.again == 0
}

// isFinal reports whether the same text would meet the error again.
func isFinal(err error) bool {
	r := (*refused)(nil)
	return errors.As(err, &r) && r.final
}

// hear reloads; what is wrong is in the log, and nothing has changed then.
func (m *manager) hear(ctx context.Context, by string) error {
	r := m.reload(api.Reload{})
	r.by = by
	_, err := m.change(ctx, r) // audited
	return err
}
