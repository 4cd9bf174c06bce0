package ike

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// What is kept of a failed negotiation has both sides' words at both ends, as far as each was told.
func TestFailuresKeepWhatWasSaid(t *testing.T) {
	for _, c := range []struct {
		name             string
		change           func(*Config)
		exchange, answer string
		ours, theirs     func(Said) bool // at a, which began
		peer             func(Said) bool // what b heard of a
	}{
		{"no proposal in common", func(c *Config) { c.Peers[0].IKEProposals = ikeProposals(t, "aes256-sha256-modp2048") }, "IKE_SA_INIT", "NO_PROPOSAL_CHOSEN",
			func(s Said) bool { return len(s.IKE) == 1 && len(s.IKE[0].Transforms) == 3 }, func(s Said) bool { return s.IKE == nil },
			func(s Said) bool { return len(s.IKE) == 1 && s.IKE[0].Transforms[0].Type == crypto.TransformEncr }},
		{"another key", func(c *Config) { c.Peers[0].PSK = crypto.NewSecret([]byte("battery staple")) }, "IKE_AUTH", "AUTHENTICATION_FAILED",
			func(s Said) bool { return s.Identity == AddressIdentity(addrA) && s.Asked == AddressIdentity(addrB) }, func(s Said) bool { return s.Identity.IsZero() },
			func(s Said) bool {
				return s.Identity == AddressIdentity(addrA) && strings.Contains(strings.ToLower(s.Method), "shared key")
			}},
		{"other traffic", func(c *Config) { c.Peers[0].Children[0].Selectors[0] = selector("10.8.0.0/24", "10.1.0.0/24") }, "CREATE_CHILD_SA", "TS_UNACCEPTABLE",
			func(s Said) bool { return slices.Equal(s.Local, []string{"10.1.0.0/24"}) }, func(s Said) bool { return s.Local == nil },
			func(s Said) bool { return slices.Equal(s.Remote, []string{"10.1.0.0/24"}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := join(t, nil, c.change)
			l.begin()
			l.run()
			l.advance(time.Second)
			mine, theirs := l.a.engine.Snapshot()[0].Failure, l.b.engine.Snapshot()[0].PeerFailure
			if mine.Attempt == nil || theirs.Attempt == nil {
				t.Fatalf("kept %+v and %+v", mine, theirs)
			}
			for _, a := range []*Attempt{mine.Attempt, theirs.Attempt} {
				if a.Exchange != c.exchange || a.Answer != c.answer {
					t.Errorf("kept %s answered by %q, expected %s and %s", a.Exchange, a.Answer, c.exchange, c.answer)
				}
			}
			if !c.ours(mine.Attempt.Ours) || !c.theirs(mine.Attempt.Theirs) {
				t.Errorf("a keeps %+v", mine.Attempt)
			}
			if !c.peer(theirs.Attempt.Theirs) || theirs.Attempt.Role != RoleResponder {
				t.Errorf("b keeps %+v", theirs.Attempt)
			}
		})
	}
}

// An attempt that goes on says how often it has asked, and when it does again.
func TestAttemptCountsSendings(t *testing.T) {
	l := join(t, nil, nil)
	l.begin()
	for range 20 {
		l.wire, l.now = nil, l.now.Add(100*time.Millisecond)
		l.a.step(Tick{})
	}
	a := l.a.engine.Snapshot()[0].Attempt
	if a == nil || a.Exchange != "IKE_SA_INIT" || a.Sent < 3 || a.Answer != "" || !a.NextSending.After(l.now) {
		t.Fatalf("found %+v at %v", a, l.now)
	}
}

// A tunnel that is up keeps nothing of its negotiation, and what a hostile peer says is kept in bounds.
func TestAttemptsAreBounded(t *testing.T) {
	l := join(t, nil, nil)
	l.begin()
	l.run()
	for _, e := range []*end{l.a, l.b} {
		info := e.engine.Snapshot()[0]
		if info.State != "established" || info.Attempt != nil || info.Failure.Attempt != nil || info.Since.IsZero() {
			t.Errorf("%s: %+v", e.name, info)
		}
		for _, sa := range e.engine.sas {
			if sa.traces != [RoleResponder + 1]*trace{} {
				t.Errorf("%s keeps the trace of what has succeeded", e.name)
			}
		}
	}
	big := &wire.SA{}
	for range 200 {
		big.Proposals = append(big.Proposals, wire.Proposal{Protocol: wire.ProtocolESP, Transforms: make([]wire.Transform, 255)})
	}
	ts := &wire.TS{}
	for range 255 {
		ts.Selectors = append(ts.Selectors, endpoint{addresses: selector("10.0.0.0/8", "10.0.0.0/8").Local}.wire())
	}
	s := said{ike: big, child: big, tsi: ts, tsr: ts, id: &wire.ID{Type: wire.IDKeyID, Data: bytes.Repeat([]byte("x"), 60000)}}
	for range 100 {
		s.certificates = append(s.certificates, &wire.Cert{Encoding: wire.CertX509Signature, Data: make([]byte, 1000)})
	}
	kept, size := s.bounded(true), 0
	for _, c := range kept.Certificates {
		size += len(c)
	}
	if len(kept.IKE) > maxOffers || len(kept.Child[0].Transforms) > maxTransforms || len(kept.Local) > maxDescribed || len(kept.Identity.Data) > maxIdentityLen || size > maxCertificateLen {
		t.Errorf("keeps %d octets of certificates and %+v", size, kept)
	}
}

// What comes from a peer's address and is not taken is counted for it; what comes from elsewhere for all.
func TestUntakenIsNoted(t *testing.T) {
	l := join(t, nil, nil)
	l.a.step(Datagram{Local: netip.AddrPortFrom(addrA, 500), Remote: netip.AddrPortFrom(addrB, 500), Payload: []byte("short")})
	l.a.step(Datagram{Local: netip.AddrPortFrom(addrA, 500), Remote: stranr, Payload: make([]byte, 28)})
	info := l.a.engine.Snapshot()[0]
	if info.Dropped.Reason != DropShort || info.Dropped.Count != 1 || info.Stray.Remote != stranr || info.Stray.Count != 1 || info.Refused.Count != 0 {
		t.Errorf("noted %+v, %+v, %+v", info.Dropped, info.Stray, info.Refused)
	}
}
