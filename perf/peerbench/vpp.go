package peerbench

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/perf/bench"
	"sallyport/perf/lab"
)

// vpp.go runs VPP as long as a turn takes. Its packet generator costs more than a NIC would, so that a rate of all of it would be none of the gateway:
// VPP counts the time that each node of its graph takes, and those that a packet comes through between source and sink make the figure.
//
// Outbound packets leave by a port that frees them. Inbound ones have to be new ones all the time, for the window of replays: VPP makes them itself. Its
// outbound packets come in again by a loopback interface, belong to a second tunnel from there on, and only those nodes count.

// engines are those that compete: the fastest is the peer.
var engines = []string{"native", "ipsecmb", "openssl"}

const (
	vppMemoryMB  = 128
	vppSource    = "pg-input"
	vppLoopIn    = "loop0-output"
	vppLoop      = "loop0-tx"
	vppSink      = "pg1-tx"
	vppWindow    = 50 * time.Millisecond
	vppWindows   = 7
	vppTolerance = 0.02 // of the packets may be under way when the counters are read
)

// loopNeighbour is who is behind the loop: a frame for its MAC address comes in again.
var loopNeighbour = netip.MustParseAddr("192.0.2.9")

// vpp is the best rate of the program, in Mpps.
func (o *Options) vpp(ctx context.Context, cpus []int, direction bench.Direction, size int) (best float64, err error) {
	pages, _, err := bench.ReserveHugePages(vppMemoryMB)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, bench.ReleaseHugePages(pages)) }()
	for _, engine := range engines {
		rate, err := o.vppTurn(ctx, engine, cpus, direction, size, pages > 0)
		if err != nil {
			return 0, err
		}
		if best = max(best, rate); o.Quick {
			break
		}
	}
	return best, nil
}

// vppTurn starts the program, and is the median rate of its nodes.
func (o *Options) vppTurn(ctx context.Context, engine string, cpus []int, direction bench.Direction, size int, hugePages bool) (rate float64, err error) {
	l, err := lab.New()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	in, err := l.Namespace("vpp")
	if err != nil {
		return 0, err
	}
	startup := filepath.Join(l.Dir, "startup.conf")
	if err := os.WriteFile(startup, []byte(vppStartup(l.Dir, engine, cpus, hugePages)), 0o600); err != nil {
		return 0, fmt.Errorf("peerbench: %w", err)
	}
	process, err := in.Start(lab.Command{Name: "vpp", Args: []string{"taskset", "--cpu-list", cpuList(cpus), o.VPP, "-c", startup}})
	if err != nil {
		return 0, err
	}
	defer func() {
		process.Kill()
		left, _ := filepath.Glob("/dev/shm/" + filepath.Base(l.Dir) + "-*") // the pattern is well-formed
		for _, file := range left {
			err = errors.Join(err, os.Remove(file))
		}
	}()
	c := &vppCLI{}
	defer c.close()
	if err := lab.Until(ctx, nil, "VPP to answer", startLimit, func() (bool, error) {
		if err := process.Alive(); err != nil {
			return false, fmt.Errorf("%w; end of its log:\n%s", err, process.Tail())
		}
		return c.dial(filepath.Join(l.Dir, "cli.sock")) == nil, nil // it may not be there yet
	}); err != nil {
		return 0, err
	}
	// As lab bench has it, where this process may: nobody else runs on the core.
	if worker := workerThread(process.PID()); worker > 0 {
		_ = unix.SchedSetAttr(worker, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
	}
	said, err := c.all(vppSetUp(direction, size))
	if err != nil {
		return 0, err
	}
	rate, err = c.rate(ctx, direction)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w; what it said:\n%s%s", err, said, process.Tail())
	}
	return rate, err
}

// workerThread is the number of the thread that forwards, where there is one of its own.
func workerThread(pid int) int {
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/comm", pid)) // the pattern is well-formed
	for _, name := range names {
		var thread int
		if text, _ := os.ReadFile(name); strings.TrimSpace(string(text)) == "vpp_wk_0" {
			fmt.Sscanf(name, fmt.Sprintf("/proc/%d/task/%%d/comm", pid), &thread)
			return thread
		}
	}
	return 0
}

// vppStartup has one worker on the last CPU, where there is a second one, and one crypto engine.
func vppStartup(folder, engine string, cpus []int, hugePages bool) string {
	threads, pages := fmt.Sprintf("main-core %d", cpus[0]), "default"
	if last := cpus[len(cpus)-1]; last != cpus[0] {
		threads += fmt.Sprintf(" corelist-workers %d", last)
	}
	if hugePages {
		pages = "default-hugepage"
	}
	return fmt.Sprintf(`unix { nodaemon nosyslog nocolor nobanner cli-line-mode cli-no-pager runtime-dir %[1]s cli-listen %[1]s/cli.sock }
cpu { %[2]s }
buffers { buffers-per-numa 16384 page-size %[3]s }
crypto-engines { default { disable } %[4]s { enable } }
statseg { socket-name %[1]s/stats.sock }
api-segment { prefix %[5]s }
socksvr { socket-name %[1]s/api.sock }
`, folder, threads, pages, engine, filepath.Base(folder))
}

// vppSetUp are the commands for a tunnel of the frames' networks from table 0 to table 1, and for packets that never end.
func vppSetUp(direction bench.Direction, size int) []string {
	frame := clearFrame(size)
	sa := fmt.Sprintf("esp crypto-alg aes-gcm-128 crypto-key %x salt 0x%x tunnel src %%s dst %%s", key, salt)
	there, back := fmt.Sprintf(sa, gatewayAddress, routerAddress), fmt.Sprintf(sa, routerAddress, gatewayAddress)
	beyond := fmt.Sprintf("via %s pg1", routerAddress)
	if direction == bench.Inbound {
		beyond = fmt.Sprintf("via %s loop0", loopNeighbour)
	}
	return []string{
		"create packet-generator interface pg0",
		"create packet-generator interface pg1",
		"create loopback interface mac 02:00:00:00:00:05",
		"ip table add 1",
		"set interface ip table loop0 1",
		"set interface mac address pg0 02:00:00:00:00:01",
		fmt.Sprintf("set interface ip address pg0 %s/%d", protected.Addr().Next().Next(), protected.Bits()),
		fmt.Sprintf("set interface ip address loop0 %s/24", routerAddress),
		"set interface state pg0 up",
		"set interface state pg1 up",
		"set interface state loop0 up",
		fmt.Sprintf("set ip neighbor loop0 %s 02:00:00:00:00:05", loopNeighbour),
		fmt.Sprintf("set ip neighbor pg1 %s 02:00:00:00:00:04", routerAddress),
		fmt.Sprintf("ip route add %s/32 %s", routerAddress, beyond),

		"ipsec sa add 1 spi 1 " + there,
		"ipsec sa add 2 spi 2 inbound use-anti-replay " + back,
		"ipsec itf create",
		"ipsec tunnel protect ipsec0 sa-in 2 sa-out 1",
		"set interface state ipsec0 up",
		"set interface unnumbered ipsec0 use pg0",
		fmt.Sprintf("ip route add %s via ipsec0", remote),

		"ipsec sa add 3 spi 2 " + back,
		"ipsec sa add 4 spi 1 inbound use-anti-replay " + there,
		"ipsec itf create",
		"set interface ip table ipsec1 1",
		"ipsec tunnel protect ipsec1 sa-in 4 sa-out 3",
		"set interface state ipsec1 up",
		"set interface unnumbered ipsec1 use loop0",
		fmt.Sprintf("ip route add table 1 %s via %s pg1", remote, routerAddress),

		fmt.Sprintf("packet-generator new { name source worker 0 node ethernet-input interface pg0 size %[1]d-%[1]d data { hex 0x%[2]s } }", len(frame), hex.EncodeToString(frame)),
		"packet-generator enable-stream source",
	}
}

// rate is the median of some windows, in Mpps, of the nodes behind the source or, inbound, behind the loop.
func (c *vppCLI) rate(ctx context.Context, direction bench.Direction) (float64, error) {
	path, err := c.path(ctx)
	if err != nil {
		return 0, err
	}
	first := vppSource
	if direction == bench.Inbound {
		first = vppLoop
	}
	at := slices.Index(path, first)
	if at < 0 || path[0] != vppSource || path[len(path)-1] != vppSink {
		return 0, fmt.Errorf("peerbench: expected packets that come from %s by %s to %s, found %s", vppSource, first, vppSink, strings.Join(path, " "))
	}
	var rates []float64
	for range vppWindows {
		if _, err := c.run("clear runtime"); err != nil {
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(vppWindow):
		}
		text, err := c.run("show runtime time")
		if err != nil {
			return 0, err
		}
		time, err := nodesTime(vppNodes(text), path, at+1)
		if err != nil {
			return 0, err
		}
		rates = append(rates, 1e3/time)
	}
	slices.Sort(rates)
	return rates[len(rates)/2], nil
}
