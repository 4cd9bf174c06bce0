package ikev1

import (
	"slices"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// S-056, S-063: main mode, then quick mode, make one ISAKMP SA and a pair of IPsec SAs with different SPIs, by nine messages.
func TestUp(t *testing.T) {
	l := join(t, nil, nil)
	var seen []string
	l.twist = func(from *end, payload []byte) []byte {
		seen = append(seen, from.name+" "+kindOf(payload))
		return payload
	}
	l.begin()
	l.run()
	want := []string{"a main mode", "b main mode", "a main mode", "b main mode", "a main mode encrypted", "b main mode encrypted",
		"a quick mode encrypted", "b quick mode encrypted", "a quick mode encrypted"}
	if !slices.Equal(seen, want) {
		t.Errorf("messages are\n%q, expected\n%q", seen, want)
	}
	l.established()
	l.settled(1, 1)
	for _, n := range []*end{l.a, l.b} {
		n.expect(ike.IKEEstablished, "", 1)
		n.expect(ike.ChildEstablished, "", 1)
		n.expect(ike.Dropped, "", 0)
	}
}

// S-060: either end may begin.
func TestOtherEndBegins(t *testing.T) {
	l := join(t, onDemand, nil)
	l.begin()
	l.run()
	l.settled(0, 0)
	l.b.step(ike.Acquire{Peer: "a", Child: "net"})
	l.run()
	l.established()
	l.settled(1, 1)
}

func onDemand(c *ike.Config) {
	c.Peers[0].Children[0].Start, c.Peers[0].Children[0].IdleTimeout = ike.StartOnDemand, -1
}

// algorithms has both ends negotiate with these.
func algorithms(t *testing.T, ikeText, childText string) func(*ike.Config) {
	return func(c *ike.Config) {
		p := &c.Peers[0]
		p.IKEProposals, p.Children[0].Proposals = ikeProposals(t, ikeText), childProposals(t, childText)
	}
}

// S-058, S-064, S-082: the algorithms of both phases, AH and ESP, with perfect forward secrecy and without.
func TestAlgorithms(t *testing.T) {
	for _, c := range []struct{ ike, child string }{
		{"aes256-sha256-modp2048", "aes128gcm16"}, {"aes128-sha256-ecp256", "aes256-sha256-ecp256"}, {"aes256-sha384-ecp384", "aes256gcm16-modp2048"},
		{"aes128-sha512-ecp521", "aes128-sha1-esn"}, {"3des-sha1-modp1024", "3des-sha1"}, {"3des-md5-modp1536", "3des-md5-modp1536"}, {"des-md5-modp768", "des-md5"},
		{"aes128-sha256-ecp256", "null-sha256"}, {"aes128-sha256-ecp256", "AH sha256"}, {"aes128-sha256-ecp256", "AH sha1-modp1024"},
	} {
		t.Run(c.ike+" and "+c.child, func(t *testing.T) {
			change := algorithms(t, c.ike, c.child)
			l := up(t, change, change)
			l.settled(1, 1)
		})
	}
}

// A pre-shared key that differs: the responder cannot read message 5, says nothing, and both say in the end why.
func TestOtherKey(t *testing.T) {
	l := join(t, nil, func(c *ike.Config) { c.Peers[0].PSK = crypto.NewSecret([]byte("battery staple")) })
	l.begin()
	l.advance(29 * time.Second)
	if l.b.count(ike.IKEEstablished, "") != 0 || len(l.b.inbound) != 0 {
		t.Error("an ISAKMP SA with the wrong key")
	}
	l.advance(2 * time.Second)
	l.b.expect(ike.Failed, ike.AuthKey, 1)
	l.advance(2 * time.Minute)
	if l.a.count(ike.Failed, ike.FailTimeout) == 0 {
		t.Errorf("a did not give up:\n%s", l.a.story())
	}
}

// A responder with another pre-shared key may say no by keys that are not ours, as strongSwan does: that is why, when nothing better comes.
func TestUnreadableNo(t *testing.T) {
	l := join(t, nil, func(c *ike.Config) { c.Peers[0].PSK = crypto.NewSecret([]byte("battery staple")) })
	l.begin()
	l.run()
	sa := l.a.engine.peers[0].sas[0]
	no := isakmp.Message{Header: isakmp.Header{Cookies: sa.cookies, NextPayload: isakmp.PayloadHash, Exchange: isakmp.ExchangeInformational, Flags: isakmp.FlagEncryption, MessageID: 9},
		Ciphertext: make([]byte, 64)}
	b, err := no.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	l.a.step(ike.Datagram{Local: sa.local, Remote: sa.remote, Payload: b})
	l.a.expect(ike.Dropped, ike.DropExchange, 1)
	l.a.expect(ike.Failed, "", 0)
	l.advance(80 * time.Second)
	l.a.expect(ike.Failed, ike.AuthKey, 1)
}

// A peer that is somebody else than expected is told so, and nothing stays.
func TestOtherIdentity(t *testing.T) {
	l := join(t, func(c *ike.Config) { c.Peers[0].LocalID = fqdn(t, "gate.example") }, nil)
	l.begin()
	l.advance(20 * time.Second)
	l.b.expect(ike.IKEEstablished, "", 0)
	if l.b.count(ike.Failed, ike.AuthIdentity) == 0 {
		t.Errorf("b took somebody else:\n%s", l.b.story())
	}
	if l.a.count(ike.Failed, ike.FailAuthentication) == 0 || l.a.count(ike.Failed, ike.FailSelectors) != 0 { // it is not about traffic
		t.Errorf("a was not told:\n%s", l.a.story())
	}
}

func fqdn(t *testing.T, name string) ike.Identity {
	t.Helper()
	id, err := ike.ParseIdentity("fqdn:" + name)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Without a proposal in common nothing comes up; the answer in clear is a hint in what a says, and ends nothing.
func TestNoProposal(t *testing.T) {
	l := join(t, nil, func(c *ike.Config) {
		c.Peers[0].IKEProposals = ikeProposals(t, "aes256-sha512-ecp521")
	})
	l.begin()
	l.advance(time.Second)
	if l.b.count(ike.Failed, ike.FailProposal) == 0 || l.a.count(ike.Failed, "") != 0 {
		t.Errorf("after a second a says:\n%s\nand b:\n%s", l.a.story(), l.b.story())
	}
	l.advance(2 * time.Minute)
	i := slices.IndexFunc(l.a.facts, func(f ike.Fact) bool { return f.Kind == ike.Failed })
	if i < 0 || l.a.facts[i].Reason != ike.FailTimeout || l.a.facts[i].Detail != "no answer to message 1 of main mode after 12 sendings; somebody, it may be the peer, said NO-PROPOSAL-CHOSEN" {
		t.Errorf("a says:\n%s", l.a.story())
	}
	if len(l.b.engine.sas) != 0 || len(l.b.engine.asked) != 0 {
		t.Errorf("b keeps %d ISAKMP SAs", len(l.b.engine.sas))
	}
}
