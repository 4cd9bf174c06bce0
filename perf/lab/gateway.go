package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/template"
	"time"

	"sallyport/appliance/api"
)

// GatewayOptions are what a test varies in a gateway's configuration.
type GatewayOptions struct {
	Binary       string // the sallyport program
	PSK          string
	Start        string        // always or on-demand; always when empty
	ESPProposal  string        // aes128gcm16 when empty
	IKE          string        // v1, v2 or any; v2 when empty
	IKEProposal  string        // aes128gcm16-prfsha256-ecp256 when empty, with v1 aes128-sha256-ecp256
	LivenessTime time.Duration // the peer is asked after this long in silence; 30 s when 0
	LogLevel     string        // info when empty
	LogFormat    string        // text when empty
	Metrics      string        // where Prometheus reads, in the gateway's namespace; nowhere when empty
	Policy       string        // routes, filter lists, filter actions and policies as YAML; the two LANs protected when empty
	Remote       netip.Addr    // where the peer is reached; its own WAN address when not valid
	LocalID      string        // what the gateway calls itself; its address when empty
	RemoteID     string        // what the peer calls itself
	Tap          bool          // the ports are taps, bridged to the site's links: net_af_packet lets the kernel put IPv4 fragments together
	Trunk        bool          // the ports are VLANs of one link, LANVLAN and WANVLAN, which a switch joins to the site's links
	IPv6         bool          // the ports have their addresses in IPv6 too
	WAN          []netip.Addr  // of the WAN port, the one that the peer is spoken to from first; the site's when empty
	MOBIKE       bool          // either end may change its address (RFC 4555)
	ManualSAs    string        // SAs with keys given by hand, as YAML, in place of the peer; Policy then says what they protect
	Peers        string        // peers, and other keys of a configuration, as YAML, in place of the peer
	Env          []string      // added to its environment
}

// Gateway is a Sallyport gateway of one site.
type Gateway struct {
	Site    *Site
	Process *Process
	API     *api.Client

	sites   *Sites
	options GatewayOptions
	starts  int
}

// PeerName and ChildName are how a lab gateway's configuration calls the other site and the rule that
// sends traffic there, which is also the name of the Child SA.
const (
	PeerName  = "far-site"
	ChildName = "lan-to-lan"
)

// gatewayConf is the configuration of one site's gateway. Huge pages are off: what there are of them may be enough for each of
// two gateways, or for somebody else's too, and not for all that start at once.
var gatewayConf = template.Must(template.New("gateway.yaml").Parse(`name: gw-{{.Site.Name}}
dataplane: {main_core: {{.MainCore}}, workers: [{{.Worker}}], idle: sleep, huge_pages: off}
ports:
  - {name: lan, device: "{{.LANDevice}}",{{if .Trunk}} vlan: {{.LANVLAN}},{{end}} role: protected, addresses: [{{.Site.LANAddress}}/{{.Site.LAN.Bits}}{{if .IPv6}}, "{{.Site.LANAddress6}}/{{.Site.LAN6.Bits}}"{{end}}]}
  - {name: wan, device: "{{.WANDevice}}",{{if .Trunk}} vlan: {{.WANVLAN}},{{end}} role: unprotected, addresses: [{{range $i, $a := .WAN}}{{if $i}}, {{end}}{{$a}}/{{$.WANBits}}{{end}}{{if .IPv6}}, "{{.Site.WANAddress6}}/{{.WANBits6}}"{{end}}]}
{{if .Site.Router.IsValid}}routes:
  - {to: 0.0.0.0/0, via: {{.Site.Router}}}
{{if .IPv6}}  - {to: "::/0", via: "{{.Site.Router6}}"}
{{end}}{{end -}}
{{if .ManualSAs}}lab: true
legacy_algorithms: true
{{.ManualSAs}}{{else if .Peers}}{{.Peers}}{{else -}}
peers:
  - name: ` + PeerName + `
    local: {{index .WAN 0}}
    remote: {{.Remote}}
    ike: {{.IKE}}
{{if .LocalID}}    local_id: {{.LocalID}}
{{end}}{{if .RemoteID}}    remote_id: {{.RemoteID}}
{{end}}{{if .MOBIKE}}    mobike: true
{{end}}    auth: {psk_file: {{.PSKFile}}}
    ike_proposals: [{{.IKEProposal}}]
    start: {{.Start}}
    dpd_delay: {{.LivenessTime}}
{{end -}}
{{if .Policy}}{{.Policy}}{{else -}}
filter_lists:
  - {name: both-lans, filters: [{source: {{.Site.LAN}}, destination: {{.Peer.LAN}}}]}
filter_actions:
  - {name: protect, action: negotiate, esp_proposals: [{{.ESPProposal}}]}
policies:
  - name: site-to-site
    rules: [{name: ` + ChildName + `, filter_list: both-lans, filter_action: protect, peer: ` + PeerName + `}]
active_policy: site-to-site
{{end -}}
state_dir: {{.State}}
control: {socket: {{.Socket}}}
log: {level: {{.LogLevel}}, format: {{.LogFormat}}}
{{if .Metrics}}metrics: {listen: {{.Metrics}}}{{end}}
`))

// gatewayConfValues fill gatewayConf.
type gatewayConfValues struct {
	GatewayOptions
	Site, Peer       *Site
	MainCore, Worker int
	WANBits          int
	WANBits6         int
	PSKFile, Socket  string
	LANDevice        string
	WANDevice        string
	LANVLAN, WANVLAN int
	State            string // folder of backups
}

// StartGateway configures and starts the gateway of a site, which must be a RawGateway.
func (s *Sites) StartGateway(site *Site, o GatewayOptions) (*Gateway, error) {
	proposal := "aes128gcm16-prfsha256-ecp256"
	if o.IKE == "v1" {
		proposal = "aes128-sha256-ecp256"
	}
	for _, d := range []struct {
		field *string
		value string
	}{{&o.Start, "always"}, {&o.ESPProposal, "aes128gcm16"}, {&o.IKE, "v2"}, {&o.IKEProposal, proposal},
		{&o.LogLevel, "info"}, {&o.LogFormat, "text"}} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if !o.Remote.IsValid() {
		o.Remote = s.Peer(site).WANAddress
	}
	if len(o.WAN) == 0 {
		o.WAN = []netip.Addr{site.WANAddress}
	}
	if o.LivenessTime == 0 {
		o.LivenessTime = 30 * time.Second
	}
	g := &Gateway{Site: site, sites: s, options: o}
	if err := g.writeConfiguration(); err != nil {
		return nil, err
	}
	if o.Trunk {
		if err := site.layTrunk(context.Background()); err != nil {
			return nil, err
		}
	}
	g.API = api.NewClient(g.Socket())
	s.Defer(g.conserved)
	return g, g.start()
}

// path is the name of one of the gateway's files.
func (g *Gateway) path(extension string) string {
	return filepath.Join(g.sites.Dir, "gw-"+g.Site.Name+"."+extension)
}

// Socket is the gateway's control socket, for commands that talk to it.
func (g *Gateway) Socket() string { return g.path("sock") }

// Configuration is the gateway's configuration file.
func (g *Gateway) Configuration() string { return g.path("yaml") }

// writeConfiguration writes the configuration and the key file beside it.
func (g *Gateway) writeConfiguration() error {
	// The two gateways' workers share the machine with everything else of the lab: each takes
	// another core, where there is one.
	cores := runtime.NumCPU()
	index := 0
	if g.Site == g.sites.B {
		index = 1
	}
	values := gatewayConfValues{GatewayOptions: g.options, Site: g.Site, Peer: g.sites.Peer(g.Site),
		MainCore: index % cores, Worker: (index + 1) % cores, WANBits: wanPrefixLength, WANBits6: wanPrefixLength6,
		PSKFile: filepath.Base(g.path("psk")), Socket: g.Socket(), State: g.path("state")}
	values.LANDevice, values.WANDevice = "net_af_packet0,iface="+LANLink, "net_af_packet1,iface="+WANLink
	if g.options.Tap {
		values.LANDevice, values.WANDevice = "net_tap0,iface="+tapOf(LANLink), "net_tap1,iface="+tapOf(WANLink)
	}
	if g.options.Trunk {
		values.LANDevice = "net_af_packet0,iface=" + trunkLink
		values.WANDevice, values.LANVLAN, values.WANVLAN = values.LANDevice, LANVLAN, WANVLAN
	}
	var text strings.Builder
	if err := gatewayConf.Execute(&text, values); err != nil {
		return fmt.Errorf("lab: configuration of gw-%s: %w", g.Site.Name, err)
	}
	if err := os.WriteFile(g.path("yaml"), []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	if err := os.WriteFile(g.path("psk"), []byte(g.options.PSK+"\n"), 0o600); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}

// start runs the gateway; each start has a log of its own.
func (g *Gateway) start() error {
	g.starts++
	args := []string{g.options.Binary, "run", "-c", g.path("yaml")}
	if g.options.ManualSAs != "" || runtime.NumCPU() == 1 { // as when a test runs pinned to one core, which a worker then shares
		args = append(args, "--lab")
	}
	process, err := g.Site.Gateway.Start(Command{Name: fmt.Sprintf("gw-%s-%d", g.Site.Name, g.starts), Args: args, Env: g.options.Env})
	g.Process = process
	if err != nil || !g.options.Tap {
		return err
	}
	return g.bridgeTaps()
}

// tapOf is the tap that stands for a link of a gateway.
func tapOf(link string) string { return "tap-" + link }

// tapLimit is how long DPDK may take to make its taps, on a busy machine.
const tapLimit = 2 * time.Minute

// bridgeTaps joins the taps of the gateway, once it runs, to the links of its namespace.
func (g *Gateway) bridgeTaps() error {
	in := g.Site.Gateway
	// With these the bridge has IPv4 packets looked at, and fragments put together, as a router would.
	for _, s := range []string{"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"} {
		if err := in.Sysctl(s, "0"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	// DPDK gives a tap its address some time after it is there, and has done so when the gateway answers.
	if err := g.WaitReady(context.Background(), tapLimit); err != nil {
		return err
	}
	for number, link := range []string{LANLink, WANLink} {
		tap, err := in.links.LinkByName(tapOf(link))
		if err == nil && g.starts == 1 {
			err = in.AddBridge("br-"+link, link)
		}
		if err == nil { // the kernel's end has the gateway's address, and a bridge keeps what is for its own ports
			err = in.links.LinkSetHardwareAddr(tap, net.HardwareAddr{2, 0, 0, 0, 0, byte(number + 1)})
		}
		if err == nil {
			err = in.intoBridge("br-"+link, tapOf(link))
		}
		if err != nil {
			return fmt.Errorf("lab: tap of gw-%s for %s: %w", g.Site.Name, link, err)
		}
	}
	return nil
}

// Reload has the gateway take another policy and other manual SAs.
func (g *Gateway) Reload(ctx context.Context, policy, manualSAs string) error {
	g.options.Policy, g.options.ManualSAs = policy, manualSAs
	return g.reload(ctx)
}

// Readdress has the gateway's WAN port take these addresses in place of what it has, and speak to the peer from the first of them.
func (g *Gateway) Readdress(ctx context.Context, addresses ...netip.Addr) error {
	return g.Reconfigure(ctx, func(o *GatewayOptions) { o.WAN = addresses })
}

// Reconfigure has the gateway take a configuration with other options.
func (g *Gateway) Reconfigure(ctx context.Context, change func(o *GatewayOptions)) error {
	change(&g.options)
	return g.reload(ctx)
}

func (g *Gateway) reload(ctx context.Context) error {
	if err := g.writeConfiguration(); err != nil {
		return err
	}
	_, err := g.API.Change(ctx, api.PathReload, api.Reload{})
	return err
}

// WaitReady waits until the gateway answers on its control socket.
func (g *Gateway) WaitReady(ctx context.Context, limit time.Duration) error {
	return Until(ctx, nil, "gw-"+g.Site.Name+" to answer", limit, func() (bool, error) {
		return g.API.Get(ctx, api.PathVersion, nil, nil) == nil, g.Process.Alive()
	})
}

// Kill ends the gateway with SIGKILL, as a crash would.
func (g *Gateway) Kill() { g.Process.Kill() }

// Restart starts a gateway that was killed again, with the same configuration.
func (g *Gateway) Restart() error { return g.start() }

// stopLimit is how long a gateway may take to delete its SAs and end.
const stopLimit = time.Minute

// Stop ends the gateway in order.
func (g *Gateway) Stop() error {
	err := g.conserved()
	return errors.Join(err, g.Process.Stop(stopLimit))
}

// accountLimit is how long a gateway may take, on a busy machine, to say that it can account for every packet.
const accountLimit = 30 * time.Second

// conserved checks that the gateway can account for every packet of its life (S-109). While packets come in there is nothing to
// compare: a gateway that finds no rest, or no longer answers, is not judged.
func (g *Gateway) conserved() error {
	const readings, between = 20, 50 * time.Millisecond // in which there has to be a rest
	ctx, cancel := context.WithTimeout(context.Background(), accountLimit)
	defer cancel()
	var before uint64
	imbalance := "" // that a rest began with
	for i := 0; i < readings || imbalance != ""; i++ {
		var counters api.Counters
		if g.API.Get(ctx, api.PathCounters, nil, &counters) != nil {
			break
		}
		received := uint64(0)
		for _, p := range counters.Ports {
			received += p.Received
		}
		rest := i > 0 && received == before
		if rest && counters.Conserved {
			return nil
		}
		before, imbalance = received, ""
		if rest {
			imbalance = counters.Imbalance
		}
		time.Sleep(between)
	}
	if ctx.Err() != nil && imbalance != "" {
		return fmt.Errorf("lab: gw-%s ends with counters that do not add up: %s", g.Site.Name, imbalance)
	}
	return nil
}

// SAs asks the gateway for its SAD. A gateway that does not answer yet has none; one that has ended is
// an error.
func (g *Gateway) SAs(ctx context.Context) ([]api.SA, error) {
	var all []api.SA
	if err := g.API.Get(ctx, api.PathSAs, nil, &all); err != nil {
		return nil, g.Process.Alive()
	}
	return all, nil
}

// WaitTunnel waits for a Child SA in both directions. Two gateways that both start at once may make
// two tunnels (RFC 7296 section 2.8.1 resolves that for rekeys only), so more than one will do.
func (g *Gateway) WaitTunnel(ctx context.Context, progress io.Writer, limit time.Duration) ([]api.SA, error) {
	var found []api.SA
	err := Until(ctx, progress, "gw-"+g.Site.Name+" to have its tunnel", limit, func() (bool, error) {
		var err error
		found, err = g.SAs(ctx)
		return hasDirection(found, "inbound") && hasDirection(found, "outbound"), err
	})
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, g.Diagnosis(ctx))
	}
	return found, nil
}

// hasDirection tells whether one of the SAs has the direction.
func hasDirection(all []api.SA, direction string) bool {
	return slices.ContainsFunc(all, func(sa api.SA) bool { return sa.Direction == direction })
}

// WaitGone waits until the gateway holds no SA.
func (g *Gateway) WaitGone(ctx context.Context, limit time.Duration) error {
	return Until(ctx, nil, "gw-"+g.Site.Name+" to hold no SA", limit, func() (bool, error) {
		all, err := g.SAs(ctx)
		return err == nil && len(all) == 0, err
	})
}

// Outbound returns the SPI of the outbound SA in a list of one tunnel.
func Outbound(all []api.SA) string {
	i := slices.IndexFunc(all, func(sa api.SA) bool { return sa.Direction == "outbound" })
	if i < 0 {
		return ""
	}
	return all[i].SPI
}

// IKE asks for the IKE SA with the peer. One of IKEv1 that another has replaced stays until its end, and does not count.
func (g *Gateway) IKE(ctx context.Context) (api.IKE, error) {
	var all []api.IKE
	if err := g.API.Get(ctx, api.PathIKE, nil, &all); err != nil {
		return api.IKE{}, err
	}
	all = slices.DeleteFunc(all, func(sa api.IKE) bool { return sa.Version == 1 && sa.State == "replaced" })
	if len(all) != 1 {
		return api.IKE{}, fmt.Errorf("lab: expected one IKE SA in gw-%s, found %+v", g.Site.Name, all)
	}
	return all[0], nil
}

// Down deletes the tunnel, as an operator would.
func (g *Gateway) Down(ctx context.Context) error {
	return g.API.Post(ctx, api.PathDown, api.Action{Peer: PeerName}, nil)
}

// Up negotiates the tunnel, as an operator would.
func (g *Gateway) Up(ctx context.Context) error {
	return g.API.Post(ctx, api.PathUp, api.Action{Peer: PeerName, Child: ChildName}, nil)
}

// RekeyChild replaces the Child SA.
func (g *Gateway) RekeyChild(ctx context.Context) error {
	return g.API.Post(ctx, api.PathRekey, api.Action{Peer: PeerName, Child: ChildName}, nil)
}

// RekeyIKE replaces the IKE SA.
func (g *Gateway) RekeyIKE(ctx context.Context) error {
	return g.API.Post(ctx, api.PathRekey, api.Action{Peer: PeerName}, nil)
}

// Counters asks for the account of every packet and checks it: what a port received is what was
// forwarded, delivered to the gateway itself, is held, was dropped for a reason, or is a fragment. In the midst of a burst, in which a worker of a busy
// machine may be kept from its core for a while, there is nothing to check.
func (g *Gateway) Counters(ctx context.Context) (api.Counters, error) {
	var counters api.Counters
	err := Until(ctx, nil, "counters of gw-"+g.Site.Name+" that add up", accountLimit, func() (bool, error) {
		counters = api.Counters{}
		err := g.API.Get(ctx, api.PathCounters, nil, &counters)
		return counters.Conserved, err
	})
	if err != nil {
		return counters, fmt.Errorf("%w: %s", err, counters.Imbalance)
	}
	for _, p := range counters.Ports {
		account := p.Forwarded + p.Delivered + p.Held + p.Reassembling + p.Merged
		for _, n := range p.Drops {
			account += n
		}
		if account != p.Received+p.Split {
			return counters, fmt.Errorf("lab: port %s of gw-%s received %d packets, cut %d more out of them and accounts for %d: %+v", p.Name, g.Site.Name, p.Received, p.Split, account, p)
		}
	}
	return counters, nil
}

// Diagnosis is what a person would look at when the gateway does not do its work.
func (g *Gateway) Diagnosis(ctx context.Context) string {
	var text strings.Builder
	var ikes []api.IKE
	var drops []api.Drop
	if g.API.Get(ctx, api.PathIKE, nil, &ikes) == nil && g.API.Get(ctx, api.PathDrops, nil, &drops) == nil {
		fmt.Fprintf(&text, "IKE of gw-%s: %+v\ndrops: %+v\n", g.Site.Name, ikes, drops)
	}
	fmt.Fprintf(&text, "end of its log:\n%s\n", g.Process.Tail())
	return text.String()
}
