package ike

import (
	"crypto"
	"net/netip"

	"sallyport/policy"
)

// Event is what happened outside the engine: one of the types below.
type Event interface{ event() }

type (
	// Datagram is an IKE message from UDP port 500 or 4500, the non-ESP marker of port 4500 removed.
	Datagram struct {
		Local, Remote netip.AddrPort
		Payload       []byte
	}
	// Tick says that the time asked for by Arm has come. More of them than asked for do no harm.
	Tick struct{}
	// Initiate brings up a Child SA, or with an empty Child all of the peer's. It ends the rest that Terminate ordered.
	Initiate struct{ Peer, Child string }
	// Acquire reports a packet that waits for a Child SA. Any number of them lead to one negotiation.
	Acquire struct {
		Peer, Child string
		Packet      *policy.Packet
	}
	// Expire reports that the Child SA with this inbound SPI has used up its packets or bytes: soft means rekey now, hard means it is dead.
	// Outbound counts are reported under the inbound SPI of the same pair (ChildSA.PairSPI).
	Expire struct {
		SPI  uint32
		Hard bool
	}
	// Moved reports that packets of the Child SA with this inbound SPI come, authenticated, from another address or port of the peer: its
	// NAT has forgotten the former one (RFC 7296 2.23).
	Moved struct {
		SPI    uint32
		Remote netip.AddrPort
	}
	// InstallFailed reports that the data plane refused InstallInbound or InstallOutbound of the Child SA with this inbound SPI
	// (ChildSA.PairSPI). What was refused is not removed again: an inbound SPI comes back by ReleaseSPI. A refused InstallOutbound has
	// left in place what the child sent by before.
	InstallFailed struct {
		SPI     uint32
		Inbound bool
		Reason  string
	}
	// CertificatesChecked answers CheckCertificates. With Reason empty the certificates are good and Key, of the first one, is the identity's;
	// otherwise Reason is one of the Cert list. An answer that nobody waits for any more is ignored.
	CertificatesChecked struct {
		Ticket uint64
		Key    crypto.PublicKey
		Reason Reason
		Detail string // for people: what was expected, what was found
	}
	// Terminate deletes all SAs of a peer, or the Child SAs of one of its children, and starts none again until Initiate. What the peer begins
	// is still answered.
	Terminate struct{ Peer, Child string }
	// Rekey replaces the keys of a Child SA, or with an empty Child those of the IKE SA.
	Rekey struct{ Peer, Child string }
	// Reauthenticate has both ends prove anew who they are, with certificates that are checked anew, and all SAs replaced without a gap.
	Reauthenticate struct{ Peer string }
	// Carried tells one engine of a peer of VAny that the other engine has it established, or no longer. That of IKEv2 begins nothing meanwhile; that of
	// IKEv1 refuses main modes, and ends what it has. Of a dynamic peer, which the other engine has said to have let in (AddPeer) or to have no longer
	// (RemovePeer), either engine refuses the address, and counts it among Limits.Dynamic.
	Carried struct {
		Peer string
		On   bool
	}
	// Heard tells an engine of a datagram that the other engine has: who is there is not silent, whichever IKE it speaks.
	Heard struct{ From netip.Addr }
	// Unanswered tells the engine of IKEv1 that a peer of VAny with Fallback has met IKEv2 with silence: main mode is tried with it once.
	Unanswered struct{ Peer string }
	// Reconfigure replaces the list of peers. What is gone or negotiated from other settings loses its SAs by delete, down to a single
	// child; the rest notices nothing. Effects for a child under its name may follow until its last SA has gone. Of a peer that is gone or
	// somebody else now both halves of every SA go at once: whether it answers the delete is up to it.
	// Deaf says of an own address that no message to it arrives any more: what ends there ends at once, since no answer to its delete
	// will come. Nil: all are heard.
	// DefaultResponse is as in Config. Dynamic peers stay where it stays.
	// Limits hold from now on, nil: as before. What there is beyond them stays until it ends.
	Reconfigure struct {
		Peers           []Peer
		DefaultResponse []Peer
		Limits          *Limits
		Deaf            func(local netip.Addr) bool
	}
)

func (Datagram) event()            {}
func (Tick) event()                {}
func (Initiate) event()            {}
func (Acquire) event()             {}
func (Expire) event()              {}
func (Moved) event()               {}
func (InstallFailed) event()       {}
func (Terminate) event()           {}
func (Rekey) event()               {}
func (Reauthenticate) event()      {}
func (CertificatesChecked) event() {}
func (Carried) event()             {}
func (Heard) event()               {}
func (Unanswered) event()          {}
func (Reconfigure) event()         {}
