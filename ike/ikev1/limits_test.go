package ikev1_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/ike"
)

var bothVersions = []ike.Version{ike.V2, ike.V1}

// use is what there is of a limit, for all.
func (s *siege) use(limit string) ike.LimitUse {
	list := append(s.gateway.LimitUses(s.now), s.ledger.LimitUses(s.now)...)
	return list[slices.IndexFunc(list, func(u ike.LimitUse) bool { return u.Name == limit && u.Peer == "" })]
}

// ask gives the gateway a first message of its own from a port of the peer's address, and reports whether it was answered.
func (s *siege) ask(octets []byte, port uint16) bool {
	s.asked++
	first := slices.Clone(octets)
	binary.BigEndian.PutUint64(first, uint64(s.asked)<<8|1)
	before := s.answers
	s.step(false, ike.Datagram{Local: netip.AddrPortFrom(gateway, 500), Remote: netip.AddrPortFrom(branch, port), Payload: first})
	return s.answers > before
}

// settle lets everything happen that is on its way.
func (s *siege) settle() {
	for range 20 {
		s.pass(oneWay)
	}
}

// C-18, S-084, S-085: 65,535 ports of one address, of which one has an IKE SA, begin no more than 5 and 35.
func TestPortsOfOneAddress(t *testing.T) {
	for _, v := range bothVersions {
		s := newSiege(v)
		s.limits.CookieThreshold = 1 << 20
		s.begin(branch)
		s.step(true, ike.Tick{})
		s.settle()
		octets := s.opening(t)
		if s.up != 1 {
			t.Fatalf("%v: the peer is not there", v)
		}
		for range 10 {
			s.ask(octets, 500)
		}
		for port := range 65535 {
			s.ask(octets, uint16(port+1))
		}
		all, address, port := s.use(ike.LimitHalfOpen), s.use(ike.LimitHalfOpenPerAddress), s.use(ike.LimitHalfOpenPerPort)
		ofPort := 5
		if v == ike.V2 {
			ofPort /= 2 // the others by a cookie
		}
		if all.Used != 35+ofPort || address.Used != 35 || port.Used != ofPort {
			t.Errorf("%v: %d half-open, %d of the address and %d of the port; expected 35 of the address and %d of the port", v, all.Used, address.Used, port.Used, ofPort)
		}
		refused := address.Refused + port.Refused
		if v == ike.V2 {
			refused += s.use(ike.LimitCookieThreshold).Refused
		}
		if refused != uint64(65535+10-all.Used) {
			t.Errorf("%v: %d refused", v, refused)
		}
	}
}

// S-086: at the limit nothing is answered, and when one has failed, was too slow or is established, one more is.
func TestPlacesComeFree(t *testing.T) {
	for _, v := range bothVersions {
		for _, name := range []string{"failed", "timed out", "established"} {
			t.Run(v.String()+" "+name, func(t *testing.T) {
				s := newSiege(v)
				s.stranger, s.limits.CookieThreshold, s.limits.HalfOpenTimeout = name == "failed", 1<<20, 800*time.Millisecond
				s.begin(branch)
				octets := s.opening(t)
				s.boot(3)
				s.step(true, ike.Tick{})
				s.pass(oneWay) // its first message is answered
				if name == "timed out" {
					s.wire = nil
					s.boot(3)
				}
				s.now = s.now.Add(50 * time.Millisecond)
				for n := 1; n < 35; n++ {
					if !s.ask(octets, 1000+uint16(n)) {
						t.Fatalf("number %d is not answered", n)
					}
				}
				inFlight := s.wire
				for n := range uint16(5) {
					if s.ask(octets, 2000+n) {
						t.Error("answered at the limit")
					}
				}
				s.wire = slices.DeleteFunc(inFlight, func(p flying) bool { return p.toPeer && !s.wanted(p.Datagram) })
				if name == "timed out" {
					s.now = s.now.Add(760 * time.Millisecond)
					s.step(false, ike.Tick{})
				} else {
					s.settle()
				}
				answered := 0
				for n := range uint16(5) {
					if s.ask(octets, 3000+n) {
						answered++
					}
				}
				if answered != 1 || (s.up == 1) != (name == "established") {
					t.Errorf("%d answered, expected 1; %d established\n%+v", answered, s.up, s.use(ike.LimitHalfOpenPerAddress))
				}
			})
		}
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
