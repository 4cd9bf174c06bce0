package crypto

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/layers"
)

// ikeMessages returns the IKE messages of a capture in order, without the non-ESP marker of
// UDP port 4500.
func (c *capture) ikeMessages() [][]byte {
	var messages [][]byte
	for _, packet := range c.packets {
		udp, ok := packet.TransportLayer().(*layers.UDP)
		if !ok {
			continue
		}
		messages = append(messages, bytes.TrimPrefix(udp.Payload, make([]byte, 4)))
	}
	return messages
}

const (
	ikeHeaderLen     = 28
	payloadEncrypted = 46
	payloadNonce     = 40
	payloadAuth      = 39
)

// payload finds the body of the first payload of a type in a chain of payloads (RFC 7296
// section 3.2) and where that body starts.
func payload(t *testing.T, first byte, chain []byte, wanted byte) (body []byte, offset int) {
	t.Helper()
	for next := first; next != 0; {
		length := int(binary.BigEndian.Uint16(chain[offset+2:]))
		if next == wanted {
			return chain[offset+4 : offset+length], offset + 4
		}
		next, offset = chain[offset], offset+length
	}
	t.Fatalf("no payload %d in %x", wanted, chain)
	return nil, 0
}

// TestStrongSwanIKE derives the keys of a strongSwan exchange from its nonces and shared
// secret, opens both IKE_AUTH messages, seals them again, and derives the Child SA's keys
// and the initiator's AUTH value.
func TestStrongSwanIKE(t *testing.T) {
	c := readCapture(t, "ikev2-psk-gcm256-tunnel")
	messages := c.ikeMessages()
	if len(messages) != 4 {
		t.Fatalf("%d IKE messages, expected IKE_SA_INIT and IKE_AUTH with their responses", len(messages))
	}
	const prf = PRFHMACSHA256
	s := Suite{Encr: EncrAESGCM16, KeyBits: 256}
	ni, _ := payload(t, messages[0][16], messages[0][ikeHeaderLen:], payloadNonce)
	nr, _ := payload(t, messages[1][16], messages[1][ikeHeaderLen:], payloadNonce)
	nonces := slices.Concat(ni, nr)

	// RFC 7296 section 2.14: SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr.
	skeyseed := PRF(prf, nonces, unhex(t, c.IKE.SharedSecret))
	encrLen, prfLen := s.KeyLen()+s.SaltLen(), PRFKeyLen(prf)
	keys := PRFPlus(prf, skeyseed, slices.Concat(nonces, messages[1][:16]), 3*prfLen+2*encrLen)
	same(t, "SK_d | SK_ei | SK_er | SK_pi | SK_pr", keys, unhex(t, c.IKE.D+c.IKE.EI+c.IKE.ER+c.IKE.PI+c.IKE.PR))
	skD := keys[:prfLen]

	for i, key := range []string{c.IKE.EI, c.IKE.ER} {
		cipher, err := NewIKECipher(s, NewSecret(unhex(t, key)), Secret{})
		if err != nil {
			t.Fatal(err)
		}
		plaintext := checkIKEAuth(t, cipher, messages[2+i])
		if i > 0 {
			continue
		}
		// RFC 7296 section 2.15, with the identity of the initiator as it is on the wire.
		auth, _ := payload(t, plaintext.first, plaintext.octets, payloadAuth)
		identity, _ := payload(t, plaintext.first, plaintext.octets, 35)
		padded := PRF(prf, []byte(c.IKE.PSK), []byte("Key Pad for IKEv2"))
		want := PRF(prf, padded, messages[0], nr, PRF(prf, unhex(t, c.IKE.PI), identity))
		same(t, "AUTH of the initiator", auth[4:], want)
		same(t, "AUTH in the sidecar", auth[4:], unhex(t, c.IKE.AuthI))
	}

	// RFC 7296 section 2.17: initiator to responder first.
	keymat := PRFPlus(prf, skD, nonces, 2*s.KeymatLen())
	same(t, "KEYMAT", keymat, unhex(t, c.SAs[0].EncKey+c.SAs[0].Salt+c.SAs[1].EncKey+c.SAs[1].Salt))
}

type chain struct {
	first  byte
	octets []byte
}

// checkIKEAuth opens a message whose only clear payload is the Encrypted one.
func checkIKEAuth(t *testing.T, cipher *IKECipher, message []byte) chain {
	t.Helper()
	body, offset := payload(t, message[16], message[ikeHeaderLen:], payloadEncrypted)
	aad := message[:ikeHeaderLen+offset]
	plaintext, err := cipher.Open(aad, body)
	if err != nil {
		t.Fatal(err)
	}
	if len(body) != len(plaintext)+cipher.Overhead(len(plaintext)) {
		t.Errorf("body of %d octets for %d, Overhead says %d", len(body), len(plaintext), cipher.Overhead(len(plaintext)))
	}
	ivLen := cipher.Suite().IVLen()
	again := cipher.protection.seal(nil, aad, body[:ivLen], append(bytes.Clone(plaintext), 0), nil)
	same(t, "IKE_AUTH sealed again", again, body)

	damaged := bytes.Clone(aad)
	damaged[20] ^= 1 // the message ID
	if _, err := cipher.Open(damaged, body); err == nil {
		t.Error("a changed IKE header passed")
	}
	return chain{first: message[ikeHeaderLen], octets: plaintext}
}
