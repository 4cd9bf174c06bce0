package traffic

import (
	"cmp"
	"fmt"
	"time"
)

// Verdict is what a trial says of the target, in a word: the worst that was found.
type Verdict string

// From the worst to the best. Loss is no fault of a target that is offered more than it can take: it is in the counts.
const (
	Down         Verdict = "down"          // nobody answers for the gateway's address
	NoTunnels    Verdict = "no-tunnels"    // IKE has made none of the tunnels: nothing was sent
	SomeTunnels  Verdict = "some-tunnels"  // IKE has made some of them: nothing was sent
	Silent       Verdict = "silent"        // nothing came back
	Leaks        Verdict = "leaks"         // what should have been protected arrived in clear
	Reflects     Verdict = "reflects"      // frames come back by the port that sent them
	Mangles      Verdict = "mangles"       // packets arrive changed
	OtherAddress Verdict = "other-address" // packets arrive from or for other addresses, or by another tunnel
	Unreadable   Verdict = "unreadable"    // ESP arrives that the SAs cannot open
	Stopped      Verdict = "stopped"       // what was sent last did not arrive
	Nothing      Verdict = "nothing-sent"  // the tester sent nothing
	Forwards     Verdict = "forwards"
)

// Forwarded says whether counts and times are those of a gateway that does what it should.
func (v Verdict) Forwarded() bool { return v == Forwards }

// text is the verdict as it is printed.
func (v Verdict) text() string {
	return cmp.Or(string(v), "interrupted before there was something to judge")
}

// judge finds the verdict, and what there is to say beside it. Of who was interrupted before anything arrived there is none: it may have been under way.
func (r *Result) judge() {
	defer func() {
		if r.Interrupted && (r.Verdict == Silent || r.Verdict == Nothing) {
			r.Verdict = ""
		}
	}()
	r.Verdict = Forwards
	say := func(v Verdict, count uint64, format string, args ...any) {
		if count == 0 {
			return
		}
		r.Findings = append(r.Findings, fmt.Sprintf(format, args...))
		if r.Verdict == Forwards {
			r.Verdict = v
		}
	}
	_, sent, _ := r.Totals()
	if sent == 0 {
		say(Nothing, 1, "nothing was sent")
	}
	for _, p := range r.Ports {
		say(Leaks, p.Cleartext, "%s port: %d packets in clear that should have been ESP", p.Name, p.Cleartext)
	}
	for _, p := range r.Ports {
		say(Reflects, p.Reflected, "%s port: %d frames came back that were sent there", p.Name, p.Reflected)
	}
	for _, p := range r.Ports {
		say(Mangles, p.Mangled, "%s port: %d packets arrived changed", p.Name, p.Mangled)
	}
	for _, p := range r.Ports {
		say(OtherAddress, p.OtherAddress, "%s port: %d packets from or for other addresses than they should have", p.Name, p.OtherAddress)
		say(OtherAddress, p.OtherTunnel, "%s port: %d packets by the SA of another tunnel", p.Name, p.OtherTunnel)
		say(OtherAddress, p.Usurped, "%s port: %d answers by somebody else for addresses that are the tester's", p.Name, p.Usurped)
		say(OtherAddress, p.Rivals, "%s port: %d answers for the gateway's address by a second MAC address", p.Name, p.Rivals)
	}
	for _, p := range r.Ports {
		say(Unreadable, p.Integrity, "%s port: %d packets of ESP whose integrity check failed: the keys differ, or somebody changed them", p.Name, p.Integrity)
		say(Unreadable, p.UnknownSPI, "%s port: %d packets of ESP with an SPI of no tunnel", p.Name, p.UnknownSPI)
		say(Unreadable, p.Malformed, "%s port: %d packets of ESP with a wrong length or padding, or without a packet inside", p.Name, p.Malformed)
	}
	for _, s := range r.Streams {
		if s.Sent > 0 && s.Received == 0 {
			say(Silent, 1, "stream %s: none of %d packets arrived", s.Name, s.Sent)
			if r.Sequence > 0 && s.Direction == Inbound {
				say(Silent, 1, UsedNumbers)
			}
		} else if s.Quiet >= stopsAfter.Seconds() && s.Quiet*s.SentPackets >= stopsBehind {
			say(Stopped, 1, "stream %s: nothing arrived of what was sent in the last %.2g s: the target has stopped, or stood still", s.Name, s.Quiet)
		}
	}
	r.remark()
}

// Who forwards nothing for so long, of so many packets that were sent meanwhile, has stopped; loss alone leaves no such gaps.
const (
	stopsAfter  = 500 * time.Millisecond
	stopsBehind = 100
)

// UsedNumbers is why a gateway may drop all that comes by SAs with keys given by hand.
const UsedNumbers = "a gateway drops sequence numbers that it has had: after an earlier run by the same SAs, give the --sequence that it printed"

// remark says what is no fault of the target.
func (r *Result) remark() {
	remark := func(count uint64, format string, args ...any) {
		if count > 0 {
			r.Findings = append(r.Findings, fmt.Sprintf(format, args...))
		}
	}
	for _, s := range r.Streams {
		remark(s.Missed, "stream %s: this machine was late for %d of %d packets: it makes %.0f packets/s of the %.0f that were wished", s.Name, s.Missed, s.Offered,
			s.SentPackets, s.SentPackets*float64(s.Offered)/float64(max(s.Sent, 1)))
		remark(s.Withheld, "stream %s: %d packets were due while their tunnel was not there, and not sent", s.Name, s.Withheld)
		remark(s.Unsent, "stream %s: the port had no room for %d packets until the end", s.Name, s.Unsent)
		if s.Exhausted {
			remark(1, "stream %s: an SA has no sequence number left, or a packet did not fit: the stream ended early", s.Name)
		}
	}
	for _, p := range r.Ports {
		remark(p.Missed+p.Errors+p.NoBuffer, "%s port: the tester's own port lost %d frames", p.Name, p.Missed+p.Errors+p.NoBuffer)
		remark(p.Fragments, "%s port: %d fragments, which are not put together: try smaller frames", p.Name, p.Fragments)
		remark(p.Stale, "%s port: %d packets of an earlier trial", p.Name, p.Stale)
	}
}
