package ike

import (
	"testing"
	"time"

	"sallyport/ike/wire"
)

// authOfA delivers up to a's IKE_AUTH request and says whether that asks for a Child SA.
func (l *link) authOfA() (asks bool) {
	l.t.Helper()
	l.begin()
	l.deliver(0)
	l.deliver(0)
	l.expectWire("a: IKE_AUTH request 1")
	sa := l.b.engine.lookup(l.header(0))
	m, err := sa.open(Datagram{Local: l.wire[0].dest, Remote: l.wire[0].source, Payload: l.wire[0].payload})
	if err != nil {
		l.t.Fatal(err)
	}
	return wire.Find[*wire.SA](m.Payloads) != nil
}

// a: IKE_AUTH without SA; b: IKE_AUTH without SA; a: CREATE_CHILD_SA (RFC 6023). Each message lost once.
func TestChildless(t *testing.T) {
	childless := func(c *Config) { c.Peers[0].Childless = true }
	l := join(t, childless, nil)
	if l.authOfA() {
		t.Fatal("a asks for a Child SA in IKE_AUTH")
	}
	l.deliver(0)
	l.expectWire("b: IKE_AUTH response 1")
	l.deliver(0)
	l.expectWire("a: CREATE_CHILD_SA request 2")
	l.run()
	l.established("net")
	for lost := range 6 {
		l := join(t, childless, nil)
		l.losing(lost, l.begin)
		l.established("net")
	}
}

// A child that is no longer wanted by the time of IKE_AUTH is not made, and the IKE SA is there without one.
func TestChildlessWhenNothingIsWanted(t *testing.T) {
	l := join(t, onDemand, nil)
	l.a.step(Initiate{Peer: "b", Child: "net"})
	l.deliver(0)
	l.a.engine.byName["b"].slots[0].wanted = false
	l.run()
	l.established()
	l.a.step(Acquire{Peer: "b", Child: "net"})
	l.run()
	l.established("net")
}

// A peer that must have a Child SA in IKE_AUTH gets one, wanted or not (RFC 6023 3).
func TestChildlessIsNotForEveryPeer(t *testing.T) {
	l := join(t, func(c *Config) { c.Peers[0].Childless = true }, nil)
	l.begin()
	l.deliver(0)
	l.a.engine.byName["b"].sas[0].childless = false
	l.deliver(0)
	l.a.engine.byName["b"].sas[0].childless = false
	l.run()
	l.established("net")
}

// S-082: session-key PFS is a KE payload, and no authentication, in each exchange that makes a Child SA, the first one included; it must be on at
// both ends, or there is no Child SA; without it there is no KE payload.
func TestPFS(t *testing.T) {
	pfs, none := with(espProposals(t, "aes128gcm16-curve25519")), with(espProposals(t, "aes128gcm16"))
	for name, c := range map[string]struct {
		a, b  func(*Config)
		comes bool
		group string
	}{
		"both":    {pfs, pfs, true, "Curve25519"},
		"a alone": {pfs, none, false, ""},
		"b alone": {none, pfs, false, ""},
		"none":    {none, none, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := join(t, c.a, c.b)
			l.begin()
			l.advance(time.Minute)
			if !c.comes {
				l.advance(2 * time.Hour) // what IKE_AUTH, which has no KE payload, let pass is not renewed
				l.established()
				if l.a.count(Failed, FailProposal)+l.a.count(Failed, FailKE) == 0 {
					t.Errorf("no failure\n%s", l.a.story())
				}
				return
			}
			l.established("net")
			for range 3 {
				if got := l.a.engine.Snapshot()[0].Children[0].PFS; (got == "") != (c.group == "") {
					t.Errorf("Child SA with PFS %q, expected %q", got, c.group)
				}
				l.a.rekey(rekeyChild)
				l.advance(time.Minute)
			}
			l.a.expect(IKEEstablished, "", 1)
		})
	}
}

// S-083: master-key PFS makes an IKE SA, with authentication, for every Child SA, against a peer that does not have it set; whichever end has, and
// whatever ends the Child SA's life.
func TestMasterPFS(t *testing.T) {
	const rekeys = 10
	master := func(c *Config) { c.Peers[0].MasterPFS = true }
	for name, sides := range map[string][2]func(*Config){"a": {master, nil}, "b": {nil, master}} {
		t.Run(name, func(t *testing.T) {
			l := up(t, sides[0], sides[1])
			n := l.a
			if name == "b" {
				n = l.b
			}
			for range rekeys {
				before := n.cells["net"]
				n.step(Expire{SPI: n.outbound[before].PairSPI})
				l.advance(time.Minute)
				l.established("net")
				if n.cells["net"] == before {
					t.Errorf("packets leave by SPI %#x still", before)
				}
			}
			for _, n := range []*end{l.a, l.b} {
				n.expect(IKEEstablished, "", 1+rekeys)
				n.expect(ChildEstablished, "", 1+rekeys)
				n.expect(ChildRekeyed, "", 0)
			}
		})
	}
}
