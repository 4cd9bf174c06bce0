package ike

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"time"

	"sallyport/crypto"
	"sallyport/ike/wire"
	"sallyport/policy"
)

// Config is all that an Engine is told from outside.
type Config struct {
	// Random feeds SPIs, nonces, private values, cookies and jitter. The same octets and the same events give the same messages.
	Random io.Reader
	Peers  []Peer
	// DefaultResponse answers strangers (S-009), in order of preference: peers without addresses and without the other end's identity, each with one child
	// without selectors. None: strangers get no answer (S-040).
	DefaultResponse []Peer
	Limits          Limits
	// Ledger is for the engines of both versions. Nil: the engine has one for itself.
	Ledger *Ledger
	// AllocateSPI reserves an inbound SPI in the data plane for a Child SA under negotiation. The engine answers each reservation with
	// InstallInbound and later RemoveInbound, or with ReleaseSPI. An error ends that negotiation only.
	AllocateSPI func(peer, child string) (uint32, error)
	// NameSPI makes an SPI for an IKE SA, and a cookie of IKEv1, of 64 random bits; the first 48 stay as they are. Nil: they are the SPI.
	NameSPI func(random uint64) uint64
	// LastInbound is when the inbound SA with this SPI last accepted a packet, the zero time if never. It spares liveness checks
	// (RFC 7296 2.4) and counts for IdleTimeout. Nil: the engine sees IKE messages only.
	LastInbound func(spi uint32) time.Time
	// LastOutbound is when the Child SA of this inbound SPI last sent a packet, the zero time if never. Nil: IdleTimeout sees inbound
	// only, and does nothing when LastInbound is nil as well.
	LastOutbound func(spi uint32) time.Time
	// KeyLog is told all keys. For a lab; nil otherwise. There is no other way for a key to leave the engine than this and the effects that
	// install it.
	KeyLog func(KeyLog)
	// Observe is told of each message in clear, for the IKE log. Nil: nobody is.
	Observe func(Observation)
	// MayMove reports whether a peer that was at one address may be at another: not at an own one, nor on the other side of the gateway. Nil: anywhere.
	MayMove func(former, remote netip.AddrPort) bool
}

// Name is NameSPI, for engines.
func (c *Config) Name(random uint64) uint64 {
	if c.NameSPI == nil {
		return random
	}
	return c.NameSPI(random)
}

// Start says who begins the negotiation of a Child SA.
type Start uint8

const (
	// StartAlways keeps the Child SA up: it is negotiated at start and again whenever it ends.
	StartAlways Start = iota
	// StartOnDemand negotiates at the first packet (Acquire) or when the peer asks.
	StartOnDemand
)

// String is the word of the configuration.
func (s Start) String() string {
	if s == StartOnDemand {
		return "on-demand"
	}
	return "always"
}

// Version is which IKE is spoken with a peer.
type Version uint8

const (
	V2   Version = iota
	V1           // IKEv1 (RFC 2409), by package ikev1 alone
	VAny         // both are answered, and IKEv2 is begun with: a peer that must not be talked into IKEv1 by whoever drops packets
)

// String is the word of the configuration.
func (v Version) String() string {
	switch v {
	case V1:
		return "v1"
	case VAny:
		return "any"
	}
	return "v2"
}

// Number is the version of one IKE SA, which is of either.
func (v Version) Number() int {
	if v == V1 {
		return 1
	}
	return 2
}

// Peer is one row of the PAD (RFC 4301 4.4.3): whom we speak to, how both prove who they are, and what may be negotiated.
type Peer struct {
	Name          string
	Version       Version
	Local, Remote netip.Addr
	LocalID       Identity             // zero: Local
	RemoteID      Identity             // zero: Remote
	LocalAuth     AuthMethod           // how we prove who we are
	RemoteAuth    AuthMethod           // how the peer does
	PSK           crypto.Secret        // with AuthPSK at either end
	PPK           *PPK                 // RFC 8784; nil: none
	Credential    *Credential          // ours, with LocalAuth AuthSignature
	Authorities   [][]byte             // with RemoteAuth AuthSignature: SHA-1 of SubjectPublicKeyInfo of each CA trusted for the peer (RFC 7296 3.7)
	Legacy        bool                 // lets in AUTH method 1 with SHA-1, and RSA keys from 1024 bits on
	IKEProposals  []crypto.IKEProposal // in order of preference; empty: crypto.DefaultIKEProposals
	Children      []Child
	DPDDelay      time.Duration // silence before a liveness check; 0: DefaultDPDDelay, negative: no checks
	RekeyTime     time.Duration // of the IKE SA, 0: DefaultIKERekey. The SA ends a tenth later if the rekey fails.
	MOBIKE        bool          // either end may change its address (RFC 4555)
	Redirect      bool          // it may send us to another gateway that proves to be the same peer (RFC 5685)
	Additional    []netip.Addr  // with MOBIKE: own addresses beside Local that the peer may speak to
	ReauthTime    time.Duration // after which both ends have to prove anew who they are; 0: DefaultReauth with AuthSignature, else never; negative: never. The SA ends a tenth later if they do not.
	FragmentSize  int           // octets of an IP datagram beyond which a message goes in fragments (RFC 7383); 0: DefaultFragmentSize, negative: never
	Childless     bool          // no Child SA in IKE_AUTH, if the peer can do without (RFC 6023): all come by exchanges of their own
	MasterPFS     bool          // instead of the rekey of a Child SA both ends authenticate anew and make all Child SAs again (S-083)
	ChildLimit    int           // Child SAs made by one IKE SA, then that is rekeyed before another is made (S-077); 0: no limit
	Fallback      bool          // traffic of a child may pass in clear where the peer knows no IKE: after FailSilent the next Acquire does not wait (S-044), and one of VAny is tried by IKEv1 too
}

// Child is one Child SA of a peer, named as the policy rule it serves.
type Child struct {
	Name         string
	Selectors    []policy.Selector // what the rule protects, seen from us
	Proposals    []crypto.Proposal // of ESP or AH each, in order of preference; empty: crypto.DefaultESPProposals
	Bundle       bool              // Proposals are of ESP and of AH: each SA of ESP gets one of AH around it (RFC 4301 4.4.1). IKEv1 alone can say so
	Transport    bool              // transport mode (RFC 7296 1.3.1): its selectors are from Peer.Local to Peer.Remote
	PerCore      int               // a Child SA more for each of so many workers of the data plane, if the peer has the like (RFC 9611); 0 or 1: none
	Start        Start
	RekeyTime    time.Duration // 0: DefaultChildRekey. The SA ends a tenth later if the rekey fails.
	Life         Volume        // after which an SA is rekeyed as after RekeyTime, whichever is used up first (S-078); it ends a tenth later
	IdleTimeout  time.Duration // without traffic the SA is deleted (S-081); 0: DefaultIdleTimeout, negative: never. Not for StartAlways.
	ReplayWindow int           // packets, handed to the data plane as it is
}

// Defaults of Peer and Child.
const (
	DefaultDPDDelay    = 30 * time.Second
	DefaultIKERekey    = 8 * time.Hour   // S-076
	DefaultChildRekey  = time.Hour       // RFC 4301 gives no number; the field's habit
	DefaultIdleTimeout = 5 * time.Minute // S-081
)

// Limits bounds what peers, and strangers in a peer's name, can make the engine hold or do. Zero fields take the defaults.
type Limits struct {
	HalfOpen            int           // IKE SAs in all that a peer began and did not authenticate: 1000
	HalfOpenPerAddress  int           // the same of one address, from ports where no IKE SA is established: 35 (S-085, C-18)
	HalfOpenEstablished int           // the same of one address and port with an established IKE SA, beside those of its address: 5 (S-084)
	HalfOpenTimeout     time.Duration // after which such an IKE SA is forgotten when the peer's next message does not come: 30 s
	CookieThreshold     int           // half-open IKE SAs, or requests within a second, from which on a COOKIE is demanded (RFC 7296 2.6): 32, so that a flood in a peer's name leaves room for the peer; negative: always
	ProvenInits         int           // requests of one address that have returned a cookie, and may cost a Diffie-Hellman computation, a second: 8, and HalfOpenPerAddress at once
	InitsPerPrefix      int           // the same of all addresses of a prefix of 24 bits, in IPv6 56, whose peers have not authenticated yet, a second: 128, and four times as many at once
	Inits               int           // the same of all such addresses, a second: 4096, and four times as many at once; more than a gateway makes IKE SAs in a second, so that thousands that start anew are not held up
	StrangerInits       int           // the same of all addresses together that no peer has, a second: 32, and four times as many at once
	Dynamic             int           // peers that the default response rule has let in: 256
	CookieLifetime      time.Duration // of a cookie secret; a cookie is good for one to two of them: 30 s
	ChildrenPerIKE      int           // Child SAs on one IKE SA, and as many of a peer that only take what is still on its way: 128
	ChildrenPerChild    int           // of these such as serve one child, or one worker of it, those counted that others have replaced: 16
	Requests            int           // of an authenticated peer that make, renew or end SAs, a second: 32, and requestBurst at once
	Children            int           // Child SAs of all peers: 65536; one that takes the place of another is let pass
	ChildrenPerPeer     int           // of one peer: 1024
	Established         int           // established IKE SAs of all peers: 65536 (S-087); a rekey is let pass
	IKEPerPeer          int           // IKE SAs with one peer, those counted that others have replaced: 16
	Checks              int           // certificate checks under way on IKE SAs that peers began, and as many on those that we began: 64
	ChecksPerPeer       int           // of the first kind, in one peer's name: 4; of all strangers together half of Checks
	CheckTimeout        time.Duration // after which an answer is not waited for any longer: 20 s
	FragmentOctets      int           // of fragments of one message that wait for others; an IKE SA has two such messages at most: 16384
	FragmentOctetsAll   int           // the same of all IKE SAs; half-open ones get half of it: 4 MiB
	FragmentTimeout     time.Duration // how long they wait: 30 s
	UnprotectedReplies  int           // error replies to strangers, and liveness checks they can cause, a second: 10

	Attempts    int           // sendings of our first message toward a peer that nothing has come from: 4 (S-044)
	SilentAfter time.Duration // after the first of them before the peer counts as silent, if the wait after the last is not longer: 3 s (S-043, C-02)

	Retransmit Retransmit
	RetryMin   time.Duration // before a failed negotiation starts again, doubled each time: 1 s
	RetryMax   time.Duration // up to this: 60 s
	RekeyGrace time.Duration // how long a replaced inbound SA still takes packets in flight: 5 s
	RekeyGuard time.Duration // how long we wait for a peer's delete of what its rekey made redundant: 30 s
	Silence    time.Duration // after which a Child SA that packets leave by and none come by is rekeyed, doubled each time: 5 min
}

// Retransmit is the back-off of a request without response (RFC 7296 2.4).
type Retransmit struct {
	Base   time.Duration // wait after the first sending: 500 ms
	Factor float64       // growth of the wait: 1.8
	Max    time.Duration // longest wait: 10 s
	Tries  int           // sendings in all before giving up on who has answered before: 12, about 80 s with the other defaults
	Jitter float64       // part of each wait that is random, to spread load: 0.1
}

// Wait is how long to wait after a sending that so many have gone before, without the jitter.
func (r Retransmit) Wait(sent int) time.Duration {
	return time.Duration(min(float64(r.Base)*math.Pow(r.Factor, float64(sent)), float64(r.Max)))
}

func orDefault[T int | time.Duration | float64](value *T, fallback T) {
	if *value == 0 {
		*value = fallback
	}
}

// Complete is the limits with their defaults in the place of what is not set.
func (l Limits) Complete() Limits {
	orDefault(&l.HalfOpen, 1000)
	orDefault(&l.HalfOpenPerAddress, 35)
	orDefault(&l.HalfOpenEstablished, 5)
	orDefault(&l.HalfOpenTimeout, 30*time.Second)
	orDefault(&l.CookieThreshold, 32)
	orDefault(&l.ProvenInits, 8)
	orDefault(&l.InitsPerPrefix, 128)
	orDefault(&l.Inits, 4096)
	orDefault(&l.StrangerInits, 32)
	orDefault(&l.Dynamic, 256)
	orDefault(&l.CookieLifetime, 30*time.Second)
	orDefault(&l.ChildrenPerIKE, 128)
	orDefault(&l.ChildrenPerChild, 16)
	orDefault(&l.Requests, 32)
	orDefault(&l.Children, 65536)
	orDefault(&l.ChildrenPerPeer, 1024)
	orDefault(&l.Established, 65536)
	orDefault(&l.IKEPerPeer, 16)
	orDefault(&l.Checks, 64)
	orDefault(&l.ChecksPerPeer, 4)
	orDefault(&l.CheckTimeout, 20*time.Second)
	orDefault(&l.FragmentOctets, wire.MaxMessage)
	orDefault(&l.FragmentOctetsAll, 4<<20)
	orDefault(&l.FragmentTimeout, 30*time.Second)
	orDefault(&l.UnprotectedReplies, 10)
	orDefault(&l.Attempts, 4)
	orDefault(&l.SilentAfter, 3*time.Second)
	orDefault(&l.Retransmit.Base, 500*time.Millisecond)
	orDefault(&l.Retransmit.Factor, 1.8)
	orDefault(&l.Retransmit.Max, 10*time.Second)
	orDefault(&l.Retransmit.Tries, 12)
	orDefault(&l.Retransmit.Jitter, 0.1)
	orDefault(&l.RetryMin, time.Second)
	orDefault(&l.RetryMax, time.Minute)
	orDefault(&l.RekeyGrace, 5*time.Second)
	orDefault(&l.RekeyGuard, 30*time.Second)
	orDefault(&l.Silence, 5*time.Minute)
	return l
}

// Complete is the peer with its defaults in the place of what is not set.
func (p Peer) Complete() Peer { return p.withDefaults() }

func (p Peer) withDefaults() Peer {
	if p.LocalID.IsZero() && p.Local.IsValid() {
		p.LocalID = AddressIdentity(p.Local)
	}
	if p.RemoteID.IsZero() && p.Remote.IsValid() {
		p.RemoteID = AddressIdentity(p.Remote)
	}
	if len(p.IKEProposals) == 0 {
		p.IKEProposals = crypto.DefaultIKEProposals()
	}
	orDefault(&p.DPDDelay, DefaultDPDDelay)
	orDefault(&p.RekeyTime, DefaultIKERekey)
	if p.LocalAuth == AuthSignature || p.RemoteAuth == AuthSignature {
		orDefault(&p.ReauthTime, DefaultReauth)
	}
	p.Children = slices.Clone(p.Children)
	for i := range p.Children {
		c := &p.Children[i]
		if len(c.Proposals) == 0 {
			c.Proposals = crypto.DefaultESPProposals()
		}
		orDefault(&c.RekeyTime, DefaultChildRekey)
		orDefault(&c.IdleTimeout, DefaultIdleTimeout)
		if c.Start == StartAlways {
			c.IdleTimeout = -1
		}
	}
	return p
}

// endsOf is what peers are told apart by.
type endsOf struct {
	local, remote     netip.Addr
	localID, remoteID Identity // in their normal form
}

// ValidatePeers reports everything that would keep the peers from being told apart or from negotiating, joined. NewEngine and Reconfigure
// rely on it having passed.
func ValidatePeers(peers []Peer) error {
	var errs []error
	seen, known := map[string]bool{}, map[endsOf]string{}
	for _, p := range peers {
		p = p.withDefaults()
		if seen[p.Name] {
			errs = append(errs, fmt.Errorf("peer %q: the name is used twice, expected a name of its own", p.Name))
		}
		seen[p.Name] = true
		if !p.Local.IsValid() || !p.Remote.IsValid() || p.Local.Is4() != p.Remote.Is4() {
			errs = append(errs, fmt.Errorf("peer %q: local %v and remote %v, expected two addresses of one IP version", p.Name, p.Local, p.Remote))
		}
		if p.LocalID.Equal(p.RemoteID) {
			// Our own messages, sent back to us, would pass as the peer's: one key serves both directions.
			errs = append(errs, fmt.Errorf("peer %q: both ends are %v, expected two identities", p.Name, p.LocalID))
		}
		errs = append(errs, validateAuth(p)...)
		if err := p.validateAdditional(); err != nil {
			errs = append(errs, err)
		}
		if err := p.validatePPK(); err != nil {
			errs = append(errs, err)
		}
		if err := validateFragmentSize(p); err != nil {
			errs = append(errs, err)
		}
		ends := endsOf{p.Local, p.Remote, p.LocalID.normal(), p.RemoteID.normal()}
		if other, taken := known[ends]; taken {
			errs = append(errs, fmt.Errorf("peer %q: addresses and identities equal those of peer %q, expected a difference", p.Name, other))
		}
		known[ends] = p.Name
		errs = append(errs, validateNegotiation(fmt.Sprintf("peer %q", p.Name), p.RekeyTime, p.IKEProposals)...)
		errs = append(errs, validateChildren(p)...)
	}
	return errors.Join(errs...)
}

// validateAdditional checks the addresses that a peer is to know of: an SA goes on where it began, in one IP version.
func (p Peer) validateAdditional() error {
	odd := slices.IndexFunc(p.Additional, func(a netip.Addr) bool {
		return !a.IsValid() || a.Is4() != p.Local.Is4() || a == p.Local || a == p.Remote
	})
	switch {
	case odd >= 0:
		return fmt.Errorf("peer %q: additional address %v, expected another of our own, of the IP version of %v", p.Name, p.Additional[odd], p.Local)
	case len(p.Additional) > 0 && !p.MOBIKE:
		return fmt.Errorf("peer %q has additional addresses and does not change its address (mobike), expected one with the other", p.Name)
	case len(p.Additional) > maxOthers:
		return fmt.Errorf("peer %q has %d additional addresses, expected up to %d", p.Name, len(p.Additional), maxOthers)
	}
	return nil
}

func validateChildren(p Peer) []error {
	var errs []error
	seen := map[string]bool{}
	for _, c := range p.Children {
		where := fmt.Sprintf("peer %q: child %q", p.Name, c.Name)
		if seen[c.Name] {
			errs = append(errs, fmt.Errorf("%s is there twice, expected a name of its own", where))
		}
		seen[c.Name] = true
		if len(c.Selectors) == 0 || len(c.Selectors) > maxSelectors {
			errs = append(errs, fmt.Errorf("%s has %d selectors, expected 1 to %d", where, len(c.Selectors), maxSelectors))
		}
		errs = append(errs, validateNegotiation(where, c.RekeyTime, c.Proposals)...)
		errs = append(errs, validateMode(where, p, c)...)
		if err := validateBundle(where, p, c); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// validateMode checks what only Child SAs have: their protocols, and in transport mode the addresses, which are those of the outer header
// (RFC 4301 4.1).
func validateMode(where string, p Peer, c Child) []error {
	var errs []error
	for _, proposal := range c.Proposals {
		if proposal.Protocol != crypto.ProtocolESP && proposal.Protocol != crypto.ProtocolAH {
			errs = append(errs, fmt.Errorf("%s: proposal %s is of %v, expected ESP or AH", where, proposal, proposal.Protocol))
		}
	}
	if !c.Transport {
		return errs
	}
	if p.MOBIKE { // the addresses are those of the packets that it protects (RFC 4555 1.3)
		errs = append(errs, fmt.Errorf("%s is of transport mode and its peer may change its address (mobike), expected tunnel mode or a peer that stays", where))
	}
	for _, s := range c.Selectors {
		if s.Local != policy.HostRange(p.Local) || s.Remote != policy.HostRange(p.Remote) {
			errs = append(errs, fmt.Errorf("%s is of transport mode and has selector %s, expected traffic from %s to %s only", where, s, p.Local, p.Remote))
		}
	}
	return errs
}

// validateBundle checks AH around ESP: a proposal of IKEv2 is of one protocol (RFC 7296 3.3.1).
func validateBundle(where string, p Peer, c Child) error {
	of := func(protocol crypto.Protocol) bool {
		return slices.ContainsFunc(c.Proposals, func(proposal crypto.Proposal) bool { return proposal.Protocol == protocol })
	}
	switch {
	case !c.Bundle:
		return nil
	case p.Version != V1:
		return fmt.Errorf("%s is a bundle of AH around ESP and its peer's IKE is %v, expected %v: IKEv2 negotiates one protocol for an SA (RFC 7296 section 3.3.1)", where, p.Version, V1)
	case !of(crypto.ProtocolESP) || !of(crypto.ProtocolAH):
		return fmt.Errorf("%s is a bundle of AH around ESP, expected proposals of both", where)
	}
	for _, proposal := range c.Proposals {
		if proposal.Protocol == crypto.ProtocolAH && len(proposal.DH) > 0 {
			return fmt.Errorf("%s is a bundle of AH around ESP and AH proposal %s has a group, expected groups with ESP only: one exchange serves both (RFC 2409 section 5.5)", where, proposal)
		}
	}
	return nil
}

// validateNegotiation checks what an IKE SA and a Child SA have in common.
func validateNegotiation(where string, rekey time.Duration, proposals []crypto.Proposal) []error {
	var errs []error
	if rekey < 0 {
		errs = append(errs, fmt.Errorf("%s: rekey time %v, expected a positive duration", where, rekey))
	}
	if len(proposals) > math.MaxUint8 { // RFC 7296 3.3.1: a proposal's number is one octet
		errs = append(errs, fmt.Errorf("%s: %d proposals, expected at most %d", where, len(proposals), math.MaxUint8))
	}
	for _, proposal := range proposals {
		if err := proposal.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s: proposal %s: %w", where, proposal, err))
		}
	}
	return errs
}
