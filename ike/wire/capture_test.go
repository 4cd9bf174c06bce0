package wire

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"testing"
)

// The capture is a negotiation between two strongSwan 5.9.8: IKE_SA_INIT on port 500, IKE_AUTH on port 4500, then ESP. Its keys were made for it.
const (
	captureFile = "testdata/ikev2-psk-gcm256-tunnel.pcap"
	captureSKei = "783e5768f73d8d21f6da9cb636ce940ae2370db9057956dbd4049898fb7c140009ac32cc" // AES-256-GCM key, 4 octets of salt
	captureSKer = "7eeceec2219e7f88887af966e4d49e246ad2113bc7e8d8cdefafcbbdc3a5a149f8a86497"
	captureAUTH = "7397128345d3832ebdd3b3659f5eb5b5ccf9b9c2a7b617bbc12e5caf37f2eb98" // the initiator's
)

type datagram struct {
	from, to netip.AddrPort
	message  []byte
}

// captured reads the IKE datagrams of the capture: little-endian pcap of Ethernet frames with IPv4 headers of 20 octets.
func captured(t testing.TB) []datagram {
	t.Helper()
	file, err := os.ReadFile(captureFile)
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
		d := datagram{
			from:    netip.AddrPortFrom(netip.AddrFrom4([4]byte(header[12:])), binary.BigEndian.Uint16(segment)),
			to:      netip.AddrPortFrom(netip.AddrFrom4([4]byte(header[16:])), binary.BigEndian.Uint16(segment[2:])),
			message: segment[udp:binary.BigEndian.Uint16(segment[4:])],
		}
		if d.to.Port() == 4500 {
			d.message = bytes.TrimPrefix(d.message, []byte{0, 0, 0, 0}) // non-ESP marker
		}
		datagrams = append(datagrams, d)
	}
	return datagrams
}

func TestCapturedInit(t *testing.T) {
	wants := []string{
		"IKE_SA_INIT request 0 [ SA KE Nonce N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP) N(IKEV2_FRAGMENTATION_SUPPORTED) " +
			"N(SIGNATURE_HASH_ALGORITHMS) N(REDIRECT_SUPPORTED) ]",
		"IKE_SA_INIT response 0 [ SA KE Nonce N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP) N(IKEV2_FRAGMENTATION_SUPPORTED) " +
			"N(SIGNATURE_HASH_ALGORITHMS) N(CHILDLESS_IKEV2_SUPPORTED) N(MULTIPLE_AUTH_SUPPORTED) ]",
	}
	for i, want := range wants {
		d := captured(t)[i]
		m := mustParse(t, d.message)
		if got := m.String(); got != want {
			t.Errorf("message %d is\n%s, expected\n%s", i, got, want)
		}
		if err := m.CheckOuter(); err != nil {
			t.Error(err)
		}
		if err := Check(m.Exchange, m.Response(), m.Payloads); err != nil {
			t.Error(err)
		}
		wantTransforms := []Transform{{Type: TransformEncr, ID: 20, KeyBits: 256}, {Type: TransformPRF, ID: 5}, {Type: TransformDH, ID: 14}}
		if sa := Find[*SA](m.Payloads); len(sa.Proposals) != 1 || !equal(sa.Proposals[0].Transforms, wantTransforms) {
			t.Errorf("message %d proposes %+v, expected AES-GCM-256, PRF HMAC-SHA2-256, group 14", i, sa.Proposals)
		}
		if ke := Find[*KE](m.Payloads); ke.Group != 14 || len(ke.Data) != 256 {
			t.Errorf("message %d has %d octets for group %d, expected 256 for 14", i, len(ke.Data), ke.Group)
		}
		supported, source, destination := NATDetected(m, d.from, d.to)
		if !supported || source || destination {
			t.Errorf("message %d: NAT detection says %t %t %t, expected support and no NAT", i, supported, source, destination)
		}
		emitted, err := m.Marshal()
		if err != nil || !bytes.Equal(emitted, d.message) {
			t.Errorf("message %d comes out other than it went in (%v)", i, err)
		}
	}
}

func TestCapturedAuth(t *testing.T) {
	cases := []struct{ key, outer, inner string }{
		{captureSKei, "IKE_AUTH request 1 [ SK ]", "IKE_AUTH request 1 [ IDi N(INITIAL_CONTACT) IDr AUTH SA TSi TSr N(MOBIKE_SUPPORTED) " +
			"N(NO_ADDITIONAL_ADDRESSES) N(MULTIPLE_AUTH_SUPPORTED) N(EAP_ONLY_AUTHENTICATION) N(IKEV2_MESSAGE_ID_SYNC_SUPPORTED) ]"},
		{captureSKer, "IKE_AUTH response 1 [ SK ]", "IKE_AUTH response 1 [ IDr AUTH SA TSi TSr N(MOBIKE_SUPPORTED) N(NO_ADDITIONAL_ADDRESSES) ]"},
	}
	for i, c := range cases {
		d := captured(t)[2+i]
		m := mustParse(t, d.message)
		if got := m.String(); got != c.outer {
			t.Fatalf("outer message is %s, expected %s", got, c.outer)
		}
		if err := m.CheckOuter(); err != nil {
			t.Error(err)
		}
		sk := Find[*Encrypted](m.Payloads)
		prefix, err := EncryptedPrefix(m.Header, sk.FirstPayload, len(sk.Body))
		if err != nil || !bytes.Equal(prefix, sk.AAD) || !bytes.Equal(append(prefix, sk.Body...), d.message) {
			t.Errorf("EncryptedPrefix gives %x (%v), expected %x", prefix, err, sk.AAD)
		}
		inner, err := ParsePayloads(sk.FirstPayload, open(t, c.key, sk))
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(m.Exchange, m.Response(), inner); err != nil {
			t.Error(err)
		}
		m.Payloads = inner
		if got := m.String(); got != c.inner {
			t.Errorf("inner message is\n%s, expected\n%s", got, c.inner)
		}
		if auth := Find[*Auth](inner); auth.Method != AuthSharedKeyMIC || (i == 0 && hex.EncodeToString(auth.Data) != captureAUTH) {
			t.Errorf("AUTH is %v with %x", auth.Method, auth.Data)
		}
		ts := FindTS(inner, true).Selectors
		if len(ts) != 1 || ts[0].Start != netip.MustParseAddr("10.1.0.0") || ts[0].End != netip.MustParseAddr("10.1.0.255") || ts[0].EndPort != 65535 {
			t.Errorf("TSi is %+v, expected 10.1.0.0 to 10.1.0.255 with any port", ts)
		}
	}
}

// open decrypts an SK payload of the capture (RFC 5282) and takes its padding off.
func open(t *testing.T, key string, sk *Encrypted) []byte {
	t.Helper()
	k, _ := hex.DecodeString(key)
	block, err := aes.NewCipher(k[:32])
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	const iv = 8
	plain, err := aead.Open(nil, slices.Concat(k[32:], sk.Body[:iv]), sk.Body[iv:], sk.AAD)
	if err != nil {
		t.Fatalf("the capture's SK payload does not decrypt with the AAD given: %v", err)
	}
	return plain[:len(plain)-1-int(plain[len(plain)-1])]
}
