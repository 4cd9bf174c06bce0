package appliance

import (
	"log/slog"
	"time"

	"sallyport/ike"
)

// logLimit bounds the log lines about negotiations that somebody at a peer's address begins and lets fail: whoever is on the path to it can have thousands a
// second, without a key. The facts themselves are counted, and in the stream, as ever.
type logLimit struct{ peers map[string]*logAllowance }

// logAllowance is what is left for one peer.
type logAllowance struct {
	lines     float64
	filled    time.Time
	unwritten int // since the last line
}

// Lines of a peer: two for a negotiation that fails.
const (
	logLinesPerSecond = 20
	logLineBurst      = 200
)

// limited reports whether a fact is one that needs no key of whoever causes it. Peers are those of the configuration: strangers' facts are not in the log.
func (l *logLimit) limited(f ike.Fact) bool {
	return f.Role == ike.RoleResponder && f.Peer != "" && !byStrangers(f) && (f.Kind == ike.NegotiationStarted || f.Kind == ike.Failed)
}

// write hands a fact on to a log as long as its peer has lines left, with the number of those that it had not.
func (l *logLimit) write(log *slog.Logger, f ike.Fact) {
	if !l.limited(f) {
		logFact(log, f)
		return
	}
	a := l.peers[f.Peer]
	if l.peers == nil {
		l.peers = map[string]*logAllowance{}
	}
	if a == nil {
		a = &logAllowance{lines: logLineBurst, filled: f.Time}
		l.peers[f.Peer] = a
	}
	a.lines = min(logLineBurst, a.lines+f.Time.Sub(a.filled).Seconds()*logLinesPerSecond)
	a.filled = f.Time
	if a.lines < 1 {
		a.unwritten++
		return
	}
	a.lines--
	if a.unwritten > 0 {
		log = log.With("unwritten", a.unwritten)
		a.unwritten = 0
	}
	logFact(log, f)
}
