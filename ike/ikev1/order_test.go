package ikev1

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"sallyport/ike"
)

// recorded is all that the two ends say until a tunnel is up: the same in every run, for their randomness is.
func recorded(t *testing.T) (talk []packet) {
	t.Helper()
	l := join(t, nil, nil)
	l.mishaps(func(_ int, p packet) []packet {
		talk = append(talk, p)
		return []packet{p}
	})
	l.begin()
	l.run()
	l.established()
	return talk
}

// S-056: whichever genuine message of main mode or quick mode comes before its turn, it makes no SA, nothing is answered, and the negotiation goes on as if it had not come;
// nothing of quick mode is taken while main mode is not done. Each message is given to its receiver at each point before the one that it answers.
func TestEachMessageTooEarly(t *testing.T) {
	talk := recorded(t)
	if len(talk) != messages {
		t.Fatalf("%d messages, expected %d", len(talk), messages)
	}
	for done := range talk {
		for early := done + 1; early < len(talk); early++ {
			if !slices.ContainsFunc(indices(done, early), func(i int) bool { return talk[i].to.name == talk[early].to.name }) {
				continue // it is what its receiver waits for
			}
			t.Run(fmt.Sprintf("message %d after %d", early+1, done), func(t *testing.T) {
				l := join(t, nil, nil)
				l.begin()
				for range done {
					l.deliver(0)
				}
				p := talk[early]
				to := l.a
				if p.to.name == "b" {
					to = l.b
				}
				sends, before := to.sends, to.count(ike.IKEEstablished, "")+to.count(ike.ChildEstablished, "")+len(to.inbound)
				to.step(ike.Datagram{Local: p.dest, Remote: p.source, Payload: slices.Clone(p.payload)})
				if after := to.count(ike.IKEEstablished, "") + to.count(ike.ChildEstablished, "") + len(to.inbound); after != before || to.sends != sends {
					t.Errorf("%s has %d SAs, expected %d, and sends %d datagrams:\n%s", to.name, after, before, to.sends-sends, to.story())
				}
				to.expect(ike.Dropped, "", 1)
				l.advance(30 * time.Second)
				l.established()
				l.settled(1, 1)
			})
		}
	}
}

// indices are those from first up to last, without it.
func indices(first, last int) (list []int) {
	for i := first; i < last; i++ {
		list = append(list, i)
	}
	return list
}

// S-062: of a fixed number of messages made from genuine ones, and of octets, none has the engine panic, and none that cannot be read has it answer or remember anything.
func TestUnreadable(t *testing.T) {
	const cases = 50000
	talk, random := recorded(t), rand.New(seeded(5))
	l := up(t, nil, nil)
	sa := l.b.engine.peers[0].carrier()
	sent := l.b.sends
	for range cases {
		b := slices.Clone(talk[random.IntN(len(talk))].payload)
		switch random.IntN(4) {
		case 0: // another length, which the header does not give
			b = b[:random.IntN(len(b))]
		case 1:
			b = append(b, make([]byte, 1+random.IntN(64))...)
		case 2: // payloads that end elsewhere, of a message in clear that begins a main mode
			b = slices.Clone(talk[0].payload)
			b[28+2] = 0x7f // the length of the SA payload
			b[random.IntN(8)] ^= byte(1 + random.IntN(255))
		case 3: // ciphertext that is no whole blocks, of the ISAKMP SA that is there
			b = append(b[:28:28], make([]byte, 1+random.IntN(15))...)
			copy(b, sa.cookies.CookieOctets())
			b[16], b[19], b[27] = 8, 1, byte(len(b))
			b[24], b[25], b[26] = 0, 0, 0
		}
		l.toB(b)
	}
	if l.b.sends != sent {
		t.Errorf("%d answers", l.b.sends-sent)
	}
	l.b.expect(ike.Dropped, "", cases)
	if e := l.b.engine; len(e.sas) != 1 || len(e.asked) > 1 || len(sa.quick) != 0 || len(sa.used) != 1 || e.halfOpen.Total() != 0 || len(e.untaken) > 1 || e.timers.Len() > 8 {
		t.Errorf("%d ISAKMP SAs, %d main modes, %d quick modes, %d message IDs, %d half-open, %d timers", len(e.sas), len(e.asked), len(sa.quick), len(sa.used), e.halfOpen.Total(), e.timers.Len())
	}
	l.b.facts = nil
	l.established()
	l.settled(1, 1)
}
