package ike

import (
	"testing"
	"time"
)

// S-078: time, bytes and packets each end a Child SA's life alone, whichever is used up first: at its soft limit a rekey takes its place, and no later
// than at its hard one it is gone. Both directions have limits of their own.
func TestLifetimesByVolume(t *testing.T) {
	limited := func(c *Config) {
		c.Peers[0].Children[0].Life = Volume{Packets: 1000, Bytes: 1 << 20}
		c.Peers[0].Children[0].RekeyTime = time.Hour
	}
	for name, spend := range map[string]func(*link){
		"inbound":  func(l *link) { l.a.step(Expire{SPI: l.a.outbound[l.a.cells["net"]].PairSPI}) },
		"both":     func(l *link) { l.expireBoth() },
		"time":     func(l *link) { l.advance(time.Hour) },
		"responds": func(l *link) { l.b.step(Expire{SPI: l.b.outbound[l.b.cells["net"]].PairSPI}) },
	} {
		t.Run(name, func(t *testing.T) {
			l := up(t, limited, limited)
			for _, n := range []*end{l.a, l.b} {
				for _, sa := range []ChildSA{n.outbound[n.cells["net"]], n.inbound[n.outbound[n.cells["net"]].PairSPI]} {
					soft, hard := sa.Soft, sa.Hard
					if soft.Packets < 900 || soft.Packets > 1000 || hard.Packets != 1100 || soft.Bytes < 9<<20/10 || soft.Bytes > 1<<20 || hard.Bytes < 11<<20/10 {
						t.Errorf("%s: SA %#x has limits %+v and %+v", n.name, sa.SPI, soft, hard)
					}
				}
			}
			before := l.a.cells["net"]
			spend(l)
			l.advance(time.Minute)
			l.established("net")
			want := 1
			if name == "both" { // two were made, and one of them is gone
				want = 2
			}
			if l.a.cells["net"] == before || l.a.count(ChildRekeyed, "") != want {
				t.Errorf("%d rekeys, expected %d", l.a.count(ChildRekeyed, ""), want)
			}
		})
	}
	l := up(t, nil, nil)
	if sa := l.a.outbound[l.a.cells["net"]]; sa.Soft != (Volume{}) || sa.Hard != (Volume{}) {
		t.Errorf("limits %+v and %+v without any configured", sa.Soft, sa.Hard)
	}
}

// expireBoth tells both ends at once that the SA is used up: two rekeys cross.
func (l *link) expireBoth() {
	l.a.step(Expire{SPI: l.a.outbound[l.a.cells["net"]].PairSPI})
	l.b.step(Expire{SPI: l.b.outbound[l.b.cells["net"]].PairSPI})
	l.run()
}

// A rekey that the peer refuses is tried again, and the hard limit ends the Child SA.
func TestHardVolume(t *testing.T) {
	l := up(t, nil, nil)
	l.b.noSPI = true
	spi := l.a.outbound[l.a.cells["net"]].PairSPI
	l.a.step(Expire{SPI: spi})
	l.run()
	l.established("net")
	l.a.step(Expire{SPI: spi, Hard: true})
	l.run()
	l.established()
	l.a.expect(ChildDeleted, DeletedExpired, 1)
	l.b.noSPI = false
	l.advance(time.Minute)
	l.established("net")
}

// S-077: an IKE SA makes as many Child SAs as its limit says, in either role, and for the next one another takes its place first, at whichever end the
// limit is. The end of its own time leaves the Child SAs as they are.
func TestChildLimit(t *testing.T) {
	const limit, rekeys = 3, 12
	limited := func(c *Config) { c.Peers[0].ChildLimit = limit }
	for name, sides := range map[string][2]func(*Config){"a's": {limited, nil}, "b's": {nil, limited}, "both": {limited, limited}} {
		for _, beginner := range []string{"a", "b"} {
			t.Run(name+" limit, begun by "+beginner, func(t *testing.T) {
				l := up(t, sides[0], sides[1])
				n := l.a
				if beginner == "b" {
					n = l.b
				}
				for i := range rekeys {
					n.rekey(rekeyChild)
					l.advance(time.Minute)
					l.established("net")
					if made, want := l.a.count(IKERekeyed, ""), (i+1)/limit; made != want {
						t.Fatalf("%d Child SAs have taken %d rekeys of the IKE SA, expected %d\n%s", i+2, made, want, l.a.story())
					}
				}
				if n := l.a.count(ChildRekeyed, ""); n != rekeys {
					t.Errorf("%d rekeys, expected %d", n, rekeys)
				}
			})
		}
	}
}

// S-077: at the end of its time the IKE SA is replaced and the Child SA goes on; no number of octets ends an IKE SA.
func TestIKELifetimeSparesChildren(t *testing.T) {
	l := up(t, func(c *Config) { c.Peers[0].RekeyTime, c.Peers[0].Children[0].RekeyTime = time.Hour, 100*time.Hour }, nil)
	before := l.a.cells["net"]
	for range 70 {
		l.advance(time.Minute)
		l.traffic()
	}
	l.run()
	l.established("net")
	l.a.expect(IKERekeyed, "", 1)
	if l.a.cells["net"] != before && l.b.count(ChildRekeyed, "") == 0 || l.lost != 0 {
		t.Errorf("SPI %#x before and %#x after, %d packets lost", before, l.a.cells["net"], l.lost)
	}
}

// Many children wait for an IKE SA that may make them, and all come up.
func TestChildLimitWithSeveral(t *testing.T) {
	one := func(c *Config) { c.Peers[0].ChildLimit = 1 }
	l := join(t, both(withVoice(false), one), both(withVoice(true), one))
	l.begin()
	l.advance(time.Minute)
	l.established("net", "voice")
	if n := l.a.count(IKERekeyed, ""); n != 1 {
		t.Errorf("%d rekeys of the IKE SA for two Child SAs, expected 1", n)
	}
}
