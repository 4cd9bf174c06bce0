package ike

import (
	"net/netip"
	"time"

	"sallyport/ike/internal/admission"
)

// Ledger is what the engines of both versions count together: IKE SAs and Child SAs in all, first messages that may cost a Diffie-Hellman computation, and
// what each limit has refused. Like the engines it is for one goroutine.
type Ledger struct {
	limits      Limits
	established admission.Gauge
	children    admission.Gauge
	prefixes    [2]admission.Networks // of configured peers, of strangers: neither takes from the other
	firsts      admission.Bucket
	refused     [2]map[Reason]uint64 // by IKEv2, by IKEv1
}

// Lengths of the prefixes that have a rate of first messages in common: what one customer of a provider may have.
const (
	prefixIPv4 = 24
	prefixIPv6 = 56
)

// burstOf is how many seconds' worth of first messages may come at once after a rest.
const burstOf = 4

// maxPrefixes bounds the prefixes that are kept account of.
const maxPrefixes = 4096

// NewLedger has counted nothing.
func NewLedger(limits Limits) *Ledger {
	l := &Ledger{refused: [2]map[Reason]uint64{{}, {}}}
	for i := range l.prefixes {
		l.prefixes[i] = admission.Networks{Most: maxPrefixes, IPv4: prefixIPv4, IPv6: prefixIPv6}
	}
	l.Limit(limits)
	return l
}

// Limit sets other limits. What there is beyond them stays.
func (l *Ledger) Limit(limits Limits) {
	l.limits = limits.Complete()
	for i := range l.prefixes {
		l.prefixes[i].Limit(l.limits.InitsPerPrefix, burstOf*l.limits.InitsPerPrefix)
	}
	l.firsts.Limit(l.limits.Inits, burstOf*l.limits.Inits)
}

// Afford says which limit keeps the initiator of a first message, who has shown to be where it says, from costing a Diffie-Hellman computation, or "". Own is
// what its address has for itself. A peer that has authenticated before needs no more than that: whoever else comes, from its network or from everywhere,
// does not keep it out (S-088).
func (l *Ledger) Afford(now time.Time, from netip.Addr, own *admission.Bucket, known bool) Reason {
	switch {
	case !own.Take(now):
		return RefuseProven
	case known:
		return ""
	}
	return l.afford(now, from, 0)
}

func (l *Ledger) afford(now time.Time, from netip.Addr, strangers int) Reason {
	switch {
	case !l.prefixes[strangers].Take(now, from):
		return RefusePrefix
	case !l.firsts.Take(now):
		return RefuseInits
	}
	return ""
}

// FullOfIKESAs reports whether there are as many established IKE SAs in all as there may be. To renew one is no matter of this.
func (l *Ledger) FullOfIKESAs() bool { return l.established.Now >= l.limits.Established }

// FullOfChildSAs is the same of Child SAs.
func (l *Ledger) FullOfChildSAs() bool { return l.children.Now >= l.limits.Children }

// Account is what one peer has of what is limited for each.
type Account struct {
	Established, Children admission.Gauge
	refused               map[Reason]uint64
}

// Establish counts an established IKE SA of a peer's in (by 1) or out (by -1).
func (l *Ledger) Establish(a *Account, by int) {
	l.established.Add(by)
	a.Established.Add(by)
}

// Install counts a Child SA of a peer's in (by 1) or out (by -1).
func (l *Ledger) Install(a *Account, by int) {
	l.children.Add(by)
	a.Children.Add(by)
}

// Refuse counts what a limit has refused. The account is that of the peer in whose name it came, nil where nobody knows one.
func (l *Ledger) Refuse(v Version, reason Reason, a *Account) {
	l.refused[v][reason]++
	if a == nil {
		return
	}
	if a.refused == nil {
		a.refused = map[Reason]uint64{}
	}
	a.refused[reason]++
}

// Refused is what one version has refused by a limit.
func (l *Ledger) Refused(v Version, reason Reason) uint64 { return l.refused[v][reason] }
