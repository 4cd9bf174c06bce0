package peers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sallyport/perf/lab"
)

// OpenIKEDTunnel describes one connection for openiked.
type OpenIKEDTunnel struct {
	Name   string
	Policy string // what follows the mode in a line of iked.conf: `esp from ... to ... local ... peer ...`
}

// OpenIKED is a running iked in a guest.
type OpenIKED struct {
	guest   *Guest
	tunnel  OpenIKEDTunnel
	program *program
}

const (
	ikedConf   = "iked.conf"
	ikedOutput = "iked.out"
	// lastOfStart is in the line that the daemon writes when it has taken the last part of its configuration, and forgotten every SA.
	lastOfStart = "stickyaddress"
)

// ikedAccount is what the daemon's package makes at its installation.
const ikedAccount = `set -e
mkdir -p /var/lib/openiked/empty
grep -q ^_iked: /etc/group || echo _iked:x:997: >>/etc/group
grep -q ^_iked: /etc/passwd || echo _iked:x:997:997::/var/lib/openiked/empty:/usr/sbin/nologin >>/etc/passwd
mkdir -p /etc/iked/private /etc/iked/certs /etc/iked/ca /etc/iked/crls /etc/iked/pubkeys
[ -f /etc/iked/private/local.key ] || openssl ecparam -genkey -name prime256v1 -noout -out /etc/iked/private/local.key
[ -f /etc/iked/local.pub ] || openssl ec -in /etc/iked/private/local.key -pubout -out /etc/iked/local.pub 2>/dev/null
`

// StartOpenIKED runs openiked in a guest, in a folder with the connection's name. It answers and begins nothing by itself.
func StartOpenIKED(ctx context.Context, g *Guest, t OpenIKEDTunnel) (*OpenIKED, error) {
	o := &OpenIKED{guest: g, tunnel: t}
	if _, err := g.Run(ctx, "sh", "-c", ikedAccount); err != nil {
		return nil, err
	}
	return o, o.start(ctx, "passive")
}

// start runs the daemon with the connection in a mode: passive or active.
func (o *OpenIKED) start(ctx context.Context, mode string) error {
	line := fmt.Sprintf("ikev2 %q %s %s\n", o.tunnel.Name, mode, o.tunnel.Policy)
	if err := o.guest.writeFiles(o.tunnel.Name, map[string][]byte{ikedConf: []byte(line)}); err != nil {
		return err
	}
	var err error
	o.program, err = startProgram(ctx, o.guest, o.tunnel.Name, "iked", "iked", "-d", "-vv", "-f", o.guest.seen(o.tunnel.Name, ikedConf))
	if err != nil {
		return err
	}
	err = lab.Until(ctx, nil, "iked to know its connection", daemonLimit, func() (bool, error) {
		_, err := o.guest.Run(ctx, "kill", "-0", o.program.pid)
		return strings.Contains(o.Log(), lastOfStart), err
	})
	if err != nil {
		return fmt.Errorf("peers: %w\n%s", err, o.Log())
	}
	return nil
}

// Initiate starts the daemon again, as the one that begins.
func (o *OpenIKED) Initiate(ctx context.Context) error {
	if err := o.program.stop(ctx); err != nil {
		return err
	}
	return o.start(ctx, "active")
}

var errNoCommand = errors.New("peers: openiked has no command that rekeys")

// RekeyChild is nothing that openiked does on demand.
func (o *OpenIKED) RekeyChild(context.Context) error { return errNoCommand }

// RekeyIKE is nothing that openiked does on demand.
func (o *OpenIKED) RekeyIKE(context.Context) error { return errNoCommand }

// Stop ends the daemon.
func (o *OpenIKED) Stop(ctx context.Context) error { return o.program.stop(ctx) }

// Log is what the daemon writes.
func (o *OpenIKED) Log() string { return o.guest.logOf(o.tunnel.Name, ikedOutput) }
