package ike

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/ike/wire"
)

// Who proves to be at a peer's address, and lets each IKE_SA_INIT fail at once so that no half-open IKE SA is left to count, costs a few computations a
// second, and the peer behind the same address gets in.
func TestProvenInitsAreLimited(t *testing.T) {
	l := join(t, nil, func(c *Config) { c.Limits.CookieThreshold = -1 })
	bad := changedInit(t, 9, func(m *wire.Message) { clear(wire.Find[*wire.KE](m.Payloads).Data) })
	limits := l.b.engine.limits
	for range 1000 {
		l.proven(bad)
	}
	l.b.expect(Dropped, DropMalformed, limits.HalfOpenPerAddress)
	l.b.expect(Refused, RefuseProven, 1000-limits.HalfOpenPerAddress)
	l.now = l.now.Add(10 * time.Second)
	for range 1000 {
		l.proven(bad)
	}
	if computed := l.b.count(Dropped, DropMalformed); computed > 2*limits.HalfOpenPerAddress {
		t.Errorf("%d Diffie-Hellman computations after 10 s more", computed)
	}
	l.begin()
	l.advance(10 * time.Second)
	l.established("net")
}

// A request that is repeated by whoever has seen it gets its response at the peer's address, and elsewhere a few times a second: the response may be many
// times as long. The same once the IKE SA is gone.
func TestResponsesElsewhereAreLimited(t *testing.T) {
	l := up(t, nil, nil)
	var request packet
	repeats := func(remote netip.AddrPort) (answered int) {
		for range 50 {
			answered += len(answers(l.b.step(Datagram{Local: request.dest, Remote: remote, Payload: slices.Clone(request.payload)})))
		}
		l.wire = nil
		return answered
	}
	check := func(when string) {
		t.Helper()
		l.now = l.now.Add(2 * time.Second)
		if n := repeats(stranr); n != 10 {
			t.Errorf("%s: %d answers elsewhere within a moment, expected 10", when, n)
		}
		if n := repeats(request.source); n != 50 {
			t.Errorf("%s: %d answers to the peer, expected 50", when, n)
		}
	}
	l.a.rekey(rekeyChild)
	l.run()
	l.a.down()
	for len(l.wire) > 0 {
		if l.wire[0].to == l.b {
			request = l.wire[0]
		}
		l.deliver(0)
	}
	if len(l.b.engine.sas) != 0 {
		t.Fatal("the IKE SA is there still")
	}
	check("gone")

	l = up(t, nil, nil)
	l.a.rekey(rekeyChild)
	request = l.wire[0]
	l.deliver(0)
	check("established")
	if n := repeats(request.source); n >= 50 { // 150 by now
		t.Errorf("%d answers to the peer, expected a few a second", n)
	}
	l.advance(time.Minute)
	l.established("net")
}

// An authenticated peer that never stops making, renewing and ending SAs is held back; liveness is not, and the IKE SA stays.
func TestRequestsOfAPeerAreLimited(t *testing.T) {
	l := up(t, neverAsk, neverAsk)
	tsi, tsr := trafficSelectors(true, sideA(t).Peers[0].Children[0].Selectors)
	ask := func() bool {
		payloads := l.ask(wire.ExchangeCreateChildSA, &wire.SA{Proposals: offer(espProposals(t, "aes256ctr-sha512"), spi4(0x7777)).Proposals},
			&wire.Nonce{Data: make([]byte, nonceLen)}, tsi, tsr)
		return wire.FindError(payloads) != nil
	}
	refused := 0
	for ask() {
		refused++
	}
	if refused < requestBurst-10 || refused > requestBurst {
		t.Errorf("%d requests were answered at once, expected %d", refused, requestBurst)
	}
	l.b.expect(Refused, RefuseRequests, 1)
	if failed := l.b.count(Failed, FailProposal); failed != refused {
		t.Errorf("%d failures for %d answers", failed, refused)
	}
	l.advance(5 * time.Second) // the last one gets through
	l.advance(time.Hour)
	l.established("net")
}

// However many IKE SAs a peer has and however often it rekeys without a delete, one child has a few Child SAs: those of the data plane are for all peers.
func TestChildSAsOfAChildAreLimited(t *testing.T) {
	l := up(t, neverAsk, neverAsk)
	l.twist = func(from *end, payload []byte) []byte {
		if h, err := wire.ParseHeader(payload); from == l.a && err == nil && h.Exchange == wire.ExchangeInformational {
			return nil
		}
		return payload
	}
	most := l.b.engine.limits.ChildrenPerChild
	for range 2 * most {
		l.a.rekey(rekeyChild)
		l.run()
		l.a.forgetRequest()
		l.wire = nil
	}
	if n := len(l.b.inbound); n != most {
		t.Errorf("%d inbound SAs, expected %d", n, most)
	}
	if l.b.count(Refused, RefuseChildren) == 0 {
		t.Error("the limit was never reached")
	}
	l.twist = nil
	l.a.boot(l.a.cfg)
	l.a.step(Tick{})
	l.advance(5 * time.Minute)
	outcome{children: []string{"net"}, mayLose: true}.check(l)
}
