package isakmp

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// checkParse parses a datagram; when that succeeds, what it gives must come out in the same octets but for reserved ones, and from its fields
// alone must parse to the same again.
func checkParse(t *testing.T, datagram []byte) {
	t.Helper()
	m, err := Parse(datagram)
	if err != nil {
		if m != nil || !typed(err) || err.Error() == "" {
			t.Fatalf("Parse gives %v with error %v of no known type", m, err)
		}
		return
	}
	useAll(t, m)
	plain(m.Payloads)
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
	m.Minor = Minor // not looked at when received
	plain(again.Payloads)
	if !equal(m, again) {
		t.Fatalf("%v became %v on its way through the wire", m, again)
	}
}

// useAll calls whatever the state machines call with a parsed message.
func useAll(t *testing.T, m *Message) {
	t.Helper()
	if _, err := Check(m.Header, m.Payloads); err != nil && (!typed(err) || NotifyFor(err) == 0 || err.Error() == "") {
		t.Fatalf("%v: error %v of no known type", m, err)
	}
	for _, p := range m.Payloads {
		if _, err := Body(p); err != nil {
			t.Fatalf("%v was parsed and has no body: %v", p, err)
		}
	}
	var errs []error
	for _, n := range FindAll[*Notify](m.Payloads) {
		_, sequenceErr := n.Sequence()
		_, lifetimeErr := n.Lifetime()
		_, cookiesErr := n.Cookies()
		_, _, spiErr := n.SASPI()
		errs = append(errs, sequenceErr, lifetimeErr, cookiesErr, spiErr)
	}
	for _, id := range FindAll[*ID](m.Payloads) {
		first, last, err := id.Range()
		if err == nil && (last.Less(first) || first.Is4() != last.Is4()) {
			t.Fatalf("%v has addresses from %v to %v", id, first, last)
		}
		errs = append(errs, err)
	}
	for _, v := range FindAll[*VendorID](m.Payloads) {
		_, _ = v.Fragmentation(), v.Name()
	}
	if sa := Find[*SA](m.Payloads); sa != nil {
		_, err := sa.Chosen()
		errs = append(errs, err)
		errs = append(errs, useTransforms(t, sa)...)
	}
	for _, err := range errs {
		if err != nil && !typed(err) {
			t.Fatalf("%v: error %v of no known type", m, err)
		}
	}
	endpoint := netip.MustParseAddrPort("192.0.2.1:500")
	NATDetected(m, endpoint, endpoint, func(b []byte) []byte { return b })
}

// useTransforms reads every transform both ways; what is read must mean the same when it is spelled out again.
func useTransforms(t *testing.T, sa *SA) (errs []error) {
	t.Helper()
	for _, proposal := range sa.Proposals {
		for i := range proposal.Transforms {
			transform := &proposal.Transforms[i]
			one, err := transform.Phase1()
			if err == nil {
				spelled := one.Transform(transform.Number)
				if again, err := spelled.Phase1(); err != nil || again != one {
					t.Fatalf("%v became %v (%v)", one, again, err)
				}
			}
			errs = append(errs, err)
			two, err := transform.Phase2()
			if err == nil {
				spelled := two.Transform(transform.Number, transform.ID)
				if again, err := spelled.Phase2(); err != nil || again != two {
					t.Fatalf("%v became %v (%v)", two, again, err)
				}
			}
			errs = append(errs, err)
		}
	}
	return errs
}

func FuzzParse(f *testing.F) {
	for _, sample := range samples(f) {
		f.Add(sample)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkParse(t, b)
		// Once more with a header that holds and nothing encrypted, for what lies behind it.
		if len(b) >= HeaderLength {
			valid := bytes.Clone(b)
			valid[17] = Major << 4
			valid[19] &= byte(allFlags &^ FlagEncryption)
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
		chain, err := ParsePayloads(PayloadType(first), b)
		if err != nil {
			if !typed(err) {
				t.Fatalf("error %v of no known type", err)
			}
			return
		}
		if !bytes.HasPrefix(b, chain.Octets) || !bytes.HasSuffix(chain.Octets, chain.Rest()) || len(chain.Payloads) == 0 {
			t.Fatalf("%d payloads of %x: octets %x, after the first %x", len(chain.Payloads), b, chain.Octets, chain.Rest())
		}
		for _, exchange := range []ExchangeType{ExchangeMain, ExchangeQuick, ExchangeInformational} {
			for _, id := range []uint32{0, 7} {
				h := Header{Cookies: Cookies{1, 2}, Exchange: exchange, Flags: FlagEncryption, NextPayload: PayloadType(first), MessageID: id}
				useAll(t, &Message{Header: h, Payloads: chain.Payloads})
			}
		}
		again, emitted, err := MarshalPayloads(plain(chain.Payloads))
		if err != nil || again != PayloadType(first) || len(emitted) != len(chain.Octets) {
			t.Fatalf("%v came as %d octets from %d and goes out as %d from %v (%v)", chain.Payloads, len(chain.Octets), first, len(emitted), again, err)
		}
		reparsed, err := ParsePayloads(again, emitted)
		if err != nil || !equal(chain.Payloads, plain(reparsed.Payloads)) {
			t.Fatalf("%v became %v on its way through the wire (%v)", chain.Payloads, reparsed, err)
		}
	})
}
