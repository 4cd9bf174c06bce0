package peers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Daemon is an IKE daemon in a guest with one connection.
type Daemon interface {
	// Initiate begins to bring the connection up. It may return before that is done, and says so if it knows that it failed.
	Initiate(ctx context.Context) error
	// RekeyChild and RekeyIKE begin to replace an SA.
	RekeyChild(ctx context.Context) error
	RekeyIKE(ctx context.Context) error
	// Stop ends the daemon, which tells its peer, and leaves the guest's kernel without SAs and policies.
	Stop(ctx context.Context) error
	// Log is what the daemon has to say.
	Log() string
}

// program is a daemon's process in a guest.
type program struct {
	guest *Guest
	name  string
	pid   string // in the guest
}

// startProgram runs a program in the guest beside the commands. Its output goes to a file of the host's folder dir.
func startProgram(ctx context.Context, g *Guest, dir, name string, args ...string) (*program, error) {
	line := "setsid \"$@\" </dev/null >" + g.seen(dir, name+".out") + " 2>&1 & echo $!"
	out, err := g.Run(ctx, append([]string{"sh", "-c", line, name}, args...)...)
	return &program{guest: g, name: name, pid: strings.TrimSpace(out)}, err
}

// programLimit is how long a daemon may take to end.
const programLimit = time.Minute

// stop ends the program in order, or kills it.
func (p *program) stop(ctx context.Context) error {
	const script = `kill $1; n=0; while kill -0 $1 && [ $n -lt $2 ]; do sleep 0.05; n=$((n + 1)); done 2>/dev/null
		kill -9 $1 2>/dev/null && echo killed; ip xfrm state flush; ip xfrm policy flush`
	out, err := p.guest.Run(ctx, "sh", "-c", script, p.name, p.pid, fmt.Sprint(int(programLimit/(50*time.Millisecond))))
	if err == nil && out != "" {
		err = fmt.Errorf("peers: expected %s to end within %v, it was killed", p.name, programLimit)
	}
	return err
}

// seen is a host's file of a daemon as the guest sees it.
func (g *Guest) seen(dir, file string) string { return filepath.Join(guestDir, dir, file) }

// writeFiles writes files into a folder of the guest's, by names that may have folders in them.
func (g *Guest) writeFiles(dir string, files map[string][]byte) error {
	return writeFiles(filepath.Join(g.HostDir, dir), files)
}

// writeFiles does so into a folder of the host's.
func writeFiles(dir string, files map[string][]byte) error {
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("peers: %w", err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return fmt.Errorf("peers: %w", err)
		}
	}
	return nil
}

// logOf is what there is of a log file in a folder of the guest's.
func (g *Guest) logOf(dir, file string) string {
	b, err := os.ReadFile(filepath.Join(g.HostDir, dir, file))
	if err != nil {
		return err.Error()
	}
	return string(b)
}
