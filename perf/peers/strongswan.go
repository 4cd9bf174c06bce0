package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sallyport/perf/lab"
)

// Machine is where a peer's commands run: a namespace of the lab or a guest.
type Machine interface {
	// Run runs a command and returns its standard output.
	Run(ctx context.Context, args ...string) (string, error)
}

// StrongSwan is a running IKE daemon with one connection.
type StrongSwan struct {
	machine Machine
	tunnel  Tunnel
	hostDir string // its files
	dir     string // the same as the machine sees them
	swanctl string // program, as the machine sees it
	// Process is the daemon in a namespace, nil in a guest.
	Process *lab.Process
	program *program // in a guest
}

// daemonLimit is how long a daemon may take to answer its control socket.
const daemonLimit = 2 * time.Minute

// Files of a daemon in its folder.
const (
	viciSocket = "charon.vici"
	logFile    = "charon.log"
)

// StartStrongSwan runs strongSwan in a namespace, with ESP in user space through a tun device: the
// namespace's kernel never sees a key. Its packets are always ESP in UDP.
func StartStrongSwan(ctx context.Context, l *lab.Lab, in *lab.Namespace, name string, t Tunnel) (*StrongSwan, error) {
	dir := filepath.Join(l.Dir, name)
	if err := errors.Join(writeStrongSwan(dir, dir, t, userlandESP), writeFiles(dir, t.Files)); err != nil {
		return nil, err
	}
	// Run from copies: Debian's AppArmor profiles go by path and know no private sockets.
	charon, err := copyProgram("/usr/sbin/charon-systemd", dir)
	if err != nil {
		return nil, err
	}
	swanctl, err := copyProgram("/usr/sbin/swanctl", dir)
	if err != nil {
		return nil, err
	}
	s := &StrongSwan{machine: in, tunnel: t, hostDir: dir, dir: dir, swanctl: swanctl}
	s.Process, err = in.Start(lab.Command{Name: name + "-charon", Args: append(slices.Clone(t.Wrap), charon), Env: s.environment()})
	if err != nil {
		return nil, err
	}
	return s, s.load(ctx)
}

// StartStrongSwanIn runs strongSwan in a guest, with the guest kernel's own ESP, in a folder with the connection's name.
func StartStrongSwanIn(ctx context.Context, g *Guest, t Tunnel) (*StrongSwan, error) {
	s := &StrongSwan{machine: g, tunnel: t, hostDir: filepath.Join(g.HostDir, t.Name), dir: g.seen(t.Name, ""), swanctl: "/usr/sbin/swanctl"}
	if err := writeStrongSwan(s.hostDir, s.dir, t, kernelESP); err != nil {
		return nil, err
	}
	if err := g.writeFiles(t.Name, t.Files); err != nil {
		return nil, err
	}
	var err error
	s.program, err = startProgram(ctx, g, t.Name, "charon", append(append([]string{"env"}, s.environment()...), "/usr/sbin/charon-systemd")...)
	if err != nil {
		return nil, err
	}
	return s, s.load(ctx)
}

// Stop ends the daemon of a guest.
func (s *StrongSwan) Stop(ctx context.Context) error { return s.program.stop(ctx) }

// environment points the daemon and swanctl at their private files.
func (s *StrongSwan) environment() []string {
	return []string{"STRONGSWAN_CONF=" + filepath.Join(s.dir, "strongswan.conf"), "SWANCTL_DIR=" + s.dir}
}

// copyProgram copies an installed program into dir.
func copyProgram(path, dir string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("peers: %w; run make deps", err)
	}
	copied := filepath.Join(dir, filepath.Base(path))
	if err := os.WriteFile(copied, b, 0o700); err != nil {
		return "", fmt.Errorf("peers: %w", err)
	}
	return copied, nil
}

// control runs a swanctl command.
func (s *StrongSwan) control(ctx context.Context, command string, args ...string) (string, error) {
	line := append([]string{"env"}, s.environment()...)
	line = append(line, s.swanctl, command, "--uri", "unix://"+filepath.Join(s.dir, viciSocket))
	return s.machine.Run(ctx, append(line, args...)...)
}

// load waits for the daemon's control socket and gives it the connection and the secret.
func (s *StrongSwan) load(ctx context.Context) error {
	var last error
	err := lab.Until(ctx, nil, "charon's control socket", daemonLimit, func() (bool, error) {
		if s.Process != nil {
			if err := s.Process.Alive(); err != nil {
				return false, err
			}
		}
		_, last = s.control(ctx, "--stats")
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("peers: %w (last answer: %v)", err, last)
	}
	_, err = s.control(ctx, "--load-all")
	return err
}

// exchangeSeconds limits one exchange that swanctl waits for.
const exchangeSeconds = "180"

// Initiate brings the tunnel up and waits for it.
func (s *StrongSwan) Initiate(ctx context.Context) error {
	_, err := s.control(ctx, "--initiate", "--child", s.tunnel.Name, "--timeout", exchangeSeconds)
	return err
}

// RekeyChild starts a rekey of the Child SA.
func (s *StrongSwan) RekeyChild(ctx context.Context) error {
	_, err := s.control(ctx, "--rekey", "--child", s.tunnel.Name)
	return err
}

// RekeyIKE starts a rekey of the IKE SA.
func (s *StrongSwan) RekeyIKE(ctx context.Context) error {
	_, err := s.control(ctx, "--rekey", "--ike", s.tunnel.Name)
	return err
}

// Reauthenticate starts a new IKE SA in place of the present one.
func (s *StrongSwan) Reauthenticate(ctx context.Context) error {
	_, err := s.control(ctx, "--rekey", "--ike", s.tunnel.Name, "--reauth")
	return err
}

// Terminate deletes the IKE SA, and the Child SA with it, and waits for the peer's answer.
func (s *StrongSwan) Terminate(ctx context.Context) error {
	_, err := s.control(ctx, "--terminate", "--ike", s.tunnel.Name, "--timeout", exchangeSeconds)
	return err
}

// TerminateChild deletes the Child SA alone.
func (s *StrongSwan) TerminateChild(ctx context.Context) error {
	_, err := s.control(ctx, "--terminate", "--child", s.tunnel.Name, "--timeout", exchangeSeconds)
	return err
}

// SAs lists what the daemon holds.
func (s *StrongSwan) SAs(ctx context.Context) ([]IKESA, error) {
	out, err := s.control(ctx, "--list-sas", "--raw")
	if err != nil {
		return nil, err
	}
	return parseSAs(out)
}

// WaitTunnel waits until there is exactly one IKE SA with one installed Child SA and returns it.
func (s *StrongSwan) WaitTunnel(ctx context.Context, limit time.Duration) (IKESA, error) {
	var found IKESA
	err := lab.Until(ctx, nil, "one tunnel in strongSwan", limit, func() (bool, error) {
		all, err := s.SAs(ctx)
		if err != nil || len(all) != 1 {
			return false, err
		}
		found = all[0]
		return found.State == "ESTABLISHED" && len(found.Children) == 1 && found.Children[0].State == "INSTALLED", nil
	})
	return found, err
}

// WaitGone waits until no SA is left.
func (s *StrongSwan) WaitGone(ctx context.Context, limit time.Duration) error {
	return lab.Until(ctx, nil, "strongSwan to hold no SA", limit, func() (bool, error) {
		all, err := s.SAs(ctx)
		return err == nil && len(all) == 0, err
	})
}

// Log returns the daemon's log, for test failures.
func (s *StrongSwan) Log() string {
	b, err := os.ReadFile(filepath.Join(s.hostDir, logFile))
	if err != nil {
		return err.Error()
	}
	return string(b)
}
