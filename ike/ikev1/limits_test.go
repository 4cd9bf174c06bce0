package ikev1_test

import (
	"net/netip"
	"slices"
	"testing"

	"sallyport/ike"
)

var bothVersions = []ike.Version{ike.V2, ike.V1}

// use is what there is of a limit, for all.
func (s *siege) use(limit string) ike.LimitUse {
	list := append(s.gateway.LimitUses(s.now), s.ledger.LimitUses(s.now)...)
	return list[slices.IndexFunc(list, func(u ike.LimitUse) bool { return u.Name == limit && u.Peer == "" })]
}

// settle lets everything happen that is on its way.
func (s *siege) settle() {
	for range 20 {
		s.pass(oneWay)
	}
}

// S-087: established IKE SAs stop at their limit, before a Diffie-Hellman computation; those that are there stay, may be renewed, and begin anew.
func TestEstablishedAreLimited(t *testing.T) {
	for _, v := range bothVersions {
		var at []netip.Addr
		for i := range byte(5) {
			at = append(at, netip.AddrFrom4([4]byte{192, 0, 2, 10 + i}))
		}
		s := newSiege(v)
		s.limits.Established = 3
		s.begin(at...)
		connect := func(i int) {
			s.wire, s.at = nil, at[i]
			s.boot(byte(10 + s.up + i))
			s.step(true, ike.Tick{})
			for range 10 {
				s.settle()
			}
		}
		for i := range at {
			connect(i)
		}
		if n := s.use(ike.LimitEstablished); n.Used != 3 || n.Most != 3 || n.Refused == 0 || s.up != 3 || s.ended != 0 {
			t.Errorf("%v: %+v, %d established and %d ended, expected 3 and 0", v, n, s.up, s.ended)
		}
		if n := s.use(ike.LimitRatePerAddress); n.Most > 1 {
			t.Errorf("%v: %+v", v, n)
		}
		connect(0) // which has lost all, and says so
		if n := s.use(ike.LimitEstablished); n.Used != 3 || s.up != 4 || s.ended != 1 {
			t.Errorf("%v: %+v, %d established and %d ended after one began anew, expected 4 and 1", v, n, s.up, s.ended)
		}
		s.step(false, ike.Terminate{Peer: "at " + at[0].String()})
		s.settle()
		connect(4)
		if s.up != 5 || s.use(ike.LimitEstablished).Used != 3 {
			t.Errorf("%v: %d established when there was room again", v, s.up)
		}
	}
}

// Child SAs of one peer, and of all, stop at their limit; those that are there stay, and are renewed.
func TestChildrenAreLimited(t *testing.T) {
	for _, v := range bothVersions {
		for limit, limits := range map[string]ike.Limits{ike.LimitChildrenPerPeer: {ChildrenPerPeer: 2}, ike.LimitChildren: {Children: 2}} {
			s := newSiege(v)
			s.limits, s.rules = limits, 3
			s.begin(branch)
			s.boot(3)
			s.step(true, ike.Tick{})
			for range 10 {
				s.settle()
			}
			n := s.use(limit)
			if n.Used != 2 || n.Most != 2 || n.Refused == 0 || s.lost != 0 {
				t.Errorf("%v: %+v, %d Child SAs ended; expected 2 in use", v, n, s.lost)
			}
			s.step(true, ike.Rekey{Peer: "at " + gateway.String(), Child: "0 to " + gateway.String()})
			for range 400 { // what is replaced goes
				s.settle()
			}
			if n := s.use(limit); n.Used != 2 {
				t.Errorf("%v: %+v after a rekey", v, n)
			}
		}
	}
}
