package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sallyport/ike"
	"sallyport/policy"
	"sallyport/policy/soft"
)

// ikeFactLabels are what the event stream of IKE is counted by.
var ikeFactLabels = []string{"peer", "version", "kind", "reason"}

func newFactCounter() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_ike_facts_total",
		Help: "IKE facts by peer (empty for strangers), version of IKE (1 or 2), kind and reason.",
	}, ikeFactLabels)
}

// countFact counts one fact. Peer names come from the configuration, those of
// dynamic peers apart, which share one, and reasons from a closed list, so
// strangers cannot make new series.
func countFact(facts *prometheus.CounterVec, f ike.Fact) {
	peer := f.Peer
	if ike.IsDynamic(peer) {
		peer = policy.DynamicList
	}
	facts.WithLabelValues(peer, strconv.Itoa(f.Version.Number()), f.Kind.String(), string(f.Reason)).Inc()
}

// description of the gateway's own metrics.
var (
	descReceived    = describe("port_received_packets_total", "Packets received, by the port they came in by.", "port")
	descReceivedB   = describe("port_received_bytes_total", "Bytes received, by the port they came in by.", "port")
	descForwarded   = describe("port_forwarded_packets_total", "Packets forwarded, by the port they came in by.", "port")
	descDelivered   = describe("port_delivered_packets_total", "Packets for the gateway itself, by the port they came in by.", "port")
	descHeld        = describe("port_held_packets", "Packets that wait for an SA or a neighbour, by the port they came in by.", "port")
	descReassemble  = describe("port_reassembling_packets", "Fragments that wait for the others of their packet, by the port they came in by.", "port")
	descMerged      = describe("port_merged_packets_total", "Fragments that became part of a packet, but for one of each, by the port they came in by.", "port")
	descSplit       = describe("port_split_packets_total", "Fragments that packets were cut into, but for one of each, by the port the packet came in by.", "port")
	descHandedOver  = describe("port_handed_over_packets_total", "ESP and AH that came by the queue of another worker than their SA's, by the port they came in by.", "port")
	descEarly       = describe("port_early_packets_total", "ESP and AH that came before their SA and waited for it, by the port they came in by.", "port")
	descEarlyPassed = describe("port_early_passed_packets_total", "ESP and AH that waited for their SA and went on when it came, by the port they came in by.", "port")
	descTransmitted = describe("port_transmitted_packets_total", "Packets transmitted, by the port they left by.", "port")
	descTransmitB   = describe("port_transmitted_bytes_total", "Bytes transmitted, by the port they left by.", "port")
	descDrops       = describe("drops_total", "Packets dropped, by the port they came in by and reason.", "port", "reason")
	descFilter      = describe("filter_packets_total", "Packets decided by a filter.", "id", "rule", "filter", "verdict")
	descFilterB     = describe("filter_bytes_total", "Bytes decided by a filter.", "id", "rule", "filter", "verdict")
	descFilterDrops = describe("filter_drops_total", "Packets dropped that a filter had decided, by reason.", "id", "rule", "filter", "reason")
	descSAPackets   = describe("sa_packets_total", "Packets through an SA.", "child", "direction", "spi")
	descSABytes     = describe("sa_bytes_total", "Bytes of inner packets through an SA.", "child", "direction", "spi")
	descSADummies   = describe("sa_dummies_total", "Packets without content sent by an SA (RFC 4303 section 2.6).", "child", "direction", "spi")
	descSADrops     = describe("sa_drops_total", "Packets dropped that came in by an SA or should have left by it, by reason.", "child", "direction", "spi", "reason")
	descPlans       = describe("sas", "SAs now, each direction for itself, by the plan that their work is done by (docs/OFFLOAD.md).", "plan")
	descOffloadLost = describe("offload_lost", "1 if a port's NIC does no ESP any more, or a crypto device has stopped answering or fails all: its SAs went elsewhere (docs/OFFLOAD.md).", "device", "kind")
	descDropsNobody = describe("drops_unattributed_total", "Packets dropped for which a filter or an SA would have counted, had there been room, by reason.", "reason")
	descGeneration  = describe("policy_generation", "Policies put in force since start.")
	descChanged     = describe("policy_changed_timestamp_seconds", "When the policy in force was put there.")
	descLink        = describe("port_link_up", "1 if the port has a link.", "port")
	descOverflow    = describe("ike_queue_full_total", "Messages of IKE dropped because their queue was full: those that begin a negotiation (begin) and all others (continue), from strangers apart, and what the data plane asks for (own).", "queue")
	descPunted      = describe("slow_path_packets_total", "Packets that workers had for the slow path and that found room in the queue of their class.", "class")
	descPuntFull    = describe("slow_path_full_total", "Packets that workers had for the slow path and that found the queue of their class full.", "class")
	descPuntWaiting = describe("slow_path_waiting_packets", "Packets in the queues to the slow path, by class.", "class")
	descSoft        = describe("soft_sas", "Soft SAs now, by which traffic passes in clear.")
	descSoftWaiting = describe("soft_waiting", "Selectors now that become soft SAs if their peer answers nothing.")
	descSoftAlarm   = describe("soft_alarm", "1 while there are as many soft SAs as soft.alarm says.")
	descSoftCreated = describe("soft_created_total", "Soft SAs made.")
	descSoftEnded   = describe("soft_ended_total", "Soft SAs that ended, by reason: expired after 300 seconds, or before that.", "reason")
	descSoftRefused = describe("soft_refused_total", "Requests that led to no soft SA (heard, authenticated, denied, mcast, table_full, peer_full, dataplane, lost, unsent), or to no negotiation (rate_source, rate_filter, policy), by reason.", "reason")
	descSoftPackets = describe("soft_clear_packets_total", "Packets that passed in clear by soft SAs.", "direction")
	descSoftBytes   = describe("soft_clear_bytes_total", "Bytes that passed in clear by soft SAs.", "direction")
	descSoftSkipped = describe("offload_skipped_soft_total", "Soft SAs for which no crypto session was made and nothing was offloaded, since they have nothing to process.")
	descDeviceOps   = describe("crypto_operations_total", "Operations that a crypto device took by its queues.", "device")
	descDeviceOdd   = describe("crypto_unknown_total", "Operations that a crypto device gave back and did not have.", "device")
	descDeviceHeld  = describe("crypto_held_packets", "Packets with a crypto device; those of one that is lost stay until it is stopped.", "device")
	descDeviceWaits = describe("crypto_waiting_packets", "Packets that wait for room in a crypto device.", "device")
	descDeviceLost  = describe("crypto_lost", "1 if a crypto device has stopped answering or fails all packets.", "device")
	descLost        = describe("slow_path_lost_total", "Packets of the gateway itself that found no buffer or ring space.")
	descFetches     = describe("crl_fetches_total", "Questions to CRL servers and OCSP responders, by result: ok or why not.", "result")
	descUnknown     = describe("certificates_unchecked_total", "Certificates that passed though it could not be told whether they are revoked (auth.crl_mode 1).")
	descExpiry      = describe("certificate_expiry_timestamp_seconds", "When a certificate of the configuration ends, by its use (own, chain or ca).", "use", "subject", "serial", "file")
	descBuffers     = describe("mbufs_in_use", "Packet buffers taken from the pool.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("sallyport_"+name, help, labels, nil)
}

// collector reads the gateway's counters whenever it is scraped.
type collector struct{ gateway *Gateway }

// Describe implements prometheus.Collector: the metrics are not known before
// they are read, since SAs come and go.
func (c collector) Describe(ch chan<- *prometheus.Desc) { ch <- descLost }

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	g := c.gateway
	counts := g.plane.Counters()
	for _, p := range counts.Ports {
		counter(descReceived, p.Received, p.Name)
		counter(descReceivedB, p.ReceivedBytes, p.Name)
		counter(descForwarded, p.Forwarded, p.Name)
		counter(descDelivered, p.Delivered, p.Name)
		gauge(descHeld, p.Waiting, p.Name)
		gauge(descReassemble, p.Reassembling, p.Name)
		counter(descMerged, p.Merged, p.Name)
		counter(descSplit, p.Split, p.Name)
		counter(descHandedOver, p.HandedOver, p.Name)
		counter(descEarly, p.Early, p.Name)
		counter(descEarlyPassed, p.EarlyPassed, p.Name)
		counter(descTransmitted, p.Transmitted, p.Name)
		counter(descTransmitB, p.TransmittedBytes, p.Name)
		for reason, n := range p.Drops {
			counter(descDrops, n, p.Name, reason)
		}
	}
	for _, d := range counts.Devices {
		lost := uint64(0)
		if d.Lost {
			lost = 1
		}
		counter(descDeviceOps, d.Operations, d.Name)
		counter(descDeviceOdd, d.Unknown, d.Name)
		gauge(descDeviceHeld, uint64(d.Held), d.Name)
		gauge(descDeviceWaits, uint64(d.Waiting), d.Name)
		gauge(descDeviceLost, lost, d.Name)
	}
	now := g.running()
	gauge(descGeneration, now.generation)
	gauge(descChanged, uint64(now.changed.Unix()))
	for _, f := range filtersView(now.spd, counts.Filters) {
		for reason, n := range f.Drops {
			counter(descFilterDrops, n, fmt.Sprint(f.ID), f.Rule, f.Filter, reason)
		}
		if f.ID == 0 {
			continue // the default action: what it drops is a reason of drops
		}
		counter(descFilter, f.Packets, fmt.Sprint(f.ID), f.Rule, f.Filter, f.Verdict)
		counter(descFilterB, f.Bytes, fmt.Sprint(f.ID), f.Rule, f.Filter, f.Verdict)
	}
	for _, s := range counts.SAs {
		direction := "inbound"
		if s.Outbound {
			direction = "outbound"
		}
		counter(descSAPackets, s.Packets, s.Tunnel, direction, spiText(s.SPI))
		counter(descSABytes, s.Bytes, s.Tunnel, direction, spiText(s.SPI))
		counter(descSADummies, s.Dummies, s.Tunnel, direction, spiText(s.SPI))
		for reason, n := range s.Drops {
			counter(descSADrops, n, s.Tunnel, direction, spiText(s.SPI), reason)
		}
	}
	g.collectOffload(counts.SAs, gauge)
	for reason, n := range counts.Unattributed {
		counter(descDropsNobody, n, reason)
	}
	for i, device := range g.devices {
		up := uint64(0)
		if link, err := device.Link(); err == nil && link.Up {
			up = 1
		}
		gauge(descLink, up, g.cfg.Ports[i].Name)
	}
	g.collectCertificates(counter, gauge)
	full := g.negotiator.inbox.overflow()
	counter(descOverflow, full.Begin, "begin")
	counter(descOverflow, full.BeginStranger, "begin_stranger")
	counter(descOverflow, full.Continue, "continue")
	counter(descOverflow, full.ContinueStranger, "continue_stranger")
	counter(descOverflow, full.Own, "own")
	for _, p := range counts.Punts {
		counter(descPunted, p.Queued, p.Class)
		counter(descPuntFull, p.Full, p.Class)
		gauge(descPuntWaiting, p.Waiting, p.Class)
	}
	g.collectSoft(counter, gauge)
	g.collectLimits(counter, gauge)
	counter(descLost, counts.Lost)
	gauge(descBuffers, uint64(g.pool.InUse()))
}

// collectSoft reads what passes in clear.
func (g *Gateway) collectSoft(counter, gauge func(d *prometheus.Desc, n uint64, labels ...string)) {
	t := g.negotiator.soft.totals()
	gauge(descSoft, uint64(t.Live))
	gauge(descSoftWaiting, uint64(t.Waiting))
	alarm := uint64(0)
	if t.Alarm {
		alarm = 1
	}
	gauge(descSoftAlarm, alarm)
	counter(descSoftCreated, t.Created)
	for _, reason := range soft.Endings() {
		counter(descSoftEnded, t.Ended[reason], string(reason))
	}
	for _, reason := range soft.Refusals() {
		counter(descSoftRefused, t.Refused[reason], string(reason))
	}
	counter(descSoftPackets, t.sent.Packets, "outbound")
	counter(descSoftPackets, t.came.Packets, "inbound")
	counter(descSoftBytes, t.sent.Bytes, "outbound")
	counter(descSoftBytes, t.came.Bytes, "inbound")
	counter(descSoftSkipped, t.skipped)
}

// metricsServer answers /metrics.
type metricsServer struct {
	server   http.Server
	listener net.Listener
}

func listenMetrics(address string, g *Gateway, log *slog.Logger) (*metricsServer, error) {
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{collector{g}, g.facts, g.manager.counter, g.certificates.results, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		if at := (*net.OpError)(nil); errors.As(err, &at) {
			err = at.Err // without the address, which is said once
		}
		return nil, fmt.Errorf("metrics.listen %s: %w; expected an address of this machine with a port that is free", address, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}))
	return &metricsServer{
		listener: listener,
		server: http.Server{
			Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		},
	}, nil
}

func (m *metricsServer) serve() { _ = m.server.Serve(m.listener) }

func (m *metricsServer) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return m.server.Shutdown(ctx)
}
