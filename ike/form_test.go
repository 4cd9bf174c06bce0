package ike

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike/wire"
	"sallyport/policy"
)

// ahProposals parses proposals of AH.
func ahProposals(t testing.TB, texts ...string) []crypto.Proposal {
	t.Helper()
	var list []crypto.Proposal
	for _, text := range texts {
		p, err := crypto.ParseAHProposal(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

// between is all traffic between the two ends themselves.
func between(local, remote netip.Addr) []policy.Selector {
	return []policy.Selector{{Local: policy.HostRange(local), Remote: policy.HostRange(remote), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}
}

// inTransport puts a side's child into transport mode.
func inTransport(c *Config) {
	p := &c.Peers[0]
	p.Children[0].Transport, p.Children[0].Selectors = true, between(p.Local, p.Remote)
}

// with changes the proposals of a side's child.
func with(proposals []crypto.Proposal) func(*Config) {
	return func(c *Config) { c.Peers[0].Children[0].Proposals = proposals }
}

func both(changes ...func(*Config)) func(*Config) {
	return func(c *Config) {
		for _, change := range changes {
			change(c)
		}
	}
}

// form is how a Child SA protects packets.
type form struct {
	change    func(*Config) // of both sides
	protocol  crypto.Protocol
	transport bool
	esn       bool
}

func forms(t testing.TB) map[string]form {
	return map[string]form{
		"transport":    {both(with(espProposals(t, "aes128gcm16")), inTransport), crypto.ProtocolESP, true, false},
		"AH":           {with(ahProposals(t, "sha256")), crypto.ProtocolAH, false, false},
		"AH transport": {both(with(ahProposals(t, "sha384-esn")), inTransport), crypto.ProtocolAH, true, true},
		"AH with PFS":  {with(ahProposals(t, "aes128gmac-curve25519")), crypto.ProtocolAH, false, false},
		"ESN":          {with(espProposals(t, "aes128gcm16-esn")), crypto.ProtocolESP, false, true},
		"default":      {nil, crypto.ProtocolESP, false, true},
	}
}

// inForm insists on a form at both ends, inbound and outbound.
func (l *link) inForm(f form) {
	l.t.Helper()
	for _, n := range []*end{l.a, l.b} {
		for _, sa := range slices.Concat(slices.Collect(maps.Values(n.inbound)), slices.Collect(maps.Values(n.outbound))) {
			if sa.Protocol != f.protocol || sa.Transport != f.transport || sa.ESN != f.esn || sa.Suite.AH() != (f.protocol == crypto.ProtocolAH) {
				l.t.Errorf("%s: SA %#x is of %v, transport %t, ESN %t, %v", n.name, sa.SPI, sa.Protocol, sa.Transport, sa.ESN, sa.Suite)
			}
		}
		for _, c := range n.engine.Snapshot()[0].Children {
			if c.Protocol != f.protocol || c.Transport != f.transport || c.ESN != f.esn {
				l.t.Errorf("%s: the snapshot has %+v", n.name, c)
			}
		}
	}
}

// Every form of Child SA, begun by either side, comes up, is rekeyed by either side, outlives a rekey of the IKE SA and is deleted, with any one
// message of all that lost.
func TestForms(t *testing.T) {
	for name, f := range forms(t) {
		t.Run(name, func(t *testing.T) {
			for lost := range 24 {
				change := func(c *Config) {
					if f.change != nil {
						f.change(c)
					}
					c.Peers[0].Children[0].Start = StartOnDemand
				}
				l := join(t, change, change)
				first, second := l.a, l.b
				if lost%2 == 1 {
					first, second = l.b, l.a
				}
				l.losing(lost, func() { first.step(Initiate{Peer: first.cfg.Peers[0].Name}) })
				l.established("net")
				l.inForm(f)
				l.losing(lost-4, func() { first.rekey(rekeyChild) })
				l.losing(lost-8, func() { second.rekey(rekeyChild) })
				l.losing(lost-12, func() { second.rekey(rekeyIKE) })
				l.losing(lost-16, func() { first.rekey(rekeyChild) })
				l.established("net")
				l.inForm(f)
				l.losing(lost-20, func() { second.step(Terminate{Peer: second.cfg.Peers[0].Name}) })
				l.consistent()
				if len(l.a.inbound)+len(l.b.inbound)+len(l.a.outbound)+len(l.b.outbound) != 0 {
					t.Errorf("SAs are left: %v %v", l.a.inbound, l.b.inbound)
				}
				if t.Failed() {
					t.Fatalf("message %d lost\n%s\n%s", lost, l.a.story(), l.b.story())
				}
			}
		})
	}
}

// losing lets something happen and loses the i-th message of what comes of it.
func (l *link) losing(i int, happen func()) {
	l.t.Helper()
	happen()
	for n := 0; len(l.wire) > 0; n++ {
		if n == i {
			l.wire = slices.Delete(l.wire, 0, 1)
			continue
		}
		l.deliver(0)
	}
	l.advance(20 * time.Second)
}

// S-064: for each thing that a Child SA is negotiated by, ends that have nothing in common get none, in either role, and no packet has an SA to
// leave by. Lifetimes are each end's own in IKEv2 (RFC 7296 2.8): those that differ never keep a Child SA from coming up, and the shorter one
// renews it for both.
func TestChildMismatch(t *testing.T) {
	esp := func(text string) func(*Config) { return with(espProposals(t, text)) }
	for name, c := range map[string]struct {
		changeA, changeB func(*Config)
		reasons          []Reason // at either end: who is asked may say it, or who asks
	}{
		"encryption": {esp("aes128gcm16"), esp("aes256gcm16"), []Reason{FailProposal}},
		"hash":       {esp("aes128-sha256"), esp("aes128-sha384"), []Reason{FailProposal}},
		"hash of AH": {with(ahProposals(t, "sha256")), with(ahProposals(t, "sha384")), []Reason{FailProposal}},
		"AH or ESP":  {with(ahProposals(t, "sha256")), esp("aes128-sha256"), []Reason{FailProposal}},
		"numbers":    {esp("aes128gcm16-esn"), esp("aes128gcm16"), []Reason{FailProposal}},
		"mode":       {inTransport, sameTraffic, []Reason{FailMode, FailProposal}},
		"description": {nil, func(c *Config) {
			c.Peers[0].Children[0].Selectors = []policy.Selector{selector("10.9.0.0/24", "10.8.0.0/24")}
		}, []Reason{FailSelectors}},
	} {
		for _, beginner := range []string{"a", "b"} {
			t.Run(name+" begun by "+beginner, func(t *testing.T) {
				l := join(t, both(onDemand, orNothing(c.changeA)), both(onDemand, orNothing(c.changeB)))
				n := l.a
				if beginner == "b" {
					n = l.b
				}
				n.step(Initiate{Peer: n.cfg.Peers[0].Name})
				l.run()
				l.established()
				for range 5 { // packets that ask again
					n.step(Acquire{Peer: n.cfg.Peers[0].Name, Child: "net"})
					l.advance(time.Minute)
					l.established()
				}
				failed := 0
				for _, reason := range c.reasons {
					failed += n.count(Failed, reason)
				}
				if failed < 3 || len(l.a.cells)+len(l.b.cells)+len(l.a.inbound)+len(l.b.inbound) != 0 {
					t.Errorf("%d failures, cells %v and %v\n%s", failed, l.a.cells, l.b.cells, n.story())
				}
			})
		}
	}
}

func orNothing(change func(*Config)) func(*Config) {
	if change == nil {
		return func(*Config) {}
	}
	return change
}

func onDemand(c *Config) { c.Peers[0].Children[0].Start = StartOnDemand }

// sameTraffic is the traffic of inTransport in tunnel mode.
func sameTraffic(c *Config) {
	inTransport(c)
	c.Peers[0].Children[0].Transport = false
}

// The details say which mode each end wants.
func TestModeMismatchIsSaid(t *testing.T) {
	for _, c := range []struct {
		changeA, changeB func(*Config)
		at               func(*link) *end
		want             string
	}{
		{inTransport, sameTraffic, func(l *link) *end { return l.a }, "peer answered with tunnel mode, we asked for transport mode"},
		{sameTraffic, inTransport, func(l *link) *end { return l.b }, "peer asks for tunnel mode, child net is of transport mode"},
	} {
		l := join(t, c.changeA, c.changeB)
		l.begin()
		l.run()
		if failed := c.at(l).failures(); len(failed) == 0 || failed[0].Reason != FailMode || failed[0].Detail != c.want {
			t.Errorf("%v, expected %q", failed, c.want)
		}
	}
}

// Of two children for the same traffic the peer's mode tells which is meant.
func TestModeChoosesChild(t *testing.T) {
	l := up(t, both(with(espProposals(t, "aes128gcm16")), inTransport), func(c *Config) {
		sameTraffic(c)
		second := c.Peers[0].Children[0]
		c.Peers[0].Children[0].Name, second.Transport = "tunnel", true
		c.Peers[0].Children = append(c.Peers[0].Children, second)
	})
	l.inForm(form{nil, crypto.ProtocolESP, true, false})
}

// A NAT before the initiator, transport mode (RFC 7296 2.23.1): each end's selectors have the addresses that it sees.
func TestTransportAcrossNAT(t *testing.T) {
	public := netip.MustParseAddr("203.0.113.7")
	l := join(t, inTransport, both(behind(public.String()), inTransport))
	l.masquerade(public.String(), 20000)
	l.begin()
	l.run()
	l.established("net")
	l.a.rekey(rekeyChild)
	l.run()
	l.b.rekey(rekeyChild)
	l.advance(time.Minute)
	l.established("net")
	for _, c := range []struct {
		n             *end
		local, remote netip.Addr
	}{{l.a, addrA, addrB}, {l.b, addrB, public}} {
		sa := c.n.outbound[c.n.cells["net"]]
		if !sa.Transport || !sa.UDPEncap || !slices.Equal(sa.Selectors, between(c.local, c.remote)) {
			t.Errorf("%s: %+v", c.n.name, sa)
		}
	}
}

// A peer names its SAs of AH and of ESP apart: a delete or a rekey of one protocol does not touch the other (RFC 7296 3.11).
func TestProtocolsAreApart(t *testing.T) {
	l := up(t, with(ahProposals(t, "sha256")), with(ahProposals(t, "sha256")))
	spi := l.a.outbound[l.a.cells["net"]].PairSPI
	l.ask(wire.ExchangeInformational, &wire.Delete{Protocol: wire.ProtocolESP, SPIs: []uint32{spi}})
	if len(l.b.inbound) != 1 {
		t.Error("b deleted an SA of AH at a delete of ESP")
	}
	answer := l.ask(wire.ExchangeInformational, &wire.Delete{Protocol: wire.ProtocolAH, SPIs: []uint32{spi}})
	d := wire.Find[*wire.Delete](answer)
	if len(l.b.outbound) != 0 || d == nil || d.Protocol != wire.ProtocolAH || len(d.SPIs) != 1 {
		t.Errorf("b answered the delete of AH with %v", answer)
	}
}

// What a configuration may not ask for.
func TestValidateForms(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"is of transport mode and has selector": func(c *Config) { c.Peers[0].Children[0].Transport = true },
		"expected ESP or AH": func(c *Config) {
			c.Peers[0].Children[0].Proposals = ikeProposals(t, "aes128gcm16-prfsha256-curve25519")
		},
	} {
		c := sideA(t)
		change(&c)
		if err := ValidatePeers(c.Peers); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, expected %q", err, want)
		}
	}
}
