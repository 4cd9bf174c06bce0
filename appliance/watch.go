package appliance

import (
	"bytes"
	"context"
	"os"
	"time"

	"sallyport/appliance/api"
)

// watch loads the configuration again at every SIGHUP, and when the file holds
// another text than that in force. It looks twice in each interval of the policy
// (refresh_seconds) and takes a text that stood there both times: one that is
// being written is left alone, and a change is in force within one interval (S-003).
func (m *manager) watch(ctx context.Context, hangup <-chan os.Signal) {
	var w fileWatch
	lost := false // the file was not there at the last look: said once
	for {
		var look <-chan time.Time
		timer := time.NewTimer(max(m.running.Load().cfg.Refresh/2, minLook))
		if m.running.Load().cfg.Refresh > 0 {
			look = timer.C
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-hangup:
			m.hear(ctx, "SIGHUP")
		case <-look:
			text, err := m.store.read()
			switch {
			case err != nil && !lost:
				m.log.Warn("the watched file cannot be read; the policy in force stays", "error", err)
			case err == nil && w.settled(text, m.running.Load().text):
				m.hear(ctx, "changed file")
			}
			lost = err != nil
		case <-m.altered:
		}
		timer.Stop()
	}
}

// minLook is the shortest time between two looks at the file.
const minLook = 50 * time.Millisecond

// hear reloads; what is wrong is in the log, and nothing has changed then.
func (m *manager) hear(ctx context.Context, by string) {
	r := m.reload(api.Reload{})
	r.by = by
	_, _ = m.change(ctx, r) // audited
}

// fileWatch tells a text that is worth loading.
type fileWatch struct {
	last  []byte // of the look before
	tried []byte // loaded already, in vain or not
}

// settled reports whether the text has stood since the look before, is not in
// force and was not tried in vain.
func (w *fileWatch) settled(text, inForce []byte) bool {
	same := w.last != nil && bytes.Equal(w.last, text)
	w.last = text
	if bytes.Equal(text, inForce) {
		w.tried = nil
		return false
	}
	if !same || w.tried != nil && bytes.Equal(w.tried, text) {
		return false
	}
	w.tried = text
	return true
}
