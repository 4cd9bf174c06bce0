package isakmp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
)

// equal compares values without the octets that a parsed SA payload keeps.
func equal(a, b any) bool { return reflect.DeepEqual(a, b) }

// plain takes the octets as they came off the SA payloads, so that only their fields are left.
func plain(payloads []Payload) []Payload {
	for _, sa := range FindAll[*SA](payloads) {
		sa.received = nil
	}
	return payloads
}

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

func mustMarshal(t testing.TB, m *Message) []byte {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// typed says whether err is one of the types that the state machines know to answer.
func typed(err error) bool {
	var syntax *SyntaxError
	var version *VersionError
	return errors.Is(err, ErrTooShort) || errors.As(err, &version) || errors.As(err, &syntax) && syntax.Notify.IsError() && syntax.Notify != 0
}

// The captures are of two strongSwan 5.9.8 that come up by main and quick mode and take all down: with a pre-shared key and PFS; and with
// RSA signatures, 3DES, MD5 and messages 5 and 6 in fragments of 576 octets.
var captures = []string{"testdata/ikev1-psk-pfs-tunnel.pcap", "testdata/ikev1-rsa-3des-md5-fragments.pcap"}

type datagram struct {
	from, to netip.AddrPort
	message  []byte
}

// captured reads the IKE datagrams of a capture: little-endian pcap of Ethernet frames with IPv4 headers of 20 octets.
func captured(t testing.TB, name string) []datagram {
	t.Helper()
	file, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	const fileHeader, recordHeader, ethernet, ip, udp = 24, 16, 14, 20, 8
	var datagrams []datagram
	for rest := file[fileHeader:]; len(rest) > 0; {
		length := binary.LittleEndian.Uint32(rest[8:])
		frame := rest[recordHeader : recordHeader+length]
		rest = rest[recordHeader+length:]
		if frame[12] != 8 || frame[13] != 0 || frame[ethernet+9] != 17 { // IPv4, UDP
			continue
		}
		header, segment := frame[ethernet:ethernet+ip], frame[ethernet+ip:]
		datagrams = append(datagrams, datagram{
			from:    netip.AddrPortFrom(netip.AddrFrom4([4]byte(header[12:])), binary.BigEndian.Uint16(segment)),
			to:      netip.AddrPortFrom(netip.AddrFrom4([4]byte(header[16:])), binary.BigEndian.Uint16(segment[2:])),
			message: segment[udp:binary.BigEndian.Uint16(segment[4:])],
		})
	}
	return datagrams
}

// samples are valid datagrams: those of a capture whose payloads are in clear, and some with every kind of payload the codec knows.
func samples(t testing.TB) [][]byte {
	t.Helper()
	var all [][]byte
	for _, d := range captured(t, captures[1])[:4] {
		all = append(all, d.message)
	}
	var payloads []Payload
	for _, g := range goldens {
		payloads = append(payloads, g.payload)
	}
	cookies := Cookies{Initiator: 1, Responder: 2}
	for _, m := range []*Message{
		{Header: Header{Cookies: cookies, Exchange: ExchangeMain}, Payloads: payloads},
		{Header: Header{Cookies: cookies, Exchange: ExchangeQuick, Flags: FlagEncryption | FlagCommit, NextPayload: PayloadHash, MessageID: 7}, Ciphertext: bytes.Repeat([]byte{0xcc}, 32)},
		{Header: Header{Cookies: cookies, Exchange: ExchangeMain}, Payloads: []Payload{&Fragment{ID: 1, Number: 1, Last: true, Data: []byte("piece")}}},
	} {
		all = append(all, mustMarshal(t, m))
	}
	return all
}
