package ikev1

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// short has messages cut where they are longer than every path carries, and more to say than fits one piece.
func short(cfg *ike.Config) {
	cfg.Peers[0].FragmentSize = 576
	cfg.Peers[0].Children[0].Proposals = append(crypto.DefaultESPProposals(), crypto.DefaultESPProposals()...)
}

// A tunnel comes up in fragments, whichever of all datagrams is lost or comes twice, and no fragment is left anywhere.
func TestTunnelInFragments(t *testing.T) {
	const most = 14 // datagrams until it is up
	for n := range most + 1 {
		for _, twice := range []bool{false, true} {
			l := join(t, short, short)
			fragments := 0
			l.mishaps(func(i int, p packet) []packet {
				if h, err := isakmp.ParseHeader(p.payload); err == nil && h.NextPayload == isakmp.PayloadFragment {
					fragments++
				}
				switch {
				case i != n:
					return []packet{p}
				case twice:
					return []packet{p, p}
				}
				return nil
			})
			l.comesUp()
			l.advance(time.Minute) // what came twice waits for the rest of it
			if fragments < 2 {
				t.Fatalf("datagram %d: %d fragments, expected some", n, fragments)
			}
			if l.a.engine.room.used+l.b.engine.room.used != 0 {
				t.Errorf("datagram %d: %d and %d octets of fragments are held", n, l.a.engine.room.used, l.b.engine.room.used)
			}
		}
	}
}

// An end that does not take fragments gets none, and sends none.
func TestNoFragments(t *testing.T) {
	l := join(t, short, func(cfg *ike.Config) { short(cfg); cfg.Peers[0].FragmentSize = -1 })
	l.twist = func(_ *end, payload []byte) []byte {
		if h, err := isakmp.ParseHeader(payload); err == nil && h.NextPayload == isakmp.PayloadFragment {
			t.Error("a fragment is sent, expected whole messages")
		}
		return payload
	}
	l.begin()
	l.run()
	l.established()
}

// Fragments that somebody makes who has seen the cookies: of other SAs, of fragments, of nothing, of another exchange, and never a last one. They are
// dropped and counted, what is held is bounded and ends, and the tunnel goes on.
func TestForgedFragments(t *testing.T) {
	l := up(t, short, short)
	var cookies isakmp.Cookies
	for cookies = range l.b.engine.sas {
		break
	}
	forge := func(id uint16, number uint8, last bool, data []byte) {
		t.Helper()
		b, err := (&isakmp.Message{Header: isakmp.Header{Cookies: cookies, Exchange: isakmp.ExchangeMain},
			Payloads: []isakmp.Payload{&isakmp.Fragment{ID: id, Number: number, Last: last, Data: data}}}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		source, dest := endpointsOf(l.a)
		l.arrive(packet{to: l.b, source: source, dest: dest, payload: b})
	}
	whole := func(h isakmp.Header, payloads ...isakmp.Payload) []byte {
		b, err := (&isakmp.Message{Header: h, Payloads: payloads}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	main := isakmp.Header{Cookies: cookies, Exchange: isakmp.ExchangeMain}
	other, aggressive := main, main
	other.Initiator++
	aggressive.Exchange = isakmp.ExchangeAggressive
	for _, data := range [][]byte{
		[]byte("no message"), whole(main, &isakmp.Nonce{Data: make([]byte, 32)})[:50], whole(other, &isakmp.Nonce{Data: make([]byte, 32)}),
		whole(main, &isakmp.Fragment{ID: 1, Number: 1, Last: true, Data: []byte("fragment in a fragment")}),
	} {
		forge(1, 1, true, data)
	}
	l.b.expect(ike.Dropped, ike.DropFragment, 4)
	forge(1, 1, true, whole(aggressive, &isakmp.Nonce{Data: make([]byte, 32)}))
	l.b.expect(ike.Dropped, ike.DropExchange, 1)
	for n := range uint8(isakmp.MaxFragments) {
		forge(2, n+1, false, make([]byte, 1000))
	}
	if used := l.b.engine.room.used; used == 0 || used > l.b.engine.limits.FragmentOctets || l.b.count(ike.Refused, ike.RefuseFragments) == 0 {
		t.Errorf("%d octets are held, expected some, at most %d, and the rest refused", used, l.b.engine.limits.FragmentOctets)
	}
	l.advance(time.Minute)
	if used := l.b.engine.room.used; used != 0 {
		t.Errorf("%d octets are held after a minute", used)
	}
	l.a.step(ike.Rekey{Peer: "b", Child: "net"})
	l.run()
	l.established()
}

// S-110: what one end says of a main mode and a quick mode is what the other end took, and no key is in it.
func TestObservation(t *testing.T) {
	var a, b []string
	keep := func(list *[]string) func(ike.Observation) {
		return func(o ike.Observation) {
			lines := slices.DeleteFunc(o.Lines(), func(line string) bool { return strings.HasPrefix(line, "HASH: ") })
			*list = append(*list, fmt.Sprintf("sent %t, %s", o.Sent, strings.Join(lines, "\n")))
		}
	}
	l := up(t, func(cfg *ike.Config) { cfg.Observe = keep(&a) }, func(cfg *ike.Config) { cfg.Observe = keep(&b) })
	l.a.step(ike.Terminate{Peer: "b"})
	l.run()
	other := strings.NewReplacer("sent true", "sent false", "sent false", "sent true")
	for i := range b {
		b[i] = other.Replace(b[i])
	}
	text := strings.Join(a, "\n")
	slices.Sort(a) // what the two say at the same time stands in two orders
	slices.Sort(b)
	if len(a) < 10 || !slices.Equal(a, b) {
		t.Errorf("one end saw\n%s\n\nthe other\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
	for _, want := range []string{"sent true, IKEv1 main mode of ISAKMP SA", "\nSA: aes128-sha256-ecp256 (pre-shared key)", "\nID: 192.0.2.1", "IKEv1 quick mode ", "\nID: 10.1.0.0-10.1.0.255",
		"IKEv1 informational exchange ", "\nD(ISAKMP): 1 ISAKMP SAs"} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing says %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "correct horse") {
		t.Error("the pre-shared key is shown")
	}
}
