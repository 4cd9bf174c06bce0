package hostile

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/appliance/api"
	"sallyport/ike"
	"sallyport/perf/lab"
)

// The addresses of a bed. Peers are in the network beyond the router, each with one host behind it; the packets of the tunnel that is measured come from a host
// in the gateway's LAN.
var (
	gatewayAddress = netip.MustParseAddr("192.0.2.1")
	routerAddress  = netip.MustParseAddr("192.0.2.2")
	gatewayLAN     = netip.MustParsePrefix("10.1.0.0/24")
	sourceHost     = netip.MustParseAddr("10.1.0.10")
)

func peerAddress(number int) netip.Addr { return netip.AddrFrom4([4]byte{10, 64, 0, byte(1 + number)}) }
func hostAddress(number int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 128, 0, byte(1 + number)})
}

// member is a peer of the gateway.
type member struct {
	name    string
	version ike.Version
	address netip.Addr
	host    netip.Addr
}

// is reports whether a member does what a word says.
func (m *member) is(word string) bool { return strings.HasPrefix(m.name, word) }

// Peers by what they do.
const (
	loaded    = "loaded"    // its tunnel carries traffic
	returning = "returning" // has been connected before the attack
	newcomer  = "newcomer"  // has not
	newcomers = 3           // of either version
	attacker  = "attacker"  // its address is an attacker's
)

// members are the gateway's peers.
var members = func() (list []member) {
	add := func(name string, version ike.Version) {
		n := len(list)
		list = append(list, member{name, version, peerAddress(n), hostAddress(n)})
	}
	add(loaded, ike.V2)
	for _, version := range []ike.Version{ike.V2, ike.V1} {
		add(fmt.Sprintf("%s-%s", returning, version), version)
		for i := range newcomers {
			add(fmt.Sprintf("%s-%s-%d", newcomer, version, i+1), version)
		}
		add(fmt.Sprintf("%s-%s", attacker, version), version)
	}
	return list
}()

// attackerOf is the member at whose address an attacker by one version is.
func attackerOf(version ike.Version) *member {
	i := slices.IndexFunc(members, func(m member) bool { return m.is(attacker) && m.version == version })
	return &members[i]
}

// bed is a gateway under attack.
type bed struct {
	*lab.Lab
	gateway *lab.Namespace
	outside *lab.Namespace
	process *lab.Process
	wire    *lab.Router // to the port that is attacked
	lan     *lab.Router // to the other, as a host sees it
	sender  *lab.Sender // of attacks
	load    *lab.Sender // of what the tunnel carries
	client  *api.Client
	esp     *lab.Counter // what the tunnel sends
	station *station
	cpus    cpus
	psk     string
	target  netip.Addr // that is attacked

	scenario Scenario
	softMax  int // soft SAs at most; 0: as shipped
}

// startLimit is how long a gateway may take to start, on a busy machine.
const startLimit = 3 * time.Minute

const (
	configurationFile = "gateway.yaml"
	pskFile           = "peers.psk"
	metricsAddress    = "127.0.0.1:9433"
	wanLink           = "wan0"
	peersLink         = "peers0"
	lanLink           = "lan0"
	hostLink          = "host0"
	linkMTU           = 1500
)

// newBed starts a gateway for a scenario, in small one that shares its CPU and stops early.
func newBed(ctx context.Context, binary string, s Scenario, cpus cpus, quick bool) (b *bed, err error) {
	idle := "poll"
	b = &bed{scenario: s, cpus: cpus, psk: rand.Text() + rand.Text(), target: gatewayAddress}
	if quick {
		idle = "sleep"
	}
	if quick && s.silent {
		b.softMax = quickSoftMax
	}
	if b.Lab, err = lab.New(); err != nil {
		return nil, err
	}
	if err = b.start(ctx, binary, idle); err != nil {
		if b.process != nil && b.process.Alive() == nil {
			err = fmt.Errorf("%w; end of the gateway's log:\n%s", err, b.process.Tail())
		}
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *bed) start(ctx context.Context, binary string, idle string) (err error) {
	if b.gateway, err = b.Namespace("gw"); err != nil {
		return err
	}
	if b.outside, err = b.Namespace("outside"); err != nil {
		return err
	}
	if err := lab.Wire(ctx, b.gateway, wanLink, b.outside, peersLink, linkMTU); err != nil {
		return err
	}
	if err := lab.Wire(ctx, b.gateway, lanLink, b.outside, hostLink, linkMTU); err != nil {
		return err
	}
	if err := errors.Join(b.gateway.Mute(wanLink), b.gateway.Mute(lanLink), b.outside.Mute(peersLink), b.outside.Mute(hostLink)); err != nil {
		return err
	}
	b.wire = &lab.Router{Gateway: gatewayAddress, Address: routerAddress}
	if b.wire.Port, err = b.outside.RawPort(peersLink); err != nil {
		return err
	}
	if err := b.wire.Port.Only(forPeers); err != nil {
		return err
	}
	if b.sender, err = b.outside.Sender(peersLink); err != nil {
		return err
	}
	b.lan = &lab.Router{Gateway: gatewayLAN.Addr().Next(), Address: sourceHost}
	if b.lan.Port, err = b.outside.RawPort(hostLink); err != nil {
		return err
	}
	if b.load, err = b.outside.Sender(hostLink); err != nil {
		return err
	}
	if b.esp, err = b.outside.Counter(peersLink, unix.IPPROTO_ESP); err != nil {
		return err
	}
	if err := b.configure(idle); err != nil {
		return err
	}
	b.process, err = b.gateway.Start(lab.Command{Name: "gateway", Args: []string{"taskset", "--cpu-list", b.cpus.list(), binary, "run", "--lab", "-c", filepath.Join(b.Dir, configurationFile)}})
	if err != nil {
		return err
	}
	b.client = api.NewClient(b.socket())
	if err := lab.Until(ctx, nil, "the gateway to answer", startLimit, func() (bool, error) {
		return b.client.Get(ctx, api.PathVersion, nil, nil) == nil, b.process.Alive()
	}); err != nil {
		return err
	}
	if err := errors.Join(b.wire.Find(ctx, startLimit), b.lan.Find(ctx, startLimit)); err != nil {
		return err
	}
	b.station, err = newStation(b.wire, b.psk)
	if err == nil {
		b.Defer(b.station.close)
	}
	return err
}

func (b *bed) socket() string { return filepath.Join(b.Dir, "gateway.sock") }

// forPeers takes ARP, and datagrams of IKE for peers: answers to attackers must not cost the peers their time.
var forPeers = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 12},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 8, K: unix.ETH_P_ARP},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 8, K: unix.ETH_P_IP},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 23},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 6, K: unix.IPPROTO_UDP},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 30},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 4, K: 10<<8 | 64}, // 10.64.0.0/16
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 36},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: 500},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: 4500},
	{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16},
	{Code: unix.BPF_RET | unix.BPF_K},
}

// configuration is that of the gateway: a peer, and a rule that needs it, for each member. What is not here is as shipped: limits and log, too.
var configuration = template.Must(template.New(configurationFile).Parse(`name: gw
lab: true
dataplane: {main_core: {{.MainCPU}}, workers: [{{.Worker}}], idle: {{.Idle}}, huge_pages: off, memory_mb: 384, max_sas: 1024}
ports:
  - {name: lan, device: "net_af_packet1,iface={{.LANLink}}", role: protected, addresses: [{{.LANAddress}}]}
  - {name: wan, device: "net_af_packet0,iface={{.Link}}", role: unprotected, addresses: [{{.Address}}/24]}
routes:
  - {to: 0.0.0.0/0, via: {{.Router}}}
auth: {crl_mode: 0}
peers:
{{range .Members}}  - {name: {{.Name}}, ike: {{.Version}}, local: {{$.Address}}, remote: {{.Address}}, auth: {psk_file: {{$.PSKFile}}, allow_weak_psk: true}, ike_proposals: [{{$.IKEProposal}}], start: on-demand, dpd_delay: 1h}
{{end}}{{range .Silent}}  - {name: {{.Name}}, local: {{$.Address}}, remote: {{.Address}}, auth: {psk_file: {{$.PSKFile}}, allow_weak_psk: true}, ike_proposals: [{{$.IKEProposal}}], start: on-demand}
{{end}}filter_lists:
{{range .Members}}  - {name: {{.Name}}, filters: [{source: {{$.LAN}}, destination: {{.Host}}}]}
{{end}}{{range .Silent}}  - {name: {{.Name}}, filters: [{source: {{$.LAN}}, destination: {{.Targets}}}]}
{{end}}filter_actions:
  - {name: protect, action: negotiate, esp_proposals: [{{.ESPProposal}}]}
{{if .Silent}}  - {name: try, action: negotiate, esp_proposals: [{{.ESPProposal}}], fallback_clear: true, fallback_clear_on_wan: true}
{{end -}}
policies:
  - name: hostile
    rules:
{{range .Members}}      - {name: {{.Name}}, filter_list: {{.Name}}, filter_action: protect, peer: {{.Name}}}
{{end}}{{range .Silent}}      - {name: {{.Name}}, filter_list: {{.Name}}, filter_action: try, peer: {{.Name}}}
{{end}}active_policy: hostile
{{if .SoftMax}}soft: {max: {{.SoftMax}}}
{{end -}}
state_dir: {{.State}}
control: {socket: {{.Socket}}}
metrics: {listen: {{.Metrics}}}
`))

// What is negotiated, by both versions.
const (
	ikeProposal   = "aes128-sha256-ecp256"
	childProposal = "aes128gcm16"
)

// configuredMember is a member as the template has it.
type configuredMember struct {
	Name, Version string
	Address, Host netip.Addr
}

// silentPeer is one that never answers, with hosts behind it.
type silentPeer struct {
	Name    string
	Address netip.Addr
	Targets netip.Prefix
}

// silentPeers are so many that each may have fewer soft SAs than soft.max_per_peer when all together have soft.max of them.
var silentPeers = func() (list []silentPeer) {
	const many = 20
	for i := range many {
		list = append(list, silentPeer{fmt.Sprintf("silent-%d", i+1), netip.AddrFrom4([4]byte{10, 65, 0, byte(1 + i)}), netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(192 + i)}), 16)})
	}
	return list
}()

// configure writes the gateway's files.
func (b *bed) configure(idle string) error {
	var list []configuredMember
	for _, m := range members {
		list = append(list, configuredMember{m.name, m.version.String(), m.address, m.host})
	}
	var silent []silentPeer
	if b.scenario.silent {
		silent = silentPeers
	}
	var text strings.Builder
	if err := configuration.Execute(&text, map[string]any{
		"MainCPU": b.cpus.main, "Worker": b.cpus.worker, "Idle": idle, "LANLink": lanLink, "Link": wanLink, "Address": gatewayAddress, "Router": routerAddress,
		"LAN": gatewayLAN, "LANAddress": netip.PrefixFrom(gatewayLAN.Addr().Next(), gatewayLAN.Bits()), "Members": list, "Silent": silent, "SoftMax": b.softMax, "PSKFile": pskFile,
		"IKEProposal": ikeProposal, "ESPProposal": childProposal, "State": filepath.Join(b.Dir, "state"), "Socket": b.socket(), "Metrics": metricsAddress,
	}); err != nil {
		return fmt.Errorf("hostile: configuration of the gateway: %w", err)
	}
	for name, text := range map[string]string{configurationFile: text.String(), pskFile: b.psk + "\n"} {
		if err := os.WriteFile(filepath.Join(b.Dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("hostile: %w", err)
		}
	}
	return nil
}
