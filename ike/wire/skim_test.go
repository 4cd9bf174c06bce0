package wire

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// plainRequest is an IKE_SA_INIT request of these payloads.
func plainRequest(t *testing.T, payloads ...Payload) []byte {
	t.Helper()
	m := Message{Header: Header{InitiatorSPI: 7, Exchange: ExchangeIKESAInit, Flags: FlagInitiator}, Payloads: payloads}
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What SkimInit takes, Parse takes too or refuses for something inside a payload; and both see the same nonce and cookie. What a request without anything
// unusual is, SkimInit takes.
func TestSkimInit(t *testing.T) {
	plain := func(payloads ...Payload) []byte { return plainRequest(t, payloads...) }
	sa := &SA{Proposals: []Proposal{{Number: 1, Protocol: ProtocolIKE, Transforms: []Transform{{Type: TransformEncr, ID: 20, KeyBits: 128}}}}}
	ke, nonce := &KE{Group: 31, Data: make([]byte, 32)}, &Nonce{Data: bytes.Repeat([]byte{9}, 32)}
	cookie := Cookie([]byte("a cookie"))
	for name, c := range map[string]struct {
		message []byte
		cookie  string
		refused bool
	}{
		"plain":               {message: plain(sa, ke, nonce)},
		"in another order":    {message: plain(nonce, ke, sa)},
		"with a cookie":       {message: plain(cookie, sa, ke, nonce), cookie: "a cookie"},
		"a cookie at the end": {message: plain(sa, ke, nonce, cookie)},
		"with notifications":  {message: plain(sa, ke, nonce, NewNotify(NotifyFragmentationSupported, nil), &VendorID{Data: []byte("v")})},
		"no nonce":            {message: plain(sa, ke), refused: true},
		"two nonces":          {message: plain(sa, ke, nonce, nonce), refused: true},
		"no group":            {message: plain(sa, nonce), refused: true},
		"something unknown":   {message: plain(sa, ke, nonce, &Unknown{Type: 200}), refused: true},
	} {
		s, err := SkimInit(c.message)
		if (err != nil) != c.refused || !c.refused && (!bytes.Equal(s.Nonce, nonce.Data) || string(s.Cookie) != c.cookie) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	random := rand.New(rand.NewPCG(1, 7))
	taken := 0
	for range 200_000 {
		b := bytes.Clone(plain(cookie, sa, ke, nonce))
		for range 1 + random.IntN(3) {
			b[random.IntN(len(b))] = byte(random.Uint32())
		}
		b = b[:len(b)-max(0, random.IntN(40)-36)]
		s, err := SkimInit(b)
		if err != nil {
			continue
		}
		taken++
		m, err := Parse(b)
		if err != nil {
			continue // inside a payload
		}
		if n := Find[*Nonce](m.Payloads); n == nil || !bytes.Equal(n.Data, s.Nonce) {
			t.Fatalf("% x: nonce % x, expected that of %v", b, s.Nonce, m.Payloads)
		}
		first, ok := m.Payloads[0].(*Notify)
		if ok = ok && first.Type == NotifyCookie; ok != (s.Cookie != nil) || ok && !bytes.Equal(first.Data, s.Cookie) {
			t.Fatalf("% x: cookie % x, expected that of %v", b, s.Cookie, m.Payloads)
		}
	}
	if taken == 0 {
		t.Error("nothing was taken")
	}
	message := plain(cookie, sa, ke, nonce)
	if n := testing.AllocsPerRun(100, func() { _, _ = SkimInit(message) }); n > 0 {
		t.Errorf("%g allocations", n)
	}
}

// A request is the same with any cookie and without, and what is no cookie in front stays.
func TestWithoutCookie(t *testing.T) {
	plain := func(payloads ...Payload) []byte { return plainRequest(t, payloads...) }
	ke, nonce := &KE{Group: 31, Data: make([]byte, 32)}, &Nonce{Data: bytes.Repeat([]byte{9}, 32)}
	want := plain(ke, nonce)
	for name, message := range map[string][]byte{"without": want, "a cookie": plain(Cookie([]byte("one")), ke, nonce), "another": plain(Cookie(make([]byte, 64)), ke, nonce)} {
		before := bytes.Clone(message)
		if got := WithoutCookie([]byte{1}, message); !bytes.Equal(got[1:], want) || !bytes.Equal(message, before) {
			t.Errorf("%s: %x, expected %x", name, got[1:], want)
		}
	}
	if got := WithCookie(want, []byte("one")); !bytes.Equal(got, plain(Cookie([]byte("one")), ke, nonce)) {
		t.Errorf("with a cookie: %x", got)
	}
	for name, message := range map[string][]byte{"another notification": plain(NewNotify(NotifyFragmentationSupported, nil), ke), "a cookie at the end": plain(ke, Cookie([]byte("one"))),
		"empty": {}, "a header": want[:HeaderLength], "cut off": plain(Cookie([]byte("one")), ke)[:HeaderLength+9]} {
		if got := WithoutCookie(nil, message); !bytes.Equal(got, message) {
			t.Errorf("%s: %x, expected %x", name, got, message)
		}
	}
}
