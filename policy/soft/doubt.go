package soft

import (
	"net/netip"
	"time"
)

// What puts silence in doubt: the peer may have spoken, or may never have been spoken to.

// Lost takes word that messages to an IKE port may have been dropped unread: nobody who waits can know that its peer is silent.
func (b *Book) Lost(now time.Time) {
	if b.waits == 0 {
		return // a flood loses some all the time, and most of many thousand peers have nothing that waits
	}
	for _, p := range b.peers {
		b.doubt(now, p, Lost)
	}
}

// Unsent takes word that a message to a peer did not leave: silence would be ours.
func (b *Book) Unsent(now time.Time, to netip.Addr) {
	for _, p := range b.at[to] {
		b.doubt(now, p, Unsent)
	}
}

// doubt has what waits for a peer begin anew when it asks again.
func (b *Book) doubt(now time.Time, p *peer, why Reason) {
	if n := len(p.waits); n > 0 {
		p.doubted, p.why = now, why
		b.counts.refused[why] += uint64(n)
		b.drop(p)
	}
}

// drop forgets all that waits for a peer.
func (b *Book) drop(p *peer) {
	b.waits -= len(p.waits)
	clear(p.waits)
}

// Sent takes word that a message of IKE is about to go to an address, and says whether the silence of a peer there would give a soft SA.
func (b *Book) Sent(now time.Time, to netip.Addr) (counts bool) {
	for _, p := range b.at[to] {
		p.sent = now
		counts = counts || len(p.waits) > 0
	}
	return counts
}

// LastSent is where a peer is, and when the last message went there; not valid for a peer that the book does not know.
func (b *Book) LastSent(name string) (to netip.Addr, at time.Time) {
	if p := b.peers[name]; p != nil {
		to, at = p.Remote, p.sent
	}
	return to, at
}
