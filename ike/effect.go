package ike

import (
	"net/netip"
	"time"

	"sallyport/crypto"
	"sallyport/policy"
)

// Effect is what the engine wants done outside, one of the types below. Effects are carried out in the order given: the order within a Step is
// what keeps a rekey free of loss.
type Effect interface{ effect() }

type (
	// Send is a datagram to send. NonESPMarker asks for the four zero octets of RFC 3948 2.2 in front.
	Send struct {
		Local, Remote netip.AddrPort
		Payload       []byte
		NonESPMarker  bool
	}
	// Arm asks for a Tick at this time and replaces the time asked for before. The zero time asks for none.
	Arm struct{ At time.Time }
	// InstallInbound makes the data plane accept a new SPI.
	InstallInbound struct {
		Peer, Child string
		SA          ChildSA
	}
	// InstallOutbound makes the data plane send by this SA from now on, in place of the one that the child sent by until now.
	InstallOutbound struct {
		Peer, Child string
		SA          ChildSA
	}
	// MoveOutbound makes an outbound SA send from and to these addresses and ports; its keys and numbers go on.
	MoveOutbound struct {
		Peer, Child string
		SPI         uint32
		Local       netip.AddrPort
		Remote      netip.AddrPort
	}
	// RemoveInbound ends an inbound SA; its SPI is free again.
	RemoveInbound struct {
		Peer, Child string
		SPI         uint32
	}
	// RemoveOutbound ends an outbound SA. When a later InstallOutbound has replaced it, nothing but its memory is left to end.
	RemoveOutbound struct {
		Peer, Child string
		SPI         uint32
	}
	// CheckCertificates asks whether these certificates, DER, the one that should be Identity's first, lead from Identity to an authority that
	// the peer's configuration trusts; that of a dynamic peer is its template. The answer is CertificatesChecked; until then, or Limits.CheckTimeout, the exchange waits.
	CheckCertificates struct {
		Ticket       uint64
		Peer         string
		Identity     Identity
		Certificates [][]byte
	}
	// AddPeer says that the default response rule has let in a dynamic peer (Config.DefaultResponse). Its name, DynamicName, is that of its one child too,
	// and comes in no effect before.
	AddPeer struct {
		Peer          string
		Local, Remote netip.Addr
	}
	// RemovePeer says that it is gone. For its child follows nothing but RemoveInbound of SAs that took what was on its way.
	RemovePeer struct{ Peer string }
	// ReleaseSPI gives back an SPI from Config.AllocateSPI that was never installed.
	ReleaseSPI struct{ SPI uint32 }
)

// ChildSA is one direction of a Child SA as the data plane needs it. The keys belong to the receiver, who wipes them when they are installed.
type ChildSA struct {
	SPI           uint32
	PairSPI       uint32          // inbound SPI of the pair, the name of the Child SA toward the engine
	Protocol      crypto.Protocol // ProtocolESP or ProtocolAH
	Transport     bool            // transport mode; else tunnel mode
	Suite         crypto.Suite
	Keymat        crypto.Secret  // cipher key, salt, integrity key (RFC 7296 2.17)
	Local, Remote netip.AddrPort // outer addresses; the ports count with UDPEncap only
	UDPEncap      bool           // ESP in UDP (RFC 3948)
	BehindNAT     bool           // a NAT stands before us: its mapping is ours to keep, and the peer does not move
	Selectors     []policy.Selector
	ReplayWindow  int
	ESN           bool
	AH            *AHLayer // around ESP: IP, AH, ESP on the wire; nil for none
	Worker        int      // of the data plane, counted from 1, that alone sends by the SA, or takes what comes by it; 0: any
	Soft, Hard    Volume   // at a soft one Expire asks for a rekey, beyond a hard one the SA is dead
}

// AHLayer is one direction of the AH SA around the ESP SA of a bundle. The two come and go together, under the SPI of ESP; that of AH is from
// Config.AllocateSPI too, and comes back by ReleaseSPI if it was never installed.
type AHLayer struct {
	SPI    uint32
	Suite  crypto.Suite
	Keymat crypto.Secret // integrity key
	ESN    bool
}

// Volume is how much an SA may carry; zero is no limit.
type Volume struct{ Packets, Bytes uint64 }

func (Send) effect()              {}
func (Arm) effect()               {}
func (InstallInbound) effect()    {}
func (InstallOutbound) effect()   {}
func (MoveOutbound) effect()      {}
func (RemoveInbound) effect()     {}
func (RemoveOutbound) effect()    {}
func (CheckCertificates) effect() {}
func (AddPeer) effect()           {}
func (RemovePeer) effect()        {}
func (ReleaseSPI) effect()        {}
func (Fact) effect()              {}
