package api

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The screen's columns: a line of 80 characters holds a label, our side and the peer's.
const (
	screenWidth = 80
	labelWidth  = 14
	sideWidth   = 31
)

// Screen writes all of it for a terminal of 80 columns. It ends with what to do.
func (w *Why) Screen(out io.Writer) error {
	s := &screen{now: w.Clock}
	s.head(w)
	told := w.Told()
	if w.Trying != nil {
		s.line("trying", s.course(w.Trying))
	}
	s.attempt("last failure", told)
	if told != nil && w.Verdict != "up" {
		s.sides(told)
	}
	for _, other := range []*WhyAttempt{w.Failed, w.PeersFailed} {
		if other != nil && other != told {
			s.attempt(map[bool]string{true: "also failed", false: "earlier"}[other.Ended.After(told.Ended)], other)
		}
	}
	s.path(w, cmp.Or(w.Trying, told))
	if w.Fallback != nil {
		s.line("in clear", w.Fallback.Text)
	}
	s.line("what to do", w.Todo)
	_, err := io.WriteString(out, s.text.String())
	return err
}

// sameCause is how long before a failure whose reason the peer keeps to itself one of the other direction may have ended, to be of the same cause: the
// longest time between two attempts, and more.
const sameCause = 3 * time.Minute

// Told is the failure that the screen is about: the last one. Where the peer has not said why it refused us, but we know why we refused it, that says more.
func (w *Why) Told() *WhyAttempt {
	last, other := w.Failed, w.PeersFailed
	if last == nil || other != nil && other.Ended.After(last.Ended) {
		last, other = other, last
	}
	if last != nil && other != nil && (last.onlyPeerKnows() || w.Version == 1 && last.wentQuiet()) && !other.onlyPeerKnows() && last.Ended.Sub(other.Ended) < sameCause && other.Reason != timedOut && other.Reason != noAnswer {
		return other
	}
	return last
}

// The reasons of what ended without a word, and of what never met one.
const (
	timedOut = "timeout"
	noAnswer = "no_answer"
)

// onlyPeerKnows reports whether the peer has refused us, which it does with one word.
func (a *WhyAttempt) onlyPeerKnows() bool {
	return a.Role == "initiator" && a.Answer != "" && a.Answer != "response"
}

// wentQuiet reports whether the peer has answered and then no more, which in IKEv1 is how it refuses us behind the first two messages.
func (a *WhyAttempt) wentQuiet() bool {
	return a.Role == "initiator" && a.Answer != "" && a.Reason == timedOut
}

type screen struct {
	text strings.Builder
	now  time.Time
}

func (s *screen) head(w *Why) {
	since, state := "so far", "IKE SA "+w.State
	if !w.Since.IsZero() {
		since = "for " + s.ago(w.Since)
	}
	if w.Version == 1 {
		state = "IKEv1, ISAKMP SA " + w.State
	}
	if w.State == "idle" || w.State == "down" {
		state = "no IKE SA"
	}
	fmt.Fprintf(&s.text, "%s: %s (%s %s)\n", w.Peer, strings.ToUpper(w.Verdict), state, since)
	var up, down []string
	for _, t := range w.Tunnels {
		switch {
		case t.Up:
			up = append(up, t.Name)
		case t.Down:
			down = append(down, t.Name+" (by an operator)")
		case t.Start == "on-demand":
			down = append(down, t.Name+" (on demand)")
		default:
			down = append(down, t.Name)
		}
	}
	s.list("peer says", w.Vendors)
	s.list("up", up)
	s.list("not up", down)
}

func (s *screen) list(label string, names []string) {
	const most = 8
	if len(names) > most {
		names = append(names[:most:most], fmt.Sprintf("and %d more", len(names)-most))
	}
	if len(names) > 0 {
		s.line(label, strings.Join(names, ", "))
	}
}

// attempt is a failure in two lines: how far it came, and why it ended.
func (s *screen) attempt(label string, a *WhyAttempt) {
	if a == nil {
		return
	}
	s.line(label, s.ago(a.Ended)+" ago: "+s.course(a))
	s.line("", a.Reason+": "+a.Detail)
}

// course says who asked what last, and what came back.
func (s *screen) course(a *WhyAttempt) string {
	if a.Role == "responder" {
		if a.Answer == "response" {
			return fmt.Sprintf("the peer sent %s, and we answered", a.Exchange)
		}
		return fmt.Sprintf("the peer sent %s, we answered %s", a.Exchange, cmp.Or(a.Answer, "nothing"))
	}
	if a.Sent == 0 && a.Answer == "" {
		return "we began " + a.Exchange + ", and sent nothing"
	}
	text := "we sent " + a.Exchange
	if a.Sent > 1 {
		text += fmt.Sprintf(" %d times", a.Sent)
	}
	switch a.Answer {
	case "response":
		text += ", and the peer answered"
	case "":
		text += ", and nothing has come back"
	default:
		text += ", the peer answered " + a.Answer
	}
	if !a.NextSending.IsZero() {
		text += "; next sending in " + a.NextSending.Sub(s.now).Round(100*time.Millisecond).String()
	}
	if a.Cookies > 0 {
		text += fmt.Sprintf("; cookies asked for: %d", a.Cookies)
	}
	return text
}

// sides is the table of what both ends said, and the certificates.
func (s *screen) sides(a *WhyAttempt) {
	if len(a.Rows) > 0 {
		s.columns("", "WE", "PEER", false)
	}
	for _, row := range a.Rows {
		s.columns(row.What, row.Ours, cmp.Or(row.Peers, "(did not say)"), row.Differs)
	}
	for _, c := range a.Certificates {
		whose := "peer's cert"
		if c.Ours {
			whose = "our cert"
		}
		text := fmt.Sprintf("%s, by %s, valid %s to %s", c.Subject, c.Issuer, c.NotBefore.UTC().Format(time.DateOnly), c.NotAfter.UTC().Format(time.DateOnly))
		if c.Fault != "" {
			text += " <- " + c.Fault
		}
		s.line(whose, text)
	}
}

func (s *screen) path(w *Why, a *WhyAttempt) {
	text := w.Local + " to " + w.Remote
	switch {
	case w.Path.NextHop == "":
		text += ", NO ROUTE"
	case w.Path.NextHop == w.Remote:
		text += fmt.Sprintf(", port %s, link %s, neighbour %s", w.Path.Port, w.Path.Link, w.Path.Neighbour)
	default:
		text += fmt.Sprintf(", port %s, link %s, by %s, neighbour %s", w.Path.Port, w.Path.Link, w.Path.NextHop, w.Path.Neighbour)
	}
	if a != nil && a.Answer != "" && a.Exchange != "IKE_SA_INIT" {
		nat := map[string]string{"": "none found", "local": "before us", "remote": "before the peer", "both": "before both"}[a.NAT]
		fragments := map[bool]string{true: "yes", false: "no"}[a.Fragments]
		text += fmt.Sprintf("; NAT: %s; IKE fragments: %s", nat, fragments)
	}
	s.line("path", text)
	for _, n := range []struct {
		label, of string
		note      *WhyNote
	}{{"refused", "by our limits, last", w.Refused}, {"dropped", "from the peer's address, last", w.Dropped}, {"strangers", "from other addresses, last", w.Stray},
		{"unproven", "answers to IKE_SA_INIT not proved to be the peer's, last", w.Unproven}} {
		if n.note != nil {
			s.line(n.label, fmt.Sprintf("%d %s %s ago from %s: %s", n.note.Count, n.of, s.ago(n.note.At), n.note.Remote, n.note.Reason))
		}
	}
	next := ""
	if !w.NextAttempt.IsZero() && w.NextAttempt.After(s.now) {
		next = ", next attempt in " + w.NextAttempt.Sub(s.now).Round(100*time.Millisecond).String()
	}
	s.line("our clock", w.Clock.UTC().Format(time.RFC3339)+next)
}

func (s *screen) ago(then time.Time) string {
	d := s.now.Sub(then)
	if d < time.Minute {
		return max(d, 0).Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// line is a label and text, in as many lines as it takes.
func (s *screen) line(label, text string) {
	for i, part := range wrap(text, screenWidth-labelWidth) {
		if i > 0 {
			label = ""
		}
		fmt.Fprintf(&s.text, "%-*s%s\n", labelWidth, label, part)
	}
}

// columns is a label with two sides, marked where they differ.
func (s *screen) columns(label, ours, peers string, differs bool) {
	left, right := wrap(ours, sideWidth), wrap(peers, sideWidth)
	for i := range max(len(left), len(right)) {
		cell := func(of []string) string {
			if i < len(of) {
				return of[i]
			}
			return ""
		}
		mark := ""
		if differs && i == 0 {
			mark = " <-"
		}
		row := fmt.Sprintf("%-*s%-*s %-*s", labelWidth, label, sideWidth, cell(left), sideWidth, cell(right))
		s.text.WriteString(strings.TrimRight(row, " ") + mark + "\n")
		label = ""
	}
}

// wrap cuts text at spaces into lines of a width, and words that are longer anywhere. What would control a terminal is replaced: part of it a peer wrote.
func wrap(text string, width int) (lines []string) {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && !unicode.IsSpace(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
	line := ""
	for _, word := range strings.Fields(text) {
		for utf8.RuneCountInString(word) > width {
			if line != "" {
				lines, line = append(lines, line), ""
			}
			letters := []rune(word)
			lines, word = append(lines, string(letters[:width])), string(letters[width:])
		}
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	return append(lines, line)
}
