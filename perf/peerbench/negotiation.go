package peerbench

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"sallyport/perf/ikebench"
	"sallyport/perf/lab"
	"sallyport/perf/negotiate"
	"sallyport/perf/peers"
)

// ikeTarget is how many times as many connections a second as strongSwan this gateway is to make.
const ikeTarget = 3

// The place of the peer, which is that of a gateway of ours in lab negotiate.
var (
	gatewayAddress = netip.MustParseAddr("192.0.2.1")
	routerAddress  = netip.MustParseAddr("192.0.2.2")
	protected      = netip.MustParsePrefix("10.1.0.0/24")
	peerNet        = netip.MustParsePrefix("10.64.0.0/10")
	hostNet        = netip.MustParsePrefix("10.128.0.0/10")
)

const (
	wanLink   = "wan0"
	peersLink = "peers0"
	linkMTU   = 1500

	ikeProposal = "aes128-sha256-ecp256" // as lab negotiate has them
	espProposal = "aes128gcm16"
	daemon      = "/usr/sbin/charon-systemd"
)

// negotiations are IKE SAs with a Child SA each, made in a second on one CPU.
func (o *Options) negotiations(cpu int) (list []subject) {
	absent := ""
	if _, err := os.Stat(daemon); errors.Is(err, fs.ErrNotExist) {
		absent = "strongSwan is not installed: make deps installs it"
	}
	for _, kind := range []struct{ version, auth string }{{"v2", negotiate.AuthPSK}, {"v1", negotiate.AuthPSK}, {"v2", negotiate.AuthCertificate}, {"v1", negotiate.AuthCertificate}} {
		if o.Quick && kind.auth != negotiate.AuthPSK {
			continue
		}
		what := fmt.Sprintf("IKE%s by %s", kind.version, kind.auth)
		note := "each a whole process on one CPU, with ESP: strongSwan's in user space, which makes it slower the more tunnels there are"
		items := []*item{{name: what + ", connections a second: strongSwan", label: kind.version + " " + kind.auth, target: ikeTarget, absent: absent, note: note}}
		if !o.Quick { // few connections say nothing of it
			items = append(items, &item{name: what + ", connections in a second of the gateway's CPU time: strongSwan", label: kind.version + " " + kind.auth + ", CPU", absent: absent, target: ikeTarget,
				note: note + "; this does not depend on what else the machine does"})
		}
		list = append(list, subject{items, func(ctx context.Context) ([]turns, error) {
			ours, err := o.connect(ctx, kind.version, kind.auth, nil)
			var theirs rates
			if err == nil && absent == "" {
				theirs, err = o.swan(ctx, cpu, kind.version, kind.auth)
			}
			return []turns{{ours.wall, theirs.wall}, {ours.cpu, theirs.cpu}}, err
		}})
	}
	return list
}

// rates are connections in a second, and in one of the gateway's CPU time.
type rates struct{ wall, cpu float64 }

// connect is the best of a gateway, whether it is asked for more at once than it takes or has few at once.
func (o *Options) connect(ctx context.Context, version, auth string, target *negotiate.Target) (best rates, err error) {
	dir, err := os.MkdirTemp("", "sallyport-peers-*")
	if err != nil {
		return best, fmt.Errorf("peerbench: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	rows := filepath.Join(dir, "rows.json")
	if err := negotiate.Run(ctx, negotiate.Options{Intervals: []int{0}, Versions: []string{version}, Auth: []string{auth}, Peers: o.Peers, Outstanding: max(o.Peers/2, 1), Target: target,
		JSON: rows, Binary: o.Binary, Out: io.Discard}); err != nil {
		return best, err
	}
	text, err := os.ReadFile(rows)
	if err != nil {
		return best, fmt.Errorf("peerbench: %w", err)
	}
	var list []struct {
		QMRate     float64 `json:"quick_modes_per_second"`
		GatewayCPU float64 `json:"gateway_cpu_percent"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return best, fmt.Errorf("peerbench: rows of lab negotiate: %w", err)
	}
	for _, row := range list {
		if best.wall = max(best.wall, row.QMRate); row.GatewayCPU > 0 {
			const percent = 100
			best.cpu = max(best.cpu, percent*row.QMRate/row.GatewayCPU)
		}
	}
	if best.wall == 0 || best.cpu == 0 && !o.Quick {
		return best, errors.New("peerbench: expected connections, found none")
	}
	return best, nil
}

// swan starts strongSwan on one CPU, and has peers connect to it.
func (o *Options) swan(ctx context.Context, cpu int, version, auth string) (best rates, err error) {
	l, err := lab.New()
	if err != nil {
		return best, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	gateway, err := l.Namespace("gw")
	if err != nil {
		return best, err
	}
	outside, err := l.Namespace("outside")
	if err != nil {
		return best, err
	}
	if err := errors.Join(lab.Wire(ctx, gateway, wanLink, outside, peersLink, linkMTU)); err != nil {
		return best, err
	}
	if err := errors.Join(outside.Mute(peersLink), gateway.AddAddress(wanLink, netip.PrefixFrom(gatewayAddress, 24)),
		gateway.AddAddress("lo", netip.PrefixFrom(protected.Addr().Next(), 32)), gateway.AddRoute(peerNet, routerAddress)); err != nil {
		return best, err
	}
	tunnel := peers.Tunnel{Name: "hub", Local: gatewayAddress, Remote: routerAddress, LocalNet: protected, RemoteNet: hostNet, IKEProposals: ikeProposal, ESPProposals: espProposal,
		Wrap: []string{"taskset", "--cpu-list", strconv.Itoa(cpu)}}
	target := &negotiate.Target{Target: lab.Target{Gateway: gatewayAddress, Interface: peersLink, Source: routerAddress}, From: outside}
	if err := authenticate(l.Dir, auth, &tunnel, target); err != nil {
		return best, err
	}
	swan, err := peers.StartStrongSwan(ctx, l, gateway, "strongswan", peers.Hub(tunnel))
	if err != nil {
		return best, err
	}
	target.Spent = func() (time.Duration, error) { return negotiate.CPUTime(swan.Process.PID()) }
	return o.connect(ctx, version, auth, target)
}

// authenticate gives both ends a key, or a CA of their own.
func authenticate(dir, auth string, tunnel *peers.Tunnel, target *negotiate.Target) error {
	files := map[string][]byte{}
	if auth == negotiate.AuthPSK {
		tunnel.PSK = rand.Text() + rand.Text()
		target.PSKFile = filepath.Join(dir, "peers.psk")
		files[target.PSKFile] = []byte(tunnel.PSK + "\n")
	} else {
		authority, err := ikebench.NewAuthority(ikebench.P256)
		if err != nil {
			return err
		}
		own, err := authority.Credential(gatewayAddress)
		if err != nil {
			return err
		}
		key, err := x509.MarshalPKCS8PrivateKey(own.Key)
		if err != nil {
			return fmt.Errorf("peerbench: %w", err)
		}
		ca, caKey, err := authority.PEM()
		if err != nil {
			return fmt.Errorf("peerbench: %w", err)
		}
		block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
		tunnel.LocalAuth = "certs = gateway.pem\n"
		tunnel.Files = map[string][]byte{"x509ca/ca.pem": ca, "x509/gateway.pem": block("CERTIFICATE", own.Certificates[0]), "private/gateway.pem": block("PRIVATE KEY", key)}
		target.CAFile, target.CAKeyFile = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
		files[target.CAFile], files[target.CAKeyFile] = ca, caKey
	}
	for name, content := range files {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			return fmt.Errorf("peerbench: %w", err)
		}
	}
	return nil
}
