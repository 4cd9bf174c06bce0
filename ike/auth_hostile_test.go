package ike

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"sallyport/ike/wire"
)

// forge replaces the oldest message in flight by one with other payloads, authentic by the keys of its sender.
func (l *link) forge(change func(sender *ikeSA, payloads []wire.Payload) []wire.Payload) {
	l.t.Helper()
	sender, receiver, h := l.ends()
	p := &l.wire[0]
	m, err := receiver.open(Datagram{Local: p.dest, Remote: p.source, Payload: p.payload})
	if err != nil {
		l.t.Fatal(err)
	}
	forged := &message{sa: sender, Message: wire.Message{Header: sender.header(h.Exchange, h.MessageID, h.Response()), Payloads: change(sender, m.Payloads)}}
	s, err := sender.seal(forged)
	if err != nil {
		l.t.Fatal(err)
	}
	p.payload = s.datagrams[0]
}

// ends are the IKE SAs at both ends of the oldest message in flight.
func (l *link) ends() (sender, receiver *ikeSA, h wire.Header) {
	h = l.header(0)
	from, to := l.a.engine, l.b.engine
	if l.wire[0].to == l.a {
		from, to = to, from
	}
	own := h.ResponderSPI
	if h.FromInitiator() {
		own = h.InitiatorSPI
	}
	return from.sas[own], to.lookup(h), h
}

// without drops the payloads of type T.
func without[T wire.Payload](payloads []wire.Payload) []wire.Payload {
	return slices.DeleteFunc(slices.Clone(payloads), func(p wire.Payload) bool { _, is := p.(T); return is })
}

func cert(encoding wire.CertEncoding, data string) *wire.Cert {
	return &wire.Cert{Encoding: encoding, Data: []byte(data)}
}

// resigned is the AUTH payload of the sender, made by another key or in another way.
func resigned(sa *ikeSA, key string, hash hashID, claimed []byte, initiator bool, id *wire.ID) *wire.Auth {
	octets := sa.signedOctets(initiator, id)
	signature, err := keysOf()[key].Sign(nil, hash.digest(octets), hash.function())
	if err != nil {
		panic(err)
	}
	return &wire.Auth{Method: wire.AuthDigitalSignature, Data: append(append([]byte{byte(len(claimed))}, claimed...), signature...)}
}

// S-066: what does not prove that the peer is who it says to be is refused with a reason of its own, on both sides of the exchange, and the peer is told
// nothing but AUTHENTICATION_FAILED.
func TestRefusedProofs(t *testing.T) {
	sha256, sha384, sha1 := unhex(t, "300a06082a8648ce3d040302"), unhex(t, "300a06082a8648ce3d040303"), unhex(t, "300906072a8648ce3d0401")
	auth := func(a *wire.Auth) func(*ikeSA, []wire.Payload) []wire.Payload {
		return func(_ *ikeSA, list []wire.Payload) []wire.Payload { return append(without[*wire.Auth](list), a) }
	}
	signed := func(key string, hash hashID, claimed []byte, ownRole bool) func(*ikeSA, []wire.Payload) []wire.Payload {
		return func(sa *ikeSA, list []wire.Payload) []wire.Payload {
			initiator := sa.role == RoleInitiator
			id := wire.FindID(list, initiator)
			return append(without[*wire.Auth](list), resigned(sa, key, hash, claimed, initiator == ownRole, id))
		}
	}
	certs := func(c ...*wire.Cert) func(*ikeSA, []wire.Payload) []wire.Payload {
		return func(_ *ikeSA, list []wire.Payload) []wire.Payload {
			list = without[*wire.Cert](list)
			for _, c := range c {
				list = append(list, c)
			}
			return list
		}
	}
	var many []*wire.Cert
	for i := range 40 {
		many = append(many, cert(wire.CertX509Signature, fmt.Sprintf("leaf p256 %d", i)))
	}
	for name, c := range map[string]struct {
		reason Reason
		forge  func(*ikeSA, []wire.Payload) []wire.Payload
	}{
		"changed": {AuthSigned, func(_ *ikeSA, list []wire.Payload) []wire.Payload {
			a := *wire.Find[*wire.Auth](list)
			a.Data = slices.Clone(a.Data)
			a.Data[len(a.Data)-1] ^= 1
			return append(without[*wire.Auth](list), &a)
		}},
		"by another key":         {AuthSigned, signed("p521", hashSHA256, sha256, true)},
		"by a key of other kind": {AuthAlgorithm, auth(&wire.Auth{Method: wire.AuthDigitalSignature, Data: append(unhex(t, "07300506032b6570"), make([]byte, 64)...)})},
		"another hash":           {AuthSigned, signed("p256", hashSHA256, sha384, true)},
		"SHA-1":                  {AuthAlgorithm, signed("p256", hashSHA1, sha1, true)},
		"over the other's":       {AuthSigned, signed("p256", hashSHA256, sha256, false)},
		"unknown algorithm":      {AuthAlgorithm, auth(&wire.Auth{Method: wire.AuthDigitalSignature, Data: unhex(t, "0d300b0609608648016503040302ff")})},
		"no algorithm":           {AuthAlgorithm, auth(&wire.Auth{Method: wire.AuthDigitalSignature, Data: []byte{0}})},
		"method 1":               {AuthAlgorithm, auth(&wire.Auth{Method: wire.AuthRSASignature, Data: make([]byte, 256)})},
		"method 9, empty":        {AuthSigned, auth(&wire.Auth{Method: wire.AuthECDSASHA256P256, Data: make([]byte, 64)})},
		"DSS":                    {AuthOtherMethod, auth(&wire.Auth{Method: wire.AuthDSSSignature, Data: make([]byte, 40)})},
		"pre-shared key":         {AuthOtherMethod, auth(&wire.Auth{Method: wire.AuthSharedKeyMIC, Data: make([]byte, 32)})},
		"NULL":                   {AuthOtherMethod, auth(&wire.Auth{Method: wire.AuthNull, Data: make([]byte, 32)})},
		"no certificate":         {CertMissing, certs()},
		"a URL":                  {CertForm, certs(cert(wire.CertHashURL, "http://192.0.2.9/"))},
		"a URL beside it":        {CertForm, certs(cert(wire.CertX509Signature, "leaf p256"), cert(wire.CertHashURLBundle, "http://192.0.2.9/"))},
		"a raw key":              {CertForm, certs(cert(wire.CertRawPublicKey, "key"))},
		"forty certificates":     {CertTooMany, certs(many...)},
		"untrusted":              {CertUntrusted, certs(cert(wire.CertX509Signature, "leaf nobody"))},
		"another's certificate":  {AuthSigned, certs(cert(wire.CertX509Signature, "leaf p384"))},
	} {
		for role, before := range map[string]int{"initiator's": 2, "responder's": 3} {
			t.Run(role+" "+name, func(t *testing.T) {
				l := join(t, certified("p256", "p256"), certified("p256", "p256"))
				l.begin()
				for range before {
					l.deliver(0)
				}
				refusing, told := l.b, l.a
				if before == 3 {
					refusing, told = l.a, l.b
				}
				l.forge(c.forge)
				l.run()
				refusing.expect(Failed, c.reason, 1)
				refusing.expect(IKEEstablished, "", 0)
				if f := refusing.facts[slices.IndexFunc(refusing.facts, func(f Fact) bool { return f.Kind == Failed })]; f.Detail == "" || f.Peer == "" {
					t.Errorf("fact %+v", f)
				}
				if told == l.a {
					told.expect(Failed, FailAuthentication, 1)
				} else {
					told.expect(IKEDeleted, DeletedByPeer, 1)
				}
				l.consistent()
				l.advance(2 * time.Minute)
				l.established("net")
			})
		}
	}
}

// Our own proof, sent back to us with our own certificate in the peer's name, is not the peer's.
func TestOwnProofComesBack(t *testing.T) {
	for _, method := range []string{"p256", ""} {
		l := join(t, certified(method, method), certified(method, method))
		l.begin()
		l.deliver(0)
		l.deliver(0)
		_, b, _ := l.ends()
		m, err := b.open(Datagram{Local: l.wire[0].dest, Remote: l.wire[0].source, Payload: l.wire[0].payload})
		if err != nil {
			t.Fatal(err)
		}
		own := wire.Find[*wire.Auth](m.Payloads)
		l.deliver(0)
		l.forge(func(_ *ikeSA, list []wire.Payload) []wire.Payload { return append(without[*wire.Auth](list), own) })
		l.run()
		want := AuthSigned
		if method == "" {
			want = AuthKey
		}
		l.a.expect(Failed, want, 1)
		l.a.expect(IKEEstablished, "", 0)
	}
}

// EAP, which begins with a request without AUTH, is refused in a way of its own.
func TestEAPIsRefused(t *testing.T) {
	for _, method := range []string{"", "p256"} {
		l := join(t, certified(method, method), certified(method, method))
		l.begin()
		l.deliver(0)
		l.deliver(0)
		l.forge(func(_ *ikeSA, list []wire.Payload) []wire.Payload { return without[*wire.Auth](list) })
		l.run()
		l.b.expect(Failed, AuthOtherMethod, 1)
		l.a.expect(Failed, FailAuthentication, 1)
	}
}

// S-066: an end that knows certificates only and one that knows the key only have no method in common. Nothing comes up.
func TestNoCommonMethod(t *testing.T) {
	for name, c := range map[string]struct {
		a, b             func(*Config)
		reasonA, reasonB Reason
	}{
		"initiator has the key":        {nil, certified("p256", "p384"), FailAuthentication, AuthOtherMethod},
		"initiator has a certificate":  {certified("p256", "p384"), nil, FailAuthentication, AuthOtherMethod},
		"they differ in the responder": {certified("", "p384"), nil, AuthOtherMethod, ""},
	} {
		l := join(t, c.a, c.b)
		l.begin()
		l.run()
		l.a.expect(Failed, c.reasonA, 1)
		if c.reasonB != "" {
			l.b.expect(Failed, c.reasonB, 1)
		}
		if l.consistent(); len(l.a.outbound)+len(l.b.outbound) != 0 {
			t.Errorf("%s: a Child SA is up", name)
		}
	}
}

// More certificates, or longer ones, than a message may hold end its IKE SA before anything is asked of anybody.
func TestCertificateBombs(t *testing.T) {
	for name, c := range map[string]struct{ count, length int }{"a hundred": {100, 10}, "a hundred long ones": {100, 150}, "one long one": {1, 15000}} {
		l := join(t, certified("p256", "p256"), certified("p256", "p256"))
		l.begin()
		l.deliver(0)
		l.deliver(0)
		a, b, h := l.ends()
		m, err := b.open(Datagram{Local: l.wire[0].dest, Remote: l.wire[0].source, Payload: l.wire[0].payload})
		if err != nil {
			t.Fatal(err)
		}
		first, rest, err := wire.MarshalPayloads(without[*wire.Cert](m.Payloads))
		if err != nil {
			t.Fatal(err)
		}
		var plain []byte
		for i := range c.count {
			next := wire.PayloadCert
			if i == c.count-1 {
				next = first
			}
			header := binary.BigEndian.AppendUint16([]byte{byte(next), 0}, uint16(5+c.length))
			plain = append(append(append(plain, header...), byte(wire.CertX509Signature)), bytes.Repeat([]byte{byte(i)}, c.length)...)
		}
		datagram, err := a.sealWhole(&sealed{keys: a.keys, header: a.header(h.Exchange, h.MessageID, false), first: wire.PayloadCert, plain: append(plain, rest...)})
		if err != nil {
			continue // it cannot even be written
		}
		l.b.mute = true
		l.wire[0].payload = datagram
		l.deliver(0)
		if asked := len(l.b.checks); asked != c.count%100 {
			t.Errorf("%s: %d checks", name, asked)
		}
		if c.count == 100 {
			l.b.expect(Failed, FailSyntax, 1)
		}
		l.wire = nil
		l.b.mute = false
		l.advance(3 * time.Minute)
		l.established("net")
	}
	l := join(t, nil, nil)
	l.begin()
	l.deliver(0)
	l.deliver(0)
	l.b.step(Datagram{Local: at(addrB, 500), Remote: at(addrA, 500), Payload: append(slices.Clone(l.wire[0].payload), make([]byte, 65000)...)})
	l.b.expect(Dropped, DropMalformed, 1)
	l.run()
	l.established("net")
}

// S-061: nothing that is sent before both ends share keys names anybody, and what is sent after is protected: neither a certificate nor an identity,
// ours or the peer's, is ever seen on the wire. CERTREQ in clear holds hashes of CAs' keys only.
func TestNothingInClear(t *testing.T) {
	l := join(t, certified("p256", "p384"), certified("p384", "p256"))
	secrets := []string{"leaf p256", "leaf p384", "intermediate", "gw-secret-a", "gw-secret-b", string(unhex(t, "67772d6461726b"))}
	for _, n := range []*end{l.a, l.b} {
		n.cfg.Peers = slices.Clone(n.cfg.Peers)
		p := &n.cfg.Peers[0]
		p.LocalID, _ = ParseIdentity("CN=gw-secret-a,O=gw-dark")
		p.RemoteID, _ = ParseIdentity("gw-secret-b.example")
		if n == l.b {
			p.LocalID, p.RemoteID = p.RemoteID, p.LocalID
		}
		n.boot(n.cfg)
	}
	var seen [][]byte
	l.begin()
	for len(l.wire) > 0 {
		seen = append(seen, l.wire[0].payload)
		l.deliver(0)
	}
	l.a.rekey(rekeyIKE)
	for len(l.wire) > 0 {
		seen = append(seen, l.wire[0].payload)
		l.deliver(0)
	}
	l.established("net")
	for i, datagram := range seen {
		for _, secret := range secrets {
			if bytes.Contains(datagram, []byte(secret)) {
				t.Errorf("message %d shows %q", i, secret)
			}
		}
		if m, err := wire.Parse(datagram); err != nil || i > 1 && (len(m.Payloads) != 1 || wire.Find[*wire.Encrypted](m.Payloads) == nil) {
			t.Errorf("message %d has payloads in clear: %v, %v", i, m, err)
		}
	}
	request, response := seen[0], seen[1]
	if m, _ := wire.Parse(request); wire.Find[*wire.CertReq](m.Payloads) != nil {
		t.Error("CERTREQ in the first request")
	}
	if m, _ := wire.Parse(response); wire.Find[*wire.CertReq](m.Payloads) == nil || len(wire.Find[*wire.CertReq](m.Payloads).Authorities) != authorityLen {
		t.Error("no CERTREQ in the first response")
	}
}
