package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

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
const iperfGrace = time.Minute

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
	args := []string{"iperf3", "--json", "--client", to.String(), "--time", strconv.Itoa(int(o.Time.Seconds())), "--connect-timeout", strconv.Itoa(int(iperfGrace.Milliseconds()))}
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
