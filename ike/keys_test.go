package ike

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"testing"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// What two strongSwan 5.9.8 negotiated and derived: AES-GCM-256, PRF_HMAC_SHA2_256, MODP-2048, pre-shared key. The keys were made for the capture.
const (
	capture       = "wire/testdata/ikev2-psk-gcm256-tunnel.pcap"
	capturePSK    = "k7Vq2mXw9RtZ4pLc8HsJ3nYd6BfG"
	captureShared = "d2280614cb8fe39d11caf7e779c6f75e0b3abf0675750dd2d1c85bdfa11a15cf3b7266dbaa4f39f85b70c4ac1271d5f89c06d62c1b6ffddaddb0e9e28cbae9fe" +
		"6cc37cc8fc457e3a5ea110ab51ba2d9e3d7b73cb3178367664db42f96236d46c06168028d09530c06edbdb899ecf40030c43638955bc1de740a9382b3a110a5d" +
		"a0256c886b43cc2ea4cb29dd04d475232ba4f4d6a8776a961169097867936fa2ff738d21232ef01c561e13859ccddd1377e55df27b1da54bf216e5e796f1648f" +
		"fae1f33a09da8132622c4d35c20f858d007dbcca5df84020c28e9f2c08b3592214aea0eca440945f138844f1818de040cba61ce21624593df0cb142d37c68383"
	captureSKd    = "f4d82a6ed89cf6991e7aca94574868775ca9b891f3a756468e55b30aa25999a0"
	captureSKpi   = "a2fc53b333b9e7193373e088dd2b91536f3446664dba250437d98929c8488f62"
	captureSKpr   = "f62c790931dbe0a8466357dbcf0c85c616f78a896cc96ba552ed645051f7c8db"
	captureAUTHi  = "7397128345d3832ebdd3b3659f5eb5b5ccf9b9c2a7b617bbc12e5caf37f2eb98"
	captureKeyOut = "a154069e0e7dfe26dc1923797c8a0304e393c3005a7b1c010e5b68b90e298315" + "d988c159" // from the initiator, with salt
	captureKeyIn  = "590dd4be56a0ef5617cde83d1faaf00b38a31beea28eedeaca333ab6282d7fad" + "5de04286"
	captureSPIOut = 0xcdf9a772
)

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// capturedIKE reads the IKE messages out of a little-endian pcap of Ethernet frames with IPv4 headers of 20 octets.
func capturedIKE(t *testing.T) [][]byte {
	t.Helper()
	file, err := os.ReadFile(capture)
	if err != nil {
		t.Fatal(err)
	}
	const fileHeader, recordHeader, ethernet, ip, udp = 24, 16, 14, 20, 8
	var messages [][]byte
	for rest := file[fileHeader:]; len(rest) > 0; {
		end := recordHeader + binary.LittleEndian.Uint32(rest[8:])
		frame := rest[recordHeader:end]
		rest = rest[end:]
		if frame[12] != 8 || frame[13] != 0 || frame[ethernet+9] != 17 {
			continue
		}
		segment := frame[ethernet+ip:]
		messages = append(messages, bytes.TrimPrefix(segment[udp:binary.BigEndian.Uint16(segment[4:])], []byte{0, 0, 0, 0}))
	}
	if len(messages) < 4 {
		t.Fatalf("%d IKE messages in %s, expected 4 at least", len(messages), capture)
	}
	return messages
}

// TestCapturedNegotiation derives the captured keys from the captured messages, and checks both AUTH payloads, as either side.
func TestCapturedNegotiation(t *testing.T) {
	messages := capturedIKE(t)
	init, err := wire.Parse(messages[0])
	if err != nil {
		t.Fatal(err)
	}
	answer, err := wire.Parse(messages[1])
	if err != nil {
		t.Fatal(err)
	}
	ni, nr := wire.Find[*wire.Nonce](init.Payloads).Data, wire.Find[*wire.Nonce](answer.Payloads).Data
	ours := ikeProposals(t, "aes256gcm16-prfsha256-modp2048")
	c, err := confirm(ours, wire.Find[*wire.SA](answer.Payloads), crypto.DHMODP2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []Role{RoleInitiator, RoleResponder} {
		seed := seedInit(c.prf, ni, nr, crypto.NewSecret(unhex(t, captureShared)))
		keys, err := deriveKeys(c, seed, ni, nr, answer.InitiatorSPI, answer.ResponderSPI, role, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, pair := range map[string][2][]byte{
			"SK_d": {keys.d.Bytes(), unhex(t, captureSKd)}, "SK_pi": {keys.pi.Bytes(), unhex(t, captureSKpi)}, "SK_pr": {keys.pr.Bytes(), unhex(t, captureSKpr)},
		} {
			if !bytes.Equal(pair[0], pair[1]) {
				t.Errorf("%s differs from the captured one", name)
			}
		}
		out, in := childKeymat(keys, crypto.Suite{Encr: crypto.EncrAESGCM16, KeyBits: 256}, secrets{}, ni, nr)
		if !bytes.Equal(out.Bytes(), unhex(t, captureKeyOut)) || !bytes.Equal(in.Bytes(), unhex(t, captureKeyIn)) {
			t.Error("keys of the Child SA differ from the captured ones")
		}
		sa := &ikeSA{role: role, keys: keys, engine: &Engine{}}
		peers := messages[3] // what the role receives
		if role == RoleResponder {
			peers = messages[2]
		}
		m, err := sa.open(Datagram{Payload: peers})
		if err != nil {
			t.Fatalf("%v cannot read IKE_AUTH: %v", role, err)
		}
		checkAuth(t, sa, m, messages, ni, nr)
	}
}

func checkAuth(t *testing.T, sa *ikeSA, m *message, messages [][]byte, ni, nr []byte) {
	t.Helper()
	psk := crypto.NewSecret([]byte(capturePSK))
	id, auth := wire.FindID(m.Payloads, sa.role == RoleResponder), wire.Find[*wire.Auth](m.Payloads)
	sa.initRequest, sa.initResponse, sa.ni, sa.nr = messages[0], messages[1], ni, nr
	if sa.role == RoleResponder {
		if !bytes.Equal(auth.Data, unhex(t, captureAUTHi)) {
			t.Error("AUTH of the initiator is not the one noted with the capture")
		}
		if spi := wire.Find[*wire.SA](m.Payloads).Proposals[0].SPI; binary.BigEndian.Uint32(spi) == captureSPIOut {
			t.Error("the initiator's SPI is the one it sends by, expected the one it receives by")
		}
	}
	if err := verifyKey(sa, &peer{cfg: Peer{PSK: psk}}, id, auth); err != nil {
		t.Errorf("as %v: the captured AUTH of the other side does not verify: %v", sa.role, err)
	}
	if verifyKey(sa, &peer{cfg: Peer{PSK: crypto.NewSecret([]byte("wrong"))}}, id, auth) == nil {
		t.Error("AUTH verifies with a wrong key")
	}
}
