package traffic

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/pmd/ethdev"
)

// Direction is the way through the gateway.
type Direction string

const (
	Outbound Direction = "outbound" // in clear into the protected port, ESP out of the unprotected one
	Inbound  Direction = "inbound"  // ESP into the unprotected port, in clear out of the protected one
)

// The ports' places in Config and Result.
const (
	protected   = 0
	unprotected = 1
)

// Port is one of the tester's ports: it is joined to the gateway's port of the same name.
type Port struct {
	Device    string           // as a gateway's configuration names it, such as "net_af_packet,iface=eth1"
	Attached  *ethdev.Port     // in place of Device: one that is attached already, such as one of rings
	MTU       int              // octets; 0 is 1500
	Addresses []netip.Addr     // of the port: it asks from the first of the gateway's family, and answers for all
	Gateway   netip.Addr       // whom it sends to
	MAC       net.HardwareAddr // of the gateway; nil: ARP or ND finds it
	VLAN      uint16           // tag of all frames (IEEE 802.1Q); 0: none
}

// Tunnel is what one or more flows take. Without a suite they stay in clear on both sides.
type Tunnel struct {
	Name          string
	Near, Far     netip.Prefix // hosts behind the protected port, and behind the peer
	Gateway, Peer netip.Addr   // outer addresses
	UDP           bool         // ESP in UDP, port 4500 on both sides (RFC 3948)
	Suite         crypto.Suite
	ESN           bool // extended sequence numbers
	ToGateway     SA   // by which the peer sends
	FromGateway   SA

	IKE Negotiated // in place of the two SAs
}

// Negotiated says which Child SA of Config.Peers a tunnel is. The zero value is none: its SAs are given by hand.
type Negotiated struct{ Peer, Child string }

func (n Negotiated) none() bool { return n == Negotiated{} }

// SA is one direction of a tunnel's SA pair.
type SA struct {
	SPI uint32
	Key crypto.Secret // in the order of RFC 7296 section 2.17: cipher key, salt, integrity key
	// Sequence is the last number that was sent by the SA before: a gateway drops what it has had.
	Sequence uint64
}

// Rate is how fast a stream is to be. The zero value is as fast as the machine can.
type Rate struct {
	Packets float64 `json:"packets,omitempty"` // a second
	Bits    float64 `json:"bits,omitempty"`    // a second, of Ethernet frames with their check sequence
}

// Stream is the traffic of one direction, or a part of it.
type Stream struct {
	Name      string // empty: the direction
	Direction Direction
	First     int   // tunnel
	Tunnels   int   // from that on, that the stream takes; 0 is all
	Flows     int   // UDP flows with addresses and ports of their own, spread over the tunnels; 0 is 1
	Sizes     Sizes // of the clear packets; none: 64
	Order     Order
	Rate      Rate
	Burst     int // packets back to back; 0 is 1
}

// Config is all that a tester needs.
type Config struct {
	Protected, Unprotected Port
	Tunnels                []Tunnel // at least one
	// Peers are those of the gateway, as which the tester negotiates.
	Peers []ike.Peer
	// AtOnce is how many tunnels may be under way; 0 is 64.
	AtOnce int
	// Patience is how long nothing may come of them before those under way count as failed; 0 is 30 s. A peer gives up by itself after about 80 s.
	Patience time.Duration
	Streams  []Stream // at least one, at most 16
	Duration time.Duration
	// Drain is how long a trial waits for packets under way after the last one that arrived; 0 is 500 ms.
	Drain time.Duration
	// Resolve is how long the gateway may take to answer ARP or ND; 0 is 3 s.
	Resolve time.Duration
	// CatchUp is how many packets a sender that is late may send at once, beyond a burst; what was due before is given up. 0 is 256.
	CatchUp int
	// Cores are the CPUs of the loops: with one it sends and receives, with two the second receives. None: one that the kernel chooses.
	Cores []int
	// Sleep has loops sleep that have nothing to do: times are then longer by up to 70 µs.
	Sleep bool
	// Progress is told once a second what there is so far; nil: nobody is.
	Progress func(Progress)

	// learn is how long nothing may come of learning frames before they end; 0 is 2 s, less: none are sent, for all on a test's path know each other.
	learn time.Duration
	// drained says that nothing is under way any more, in place of Drain: a test knows.
	drained func() bool
	// enough says that a trial need send no more: a test has seen what it was for.
	enough func() bool
	// hopeless says, of so many tunnels that are up, that no more will be, in place of Patience: a test knows.
	hopeless func(up int) bool
}

// outOfPatience says whether a gateway that has made so many tunnels, and none for some time, is waited for no longer.
func (c *Config) outOfPatience(quiet time.Duration, up int64) bool {
	if c.hopeless != nil {
		return c.hopeless(int(up))
	}
	return quiet > c.Patience
}

// Progress is what a trial has counted so far.
type Progress struct {
	Elapsed, Left  time.Duration
	Sent, Received uint64

	Up, Tunnels int    // while tunnels are negotiated; else 0
	Change      Change // what is done with those: Add or Remove
}

const (
	maxStreams  = 16
	maxFlows    = 1 << 24 // 24 bits of the payload
	maxTunnels  = 60000
	maxBurst    = 1 << 12
	listenPort  = 49152 // UDP port that all flows go to
	firstSource = 1024  // UDP port of the first flow between two hosts

	defaultDrain   = 500 * time.Millisecond
	defaultResolve = 3 * time.Second
	defaultCatchUp = 256

	defaultAtOnce   = 64
	defaultPatience = 30 * time.Second
	mostTime        = 30 * 24 * time.Hour
	vlanEnd         = 4095 // reserved (IEEE 802.1Q 9.6)
)

func (c *Config) ports() [2]*Port { return [2]*Port{&c.Protected, &c.Unprotected} }

func portName(index int) string { return [2]string{"protected", "unprotected"}[index] }

// ends are the indexes of the ports that a stream leaves and arrives at.
func (d Direction) ends() (from, to int) {
	if d == Inbound {
		return unprotected, protected
	}
	return protected, unprotected
}

func (c *Config) defaults() {
	c.AtOnce, c.Patience = cmp.Or(c.AtOnce, defaultAtOnce), cmp.Or(c.Patience, defaultPatience)
	c.Drain, c.Resolve, c.CatchUp = cmp.Or(c.Drain, defaultDrain), cmp.Or(c.Resolve, defaultResolve), cmp.Or(c.CatchUp, defaultCatchUp)
	c.learn = cmp.Or(c.learn, defaultLearn)
	for _, p := range c.ports() {
		p.MTU = cmp.Or(p.MTU, 1500)
	}
	streams := make([]Stream, len(c.Streams)) // the caller keeps its own
	copy(streams, c.Streams)
	c.Streams = streams
	for i := range streams {
		s := &streams[i]
		s.Tunnels = cmp.Or(s.Tunnels, len(c.Tunnels)-s.First)
		s.Name, s.Flows, s.Burst = cmp.Or(s.Name, string(s.Direction)), cmp.Or(s.Flows, 1), cmp.Or(s.Burst, 1)
		if len(s.Sizes) == 0 {
			s.Sizes = Sizes{minFrame}
		}
	}
}

// validate finds all that is wrong whatever the machine. It needs the defaults.
func (c *Config) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Tunnels) == 0 || len(c.Tunnels) > maxTunnels {
		wrong("%d tunnels, expected 1 to %d", len(c.Tunnels), maxTunnels)
	}
	if len(c.Streams) == 0 || len(c.Streams) > maxStreams {
		wrong("%d streams, expected 1 to %d", len(c.Streams), maxStreams)
	}
	if len(c.Cores) > 2 {
		wrong("%d CPUs, expected 1 or 2", len(c.Cores))
	}
	for i, core := range c.Cores {
		if core < 0 || slices.Contains(c.Cores[:i], core) {
			wrong("CPU %d, expected a number from 0 on, each once", core)
		}
	}
	for _, time := range []struct {
		what  string
		given time.Duration
	}{{"to send", c.Duration}, {"for the gateway to answer", c.Resolve}, {"for tunnels", c.Patience}} {
		if time.given < 0 || time.given > mostTime {
			wrong("%v %s, expected more than 0, at most %v", time.given, time.what, mostTime)
		}
	}
	if c.AtOnce < 1 {
		wrong("%d tunnels at once, expected 1 or more", c.AtOnce)
	}
	if device := c.Protected.Device; device != "" && device == c.Unprotected.Device {
		wrong("both ports are %s, expected two devices", device)
	}
	for i, p := range c.ports() {
		errs = append(errs, p.validate(portName(i)))
	}
	errs = append(errs, c.validateTunnels())
	if len(errs) == 0 || errors.Join(errs...) == nil {
		for i := range c.Streams {
			errs = append(errs, c.validateStream(&c.Streams[i]))
		}
	}
	return errors.Join(errs...)
}

func (p *Port) validate(name string) error {
	if (p.Device == "") == (p.Attached == nil) {
		return fmt.Errorf("%s port: expected a device, such as net_af_packet,iface=eth1", name)
	}
	if p.Attached == nil {
		if _, err := ethdev.ParseDevice(p.Device); err != nil {
			return fmt.Errorf("%s port: %w", name, err)
		}
	}
	if p.MTU < ethdev.MinMTU || p.MTU > ethdev.MaxMTU {
		return fmt.Errorf("%s port: MTU of %d octets, expected %d to %d", name, p.MTU, ethdev.MinMTU, ethdev.MaxMTU)
	}
	if p.VLAN >= vlanEnd {
		return fmt.Errorf("%s port: VLAN %d, expected 1 to %d, or 0 for frames without a tag", name, p.VLAN, vlanEnd-1)
	}
	if p.MAC != nil {
		if len(p.MAC) != 6 || p.MAC[0]&1 != 0 {
			return fmt.Errorf("%s port: MAC address %s of the gateway, expected one of 6 octets that is no group's", name, p.MAC)
		}
		return nil
	}
	if !p.Gateway.IsValid() {
		return fmt.Errorf("%s port: expected the gateway's address, or its MAC address", name)
	}
	if !p.own(p.Gateway).IsValid() {
		return fmt.Errorf("%s port: no address of its own to ask for the gateway %s from, expected one of the same family", name, p.Gateway)
	}
	return nil
}

// own is the port's address of the same family as another.
func (p *Port) own(other netip.Addr) netip.Addr {
	for _, a := range p.Addresses {
		if a.Is4() == other.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

func (c *Config) validateTunnels() error {
	var errs []error
	spis := map[uint32]string{}
	for i := range c.Tunnels {
		t := &c.Tunnels[i]
		if err := t.validate(); err != nil {
			errs = append(errs, fmt.Errorf("tunnel %s: %w", t.Name, err))
		}
		if t.clear() != c.Tunnels[0].clear() || t.Near.Addr().Is4() != c.Tunnels[0].Near.Addr().Is4() {
			errs = append(errs, fmt.Errorf("tunnel %s: expected all tunnels in clear or none, and hosts of one family, found others than those of %s", t.Name, c.Tunnels[0].Name))
		}
		if t.clear() || !t.IKE.none() {
			continue
		}
		if other, taken := spis[t.FromGateway.SPI]; taken {
			errs = append(errs, fmt.Errorf("tunnel %s: the gateway sends by SPI %#x, expected one that no other tunnel has, found that of %s", t.Name, t.FromGateway.SPI, other))
		}
		spis[t.FromGateway.SPI] = t.Name
	}
	return errors.Join(errs...)
}

// clear says that packets are not protected.
func (t *Tunnel) clear() bool { return t.Suite == crypto.Suite{} }

func (t *Tunnel) validate() error {
	if !t.Near.IsValid() || !t.Far.IsValid() || t.Near.Addr().Is4() != t.Far.Addr().Is4() {
		return fmt.Errorf("hosts %s and %s, expected two prefixes of one family", t.Near, t.Far)
	}
	if t.clear() {
		return nil
	}
	if t.Suite.AH() {
		return fmt.Errorf("%s, expected a suite of ESP", t.Suite)
	}
	if !t.Gateway.IsValid() || !t.Peer.IsValid() || t.Gateway.Is4() != t.Peer.Is4() {
		return fmt.Errorf("outer addresses %s and %s, expected two of one family", t.Gateway, t.Peer)
	}
	if t.ESN && t.Suite.Encr == crypto.EncrNullAESGMAC {
		return fmt.Errorf("%s with extended sequence numbers, expected another suite, or numbers of 32 bits", t.Suite)
	}
	if !t.IKE.none() {
		return nil
	}
	for _, sa := range []*SA{&t.ToGateway, &t.FromGateway} {
		if sa.SPI < 256 {
			return fmt.Errorf("SPI %d, expected 256 or more (RFC 4303 section 2.1)", sa.SPI)
		}
		if !t.ESN && sa.Sequence >= 1<<32-1 {
			return fmt.Errorf("sequence number %d, expected less than 2^32 - 1", sa.Sequence)
		}
		if err := t.Suite.CheckKeymat(sa.Key); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) validateStream(s *Stream) error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("stream %s: "+format, append([]any{s.Name}, args...)...))
	}
	if s.Direction != Outbound && s.Direction != Inbound {
		wrong("direction %q, expected %s or %s", s.Direction, Outbound, Inbound)
		return errors.Join(errs...)
	}
	if s.First < 0 || s.Tunnels < 1 || s.First+s.Tunnels > len(c.Tunnels) {
		wrong("%d tunnels from number %d on, expected some of %d", s.Tunnels, s.First, len(c.Tunnels))
		return errors.Join(errs...)
	}
	if most := c.mostFlows(s); s.Flows < 1 || s.Flows > most {
		wrong("%d flows, expected 1 to %d", s.Flows, most)
	}
	if s.Burst < 1 || s.Burst > maxBurst {
		wrong("bursts of %d packets, expected 1 to %d", s.Burst, maxBurst)
	}
	if s.Rate.Packets < 0 || s.Rate.Bits < 0 || s.Rate.Packets > 0 && s.Rate.Bits > 0 {
		wrong("expected a rate in packets or in bits a second, at least 0")
	}
	if err := s.Order.validate(); err != nil {
		wrong("%w", err)
	}
	for _, t := range c.Tunnels {
		if err := c.validateSizes(s, &t); err != nil {
			wrong("%w", err)
			break
		}
	}
	return errors.Join(errs...)
}
