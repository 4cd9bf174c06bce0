package ike

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// followed makes both SAs have additional key exchanges.
func followed(t testing.TB) func(*Config) {
	return func(c *Config) {
		c.Peers[0].IKEProposals = ikeProposals(t, hybrid)
		c.Peers[0].Children[0].Proposals = espProposals(t, "aes128gcm16-ecp256-ke1_mlkem512-ke2_mlkem768")
	}
}

// Rekeys of both SAs have their additional key exchanges, by either end, and new ones each time.
func TestFollowupRekeys(t *testing.T) {
	l := up(t, followed(t), followed(t))
	for _, n := range []*end{l.a, l.b} {
		for _, what := range []Rekey{rekeyIKE, rekeyChild, rekeyChild, rekeyIKE} {
			n.rekey(what)
			l.advance(10 * time.Second)
			l.established("net")
			a, b := oneIKE(l.a), oneIKE(l.b)
			if !a.keys.d.Equal(b.keys.d) || a.unfinished != nil || b.unfinished != nil {
				t.Error("the two ends have other keys, or something unfinished")
			}
		}
	}
	info := l.a.engine.Snapshot()[0]
	if want := ikeProposals(t, hybrid)[0].String(); info.Proposal != want {
		t.Errorf("after rekeys %s, expected %s", info.Proposal, want)
	}
	if found := oneIKE(l.a).children[0].chosen.further(); !slices.Equal(found, []crypto.DHID{crypto.DHMLKEM512, crypto.DHMLKEM768}) {
		t.Errorf("Child SA has %v", found)
	}
}

// Additional key exchanges, and what crosses them, with every accident to their messages.
func TestFollowupsWithAccidents(t *testing.T) {
	net := outcome{children: []string{"net"}}
	for name, c := range map[string]struct {
		begin   func(*link)
		outcome outcome
	}{
		"child by a":                    {func(l *link) { l.a.rekey(rekeyChild) }, net},
		"child by both":                 {func(l *link) { l.a.rekey(rekeyChild); l.b.rekey(rekeyChild) }, net},
		"IKE by a":                      {func(l *link) { l.a.rekey(rekeyIKE) }, net},
		"IKE by both":                   {func(l *link) { l.a.rekey(rekeyIKE); l.b.rekey(rekeyIKE) }, net},
		"IKE by a, child by b":          {func(l *link) { l.a.rekey(rekeyIKE); l.b.rekey(rekeyChild) }, net},
		"child and IKE by a":            {func(l *link) { l.a.rekey(rekeyChild); l.a.rekey(rekeyIKE) }, net},
		"child by a, child ends at b":   {func(l *link) { l.a.rekey(rekeyChild); l.b.expire() }, outcome{children: []string{"net"}, mayLose: true}},
		"child by a, the end at b":      {func(l *link) { l.a.rekey(rekeyChild); l.b.down() }, outcome{children: []string{"net"}, mayLose: true}},
		"IKE by a, authentication by b": {func(l *link) { l.a.rekey(rekeyIKE); l.b.reauth() }, net},
	} {
		t.Run(name, func(t *testing.T) {
			everyAccident(t, runsEach, func() *link {
				l := up(t, followed(t), followed(t))
				c.begin(l)
				return l
			}, c.outcome.check)
		})
	}
}

// KEYMAT and SKEYSEED have the additional secrets behind the nonces (RFC 9370 2.2.4).
func TestFollowupKeys(t *testing.T) {
	secret := func(text string) crypto.Secret { return crypto.NewSecret([]byte(text)) }
	k := &ikeKeys{prf: crypto.PRFHMACSHA256, d: secret("SK_d")}
	s := secrets{first: secret("SK(0)")}
	s.add(secret("SK(1)"))
	s.add(secret("SK(2)"))
	if got, want := seedRekey(k, []byte("Ni"), []byte("Nr"), s), crypto.PRF(k.prf, []byte("SK_d"), []byte("SK(0)NiNrSK(1)SK(2)")); !bytes.Equal(got.Bytes(), want) {
		t.Error("SKEYSEED is not prf(SK_d, SK(0) | Ni | Nr | SK(1) | SK(2))")
	}
	suite := crypto.Suite{Encr: crypto.EncrAESGCM16, KeyBits: 128}
	i, r := childKeymat(k, suite, s, []byte("Ni"), []byte("Nr"))
	want := crypto.PRFPlus(k.prf, []byte("SK_d"), []byte("SK(0)NiNrSK(1)SK(2)"), 2*suite.KeymatLen())
	if !bytes.Equal(append(bytes.Clone(i.Bytes()), r.Bytes()...), want) {
		t.Error("KEYMAT is not prf+(SK_d, SK(0) | Ni | Nr | SK(1) | SK(2))")
	}
}

// A follow-up that never comes: what was begun is one at most, and is forgotten in time, with its SPI. One that comes too late, or with another link,
// gets STATE_NOT_FOUND, and the rekey begins anew.
func TestFollowupNeverComes(t *testing.T) {
	l := up(t, followed(t), followed(t))
	l.a.rekey(rekeyChild)
	l.deliver(0) // CREATE_CHILD_SA
	b := oneIKE(l.b)
	if b.unfinished == nil || len(l.b.allocated) != 2 {
		t.Fatalf("b keeps %v and %d SPIs, expected an unfinished Child SA", b.unfinished, len(l.b.allocated))
	}
	for range 45 {
		l.wire = nil
		l.tick(l.now.Add(time.Second))
	}
	if b.unfinished != nil || len(l.b.allocated) != 1 {
		t.Errorf("after 45 s b keeps %v and %d SPIs", b.unfinished, len(l.b.allocated))
	}
	l.advance(3 * time.Minute)
	l.established("net")

	l = up(t, followed(t), followed(t))
	l.a.rekey(rekeyChild)
	l.deliver(0)
	l.deliver(0)
	l.b.engine.effects = nil
	oneIKE(l.b).forgetUnfinished()
	for _, ef := range l.b.engine.effects {
		l.b.do(ef)
	}
	l.advance(time.Minute)
	l.established("net")
	l.a.expect(ChildRekeyed, "", 1)
}

// Follow-ups out of nowhere do nothing.
func TestFollowupFromNowhere(t *testing.T) {
	l := up(t, followed(t), followed(t))
	key, err := crypto.GenerateKey(crypto.DHMLKEM512, seeded(7))
	if err != nil {
		t.Fatal(err)
	}
	ke := &wire.KE{Group: uint16(crypto.DHMLKEM512), Data: key.Public()}
	for range 20 {
		answer := l.ask(wire.ExchangeFollowupKE, ke, wire.NewNotify(wire.NotifyAdditionalKeyExchange, []byte("no link")))
		if n := wire.FindError(answer); n == nil || n.Type != wire.NotifyStateNotFound {
			t.Fatalf("answer %v, expected STATE_NOT_FOUND", answer)
		}
	}
	l.established("net")
}

// A responder that answers with another method than is due: the Child SA is not used, and the peer is told to remove it.
func TestFollowupOfAnotherMethod(t *testing.T) {
	l := up(t, followed(t), followed(t))
	l.a.rekey(rekeyChild)
	l.deliver(0)
	l.deliver(0)
	creating := oneIKE(l.a).tasks.creating()
	for range 2 {
		l.deliver(0) // IKE_FOLLOWUP_KE, with its answer
		if creating.dh.more != nil {
			creating.dh.more.methods[0] = crypto.DHECP384
		}
	}
	l.a.expect(Failed, FailKE, 1)
	l.advance(3 * time.Minute)
	l.established("net")
}
