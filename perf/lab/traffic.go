package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// PingResult is what ping counted.
type PingResult struct{ Sent, Received int }

// Lost is how many echo requests had no answer.
func (r PingResult) Lost() int { return r.Sent - r.Received }

var pingLine = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// PingOptions say how many echo requests to send, how far apart, and what they carry.
type PingOptions struct {
	Source   netip.Addr // of the sender, chosen by the kernel when not valid
	Count    int
	Interval time.Duration
	Pattern  string        // repeated through the payload; at most 16 octets, none when empty
	Wait     time.Duration // for the last answers, in whole seconds; 3 s when 0
}

// pingWait is how long ping waits for the last answers.
const pingWait = 3 * time.Second

// pingCommand is the command line for echo requests to an address.
func pingCommand(to netip.Addr, o PingOptions) []string {
	if o.Wait == 0 {
		o.Wait = pingWait
	}
	args := []string{"ping", "-n", "-q", "-c", strconv.Itoa(o.Count), "-W", strconv.Itoa(int(o.Wait.Seconds())),
		"-i", strconv.FormatFloat(o.Interval.Seconds(), 'f', 3, 64)}
	if o.Source.IsValid() {
		args = append(args, "-I", o.Source.String())
	}
	if o.Pattern != "" {
		args = append(args, "-p", fmt.Sprintf("%x", o.Pattern))
	}
	return append(args, to.String())
}

// Ping sends echo requests from the namespace and counts the answers. No answer is a count, not an
// error.
func (n *Namespace) Ping(ctx context.Context, to netip.Addr, o PingOptions) (PingResult, error) {
	return PingFrom(ctx, n, to, o)
}

// PingFrom is Ping from wherever commands can be run: a guest too.
func PingFrom(ctx context.Context, machine interface {
	Run(ctx context.Context, args ...string) (string, error)
}, to netip.Addr, o PingOptions) (PingResult, error) {
	out, err := machine.Run(ctx, pingCommand(to, o)...)
	return parsePing(out, err)
}

// StartPing sends echo requests in the background; PingEnd has the result.
func (n *Namespace) StartPing(name string, to netip.Addr, o PingOptions) (*Process, error) {
	return n.Start(Command{Name: name, Args: pingCommand(to, o)})
}

// PingEnd waits for a StartPing and returns what it counted.
func PingEnd(ctx context.Context, p *Process) (PingResult, error) {
	err := p.Wait(ctx)
	return parsePing(p.Log(), err)
}

// parsePing reads ping's last lines; ping's failure counts only when they are missing.
func parsePing(out string, failed error) (PingResult, error) {
	m := pingLine.FindStringSubmatch(out)
	if m == nil {
		return PingResult{}, errors.Join(fmt.Errorf("lab: expected ping's counts, found: %s", strings.TrimSpace(out)), failed)
	}
	sent, _ := strconv.Atoi(m[1])
	received, _ := strconv.Atoi(m[2])
	return PingResult{sent, received}, nil
}

// StreamOptions say what iperf3 sends: TCP, or UDP datagrams at a rate.
type StreamOptions struct {
	Time     time.Duration // whole seconds
	UDP      bool
	Datagram int // octets of payload, UDP only
	Mbps     int // rate, UDP only
}

// StreamResult is what arrived.
type StreamResult struct {
	Mbps    float64
	Packets int // UDP only
	Lost    int // UDP only
}

// iperfReport is the part of iperf3 --json that is read.
type iperfReport struct {
	Error string
	End   struct {
		SumReceived struct {
			BitsPerSecond float64 `json:"bits_per_second"`
		} `json:"sum_received"`
		Sum struct {
			BitsPerSecond float64 `json:"bits_per_second"`
			LostPercent   float64 `json:"lost_percent"`
			LostPackets   int     `json:"lost_packets"`
			Packets       int
		}
	}
}

// iperfGrace is what iperf3 may take beyond the time of its stream.
const iperfGrace = 20 * time.Second

// Stream runs iperf3 from one host to another that has the address to.
func (n *Namespace) Stream(ctx context.Context, name string, server *Namespace, to netip.Addr, o StreamOptions) (StreamResult, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Time+iperfGrace)
	defer cancel()
	listener, err := server.Start(Command{Name: name + "-server", Args: []string{"iperf3", "--server", "--one-off", "--forceflush", "--bind", to.String()}})
	if err != nil {
		return StreamResult{}, err
	}
	defer listener.Kill()
	err = Until(ctx, nil, "iperf3 to listen", iperfGrace, func() (bool, error) {
		return strings.Contains(listener.Log(), "Server listening"), listener.Alive()
	})
	if err != nil {
		return StreamResult{}, err
	}
	args := []string{"iperf3", "--json", "--client", to.String(), "--time", strconv.Itoa(int(o.Time.Seconds())), "--connect-timeout", "5000"}
	if o.UDP {
		args = append(args, "--udp", "--length", strconv.Itoa(o.Datagram), "--bitrate", fmt.Sprintf("%dM", o.Mbps))
	}
	out, err := n.Run(ctx, args...)
	var report iperfReport
	if decoding := json.Unmarshal([]byte(out), &report); decoding != nil {
		return StreamResult{}, errors.Join(err, fmt.Errorf("lab: iperf3's report: %w", decoding))
	}
	if err != nil || report.Error != "" {
		return StreamResult{}, fmt.Errorf("lab: iperf3 from %s to %s: %s", n.Name, to, report.Error)
	}
	if !o.UDP {
		return StreamResult{Mbps: report.End.SumReceived.BitsPerSecond / 1e6}, nil
	}
	sum := report.End.Sum
	return StreamResult{Mbps: sum.BitsPerSecond / 1e6 * (1 - sum.LostPercent/100), Packets: sum.Packets, Lost: sum.LostPackets}, nil
}
