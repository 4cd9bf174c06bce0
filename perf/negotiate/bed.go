package negotiate

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/appliance/api"
	"sallyport/ike"
	"sallyport/perf/ikebench"
	"sallyport/perf/lab"
)

// series are the rows that one gateway is started for.
type series struct {
	version    ike.Version
	pfs        string
	auth       string
	quickModes int
	peers      int // of the gateway
	site       site

	psk       string
	authority *ikebench.Authority // nil: preshared keys
}

// What is negotiated: the same algorithms by both versions, and of them those that both have.
const (
	ikeProposal   = "aes128-sha256-ecp256"
	childProposal = "aes128gcm16"
	childGroup    = "-ecp256" // for PFS of session keys
)

func (s *series) espProposal() string {
	if s.pfs == PFSSession {
		return s.site.espPFS
	}
	return s.site.esp
}

var gatewayLAN = netip.MustParsePrefix("10.1.0.0/24")

// Where the gateway is, and the router that all peers are behind.
var (
	gatewayAddress = netip.MustParseAddr("192.0.2.1")
	routerAddress  = netip.MustParseAddr("192.0.2.2")
)

// bed is a gateway on a CPU of its own, or one that is there already, and the link to it.
type bed struct {
	*lab.Lab
	gateway *lab.Namespace
	process *lab.Process
	wire    *lab.Router
	target  *Target // in place of gateway and process
}

// startLimit is how long a gateway of thousands of peers may take to start, on a busy machine.
const startLimit = 3 * time.Minute

// Files of the gateway, beside its configuration.
const (
	configurationFile = "gateway.yaml"
	pskFile           = "peers.psk"
	certificateFile   = "gateway.pem"
	keyFile           = "gateway.key"
	authorityFile     = "ca.pem"

	metricsAddress = "127.0.0.1:9433"
	wanLink        = "wan0"
	peersLink      = "peers0"
	linkMTU        = 1500
)

// newBed starts a gateway for a series.
func newBed(ctx context.Context, binary string, s series, cpu int) (b *bed, err error) {
	b = &bed{}
	if b.Lab, err = lab.New(); err != nil {
		return nil, err
	}
	if err = b.start(ctx, binary, s, cpu); err != nil {
		if b.process != nil && b.process.Alive() == nil {
			err = fmt.Errorf("%w; end of the gateway's log:\n%s", err, b.process.Tail())
		}
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *bed) start(ctx context.Context, binary string, s series, cpu int) (err error) {
	if b.gateway, err = b.Namespace("gw"); err != nil {
		return err
	}
	peers, err := b.Namespace("peers")
	if err != nil {
		return err
	}
	if err := lab.Wire(ctx, b.gateway, wanLink, peers, peersLink, linkMTU); err != nil {
		return err
	}
	if err := errors.Join(b.gateway.Mute(wanLink), peers.Mute(peersLink)); err != nil {
		return err
	}
	b.wire = &lab.Router{Gateway: gatewayAddress, Address: routerAddress}
	if b.wire.Port, err = peers.RawPort(peersLink); err != nil {
		return err
	}
	if err := b.configure(s, cpu); err != nil {
		return err
	}
	b.process, err = b.gateway.Start(lab.Command{Name: "gateway",
		Args: []string{"taskset", "--cpu-list", strconv.Itoa(cpu), binary, "run", "--lab", "-c", filepath.Join(b.Dir, configurationFile)}})
	if err != nil {
		return err
	}
	client := api.NewClient(b.socket())
	if err := lab.Until(ctx, nil, "the gateway to answer", startLimit, func() (bool, error) {
		return client.Get(ctx, api.PathVersion, nil, nil) == nil, b.process.Alive()
	}); err != nil {
		return err
	}
	return b.wire.Find(ctx, startLimit)
}

// alive is an error when the gateway that was started here has ended.
func (b *bed) alive() error {
	if b.target != nil {
		return nil
	}
	return b.process.Alive()
}

func (b *bed) socket() string { return filepath.Join(b.Dir, "gateway.sock") }

// configuration is that of the gateway: a peer, and a rule that needs it, for each caller. What is not here is as shipped: limits and log, too. The worker and
// everything else share one CPU, and the protected port leads nowhere.
var configuration = template.Must(template.New(configurationFile).Parse(`name: gw
lab: true
dataplane: {main_core: {{.CPU}}, workers: [{{.CPU}}], idle: sleep, huge_pages: off, memory_mb: {{.MemoryMB}}, max_sas: {{.SAs}}, max_tunnels: {{.Callers}}}
ports:
  - {name: lan, device: "net_null0,no-rx=1", role: protected, addresses: [{{.LANAddress}}]}
  - {name: wan, device: "net_af_packet0,iface={{.Link}}", role: unprotected, addresses: [{{.Address}}/24]}
routes:
  - {to: 10.64.0.0/10, via: {{.Router}}}
  - {to: 10.128.0.0/10, via: {{.Router}}}
auth: {crl_mode: 0}
peers:
{{range .Peers}}  - {name: {{.Name}}, ike: {{$.Version}}, local: {{$.Address}}, remote: {{.Address}}, auth: { {{- $.Auth -}} }, ike_proposals: [{{$.IKEProposal}}], start: on-demand, dpd_delay: 1h}
{{end}}filter_lists:
{{range .Peers}}  - {name: {{.Name}}, filters: [{source: {{$.LAN}}, destination: {{.Host}}}]}
{{end}}filter_actions:
  - {name: protect, action: negotiate, esp_proposals: [{{.ESPProposal}}]}
policies:
  - name: negotiate
    rules:
{{range .Peers}}      - {name: {{.Name}}, filter_list: {{.Name}}, filter_action: protect, peer: {{.Name}}}
{{end}}active_policy: negotiate
state_dir: {{.State}}
control: {socket: {{.Socket}}}
metrics: {listen: {{.Metrics}}}
`))

// configurationValues fill it.
type configurationValues struct {
	CPU, MemoryMB, SAs, Callers  int
	Version, Auth                string
	Address, Router              netip.Addr
	LAN, LANAddress              netip.Prefix
	Link, State, Socket, Metrics string
	IKEProposal, ESPProposal     string
	Peers                        []configuredPeer
}

type configuredPeer struct {
	Name          string
	Address, Host netip.Addr
}

// configure writes the gateway's files.
func (b *bed) configure(s series, cpu int) error {
	values := configurationValues{CPU: cpu, Callers: max(s.peers, 16), Version: s.version.String(), Address: gatewayAddress, Router: routerAddress, LAN: gatewayLAN,
		LANAddress: netip.PrefixFrom(gatewayLAN.Addr().Next(), gatewayLAN.Bits()), Link: wanLink, State: filepath.Join(b.Dir, "state"), Socket: b.socket(),
		Metrics: metricsAddress, IKEProposal: ikeProposal, ESPProposal: s.espProposal()}
	for i := range s.peers {
		values.Peers = append(values.Peers, configuredPeer{callerName(i), s.site.callerAddress(i), s.site.hostAddress(i)})
	}
	pairs := s.peers * s.quickModes // a replaced one stays for a while
	const least, pairBytes, fixedMB = 1024, 24 << 10, 256
	for values.SAs = least; values.SAs < 2*pairs; {
		values.SAs *= 2
	}
	values.MemoryMB = fixedMB + values.SAs*pairBytes>>20
	files := map[string]string{}
	if s.authority == nil {
		values.Auth, files[pskFile] = "psk_file: "+pskFile+", allow_weak_psk: true", s.psk+"\n" // one for all: two would cost the same
	} else if err := s.certificates(&values, files); err != nil {
		return err
	}
	var text strings.Builder
	if err := configuration.Execute(&text, values); err != nil {
		return fmt.Errorf("negotiate: configuration of the gateway: %w", err)
	}
	files[configurationFile] = text.String()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(b.Dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("negotiate: %w", err)
		}
	}
	return nil
}

// certificates gives the gateway one of the authority's.
func (s *series) certificates(values *configurationValues, files map[string]string) error {
	own, err := s.authority.Credential(gatewayAddress)
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(own.Key)
	if err != nil {
		return fmt.Errorf("negotiate: key of the gateway: %w", err)
	}
	for name, block := range map[string]pem.Block{certificateFile: {Type: "CERTIFICATE", Bytes: own.Certificates[0]}, keyFile: {Type: "PRIVATE KEY", Bytes: key},
		authorityFile: {Type: "CERTIFICATE", Bytes: s.authority.Certificate.Raw}} {
		files[name] = string(pem.EncodeToMemory(&block))
	}
	values.Auth = fmt.Sprintf("certificate_file: %s, private_key_file: %s, ca_files: [%s]", certificateFile, keyFile, authorityFile)
	return nil
}

// spent is the CPU time that the gateway has had.
func (b *bed) spent() (time.Duration, error) {
	switch {
	case b.target == nil:
		return CPUTime(b.process.PID())
	case b.target.Spent == nil:
		return 0, nil
	}
	return b.target.Spent()
}

// CPUTime is what a process has had of it, all of its threads together, in nanoseconds: clock_getcpuclockid(3)'s clock. The ticks of proc(5) are 10 ms, of which a
// window of some hundred connections has few.
func CPUTime(pid int) (time.Duration, error) {
	const scheduled, shift = 2, 3 // the kind of clock, and how far the complement of the process's number stands above it
	var spent unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<shift|scheduled), &spent); err != nil {
		return 0, fmt.Errorf("negotiate: CPU time of process %d: %w", pid, err)
	}
	return time.Duration(spent.Nano()), nil
}
