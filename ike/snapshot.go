package ike

import (
	"net/netip"
	"time"

	"sallyport/policy"
)

// SAInfo is one IKE SA as `show ike` prints it, or a peer that has none (State "idle").
type SAInfo struct {
	Peer                       string
	State                      string
	Role                       Role // who began the negotiation of this IKE SA
	SPIi, SPIr                 uint64
	Local, Remote              netip.AddrPort
	LocalID, RemoteID          string
	NATLocal, NATRemote        bool // a NAT stands before us, before the peer
	Proposal                   string
	Established, RekeyAt       time.Time
	NextSend, NextReceive      uint32 // message ids
	Outstanding                string // the exchange that waits for a response
	Children                   []ChildInfo
	LastFailure                string // of the peer, whichever IKE SA it was on
	LastFailedAt, NextAttempt  time.Time
	Starts                     uint64 // negotiations that we began with this peer
	RetransmitsOut, Duplicates uint64 // of the peer: requests sent again, requests received again
}

// ChildInfo is one Child SA as `show sas` prints it.
type ChildInfo struct {
	Name                 string
	State                string
	Role                 Role // who began the exchange that made it
	SPIIn, SPIOut        uint32
	Suite                string
	ESN, UDPEncap        bool
	PFS                  string // group of a Diffie-Hellman exchange of its own, or empty
	Selectors            []policy.Selector
	Established, RekeyAt time.Time
	Outbound             bool // packets leave by this SA; after a rekey the older one only receives
}
