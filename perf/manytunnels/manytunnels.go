// Package manytunnels writes the configuration of a gateway that has one tunnel or thousands of them, for a lab.
package manytunnels

import (
	"bufio"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"sallyport/crypto"
	"sallyport/pmd/ethdev"
)

// Options say what the gateway is to have. Zero values have defaults.
type Options struct {
	File                   string // of the configuration; one that exists is not written over
	Tunnels                int    // 0: 1
	Manual                 bool   // SAs with keys given by hand, in place of peers
	Seed                   []byte // of those keys; none: random
	Algorithm              string // of ESP, for IKE a proposal; empty: aes128gcm16
	Version                string // of IKE: v1, v2; empty: v2
	Protected, Unprotected string // devices; empty: net_af_packet with lan0 and wan0
	Updated                string // day of the filter lists' review, as 2026-11-23; empty: none, and a warning for each
}

// Most is how many tunnels there can be.
const Most = 60000

// Where everything is: the addresses for benchmarks (RFC 2544 appendix C.2.2) are those of peers, and each has 14 hosts behind it.
var (
	firstPeer = netip.MustParseAddr("198.18.0.1")
	firstFar  = netip.MustParseAddr("10.16.0.0")
)

const (
	farBits   = 28
	spiIn     = 0x100000
	spiOut    = 0x200000
	leastSeed = 16 // octets

	leastSAs  = 1024
	mbWithout = 256
	octetsSA  = 12 << 10 // of the data plane's memory, keys included
)

func after(a netip.Addr, n int) netip.Addr {
	b := a.As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n))
	return netip.AddrFrom4(b)
}

// tunnel is one of them, in the template.
type tunnel struct {
	Name          string
	Peer          netip.Addr
	Far           netip.Prefix
	SPIIn, SPIOut uint32
	KeyIn, KeyOut string
}

// values fill the template.
type values struct {
	Options
	SAs, MaxTunnels, MemoryMB, FlowEntries int
	PSKFile                                string
	ESN                                    bool
	Suite                                  crypto.Suite
	List                                   []tunnel
}

// Key is the key material of one direction of a tunnel, counted from 1: HKDF with SHA-256 (RFC 5869) of the seed, without salt, with the info
// "sallyport lab gateway, tunnel N, key_in" or key_out, as long as the suite needs it.
func Key(seed []byte, number int, direction string, suite crypto.Suite) ([]byte, error) {
	return hkdf.Key(sha256.New, seed, nil, fmt.Sprintf("sallyport lab gateway, tunnel %d, %s", number, direction), suite.KeymatLen())
}

func powerOfTwo(least int) int {
	n := leastSAs
	for n < least {
		n *= 2
	}
	return n
}

// Write writes the configuration, and beside it the file with the preshared key that all peers have. None but their owner can read them.
func Write(o Options) (err error) {
	if o.Tunnels == 0 {
		o.Tunnels = 1
	}
	for _, text := range []struct {
		of        *string
		otherwise string
	}{{&o.Algorithm, "aes128gcm16"}, {&o.Version, "v2"}, {&o.Protected, "net_af_packet0,iface=lan0"}, {&o.Unprotected, "net_af_packet1,iface=wan0"}} {
		if *text.of == "" {
			*text.of = text.otherwise
		}
	}
	v := values{Options: o, SAs: powerOfTwo(2 * o.Tunnels), MaxTunnels: min(max(2*o.Tunnels, 16), 65534), FlowEntries: max(1<<16, powerOfTwo(4*o.Tunnels))}
	v.MemoryMB = mbWithout + v.SAs*octetsSA>>20
	v.PSKFile = strings.TrimSuffix(filepath.Base(o.File), filepath.Ext(o.File)) + ".psk"
	if err := v.check(); err != nil {
		return fmt.Errorf("manytunnels: %w", err)
	}
	if err := v.fill(); err != nil {
		return fmt.Errorf("manytunnels: %w", err)
	}
	if o.Manual {
		return create(o.File, func(w io.Writer) error { return text.Execute(w, v) })
	}
	key, beside := rand.Text()+rand.Text(), filepath.Join(filepath.Dir(o.File), v.PSKFile)
	if err := create(beside, func(w io.Writer) error { _, err := fmt.Fprintln(w, key); return err }); err != nil {
		return err
	}
	if err := create(o.File, func(w io.Writer) error { return text.Execute(w, v) }); err != nil {
		return errors.Join(err, os.Remove(beside)) // alone it is of no use, and in the way of the next run
	}
	return nil
}

// check finds all that is wrong with what is asked for.
func (v *values) check() error {
	var errs []error
	if v.Tunnels < 1 || v.Tunnels > Most {
		errs = append(errs, fmt.Errorf("%d tunnels, expected 1 to %d", v.Tunnels, Most))
	}
	if v.Version != "v1" && v.Version != "v2" {
		errs = append(errs, fmt.Errorf("IKE %q, expected v1 or v2", v.Version))
	}
	if v.Seed != nil && len(v.Seed) < leastSeed {
		errs = append(errs, fmt.Errorf("a seed of %d octets, expected at least %d", len(v.Seed), leastSeed))
	}
	for _, device := range []string{v.Protected, v.Unprotected} {
		if strings.ContainsAny(device, "\"\\\n") {
			errs = append(errs, fmt.Errorf("device %q, expected one without quotes", device))
		} else if _, err := ethdev.ParseDevice(device); err != nil {
			errs = append(errs, err)
		}
	}
	name, _, _ := strings.Cut(v.Protected, ",")
	if other, _, _ := strings.Cut(v.Unprotected, ","); other == name {
		errs = append(errs, fmt.Errorf("device %s for both ports, expected one for each", name))
	}
	_, err := crypto.ParseESPProposal(v.Algorithm)
	if v.Manual {
		v.Algorithm, v.ESN = strings.CutSuffix(v.Algorithm, "-esn")
		v.Suite, err = crypto.ParseSuite(v.Algorithm)
	}
	return errors.Join(append(errs, err)...)
}

func (v *values) fill() error {
	if v.Seed == nil {
		v.Seed = make([]byte, sha256.Size)
		if _, err := rand.Read(v.Seed); err != nil {
			return err
		}
	}
	for i := range v.Tunnels {
		t := tunnel{Name: fmt.Sprintf("t%d", i+1), Peer: after(firstPeer, i), Far: netip.PrefixFrom(after(firstFar, i<<(32-farBits)), farBits),
			SPIIn: uint32(spiIn + i), SPIOut: uint32(spiOut + i)}
		for direction, to := range map[string]*string{"key_in": &t.KeyIn, "key_out": &t.KeyOut} {
			if !v.Manual {
				break
			}
			key, err := Key(v.Seed, i+1, direction, v.Suite)
			if err != nil {
				return err
			}
			*to = hex.EncodeToString(key)
		}
		v.List = append(v.List, t)
	}
	return nil
}

// create writes a file that nobody else can read and that was not there, whole or not at all.
func create(name string, write func(io.Writer) error) (err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("manytunnels: %w: expected a name that is free; remove what an earlier run wrote, or give another name", err)
	}
	if err != nil {
		return fmt.Errorf("manytunnels: %w", err)
	}
	w := bufio.NewWriter(f)
	err = write(w)
	if err = errors.Join(err, w.Flush(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("manytunnels: %s: %w", name, err), os.Remove(name))
	}
	return nil
}

var text = template.Must(template.New("gateway").Parse(`# A gateway of a lab, with tunnels for sallyport lab traffic and lab rfc2544.
name: gw
lab: true
dataplane: {idle: sleep, huge_pages: auto, memory_mb: {{.MemoryMB}}, max_sas: {{.SAs}}, max_tunnels: {{.MaxTunnels}}, flow_entries: {{.FlowEntries}}}
ports:
  - {name: lan, device: "{{.Protected}}", role: protected, addresses: [10.1.0.1/24]}
  - {name: wan, device: "{{.Unprotected}}", role: unprotected, addresses: [192.0.2.1/24]}
routes:
  - {to: 198.18.0.0/15, via: 192.0.2.2}
  - {to: 10.16.0.0/12, via: 192.0.2.2}
{{if .Manual}}sas:
{{range .List}}  - {name: {{.Name}}, local: 192.0.2.1, remote: {{.Peer}}, algorithm: {{$.Algorithm}}, esn: {{$.ESN}}, spi_in: {{.SPIIn}}, spi_out: {{.SPIOut}}, key_in: "{{.KeyIn}}", key_out: "{{.KeyOut}}"}
{{end}}{{else}}peers:
{{range .List}}  - {name: {{.Name}}, ike: {{$.Version}}, local: 192.0.2.1, remote: {{.Peer}}, auth: {psk_file: {{$.PSKFile}}, allow_weak_psk: true}, start: on-demand, idle_timeout: 0s, dpd_delay: 1h}
{{end}}{{end}}filter_lists:
{{range .List}}  - {name: {{.Name}}, {{with $.Updated}}updated: {{.}}, {{end}}filters: [{source: 10.1.0.0/24, destination: {{.Far}}}]}
{{end}}filter_actions:
  - {name: protect, action: negotiate{{if not .Manual}}, esp_proposals: [{{.Algorithm}}]{{end}}}
policies:
  - name: lab
    rules:
{{range .List}}      - {name: {{.Name}}, filter_list: {{.Name}}, filter_action: protect, {{if $.Manual}}sa{{else}}peer{{end}}: {{.Name}}}
{{end}}active_policy: lab
`))
