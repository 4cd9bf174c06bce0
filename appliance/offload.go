package appliance

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/appliance/api"
	"sallyport/crypto/cryptodev"
	"sallyport/offload"
	"sallyport/pipeline"
	"sallyport/policy"
)

// openOffload opens the crypto devices, and asks the ports for what they can do of SAs.
func (g *Gateway) openOffload() error {
	d := &g.cfg.Dataplane
	order, err := offload.ParseOrder(d.Offload)
	if err != nil {
		return err
	}
	g.crypto, err = cryptodev.Open(cryptodev.Options{
		Devices: d.CryptoDevices, QueuePairs: g.workers(), Sessions: 2 * d.MaxSAs, Socket: cryptodev.SocketAny, Classes: offload.CryptoClasses(order), Room: pipeline.CryptoRoom(),
	})
	if err != nil {
		g.log.Error("the gateway does not start", "error", err) // now: DPDK does not survive its own end with a scheduler that it could not start
		return err
	}
	g.onStop(g.crypto.Close)
	g.tellWrong(g.crypto.Describe())
	ports := make([]offload.Port, 0, len(g.devices))
	for i, device := range g.devices {
		p := g.cfg.Ports[i]
		ports = append(ports, offload.Port{Name: p.Name, WAN: p.Role == policy.PortsWAN, ID: uint16(device.Port), VLAN: p.VLAN, Driver: device.Driver, Socket: device.Socket})
	}
	if g.offload, err = offload.New(offload.Config{Order: order, Ports: ports, Crypto: g.crypto, Sessions: 2 * d.MaxSAs}); err != nil {
		return err
	}
	g.onStop(g.offload.Stop)
	for _, port := range g.offload.Ports() {
		g.log.Info("offload", "port", port.Name, "inline", port.Plans, "why_not", port.Why)
	}
	return nil
}

// tellWrong writes down what is wrong with crypto devices that work all the same.
func (g *Gateway) tellWrong(devices []cryptodev.DeviceInfo) {
	for _, d := range devices {
		if d.Wrong != "" {
			g.log.Error("crypto_device", "device", d.Name, "why", d.Wrong)
		}
	}
}

// usesPorts reports whether an order of dataplane.offload has use for inline IPsec.
func usesPorts(order []string) bool {
	return order == nil || slices.Contains(order, string(offload.Inline))
}

// offloadOf is the plan of an SA and why not a better one.
func (g *Gateway) offloadOf(sa *pipeline.SACounters) *api.Offload {
	chosen := g.offload.Explain(sa)
	view := &api.Offload{Plan: string(chosen.Plan), Device: chosen.Device, InlinePackets: sa.Inline.Packets, Stopped: sa.Inline.Stopped, Stays: sa.Stays}
	if sa.Wanted != pipeline.PlaceAuto {
		view.Wanted = sa.Wanted.String()
	}
	for _, c := range chosen.Refused {
		view.Refused = append(view.Refused, api.OffloadRefusal{Plan: string(c.Plan), Device: c.Device, Reason: c.Refusal})
	}
	return view
}

// collectOffload counts SAs by plan.
func (g *Gateway) collectOffload(sas []pipeline.SACounters, gauge func(d *prometheus.Desc, n uint64, labels ...string)) {
	counts := map[offload.Plan]uint64{}
	for i := range sas {
		counts[g.offload.PlaceOf(&sas[i]).Plan]++
	}
	for _, d := range g.offloadDevices() {
		lost := uint64(0)
		if d.State == "lost" {
			lost = 1
		}
		gauge(descOffloadLost, lost, d.Name, d.Kind)
	}
	for _, plan := range offload.Plans() {
		gauge(descPlans, counts[plan], string(plan))
	}
}
