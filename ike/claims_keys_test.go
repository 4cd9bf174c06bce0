package ike

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"sallyport/ike/wire"
)

// Who is on the way can repeat an answer of the peer's with other words around its SPI, nonce and public value, and keep the peer's proof from us until it is given up. Those are the same
// keys, by which nothing else may be encrypted than before: their IVs would repeat.
func TestKeysOfOneAnswerAreUsedOnce(t *testing.T) {
	for name, alter := range map[string]func(answer []byte) []byte{
		"the same":       func(answer []byte) []byte { return answer },
		"another notify": func(answer []byte) []byte { answer[len(answer)-1] ^= 1; return answer },
		"the public value written otherwise": func(answer []byte) []byte { // whose first bit X25519 does not read
			m, err := wire.Parse(answer)
			if err != nil {
				t.Fatal(err)
			}
			value := wire.Find[*wire.KE](m.Payloads).Data
			answer[bytes.Index(answer, value)+len(value)-1] ^= 0x80
			return answer
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := join(t, nil, nil)
			l.begin()
			l.deliver(0)
			answer := l.wire[0]
			l.wire = nil
			l.arrive(answer)
			sent := map[uint64][][]byte{} // IKE_AUTH requests by the responder's SPI
			for range 300 {
				for _, p := range l.wire {
					h, err := wire.ParseHeader(p.payload)
					if err == nil && h.Exchange == wire.ExchangeIKEAuth && !slices.ContainsFunc(sent[h.ResponderSPI], func(b []byte) bool { return slices.Equal(b, p.payload) }) {
						sent[h.ResponderSPI] = append(sent[h.ResponderSPI], slices.Clone(p.payload))
					}
				}
				l.wire = nil
				again := answer
				again.payload = alter(slices.Clone(answer.payload))
				l.arrive(again)
				l.arrive(packet{to: l.a, source: answer.source, dest: answer.dest, payload: cookieFor(t, answer.payload)})
				l.tick(l.now.Add(100 * time.Millisecond))
			}
			if len(sent) != 1 {
				t.Fatalf("IKE_AUTH to %d SPIs, expected one", len(sent))
			}
			for spi, requests := range sent {
				if len(requests) != 1 {
					t.Errorf("%d different IKE_AUTH requests by the keys with SPI %#x", len(requests), spi)
				}
			}
		})
	}
}

// cookieFor is what anybody can say in answer to the request that another answer is for: that it should come with a cookie.
func cookieFor(t *testing.T, answer []byte) []byte {
	t.Helper()
	h, err := wire.ParseHeader(answer)
	if err != nil {
		t.Fatal(err)
	}
	h.ResponderSPI = 0
	b, err := (&wire.Message{Header: h, Payloads: []wire.Payload{wire.Cookie([]byte("a forger's cookie"))}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
