package lab

import (
	"context"
	"fmt"
	"io"
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
	IKEProposal  string        // aes128gcm16-prfsha256-ecp256 when empty
	LivenessTime time.Duration // the peer is asked after this long in silence; 30 s when 0
	LogLevel     string        // info when empty
	LogFormat    string        // text when empty
	Metrics      string        // where Prometheus reads, in the gateway's namespace; nowhere when empty
	Policy       string        // routes, filter lists, filter actions and policies as YAML; the two LANs protected when empty
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
  - {name: lan, device: "net_af_packet0,iface=` + LANLink + `", role: protected, addresses: [{{.Site.LANAddress}}/{{.Site.LAN.Bits}}]}
  - {name: wan, device: "net_af_packet1,iface=` + WANLink + `", role: unprotected, addresses: [{{.Site.WANAddress}}/{{.WANBits}}]}
peers:
  - name: ` + PeerName + `
    local: {{.Site.WANAddress}}
    remote: {{.Peer.WANAddress}}
    auth: {psk_file: {{.PSKFile}}}
    ike_proposals: [{{.IKEProposal}}]
    start: {{.Start}}
    dpd_delay: {{.LivenessTime}}
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
	PSKFile, Socket  string
	State            string // folder of backups
}

// StartGateway configures and starts the gateway of a site, which must be a RawGateway.
func (s *Sites) StartGateway(site *Site, o GatewayOptions) (*Gateway, error) {
	for _, d := range []struct {
		field *string
		value string
	}{{&o.Start, "always"}, {&o.ESPProposal, "aes128gcm16"}, {&o.IKEProposal, "aes128gcm16-prfsha256-ecp256"},
		{&o.LogLevel, "info"}, {&o.LogFormat, "text"}} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if o.LivenessTime == 0 {
		o.LivenessTime = 30 * time.Second
	}
	g := &Gateway{Site: site, sites: s, options: o}
	if err := g.writeConfiguration(); err != nil {
		return nil, err
	}
	g.API = api.NewClient(g.Socket())
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
		MainCore: index % cores, Worker: (index + 1) % cores, WANBits: wanPrefixLength,
		PSKFile: filepath.Base(g.path("psk")), Socket: g.Socket(), State: g.path("state")}
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
	process, err := g.Site.Gateway.Start(Command{
		Name: fmt.Sprintf("gw-%s-%d", g.Site.Name, g.starts),
		Args: []string{g.options.Binary, "run", "-c", g.path("yaml")},
	})
	g.Process = process
	return err
}

// Kill ends the gateway with SIGKILL, as a crash would.
func (g *Gateway) Kill() { g.Process.Kill() }

// Restart starts a gateway that was killed again, with the same configuration.
func (g *Gateway) Restart() error { return g.start() }

// stopLimit is how long a gateway may take to delete its SAs and end.
const stopLimit = 20 * time.Second

// Stop ends the gateway in order.
func (g *Gateway) Stop() error { return g.Process.Stop(stopLimit) }

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

// IKE asks for the IKE SA with the peer.
func (g *Gateway) IKE(ctx context.Context) (api.IKE, error) {
	var all []api.IKE
	if err := g.API.Get(ctx, api.PathIKE, nil, &all); err != nil {
		return api.IKE{}, err
	}
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
// forwarded, delivered to the gateway itself, is held or was dropped for a reason.
func (g *Gateway) Counters(ctx context.Context) (api.Counters, error) {
	var counters api.Counters
	if err := g.API.Get(ctx, api.PathCounters, nil, &counters); err != nil {
		return counters, err
	}
	if !counters.Conserved {
		return counters, fmt.Errorf("lab: gw-%s says that its counters do not add up: %s", g.Site.Name, counters.Imbalance)
	}
	for _, p := range counters.Ports {
		account := p.Forwarded + p.Delivered + p.Held
		for _, n := range p.Drops {
			account += n
		}
		if account != p.Received {
			return counters, fmt.Errorf("lab: port %s of gw-%s received %d packets and accounts for %d: %+v", p.Name, g.Site.Name, p.Received, account, p)
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
