package ethdev

import (
	"errors"
	"fmt"
	"math"
	"net"

	"sallyport/pmd/mempool"
)

const (
	defaultMTU         = 1500
	defaultDescriptors = 1024
)

// PortConfig is a port as the operator wants it.
type PortConfig struct {
	Name          string // the operator's name, for errors
	Device        string // such as "net_af_packet,iface=lan0" or "0000:00:05.0"
	RxQueues      int    // 0 means 1
	TxQueues      int    // 0 means 1
	RxDescriptors int    // per queue; 0 means 1024; adjusted to what the driver can do
	TxDescriptors int
	MTU           int              // largest IP packet in bytes; 0 means 1500
	Pool          *mempool.Mempool // where received packets go; DataRoom says how large its buffers must be
	Promiscuous   bool             // receive frames to other MAC addresses
	Security      bool             // make ready for inline IPsec where the device has it: drivers make no sessions otherwise
}

// Offloads says which checksums of received packets the device checks: the packet's RTE_MBUF_F_RX_IP_CKSUM_ and L4_CKSUM_ flags say
// good, bad or unknown. Software checks the others and the unknown ones.
type Offloads struct {
	RxIPv4Checksum, RxUDPChecksum, RxTCPChecksum bool
}

// Device is an open, started port.
type Device struct {
	Port     Port
	Name     string // DPDK's name of the device, such as "net_af_packet0"
	Driver   string
	MAC      net.HardwareAddr
	MTU      int // bytes
	Socket   int // NUMA socket, or mempool.SocketAny
	RxQueues int
	TxQueues int
	RSS      bool // the device spreads flows over the Rx queues by hash
	Offloads Offloads
	netif    *netif
}

// defaults fills in what was left open.
func (c *PortConfig) defaults() {
	for _, field := range []struct {
		value *int
		other int
	}{
		{&c.RxQueues, 1}, {&c.TxQueues, 1}, {&c.MTU, defaultMTU},
		{&c.RxDescriptors, defaultDescriptors}, {&c.TxDescriptors, defaultDescriptors},
	} {
		if *field.value == 0 {
			*field.value = field.other
		}
	}
}

// validate finds what is wrong whatever the device.
func (c *PortConfig) validate() error {
	var errs []error
	check := func(what string, value, lowest, highest int) {
		if value < lowest || value > highest {
			errs = append(errs, fmt.Errorf("%d %s, expected %d to %d", value, what, lowest, highest))
		}
	}
	check("Rx queues", c.RxQueues, 1, maxQueues)
	check("Tx queues", c.TxQueues, 1, maxQueues)
	check("Rx descriptors", c.RxDescriptors, 1, math.MaxUint16)
	check("Tx descriptors", c.TxDescriptors, 1, math.MaxUint16)
	check("bytes of MTU", c.MTU, MinMTU, MaxMTU)
	if c.Pool == nil {
		errs = append(errs, errors.New("no pool for received packets"))
	} else if need := DataRoom(c.MTU); len(errs) == 0 && c.Pool.DataRoom() < need {
		errs = append(errs, fmt.Errorf("buffers of %d bytes in pool %q, expected at least %d for an MTU of %d", c.Pool.DataRoom(),
			c.Pool.Name(), need, c.MTU))
	}
	return errors.Join(errs...)
}

// Open attaches the device, sets it up and starts it. A device over a kernel interface finds it in the network namespace of the
// calling thread.
func Open(cfg PortConfig) (*Device, error) {
	cfg.defaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("port %s: %w", cfg.Name, err)
	}
	spec, err := parseDevice(cfg.Device)
	if err != nil {
		return nil, fmt.Errorf("port %s: %w", cfg.Name, err)
	}
	if err := spec.checkPool(&cfg); err != nil {
		return nil, fmt.Errorf("port %s: %w", cfg.Name, err)
	}
	if name := spec.netif(); name != "" {
		// The driver's sockets want it up: one bound to an interface that is down fails its first send.
		if err := raise(name); err != nil {
			return nil, fmt.Errorf("port %s: %w; \"ip link\" lists the interfaces of this network namespace", cfg.Name, err)
		}
	}
	port, err := attach(spec.tuned(&cfg))
	if err != nil {
		return nil, fmt.Errorf("port %s: %w", cfg.Name, err)
	}
	dev, err := Setup(port, cfg)
	if err != nil {
		return nil, errors.Join(err, port.Close())
	}
	return dev, nil
}

// Setup configures and starts a port that is attached already, such as one of FromRings. cfg.Device is not looked at. On error
// the port is left stopped.
func Setup(port Port, cfg PortConfig) (*Device, error) {
	cfg.defaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("port %s: %w", cfg.Name, err)
	}
	dev := &Device{Port: port, Socket: port.Socket(), MTU: cfg.MTU, RxQueues: cfg.RxQueues, TxQueues: cfg.TxQueues}
	if err := dev.setup(&cfg); err != nil {
		dev.netif.close()
		return nil, fmt.Errorf("port %s: %w", cfg.Name, err)
	}
	return dev, nil
}

func (d *Device) setup(cfg *PortConfig) error {
	info, err := d.Port.Info()
	if err != nil {
		return err
	}
	d.Driver = info.Driver
	if d.Name, err = d.Port.Name(); err != nil {
		return err
	}
	if d.netif, err = netifByIndex(info.InterfaceIndex); err != nil {
		return err
	}
	options, err := d.options(cfg, &info)
	if err != nil {
		return err
	}
	if err := d.Port.Configure(uint16(cfg.RxQueues), uint16(cfg.TxQueues), options...); err != nil {
		return err
	}
	if err := d.queues(cfg); err != nil {
		return err
	}
	if err := d.applyMTU(); err != nil {
		return err
	}
	if d.MAC, err = d.Port.MAC(); err != nil {
		return err
	}
	if cfg.Promiscuous {
		if err := d.Port.SetPromiscuous(true); err != nil {
			return err
		}
	}
	if err := d.netif.up(); err != nil {
		return err
	}
	return d.Port.Start() // last: a started port cannot be closed on a later error
}

// options settles queues, RSS, offloads and MTU against what the driver offers.
func (d *Device) options(cfg *PortConfig, info *Info) ([]Option, error) {
	if cfg.RxQueues > int(info.MaxRxQueues) || cfg.TxQueues > int(info.MaxTxQueues) {
		return nil, fmt.Errorf("%d Rx and %d Tx queues, but %s (%s) has at most %d and %d", cfg.RxQueues, cfg.TxQueues, d.Name,
			d.Driver, info.MaxRxQueues, info.MaxTxQueues)
	}
	checksums := info.RxOffloads & (RxOffloadIPv4Checksum | RxOffloadUDPChecksum | RxOffloadTCPChecksum)
	d.Offloads = Offloads{
		RxIPv4Checksum: checksums&RxOffloadIPv4Checksum != 0,
		RxUDPChecksum:  checksums&RxOffloadUDPChecksum != 0,
		RxTCPChecksum:  checksums&RxOffloadTCPChecksum != 0,
	}
	options := []Option{OptRxOffloads(checksums)}
	if cfg.Security {
		options = append(options, OptRxOffloads(info.RxOffloads&RxOffloadSecurity), OptTxOffloads(info.TxOffloads&TxOffloadSecurity))
	}
	if cfg.RxQueues > 1 {
		types := info.RSSTypes & RSSTypes
		switch {
		case types != 0:
			d.RSS = true
			options = append(options, OptRSS(types))
		case kindOf(d.Driver) == nil:
			// The virtual devices need no RSS: the kernel spreads flows over the sockets of net_af_packet and the queues of
			// net_af_xdp, and the queues of the others are fed one by one.
			return nil, fmt.Errorf("%d Rx queues, but %s (%s) cannot spread flows over queues (no RSS by IP, TCP or UDP): set 1 Rx queue",
				cfg.RxQueues, d.Name, d.Driver)
		}
	}
	if d.MTU <= info.mtuLimit() {
		options = append(options, OptMTU(uint16(d.MTU)))
	} else if known := kindOf(d.Driver); known == nil || !known.jumbo {
		return nil, fmt.Errorf("MTU of %d bytes, but %s (%s) takes at most %d", d.MTU, d.Name, d.Driver, info.mtuLimit())
	}
	return options, nil
}

// queues sets up all queues with the descriptors that the driver can do.
func (d *Device) queues(cfg *PortConfig) error {
	rx, tx, err := d.Port.AdjustDescriptors(uint16(cfg.RxDescriptors), uint16(cfg.TxDescriptors))
	if err != nil {
		return err
	}
	for queue := range uint16(cfg.RxQueues) {
		if err := d.Port.RxqSetup(queue, rx, cfg.Pool); err != nil {
			return err
		}
	}
	for queue := range uint16(cfg.TxQueues) {
		if err := d.Port.TxqSetup(queue, tx); err != nil {
			return err
		}
	}
	return nil
}

// applyMTU makes the MTU true below the driver. A kernel interface gets it directly, because DPDK's check of the longest frame
// (a fixed 1518 bytes for net_af_packet) stands before the driver's own way. Other drivers may have no MTU to set: Configure took it.
func (d *Device) applyMTU() error {
	if d.netif != nil {
		return d.netif.setMTU(d.MTU)
	}
	if err := d.Port.SetMTU(uint16(d.MTU)); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// Link is the state of the link. Ports over a kernel interface have that interface's state: up and with a carrier, so that a
// veth whose peer is down or gone is down.
func (d *Device) Link() (Link, error) {
	link, err := d.Port.LinkStatus()
	if err != nil || d.netif == nil {
		return link, err
	}
	link.Up, err = d.netif.running()
	return link, err
}

// Close stops and closes the port. No thread may be in its burst functions.
func (d *Device) Close() error {
	stopErr := d.Port.Stop()
	d.netif.close()
	return errors.Join(stopErr, d.Port.Close())
}
