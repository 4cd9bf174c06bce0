package crypto

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// capture is a packet capture of other implementations with its keys, see
// testdata/README.md.
type capture struct {
	packets []gopacket.Packet
	Inner   struct{ Src, Dst netip.Addr }
	SAs     []captureSA `json:"sas"`
	IKE     struct {
		SharedSecret string `json:"dh_shared_secret"`
		D            string `json:"sk_d"`
		EI           string `json:"sk_ei"`
		ER           string `json:"sk_er"`
		PI           string `json:"sk_pi"`
		PR           string `json:"sk_pr"`
		PSK          string
		AuthI        string `json:"auth_initiator"`
	}
}

type captureSA struct {
	Src        netip.Addr
	SPI        string
	Encryption string
	Integrity  string
	EncKey     string `json:"enc_key"`
	Salt       string
	AuthKey    string `json:"auth_key"`
	ESN        bool
}

func readCapture(t *testing.T, name string) *capture {
	t.Helper()
	sidecar, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	c := new(capture)
	if err := json.Unmarshal(sidecar, c); err != nil {
		t.Fatal(err)
	}
	pcap, err := os.ReadFile(filepath.Join("testdata", name+".pcap"))
	if err != nil {
		t.Fatal(err)
	}
	// A file header of 24 octets, then each packet behind a header of 16 with its length.
	for rest := pcap[24:]; len(rest) > 0; {
		end := 16 + binary.LittleEndian.Uint32(rest[8:])
		c.packets = append(c.packets, gopacket.NewPacket(rest[16:end], layers.LayerTypeEthernet, gopacket.Default))
		rest = rest[end:]
	}
	return c
}

// esp makes the reference SA for one direction of the capture.
func (sa captureSA) esp(t *testing.T) (*ESP, uint32) {
	t.Helper()
	keymat := unhex(t, sa.EncKey+sa.Salt+sa.AuthKey)
	s := Suite{Encr: EncrAESCBC, KeyBits: len(sa.EncKey) * 4}
	switch sa.Encryption + "+" + sa.Integrity {
	case "AES-GCM+":
		s.Encr = EncrAESGCM16
	case "AES-CBC+HMAC-SHA1-96":
		s.Integ = IntegHMACSHA1
	case "AES-CBC+HMAC-SHA2-256-128":
		s.Integ = IntegHMACSHA256
	default:
		t.Fatalf("no suite for %q with %q", sa.Encryption, sa.Integrity)
	}
	spi, err := strconv.ParseUint(strings.TrimPrefix(sa.SPI, "0x"), 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	esp, err := NewESP(s, uint32(spi), NewSecret(keymat), WithESN(sa.ESN))
	if err != nil {
		t.Fatal(err)
	}
	return esp, uint32(spi)
}

// TestKernelCaptures opens every ESP packet that the Linux kernel made and seals it again
// with the kernel's IV: the result must be the kernel's packet.
func TestKernelCaptures(t *testing.T) {
	cases := []struct {
		name    string
		packets int
	}{
		{"esp-gcm128-tunnel", 4},
		{"esp-gcm256-tunnel", 2},
		{"esp-cbc128-sha1-tunnel", 4},
		{"esp-cbc256-sha256-tunnel", 4},
		{"esp-cbc128-sha1-esn-tunnel", 4},
		{"ikev2-psk-gcm256-tunnel", 6},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			recorded := readCapture(t, c.name)
			opened := 0
			for _, packet := range recorded.packets {
				ip, ok := packet.NetworkLayer().(*layers.IPv4)
				if !ok || ip.Protocol != layers.IPProtocolESP {
					continue
				}
				recorded.checkESP(t, ip.Payload)
				opened++
			}
			if opened != c.packets {
				t.Errorf("%d ESP packets in the capture, expected %d", opened, c.packets)
			}
		})
	}
}

func (c *capture) checkESP(t *testing.T, packet []byte) {
	t.Helper()
	for _, sa := range c.SAs {
		esp, spi := sa.esp(t)
		if spi != binary.BigEndian.Uint32(packet) {
			continue
		}
		payload, nextHeader, seq, err := esp.Open(packet, 0)
		if err != nil {
			t.Fatal(err)
		}
		if nextHeader != uint8(layers.IPProtocolIPv4) {
			t.Errorf("next header %d, expected IPv4", nextHeader)
		}
		c.checkInner(t, payload)
		sealed, err := esp.Seal(uint64(seq), packet[8:8+esp.suite.IVLen()], payload, nextHeader)
		if err != nil {
			t.Fatal(err)
		}
		same(t, fmt.Sprintf("packet %d sealed again", seq), sealed, packet)
		return
	}
	t.Fatalf("no SA for %x", packet[:4])
}

// checkInner checks that the payload is the ICMP echo between the inner hosts.
func (c *capture) checkInner(t *testing.T, payload []byte) {
	t.Helper()
	inner := gopacket.NewPacket(payload, layers.LayerTypeIPv4, gopacket.Default)
	ip, isIP := inner.NetworkLayer().(*layers.IPv4)
	_, isICMP := inner.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	if !isIP || !isICMP {
		t.Fatalf("inner packet is no ICMP: %x", payload)
	}
	source, _ := netip.AddrFromSlice(ip.SrcIP)
	destination, _ := netip.AddrFromSlice(ip.DstIP)
	forth := source == c.Inner.Src && destination == c.Inner.Dst
	back := source == c.Inner.Dst && destination == c.Inner.Src
	if !forth && !back {
		t.Errorf("inner packet from %s to %s", source, destination)
	}
}

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
