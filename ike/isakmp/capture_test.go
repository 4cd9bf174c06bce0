package isakmp

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

// What the two captured daemons logged: the key of the ISAKMP SA and the IV of message 5.
var captureKeys = []struct {
	key, iv string
	block   func(key []byte) (cipher.Block, error)
	hash    func(b []byte) []byte
}{
	{"e081bcb800d7d69c388783d9d0f88e1cba8990470fb132ff344f7fb4292f6a21", "7a8930836ca5b5140803f66324244fab", aes.NewCipher,
		func(b []byte) []byte { sum := sha256.Sum256(b); return sum[:] }},
	{"7aeb855b28664a4ab65af2b1c0ecd605e2be663bc21c5825", "5f3d647eebca91dc", des.NewTripleDESCipher,
		func(b []byte) []byte { sum := md5.Sum(b); return sum[:] }},
}

// captureMessages are the messages of phase 1, with fragments put together, and what is said of them.
var captureMessages = [][]struct {
	kind Kind
	text string
}{
	{
		{KindMainSA, `main mode [ SA V(XAUTH) V(DPD) V(NAT-T RFC 3947) V(NAT-T draft 02\n) ]`},
		{KindMainSA, "main mode [ SA V(XAUTH) V(DPD) V(NAT-T RFC 3947) ]"},
		{KindMainKE, "main mode [ KE NONCE NAT-D NAT-D ]"},
		{KindMainKE, "main mode [ KE NONCE NAT-D NAT-D ]"},
		{KindMainAuth, "main mode [ ID HASH N(INITIAL-CONTACT) ]"},
		{KindMainAuth, "main mode [ ID HASH ]"},
	},
	{
		{KindMainSA, `main mode [ SA V(XAUTH) V(DPD) V(FRAGMENTATION) V(NAT-T RFC 3947) V(NAT-T draft 02\n) ]`},
		{KindMainSA, "main mode [ SA V(XAUTH) V(DPD) V(FRAGMENTATION) V(NAT-T RFC 3947) ]"},
		{KindMainKE, "main mode [ KE NONCE NAT-D NAT-D ]"},
		{KindMainKE, "main mode [ KE NONCE CERTREQ NAT-D NAT-D ]"},
		{KindMainAuth, "main mode [ ID CERT SIG CERTREQ N(INITIAL-CONTACT) ]"},
		{KindMainAuth, "main mode [ ID CERT SIG ]"},
	},
}

// whole gives the messages of a capture, with fragments put together.
func whole(t *testing.T, name string) (messages []datagram) {
	t.Helper()
	var pieces []byte
	for _, d := range captured(t, name) {
		m := mustParse(t, d.message)
		if f := Find[*Fragment](m.Payloads); f != nil {
			if kind, err := Check(m.Header, m.Payloads); kind != KindFragment || err != nil {
				t.Errorf("%v is a %v with error %v", m, kind, err)
			}
			pieces = append(pieces, f.Data...)
			if !f.Last {
				continue
			}
			d.message, pieces = pieces, nil
		}
		messages = append(messages, d)
	}
	return messages
}

func TestCapturedMainMode(t *testing.T) {
	for i, name := range captures {
		iv, _ := hex.DecodeString(captureKeys[i].iv)
		key, _ := hex.DecodeString(captureKeys[i].key)
		block, err := captureKeys[i].block(key)
		if err != nil {
			t.Fatal(err)
		}
		messages := whole(t, name)
		for n, want := range captureMessages[i] {
			m := mustParse(t, messages[n].message)
			if m.Encrypted() {
				plaintext := bytes.Clone(m.Ciphertext)
				cipher.NewCBCDecrypter(block, iv).CryptBlocks(plaintext, plaintext)
				iv = m.Ciphertext[len(m.Ciphertext)-len(iv):]
				chain, err := ParsePayloads(m.NextPayload, plaintext)
				if err != nil {
					t.Fatal(err)
				}
				m.Payloads = chain.Payloads
			}
			if kind, err := Check(m.Header, m.Payloads); kind != want.kind || err != nil {
				t.Errorf("%s, message %d is %v with error %v, expected %v", name, n+1, kind, err, want.kind)
			}
			if m.String() != want.text {
				t.Errorf("%s, message %d is\n%v, expected\n%s", name, n+1, m, want.text)
			}
			if want.kind == KindMainKE {
				d := messages[n]
				if supported, source, destination := NATDetected(m, d.from, d.to, captureKeys[i].hash); !supported || source || destination {
					t.Errorf("%s, message %d: NAT-T %t, NAT at source %t, at destination %t", name, n+1, supported, source, destination)
				}
			}
		}
	}
}

// What strongSwan proposes and chooses reads as what it was configured to, and spelled out by us it is the same, octet for octet.
func TestCapturedProposals(t *testing.T) {
	for i, want := range []Phase1{
		{Encryption: EncryptionAES, KeyBits: 256, Hash: HashSHA256, Group: 14, Auth: AuthPreSharedKey, Lifetime: Lifetime{Seconds: 15840}},
		{Encryption: Encryption3DES, Hash: HashMD5, Group: 2, Auth: AuthRSASignature, Lifetime: Lifetime{Seconds: 15840}},
	} {
		for n := range 2 {
			m := mustParse(t, captured(t, captures[i])[n].message)
			sa := Find[*SA](m.Payloads)
			chosen, err := sa.Chosen()
			if err != nil || len(chosen) != 1 {
				t.Fatalf("%d proposals chosen (%v)", len(chosen), err)
			}
			got, err := chosen[0].Transforms[0].Phase1()
			if err != nil || got != want {
				t.Errorf("%s, message %d proposes %v, %v (%v), expected %v", captures[i], n+1, got, got.Lifetime, err, want)
			}
			ours := &SA{Proposals: []Proposal{{Number: chosen[0].Number, Protocol: ProtocolISAKMP, Transforms: []Transform{want.Transform(1)}}}}
			body, err := Body(ours)
			if received, _ := Body(sa); err != nil || !bytes.Equal(body, received) {
				t.Errorf("%s, message %d: we spell it\n%x (%v), strongSwan\n%x", captures[i], n+1, body, err, received)
			}
		}
	}
}

// libreswan 4.10 numbers proposals and transforms from 0, strongSwan answers with numbers of its own: what was chosen tells its attributes only.
func TestCapturedLibreswan(t *testing.T) {
	datagrams := captured(t, "testdata/ikev1-libreswan-ah-dpd.pcap")
	for n, want := range []struct {
		text              string
		number, transform uint8
	}{
		{`main mode [ SA V(FRAGMENTATION) V(DPD) V(NAT-T RFC 3947) V(NAT-T draft 03) V(NAT-T draft 02\n) V(NAT-T draft 02) ]`, 0, 0},
		{"main mode [ SA V(XAUTH) V(DPD) V(FRAGMENTATION) V(NAT-T RFC 3947) ]", 1, 1},
	} {
		m := mustParse(t, datagrams[3*n].message) // each was sent three times
		if kind, err := Check(m.Header, m.Payloads); kind != KindMainSA || err != nil || m.String() != want.text {
			t.Errorf("message %d is %v, %v (%v), expected %s", n+1, kind, m, err, want.text)
		}
		chosen, err := Find[*SA](m.Payloads).Chosen()
		if err != nil || len(chosen) != 1 || chosen[0].Number != want.number || chosen[0].Transforms[0].Number != want.transform {
			t.Fatalf("message %d proposes %+v (%v), expected number %d with transform %d", n+1, chosen, err, want.number, want.transform)
		}
		got, err := chosen[0].Transforms[0].Phase1()
		if want := (Phase1{Encryption3DES, 0, HashSHA1, AuthPreSharedKey, 14, Lifetime{Seconds: 28800}}); err != nil || got != want {
			t.Errorf("message %d proposes %v, %v (%v), expected %v", n+1, got, got.Lifetime, err, want)
		}
	}
}
