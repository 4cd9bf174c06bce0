package ike

import (
	"testing"
	"time"

	"sallyport/ike/wire"
)

// FuzzAuth gives either end an IKE_AUTH message whose payloads are any octets, authentic by the keys of IKE_SA_INIT: anybody at a peer's address gets
// that far. Nothing panics, nothing is kept, and unless the octets are those of the peer's own proof nobody is let in.
func FuzzAuth(f *testing.F) {
	for _, response := range []bool{false, true} {
		l, m := atAuth(f, response)
		first, plain, err := wire.MarshalPayloads(m.Payloads)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(response, uint8(first), plain)
		for _, drop := range [][]wire.Payload{without[*wire.Cert](m.Payloads), without[*wire.Auth](m.Payloads), without[*wire.ID](m.Payloads), without[*wire.SA](m.Payloads)} {
			first, plain, err := wire.MarshalPayloads(drop)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(response, uint8(first), plain)
		}
		l.run()
	}
	f.Fuzz(func(t *testing.T, response bool, first uint8, plain []byte) {
		l, genuine := atAuth(t, response)
		sender, _, h := l.ends()
		datagram, err := sender.sealWhole(&sealed{keys: sender.keys, header: sender.header(h.Exchange, h.MessageID, response), first: wire.PayloadType(first), plain: plain})
		if err != nil {
			return
		}
		l.wire[0].payload = datagram
		n := l.wire[0].to
		l.deliver(0)
		payloads, err := wire.ParsePayloads(wire.PayloadType(first), plain)
		if n.count(IKEEstablished, "") > 0 && (err != nil || string(wire.Find[*wire.Auth](payloads).Data) != string(wire.Find[*wire.Auth](genuine.Payloads).Data)) {
			t.Error("somebody was let in")
		}
		l.advance(time.Minute)
		if e := n.engine; len(e.checks.out) > 1 || len(e.sas) > 4 || e.timers.Len() > 40 {
			t.Errorf("%d checks, %d IKE SAs, %d timers kept", len(e.checks.out), len(e.sas), e.timers.Len())
		}
	})
}

// atAuth is a link with an IKE_AUTH message in flight, and what is in that.
func atAuth(t testing.TB, response bool) (*link, *message) {
	l := join(t, certified("p256", "ed25519"), certified("ed25519", "p256"))
	l.begin()
	l.deliver(0)
	l.deliver(0)
	if response {
		l.deliver(0)
	}
	_, receiver, _ := l.ends()
	m, err := receiver.open(Datagram{Local: l.wire[0].dest, Remote: l.wire[0].source, Payload: l.wire[0].payload})
	if err != nil {
		t.Fatal(err)
	}
	return l, m
}
