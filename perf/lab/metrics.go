package lab

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"time"
)

// Sample is one of a gateway's metrics: its name without "sallyport_", its labels, its value.
type Sample struct {
	Name   string
	Labels map[string]string
	Value  float64
}

// metricsLimit is how long a gateway may take to tell, on a busy machine.
const metricsLimit = time.Minute

var (
	metricLine  = regexp.MustCompile(`^sallyport_([a-z0-9_]+)(?:\{(.*)\})? ([0-9.e+]+)$`)
	metricLabel = regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`)
)

// Metrics reads the metrics that a gateway in the namespace has at an address.
func (n *Namespace) Metrics(ctx context.Context, address string) (list []Sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, metricsLimit)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DialContext: n.dial}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("lab: metrics at %s: %w", address, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("lab: metrics at %s: %s, expected %d", address, response.Status, http.StatusOK)
	}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		m := metricLine.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		s := Sample{Name: m[1], Labels: map[string]string{}}
		for _, label := range metricLabel.FindAllStringSubmatch(m[2], -1) {
			s.Labels[label[1]] = label[2]
		}
		if s.Value, err = strconv.ParseFloat(m[3], 64); err != nil {
			return nil, fmt.Errorf("lab: metrics at %s: %q: %w", address, lines.Text(), err)
		}
		list = append(list, s)
	}
	return list, lines.Err()
}

// dial makes a connection on the namespace's thread; it works from anywhere afterwards.
func (n *Namespace) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.Do(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}
