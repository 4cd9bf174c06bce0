package peerbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/perf/bench"
	"sallyport/perf/lab"
)

// secgw.go runs DPDK's example gateway as long as a turn takes.

// way is how ipsec-secgw has packets encrypted.
type way struct {
	session string   // in its SAs
	flags   []string // of the program
}

// ways are those that compete: the fastest is the peer. The device is the fastest one for AES-GCM.
var ways = []way{{"type cpu-crypto", []string{"-l"}}, {"", []string{"-l"}}, {"", nil}}

const (
	secgwDevice   = "crypto_aesni_gcm0"
	secgwMemoryMB = 512
	secgwPrefix   = "sg"
	startLimit    = 3 * time.Minute // on a busy machine
	window        = 200 * time.Millisecond
	windows       = 3
)

// secgw is the best rate of the program, in Mpps.
func (o *Options) secgw(ctx context.Context, cpus []int, direction bench.Direction, size int) (best float64, err error) {
	pages, _, err := bench.ReserveHugePages(secgwMemoryMB)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, bench.ReleaseHugePages(pages)) }()
	for _, w := range ways {
		rate, err := o.secgwTurn(ctx, w, cpus, direction, size, pages > 0)
		if err != nil {
			return 0, err
		}
		if best = max(best, rate); o.Quick {
			break
		}
	}
	if best == 0 {
		return 0, errors.New("peerbench: expected ipsec-secgw to forward packets, it forwards none any longer")
	}
	return best, nil
}

// secgwTurn starts the program, and is the median rate of what it sends.
func (o *Options) secgwTurn(ctx context.Context, w way, cpus []int, direction bench.Direction, size int, hugePages bool) (rate float64, err error) {
	l, err := lab.New()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	in, err := l.Namespace("secgw")
	if err != nil {
		return 0, err
	}
	traffic, configuration := filepath.Join(l.Dir, "source.pcap"), filepath.Join(l.Dir, "secgw.cfg")
	packets, err := frames(direction, size)
	if err != nil {
		return 0, err
	}
	if err := errors.Join(os.WriteFile(traffic, packets, 0o600), os.WriteFile(configuration, []byte(secgwConfiguration(w)), 0o600)); err != nil {
		return 0, fmt.Errorf("peerbench: %w", err)
	}
	memory := []string{"--in-memory", "-m", strconv.Itoa(secgwMemoryMB)}
	if !hugePages {
		memory = append(memory, "--no-huge")
	}
	unprotected := "0x2" // the port that swallows everything
	if direction == bench.Inbound {
		unprotected = "0x1"
	}
	cpu := cpus[len(cpus)-1]
	args := slices.Concat([]string{"taskset", "--cpu-list", cpuList(cpus), o.Secgw, "-l", strconv.Itoa(cpu), "--no-pci", "--file-prefix", secgwPrefix}, memory,
		[]string{"--vdev", "net_pcap0,rx_pcap=" + traffic + ",infinite_rx=1", "--vdev", "net_null0,no-rx=1", "--vdev", secgwDevice, "--", "-p", "0x3", "-P", "-u", unprotected,
			"--config", fmt.Sprintf("(0,0,%d),(1,0,%d)", cpu, cpu), "-f", configuration}, w.flags)
	process, err := in.Start(lab.Command{Name: "secgw", Args: args, Env: []string{"RUNTIME_DIRECTORY=" + l.Dir}})
	if err != nil {
		return 0, err
	}
	defer process.Kill()
	c := &telemetry{}
	defer c.close()
	sent := uint64(0)
	if err := lab.Until(ctx, nil, "ipsec-secgw to forward packets", startLimit, func() (bool, error) {
		if err := process.Alive(); err != nil {
			return false, fmt.Errorf("%w; end of its log:\n%s", err, process.Tail())
		}
		if c.conn == nil && c.dial(filepath.Join(l.Dir, "dpdk", secgwPrefix, "dpdk_telemetry.v2")) != nil {
			return false, nil // it is not yet there
		}
		sent, err = c.sent(1)
		return sent > 0, err
	}); err != nil {
		return 0, err
	}
	// As lab bench has it, where this process may: nobody else runs on the core. The thread that forwards is the first one.
	_ = unix.SchedSetAttr(process.PID(), &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
	return c.rate(ctx)
}

// rate is the median of some windows, in Mpps.
func (c *telemetry) rate(ctx context.Context) (float64, error) {
	var rates []float64
	for range windows {
		began := time.Now()
		before, err := c.sent(1)
		if err != nil {
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(window):
		}
		after, err := c.sent(1)
		if err != nil {
			return 0, err
		}
		rates = append(rates, float64(after-before)/time.Since(began).Seconds()/1e6)
	}
	slices.Sort(rates)
	return rates[len(rates)/2], nil
}

// secgwConfiguration is a tunnel of the frames' networks; the same key serves both ways.
func secgwConfiguration(w way) string {
	var octets []string
	for _, b := range append(slices.Clone(key), salt...) {
		octets = append(octets, fmt.Sprintf("%02x", b))
	}
	suite := "aead_algo aes-128-gcm aead_key " + strings.Join(octets, ":") + " mode ipv4-tunnel"
	return fmt.Sprintf(`sp ipv4 out esp protect 5 pri 1 dst %[2]s sport 0:65535 dport 0:65535
sp ipv4 in esp protect %[3]d pri 1 dst %[1]s sport 0:65535 dport 0:65535
sa out 5 %[4]s src %[5]s dst %[6]s %[7]s
sa in %[3]d %[4]s src %[6]s dst %[5]s %[7]s
rt ipv4 dst %[6]s/32 port 1
rt ipv4 dst %[1]s port 1
neigh port 0 02:00:00:00:00:03
neigh port 1 02:00:00:00:00:04
`, protected, remote, inboundSPI, suite, gatewayAddress, routerAddress, w.session)
}

// telemetry asks a program of DPDK for its counters.
type telemetry struct{ conn net.Conn }

func (c *telemetry) dial(socket string) error {
	conn, err := net.Dial("unixpacket", socket)
	if err != nil {
		return err
	}
	c.conn = conn
	_, err = c.read() // who it is
	return err
}

func (c *telemetry) close() {
	if c.conn != nil {
		c.conn.Close()
	}
}

// answerLimit is how long an answer may take while the core is busy.
const answerLimit = time.Minute

func (c *telemetry) read() ([]byte, error) {
	b := make([]byte, 1<<16)
	if err := c.conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return nil, err
	}
	n, err := c.conn.Read(b)
	return b[:n], err
}

// sent is how many packets have left by a port.
func (c *telemetry) sent(port int) (uint64, error) {
	if _, err := fmt.Fprintf(c.conn, "/ethdev/stats,%d", port); err != nil {
		return 0, fmt.Errorf("peerbench: telemetry: %w", err)
	}
	text, err := c.read()
	if err != nil {
		return 0, fmt.Errorf("peerbench: telemetry: %w", err)
	}
	var answer struct {
		Stats struct {
			Packets uint64 `json:"opackets"`
		} `json:"/ethdev/stats"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return 0, fmt.Errorf("peerbench: telemetry: %w", err)
	}
	return answer.Stats.Packets, nil
}
