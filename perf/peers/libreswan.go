package peers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sallyport/perf/lab"
)

// LibreswanTunnel describes one connection for libreswan.
type LibreswanTunnel struct {
	Name string
	// Connection is what its section of ipsec.conf says, by key: left is this end.
	Connection map[string]string
	Setup      map[string]string // the same of section "config setup"
	Secret     string            // the line of ipsec.secrets, with a preshared key
	// Certificates: this end's in PKCS #12 as NSS of Debian 12 reads it ("openssl pkcs12 -legacy"), with Password, under
	// the name that leftcert has; and those of authorities.
	PKCS12      []byte
	Password    string
	Authorities [][]byte
}

// Libreswan is a running pluto in a guest.
type Libreswan struct {
	guest   *Guest
	tunnel  LibreswanTunnel
	program *program
}

// Files of the daemon in the guest.
const (
	plutoDatabase = "/var/lib/ipsec/nss"
	plutoLog      = "pluto.log"
	ipsecConf     = "ipsec.conf"
	ipsecSecrets  = "ipsec.secrets"
	libexec       = "/usr/libexec/ipsec/"
)

// StartLibreswan runs libreswan in a guest, in a folder with the connection's name.
func StartLibreswan(ctx context.Context, g *Guest, t LibreswanTunnel) (*Libreswan, error) {
	l := &Libreswan{guest: g, tunnel: t}
	files := map[string][]byte{
		ipsecConf:    []byte("config setup\n" + ipsecLines(t.Setup) + "conn " + t.Name + "\n" + ipsecLines(t.Connection)),
		ipsecSecrets: []byte(t.Secret + "\n"),
	}
	if err := g.writeFiles(t.Name, files); err != nil {
		return nil, err
	}
	if err := l.importCertificates(ctx); err != nil {
		return nil, err
	}
	var err error
	l.program, err = startProgram(ctx, g, t.Name, "pluto", libexec+"pluto", "--nofork", "--config", g.seen(t.Name, ipsecConf),
		"--secretsfile", g.seen(t.Name, ipsecSecrets), "--nssdir", plutoDatabase, "--logfile", g.seen(t.Name, plutoLog))
	if err != nil {
		return nil, err
	}
	return l, l.load(ctx)
}

// ipsecLines is a section of ipsec.conf.
func ipsecLines(values map[string]string) string {
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&text, "  %s=%s\n", key, values[key])
	}
	return text.String()
}

// importCertificates makes a new database with the connection's certificates.
func (l *Libreswan) importCertificates(ctx context.Context) error {
	database := "sql:" + plutoDatabase
	lines := [][]string{
		{"rm", "-rf", plutoDatabase},
		{"mkdir", "-p", plutoDatabase, "/run/pluto"},
		{"certutil", "-N", "-d", database, "--empty-password"},
	}
	files := map[string][]byte{}
	if len(l.tunnel.PKCS12) > 0 {
		files["peer.p12"] = l.tunnel.PKCS12
		lines = append(lines, []string{"pk12util", "-i", l.guest.seen(l.tunnel.Name, "peer.p12"), "-d", database, "-W", l.tunnel.Password, "-K", ""})
	}
	for i, authority := range l.tunnel.Authorities {
		name := fmt.Sprintf("authority-%d", i)
		files[name] = authority
		lines = append(lines, []string{"certutil", "-A", "-n", name, "-t", "CT,,", "-i", l.guest.seen(l.tunnel.Name, name), "-d", database})
	}
	if err := l.guest.writeFiles(l.tunnel.Name, files); err != nil {
		return err
	}
	return l.guest.lines(ctx, lines...)
}

// load waits for the daemon's control socket and gives it the connection.
func (l *Libreswan) load(ctx context.Context) error {
	var last error
	err := lab.Until(ctx, nil, "pluto's control socket", daemonLimit, func() (bool, error) {
		_, last = l.whack(ctx, "--listen") // reads the secrets too
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("peers: %w (last answer: %v)", err, last)
	}
	_, err = l.guest.Run(ctx, libexec+"addconn", "--config", l.guest.seen(l.tunnel.Name, ipsecConf), l.tunnel.Name)
	return err
}

func (l *Libreswan) whack(ctx context.Context, args ...string) (string, error) {
	return l.guest.Run(ctx, append([]string{libexec + "whack"}, args...)...)
}

// Initiate begins to bring the tunnel up.
func (l *Libreswan) Initiate(ctx context.Context) error {
	_, err := l.whack(ctx, "--initiate", "--asynchronous", "--name", l.tunnel.Name)
	return err
}

// RekeyChild starts a rekey of the Child SA. In IKEv1, of which pluto "cannot force rekey", bringing up what is up does the same.
func (l *Libreswan) RekeyChild(ctx context.Context) error {
	if l.ikev1() {
		return l.Initiate(ctx)
	}
	_, err := l.whack(ctx, "--rekey-ipsec", "--asynchronous", "--name", l.tunnel.Name)
	return err
}

// RekeyIKE starts a rekey of the IKE SA. In IKEv1 only time does.
func (l *Libreswan) RekeyIKE(ctx context.Context) error {
	if l.ikev1() {
		return errors.New("peers: expected a connection of IKEv2, for pluto rekeys an ISAKMP SA at no command")
	}
	_, err := l.whack(ctx, "--rekey-ike", "--asynchronous", "--name", l.tunnel.Name)
	return err
}

func (l *Libreswan) ikev1() bool { return l.tunnel.Connection["ikev2"] == "no" }

// Stop ends the daemon.
func (l *Libreswan) Stop(ctx context.Context) error { return l.program.stop(ctx) }

// Log is pluto's, and what it said beside.
func (l *Libreswan) Log() string {
	return l.guest.logOf(l.tunnel.Name, plutoLog) + l.guest.logOf(l.tunnel.Name, "pluto.out")
}
