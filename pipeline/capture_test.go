package pipeline

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sallyport/policy"
)

// capture is what a Linux kernel sent, with its keys.
type capture struct {
	frames [][]byte
	sas    []capturedSA
}

type capturedSA struct {
	source, destination netip.Addr // outer
	host                netip.Addr // inner, behind destination
	spi                 uint32
	suite               string
	keymat              []byte
	ah, esn, udp        bool
}

type captureFile struct {
	Inner    struct{ Src, Dst netip.Addr }
	UDPPorts []int `json:"udp_ports"`
	SAs      []struct {
		Src, Dst   netip.Addr
		SPI        string
		Protocol   string
		Encryption string
		EncKey     string `json:"enc_key"`
		Salt       string
		Integrity  string
		AuthKey    string `json:"auth_key"`
		ESN        bool
	}
}

// readCapture reads a capture of this package or of package crypto.
func readCapture(t *testing.T, name string) capture {
	t.Helper()
	read := func(extension string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", name+extension))
		if errors.Is(err, fs.ErrNotExist) {
			b, err = os.ReadFile(filepath.Join("..", "crypto", "testdata", name+extension))
		}
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var file captureFile
	if err := json.Unmarshal(read(".json"), &file); err != nil {
		t.Fatal(err)
	}
	var c capture
	for rest := read(".pcap")[24:]; len(rest) > 0; {
		n := binary.LittleEndian.Uint32(rest[8:])
		c.frames = append(c.frames, rest[16:16+n])
		rest = rest[16+n:]
	}
	for _, s := range file.SAs {
		spi, err := strconv.ParseUint(s.SPI, 0, 32)
		if err != nil {
			t.Fatal(err)
		}
		keymat, err := hex.DecodeString(s.EncKey + s.Salt + s.AuthKey)
		if err != nil {
			t.Fatal(err)
		}
		suite := "sha256"
		switch cipher := "aes" + strconv.Itoa(len(s.EncKey)*4); {
		case s.Protocol == "AH":
		case s.Encryption == "AES-GCM":
			suite = cipher + "gcm16"
		case strings.HasPrefix(s.Integrity, "HMAC-SHA1"):
			suite = cipher + "-sha1"
		default:
			suite = cipher + "-sha256"
		}
		host := file.Inner.Dst
		if s.Src != file.SAs[0].Src {
			host = file.Inner.Src
		}
		c.sas = append(c.sas, capturedSA{s.Src, s.Dst, host, uint32(spi), suite, keymat, s.Protocol == "AH", s.ESN, len(file.UDPPorts) > 0})
	}
	return c
}

// forceSPI makes the allocator hold an SPI that somebody else chose.
func (r *rig) forceSPI(spi uint32) {
	spis := r.d.sad.spis
	slot := spi & (1<<spis.bits - 1)
	spis.free = slices.DeleteFunc(spis.free, func(s uint32) bool { return s == slot })
	spis.used[spi] = true
}

type policySelector = policy.Selector

var anyIPv4 = policy.AnyIPv4()

// siteSelectors is the selector between the sites with a change.
func siteSelectors(change func(*policySelector)) []policy.Selector {
	s := siteSelector
	change(&s)
	return []policy.Selector{s}
}
