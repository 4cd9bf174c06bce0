package wire

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// checkParse parses a datagram; when that succeeds, what it gives must come out in as many octets and parse to the same again.
func checkParse(t *testing.T, datagram []byte) {
	t.Helper()
	m, err := Parse(datagram)
	if err != nil {
		if m != nil || !typed(err) {
			t.Fatalf("Parse gives %v with error %v of no known type", m, err)
		}
		return
	}
	emitted, err := m.Marshal()
	if err != nil {
		t.Fatalf("%v was parsed and cannot be emitted: %v", m, err)
	}
	if len(emitted) != len(datagram) {
		t.Fatalf("%v came in %d octets and goes out in %d", m, len(datagram), len(emitted))
	}
	again, err := Parse(emitted)
	if err != nil {
		t.Fatalf("%v was emitted and cannot be parsed: %v", m, err)
	}
	m.Minor = Minor // ignored when received, RFC 7296 2.5
	ignoreAAD(m.Payloads)
	ignoreAAD(again.Payloads)
	if !equal(m, again) {
		t.Fatalf("%v became %v on its way through the wire", m, again)
	}
	useAll(t, m)
}

// ignoreAAD takes the octets of the message as it came off its SK payload: they hold bits that are ignored.
func ignoreAAD(payloads []Payload) {
	for _, p := range payloads {
		switch p := p.(type) {
		case *Encrypted:
			p.AAD = nil
		case *Fragment:
			p.AAD = nil
		}
	}
}

// useAll calls whatever the state machines call with a parsed message.
func useAll(t *testing.T, m *Message) {
	t.Helper()
	for _, err := range []error{m.CheckOuter(), Check(m.Exchange, m.Response(), m.Payloads)} {
		if err != nil && (!typed(err) || NotifyFor(err) == nil || err.Error() == "") {
			t.Fatalf("%v: error %v of no known type", m, err)
		}
	}
	for _, n := range FindAll[*Notify](m.Payloads) {
		_, _ = n.Group()
		_, _ = n.CookieData()
		_, _, _ = n.ChildSPI()
	}
}

func FuzzParse(f *testing.F) {
	for _, sample := range samples(f) {
		f.Add(sample)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkParse(t, b)
		// Once more with a header that holds, for what lies behind it.
		if len(b) >= HeaderLength {
			valid := bytes.Clone(b)
			valid[17] = Major << 4
			binary.BigEndian.PutUint32(valid[24:], uint32(len(b)))
			checkParse(t, valid)
		}
	})
}

func FuzzParsePayloads(f *testing.F) {
	for _, g := range goldens {
		f.Add(uint8(g.payload.PayloadType()), octets(f, g.octets))
	}
	f.Fuzz(func(t *testing.T, first uint8, b []byte) {
		payloads, err := ParsePayloads(PayloadType(first), b)
		if err != nil {
			if !typed(err) {
				t.Fatalf("error %v of no known type", err)
			}
			return
		}
		again, emitted, err := MarshalPayloads(payloads)
		if err != nil || again != PayloadType(first) || len(emitted) != len(b) {
			t.Fatalf("%v came as %d octets from %d and goes out as %d from %v (%v)", payloads, len(b), first, len(emitted), again, err)
		}
		reparsed, err := ParsePayloads(again, emitted)
		if err != nil || !equal(payloads, reparsed) {
			t.Fatalf("%v became %v on its way through the wire (%v)", payloads, reparsed, err)
		}
		for _, exchange := range []ExchangeType{ExchangeIKESAInit, ExchangeIKEAuth, ExchangeCreateChildSA, ExchangeInformational} {
			for _, flags := range []Flags{FlagInitiator, FlagResponse} {
				useAll(t, &Message{Header: Header{Exchange: exchange, Flags: flags}, Payloads: payloads})
			}
		}
	})
}
