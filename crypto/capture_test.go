package crypto

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
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
	// AHOctets is the length of AH where it is longer than the least, else 0.
	AHOctets int `json:"ah_header_octets"`
	IKE      struct {
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
	Protocol   string
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

// suite is what the sidecar calls by the names of the field.
func (sa captureSA) suite(t *testing.T) Suite {
	t.Helper()
	encr, known := map[string]EncrID{"": 0, "NULL": EncrNull, "AES-GCM": EncrAESGCM16, "AES-CBC": EncrAESCBC, "3DES-CBC": Encr3DES}[sa.Encryption]
	integ, alsoKnown := map[string]IntegID{"": IntegNone, "HMAC-MD5-96": IntegHMACMD5, "HMAC-SHA1-96": IntegHMACSHA1,
		"HMAC-SHA2-256-128": IntegHMACSHA256}[sa.Integrity]
	s := Suite{Encr: encr, Integ: integ}
	if encr == EncrAESGCM16 || encr == EncrAESCBC {
		s.KeyBits = len(sa.EncKey) * 4
	}
	if !known || !alsoKnown || s.Validate() != nil {
		t.Fatalf("no suite for %q with %q", sa.Encryption, sa.Integrity)
	}
	return s
}

func (sa captureSA) keymat(t *testing.T) Secret {
	return NewSecret(unhex(t, sa.EncKey+sa.Salt+sa.AuthKey))
}

// find gives the SA of a packet by its SPI.
func (c *capture) find(t *testing.T, protocol string, octets []byte) (captureSA, uint32) {
	t.Helper()
	spi := binary.BigEndian.Uint32(octets)
	for _, sa := range c.SAs {
		// The sidecar of the IKE capture does not name its only protocol.
		if sa.SPI == fmt.Sprintf("0x%08x", spi) && (sa.Protocol == protocol || sa.Protocol == "") {
			return sa, spi
		}
	}
	t.Fatalf("no %s SA for SPI %#08x", protocol, spi)
	return captureSA{}, 0
}

// TestKernelCaptures opens every packet that the Linux kernel made, header by header, down
// to the ICMP echo, and makes it again: the result must be the kernel's packet.
func TestKernelCaptures(t *testing.T) {
	cases := []struct {
		name    string
		headers string // of each packet, from the outside in
		packets int
	}{
		{"esp-gcm128-tunnel", "ESP IP ICMP", 4},
		{"esp-gcm256-tunnel", "ESP IP ICMP", 2},
		{"esp-cbc128-sha1-tunnel", "ESP IP ICMP", 4},
		{"esp-cbc256-sha256-tunnel", "ESP IP ICMP", 4},
		{"esp-cbc128-sha1-esn-tunnel", "ESP IP ICMP", 4},
		{"ikev2-psk-gcm256-tunnel", "ESP IP ICMP", 6},
		{"esp-3des-md5-tunnel", "ESP IP ICMP", 4},
		{"esp-3des-sha1-transport", "ESP ICMP", 2},
		{"esp-null-sha1-transport", "ESP ICMP", 4},
		{"ah-sha1-transport", "AH ICMP", 4},
		{"ah-sha256-tunnel", "AH IP ICMP", 6},
		{"ah-sha256-pad64-tunnel", "AH IP ICMP", 4},
		{"bundle-3des-sha1-ah-sha1-transport", "AH ESP ICMP", 4}, // S-096: IP, AH, ESP on the wire
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			recorded := readCapture(t, c.name)
			found := 0
			for _, packet := range recorded.ipsec() {
				if headers := recorded.open(t, packet); headers != c.headers {
					t.Errorf("headers %s, expected %s", headers, c.headers)
				}
				found++
			}
			if found != c.packets {
				t.Errorf("%d packets in the capture, expected %d", found, c.packets)
			}
		})
	}
}

// ipsec returns the IPv4 packets of ESP and AH in order.
func (c *capture) ipsec() [][]byte {
	var list [][]byte
	for _, packet := range c.packets {
		ip, ok := packet.NetworkLayer().(*layers.IPv4)
		if ok && (ip.Protocol == layers.IPProtocolESP || ip.Protocol == layers.IPProtocolAH) {
			list = append(list, slices.Concat(ip.Contents, ip.Payload))
		}
	}
	return list
}

// open takes one protection after the other off an IPv4 packet and names them.
func (c *capture) open(t *testing.T, packet []byte) string {
	t.Helper()
	payload := packet[ipv4HeaderLen:]
	switch layers.IPProtocol(packet[9]) {
	case layers.IPProtocolAH:
		return "AH " + c.open(t, c.checkAH(t, packet))
	case layers.IPProtocolESP:
		inner, nextHeader := c.checkESP(t, payload)
		if nextHeader == uint8(layers.IPProtocolIPv4) {
			return "ESP IP " + c.open(t, inner)
		}
		transport := slices.Concat(packet[:ipv4HeaderLen], inner)
		transport[9] = nextHeader
		binary.BigEndian.PutUint16(transport[2:], uint16(len(transport)))
		return "ESP " + c.open(t, transport)
	case layers.IPProtocolIPv4:
		return "IP " + c.open(t, payload)
	}
	c.checkInner(t, packet)
	return "ICMP"
}

func (c *capture) checkESP(t *testing.T, packet []byte) (payload []byte, nextHeader uint8) {
	t.Helper()
	sa, spi := c.find(t, "ESP", packet)
	esp, err := NewESP(sa.suite(t), spi, sa.keymat(t), WithESN(sa.ESN))
	if err != nil {
		t.Fatal(err)
	}
	payload, nextHeader, seq, err := esp.Open(packet, 0)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := esp.Seal(uint64(seq), packet[8:8+esp.suite.IVLen()], payload, nextHeader)
	if err != nil {
		t.Fatal(err)
	}
	same(t, fmt.Sprintf("ESP packet %d sealed again", seq), sealed, packet)
	return payload, nextHeader
}

func (c *capture) checkAH(t *testing.T, packet []byte) (without []byte) {
	t.Helper()
	sa, spi := c.find(t, "AH", packet[ipv4HeaderLen+4:])
	ah, err := NewAH(sa.suite(t), spi, sa.keymat(t), WithESN(sa.ESN))
	if err != nil {
		t.Fatal(err)
	}
	without, _, seq, err := ah.Verify(packet, 0)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ah.Protect(without, uint64(seq))
	if err != nil {
		t.Fatal(err)
	}
	// With Linux's default the kernel's packet has 4 octets of ICV padding more than ours.
	if c.AHOctets == 0 {
		same(t, fmt.Sprintf("AH packet %d protected again", seq), again, packet)
	}
	moved := slices.Clone(packet)
	moved[15] ^= 1 // source address
	if _, _, _, err := ah.Verify(moved, 0); !errors.Is(err, ErrICV) {
		t.Errorf("AH packet %d from another source: error %v", seq, err)
	}
	return without
}

// checkInner checks that the packet is the ICMP echo between the inner hosts.
func (c *capture) checkInner(t *testing.T, packet []byte) {
	t.Helper()
	inner := gopacket.NewPacket(packet, layers.LayerTypeIPv4, gopacket.Default)
	ip, isIP := inner.NetworkLayer().(*layers.IPv4)
	_, isICMP := inner.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	if !isIP || !isICMP {
		t.Fatalf("inner packet is no ICMP: %x", packet)
	}
	source, _ := netip.AddrFromSlice(ip.SrcIP)
	destination, _ := netip.AddrFromSlice(ip.DstIP)
	forth := source == c.Inner.Src && destination == c.Inner.Dst
	back := source == c.Inner.Dst && destination == c.Inner.Src
	if !forth && !back {
		t.Errorf("inner packet from %s to %s", source, destination)
	}
}
