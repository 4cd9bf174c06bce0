package pipeline

import (
	"net/netip"
	"unsafe"

	"sallyport/crypto"
)

// Inline makes sessions of a port for SAs: a NIC that does the work of ESP while it sends and receives. Package offload has the one for rte_security.
// The data plane calls it from the control plane only, one call at a time.
type Inline interface {
	// Open makes the session of one direction of an SA on a port, or says why there is none: the error's text is the refusal that operators see.
	// It reads the key and does not keep it.
	Open(port uint16, sa *InlineSA) (InlineSession, error)
	// Close takes a session away, whose keys the port forgets. It is called when no worker can be using it any more.
	Close(session InlineSession) error
}

// InlineSession is one direction of an SA on one port.
type InlineSession struct {
	Handle   unsafe.Pointer // rte_security session
	Context  unsafe.Pointer // rte_security_ctx of the port
	Protocol bool           // inline protocol: the port does headers, numbers and window too; else inline crypto
	Metadata bool           // RTE_SECURITY_TX_OLOAD_NEED_MDATA: rte_security_set_pkt_metadata for each packet sent
	Port     uint16         // DPDK port id
}

// InlineSA is what a port has to know of one direction of an SA.
type InlineSA struct {
	Outbound, Transport, UDPEncap, ESN bool

	SPI           uint32
	Suite         crypto.Suite
	Keymat        crypto.Secret  // as in ChildSA; the caller's
	Local, Remote netip.AddrPort // outer addresses; the ports count only with UDPEncap
	Encapsulation Encapsulation
	ReplayWindow  int    // packets, inbound only
	Sequence      uint64 // outbound: the first number
	Userdata      uint64 // comes back with each packet of inline protocol

	// NoCrypto and NoProtocol say why a kind of session is out of the question, "" if it is not.
	NoCrypto, NoProtocol string
}

// SAInline is what an SA has of its port's NIC.
type SAInline struct {
	Session  bool   // it has a session, beside the CPU's
	Protocol bool   // of inline protocol, else inline crypto
	Port     uint16 // DPDK port id
	Refused  string // why there is none, "" where none was asked for
	Packets  uint64 // that the NIC has sealed or opened; the SA's others were the CPU's
	Stopped  bool   // outbound, inline protocol: the CPU has taken over, until the next rekey
}
