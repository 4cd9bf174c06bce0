package pipeline

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/pmd/ethdev"
	"sallyport/pmd/mempool"
	"sallyport/policy"
)

// IdleMode is what a worker does when there is nothing to do.
type IdleMode uint8

const (
	IdlePoll  IdleMode = iota // poll again at once: lowest latency, a core of its own
	IdleYield                 // offer the core to others after an empty round
	IdleSleep                 // sleep 50 to 200 microseconds after a while without work
)

// String is the keyword of the configuration.
func (m IdleMode) String() string {
	switch m {
	case IdlePoll:
		return "poll"
	case IdleYield:
		return "yield"
	case IdleSleep:
		return "sleep"
	}
	return fmt.Sprintf("IdleMode(%d)", uint8(m))
}

// ParseIdleMode reads the keyword of the configuration.
func ParseIdleMode(word string) (IdleMode, error) {
	for m := IdlePoll; m <= IdleSleep; m++ {
		if m.String() == word {
			return m, nil
		}
	}
	return 0, fmt.Errorf("idle mode %q: want poll, yield or sleep", word)
}

// PortSpec is a port of the gateway: an Ethernet port, configured and started with Config.Workers receive and transmit queues, or
// one VLAN on it. Several may share an Ethernet port.
type PortSpec struct {
	Name      string
	Port      ethdev.Port
	VLAN      uint16           // 1 to 4094: its frames are tagged (IEEE 802.1Q); 0: they are not
	Role      policy.PortGroup // PortsLAN or PortsWAN, never both
	MAC       net.HardwareAddr
	MTU       int            // bytes of an IP packet
	Addresses []netip.Prefix // own address and the attached subnet, of either IP version. In force until a Snapshot brings others
	// RxChecksum says that the port was configured to check IPv4 header checksums: its verdict is then trusted.
	RxChecksum bool
	// Link is the state of its link; nil: what the driver says, which for a kernel interface is always up.
	Link func() (ethdev.Link, error)
}

// Config sizes a data plane. Everything a worker needs is allocated by New: a data core never allocates.
type Config struct {
	Ports          []PortSpec
	Workers        int
	FlowEntries    int // flow cache entries of each worker, a power of two
	MaxSAs         int // inbound SAs, a power of two
	MaxCells       int // tunnels, below 65535
	MaxAdjacencies int // neighbours on all links together, below 65535
	MaxSoft        int // soft SAs; 0 is DefaultMaxSoft
	Pool           *mempool.Mempool
	Crypto         *cryptodev.Pool
	Inline         Inline // sessions of ports beside those of Crypto; nil: none
	Idle           IdleMode

	// PuntQueue is how many packets of each class may wait for the slow path, of each worker; all queues together take at most half of Pool. 0 is
	// DefaultPuntQueue.
	PuntQueue int
	// LargePool has buffers for packets put together from fragments that no buffer of Pool can hold, LargeDataRoom says
	// how large. Without it such packets are dropped.
	LargePool *mempool.Mempool
	// FragmentMemory is how many bytes fragments may take while they wait for others, of all workers together. Half is for
	// what arrives in clear, half for what was decrypted. Their buffers are Pool's, which must have as many more. 0 is
	// DefaultFragmentMemory.
	FragmentMemory int
	// FragmentTimeout is how long they wait. 0 is DefaultFragmentTimeout.
	FragmentTimeout time.Duration
	// HoldPerSelector and HoldTotal are how many packets wait for an SA, at most 2048: those of one selector, and all together.
	// 0 is DefaultHoldPerSelector and DefaultHoldTotal.
	HoldPerSelector, HoldTotal int

	tally uint32 // drop counts of filters and SAs that each worker has room for, a power of two; 0: as many as should do

	portPauses func(ethdev.Port) (uint64, error)       // nil: those that the port's driver counts
	portStats  func(ethdev.Port) (ethdev.Stats, error) // nil: those of the port's driver
}

// What a Config that does not say has for fragments.
const (
	DefaultFragmentMemory  = 8 << 20
	DefaultFragmentTimeout = time.Second
)

// What a Config that does not say has for packets that wait for an SA.
const (
	DefaultHoldPerSelector = 64
	DefaultHoldTotal       = 1024
)

// CellID names a tunnel in the data plane: the place where the SPD finds the tunnel's current outbound SA. A rekey
// changes what is in the cell and nothing that points to it.
type CellID uint32

// CellState is what happens to traffic of a cell without an outbound SA.
type CellState uint8

const (
	CellClosed CellState = iota // dropped, reason no_outbound_sa
	CellHold                    // kept in a bounded queue while Handler.Acquire asks for the SA
	CellFailed                  // dropped, reason blocked_negotiation_failed (S-024)
)

// Route sends packets for a prefix to a neighbour. The port is the one whose attached subnet holds Via.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// Snapshot is the policy, the routes and the own addresses that Publish puts in force as one. Attached subnets need no
// route.
type Snapshot struct {
	SPD     *policy.SPD
	Routes  []Route
	Tunnels map[string]CellID // the cell of each tunnel name in the SPD
	// Addresses is the own addresses of each port, by its name, where they differ from those of Config; nil: they do not.
	Addresses map[string][]netip.Prefix
	// PortIKE is false for a port that takes no IKE: what comes there for UDP 500 and 4500 of the gateway is filtered like
	// anything else (S-041). A port that is not named takes IKE.
	PortIKE map[string]bool
}

// ChildSA is one direction of a Child SA as IKE negotiated it. The data plane copies what it needs: the caller wipes
// Keymat when it has no more use for it.
type ChildSA struct {
	Cell          CellID
	SPI           uint32          // inbound: from AllocateSPI or ReserveSPI; outbound: the peer's
	Protocol      crypto.Protocol // ProtocolESP or ProtocolAH; 0 is ESP
	Transport     bool            // transport mode; else tunnel mode (S-099)
	Suite         crypto.Suite
	Keymat        crypto.Secret  // this direction's keys in the order of RFC 7296 section 2.17
	Local, Remote netip.AddrPort // outer addresses; the ports count only with UDPEncap
	UDPEncap      bool           // RFC 3948
	BehindNAT     bool           // with UDPEncap: the NAT is before us. We keep its mapping alive, and the peer does not move
	Selectors     []policy.Selector
	ReplayWindow  int  // packets, rounded up to a multiple of 64; 0 is DefaultReplayWindow. Inbound only
	ESN           bool // extended sequence numbers, RFC 4303 section 2.2.1
	Soft, Hard    Lifetime
	AH            *AHLayer      // with ESP: a bundle, IP, AH, ESP on the wire; nil for none
	Encapsulation Encapsulation // of an inbound SA only MSSClamp counts
	// Worker is the only worker that uses an outbound SA, counted from 1; 0 is for all that have none of their own. Of an inbound
	// SA it is the owner, which all others hand its packets to; 0 is the one with the fewest.
	Worker int
	// FirstSequence is where an outbound SA starts, 0 means 1: a manual SA may go on where it ended, a test begins near the
	// end (S-080).
	FirstSequence uint64
}

// AHLayer is the AH SA around the ESP SA of a bundle (RFC 4301 section 4.4.1): its header protects the outer IP header too.
type AHLayer struct {
	SPI          uint32 // inbound: from AllocateSPI or ReserveSPI
	Suite        crypto.Suite
	Keymat       crypto.Secret
	ReplayWindow int // as in ChildSA
	ESN          bool
}

// DFPolicy is what the outer IPv4 header's DF bit is (RFC 4301 section 8.1).
type DFPolicy uint8

const (
	DFCopy DFPolicy = iota // that of the inner packet; set for IPv6, which routers do not fragment
	DFSet
	DFClear
)

// Encapsulation is how an outbound SA wraps packets. The zero value is what the RFCs have as default.
type Encapsulation struct {
	DF            DFPolicy
	DSCP          *uint8 // code point of the outer header, nil: that of the inner packet (RFC 2983)
	ECNOff        bool   // RFC 6040 section 4.1, compatibility mode: the outer packet is not-ECT
	TTL           uint8  // of the outer header, 0 is 64
	FragmentAfter bool   // outer packets are fragmented; else inner ones, where that is allowed
	MSSClamp      int    // bytes to clamp TCP's MSS to; 0: left alone; MSSClampAutomatic: to what fits
	TFCPad        int    // bytes up to which inner packets are padded (RFC 4303 section 2.7), 0: not
	// DummyEvery is the time between dummy packets (RFC 4303 section 2.6) on an SA, 0: none.
	DummyEvery time.Duration
	NoPathMTU  bool // ICMP does not change what the SA takes for the path's MTU
}

// MSSClampAutomatic clamps TCP's MSS to what the SA can carry without fragments.
const MSSClampAutomatic = -1

// DefaultReplayWindow is the anti-replay window in packets where a ChildSA names none.
const DefaultReplayWindow = 1024

// Lifetime is how much an SA may carry before Handler.Expire is called. Zero is no limit. Beyond a hard one packets are dropped:
// outbound from the first that exceeds it, inbound from the next burst on.
type Lifetime struct {
	Packets, Bytes uint64
}

// Datagram is an IKE message that arrived for one of the gateway's own addresses. Payload belongs to the receiver.
type Datagram struct {
	Local, Remote netip.AddrPort
	Payload       []byte // without the non-ESP marker of RFC 3948 section 2.2
	NonESPMarker  bool   // there was one
	// Known says that it names an IKE SA of ours (IKESPI) or, if its responder has no SPI yet, that Remote is an address of a peer (KnowPeers).
	Known bool
	// Share is below PuntShares: messages that name one IKE SA of ours have the same one, and others that come from one address, for a second. Who
	// has them wait can give each its share of the room, so that one sender's cost no other's.
	Share uint8
}

// Acquire is a packet that needs an SA that is not there.
type Acquire struct {
	Cell    CellID
	Entry   uint32        // policy.Entry.ID of the filter that decided
	Packet  policy.Packet // the packet
	Inbound bool          // it came in clear from the other side, was dropped, and no tunnel is up (S-044)
	// Protected says that it came out of another tunnel: an SA may come of it, and no soft SA.
	Protected bool
}

// Group is a multicast or broadcast packet that was dropped although its filter has fallback: what answers it must not lead
// to a soft SA (S-052).
type Group struct {
	Cell     CellID
	Entry    uint32         // policy.Entry.ID of the filter that decided
	Source   netip.AddrPort // the packet's; port 0 where its protocol has none
	Protocol uint8
	// The zero value stands for packets of whoever else: there was no room to tell of each.
}

// Handler receives what the data plane cannot settle by itself. Its methods run on the goroutine of Exceptions and must
// not wait for long: the neighbours of all ports wait with them. They may call any method of the Dataplane.
type Handler interface {
	IKE(Datagram)
	// Acquire asks for an SA for a cell in state CellHold. It is repeated while packets keep coming.
	Acquire(Acquire)
	// Group reports a packet to a group that met a filter with fallback (S-052).
	Group(Group)
	// Heard reports that something came in clear from an address to one of IKE's ports here that IKE does not get: no exemption has it, or it is
	// garbage. Of what a filter drops, the addresses of peers are told (KnowPeers), at most ten times a second each.
	Heard(netip.Addr)
	// Echo takes an echo of ESP or AH for an own address, from anybody: whether to answer is for the handler to say.
	Echo(Echo)
	// Expire reports an SA that has used up its soft or hard lifetime, each once. An outbound SA near the end of its
	// sequence numbers counts as soft expired (S-080).
	Expire(cell CellID, spi uint32, outbound, hard bool)
	// Offload reports a device that does nothing any more, and its return.
	Offload(OffloadChange)
	// Moved reports that the peer of an inbound SA in UDP sends from another address or port now: its NAT forgot the former one.
	// What the cell sends goes there already.
	Moved(cell CellID, spi uint32, remote netip.AddrPort)
}

// slowPathTick is how often ageing and lifetimes are looked at.
const slowPathTick = 100 * time.Millisecond
