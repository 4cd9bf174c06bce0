package wire

import (
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func equal(a, b any) bool { return reflect.DeepEqual(a, b) }

// octets reads hex with spaces and line breaks between the fields.
func octets(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustParse(t testing.TB, datagram []byte) *Message {
	t.Helper()
	m, err := Parse(datagram)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// typed says whether err is one of the types that the state machines know to answer.
func typed(err error) bool {
	var syntax *SyntaxError
	var critical *CriticalError
	var version *VersionError
	return errors.Is(err, ErrTooShort) || errors.As(err, &syntax) || errors.As(err, &critical) || errors.As(err, &version)
}

// samples are valid datagrams: the captured ones, and one with every kind of payload the codec knows.
func samples(t testing.TB) [][]byte {
	t.Helper()
	var all [][]byte
	for _, d := range captured(t) {
		if d.message[0] == 0x5c { // the initiator's SPI of the capture; the rest of port 4500 is ESP
			all = append(all, d.message)
		}
	}
	var payloads []Payload
	for _, g := range goldens {
		payloads = append(payloads, g.payload)
	}
	for _, last := range []Payload{
		&Unknown{Type: 200, Body: []byte{1}},
		&Encrypted{FirstPayload: PayloadDelete, Body: []byte("iv and ciphertext and icv")},
		&Fragment{FirstPayload: PayloadIDi, Number: 1, Total: 2, Body: []byte("iv and ciphertext and icv")},
	} {
		m := Message{Header: Header{InitiatorSPI: 1, ResponderSPI: 2, Exchange: ExchangeIKEAuth, Flags: FlagInitiator, MessageID: 1}, Payloads: append(payloads, last)}
		b, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}
