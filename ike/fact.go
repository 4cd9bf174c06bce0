package ike

import (
	"net/netip"
	"time"

	"sallyport/policy"
)

// Fact is one entry of the stream of IKE facts for logs, metrics and tests. It holds no key. Fields that do not apply are zero.
type Fact struct {
	Time    time.Time
	Kind    FactKind
	Version Version // V1 or V2
	Peer    string  // empty for datagrams that belong to no peer
	Child   string  // empty for facts about the IKE SA
	Reason  Reason  // for Failed, Refused, Dropped, IKEReplaced and the deleted kinds
	Detail  string  // for people: what was offered, what came back
	Local   netip.AddrPort
	Remote  netip.AddrPort
	Role    Role
	SPIi    uint64 // of the IKE SA
	SPIr    uint64
	SPIIn   uint32 // of the Child SA
	SPIOut  uint32
	Worker  int    // that alone sends by the Child SA, 0 for all (RFC 9611)
	Suite   string // chosen algorithms as keywords
	Tries   int    // for Retransmitted: sendings so far
	Message uint32 // message id, for Retransmitted and Dropped

	AHSPIIn, AHSPIOut uint32 // of the AH around the Child SA of a bundle, 0 without

	Selectors   []policy.Selector // for ChildEstablished
	NextAttempt time.Time         // for Failed: when we try again by ourselves, zero when we do not
}

// FactKind says what happened.
type FactKind uint8

const (
	NegotiationStarted FactKind = iota + 1 // an IKE SA is being negotiated, by us or by the peer (Role)
	Retransmitted                          // a request was sent again
	IKEEstablished                         // both sides are authenticated
	IKERekeyed                             // a new IKE SA took over the children of the old one
	IKEReplaced                            // an IKE SA that was authenticated by itself takes over from another (Reason says why)
	IKEDeleted                             // an IKE SA that was established is gone (Reason says by whom)
	ChildEstablished                       // a Child SA is installed
	ChildRekeyed                           // a Child SA is installed in place of an older one
	ChildDeleted                           // a Child SA is gone (Reason says by whom)
	Failed                                 // a negotiation ended without result (Reason, Detail)
	Refused                                // a request was refused by a limit (Reason)
	Dropped                                // a datagram was dropped (Reason)
	AddressChanged                         // one of the two ends has moved, or the NAT before the peer (Local, Remote are the new addresses)
	Silent                                 // packets leave by a Child SA and none come: it is rekeyed
)

var factNames = [...]string{
	NegotiationStarted: "negotiation_started", Retransmitted: "retransmitted", IKEEstablished: "ike_established", IKERekeyed: "ike_rekeyed",
	IKEReplaced: "ike_replaced", IKEDeleted: "ike_deleted", ChildEstablished: "child_established", ChildRekeyed: "child_rekeyed", ChildDeleted: "child_deleted",
	Failed: "failed", Refused: "refused", Dropped: "dropped", AddressChanged: "address_changed", Silent: "silent",
}

// String is the name in logs and metrics.
func (k FactKind) String() string { return factNames[k] }

// Role says who began the exchange that made an SA.
type Role uint8

const (
	RoleNone Role = iota
	RoleInitiator
	RoleResponder
)

// String is the word that show uses.
func (r Role) String() string {
	switch r {
	case RoleInitiator:
		return "initiator"
	case RoleResponder:
		return "responder"
	}
	return ""
}

// Reason is why something failed, was refused, dropped or deleted. It is a closed list, fit for a metric's label; most values are also the
// counter that the requirements name.
type Reason string

// Reasons for Dropped: datagrams that change nothing.
const (
	DropNoPolicy   Reason = "ike_no_policy"   // S-040: no peer covers the addresses
	DropShort      Reason = "ike_short"       // less than a header
	DropMalformed  Reason = "ike_malformed"   // unauthenticated and not to be parsed
	DropVersion    Reason = "ike_version"     // not IKEv2
	DropCritical   Reason = "ike_critical"    // unauthenticated with an unknown critical payload
	DropExchange   Reason = "ike_exchange"    // not an exchange for the state of its IKE SA
	DropUnknownSPI Reason = "ike_unknown_spi" // no such IKE SA
	DropMessageID  Reason = "ike_message_id"  // outside the window
	DropIntegrity  Reason = "ike_integrity"   // ICV or decryption failed
	DropCleartext  Reason = "ike_cleartext"   // unprotected where protection is due; a hint at most
	DropFragment   Reason = "ike_fragment"    // of a message in fragments: there already, of a smaller total, or not agreed on
	DropAggressive Reason = "ike_aggressive"  // S-061: IKEv1's aggressive mode shows who the ends are
	DropNoState    Reason = "ike_no_state"    // retransmission for an IKE SA that is past it
	DropUnproven   Reason = "ike_unproven"    // response to IKE_SA_INIT beside others, not found to be the peer's
)

// Reasons for Refused: limits.
const (
	RefuseHalfOpen       Reason = "ike_limit_half_open"   // in all
	RefuseNew            Reason = "ike_limit_new"         // S-085: per address, from ports without an established IKE SA
	RefuseEstablished    Reason = "ike_limit_established" // S-084: per address and port with one
	RefuseCookie         Reason = "ike_cookie_demanded"   // answered with COOKIE, nothing kept
	RefuseProven         Reason = "ike_limit_proven"      // IKE_SA_INIT requests with cookies, per address and second
	RefusePrefix         Reason = "ike_limit_prefix"      // the same, per prefix and second
	RefuseInits          Reason = "ike_limit_inits"       // the same, of all peers that have not authenticated before
	RefuseStrangers      Reason = "ike_limit_strangers"   // the same, of those whom no peer of the configuration is
	RefuseDynamic        Reason = "ike_limit_dynamic"     // peers by the default response rule, in all or at one address
	RefuseRequests       Reason = "ike_limit_requests"    // requests of an authenticated peer in a second; they count as lost
	RefuseRate           Reason = "ike_limit_replies"     // error reply, response elsewhere or liveness check withheld
	RefuseCarried        Reason = "ike_carried"           // of a peer with whom there is IKEv2, or a dynamic one with whom there is the other IKE
	RefuseSpent          Reason = "ike_limit_quick_modes" // S-077: quick modes on an ISAKMP SA that may make no more
	RefuseChecks         Reason = "ike_limit_checks"      // certificate checks under way; the message counts as lost
	RefusePeerChecks     Reason = "ike_limit_peer_checks" // of those that one peer has begun
	RefuseIKESAs         Reason = "ike_limit_ike_sas"     // S-087: IKE SAs with one peer
	RefuseAllIKESAs      Reason = "ike_limit_all_ike_sas" // S-087: with all peers
	RefuseChildren       Reason = "ike_limit_children"    // Child SAs for one child
	RefuseIKEChildren    Reason = "ike_limit_sa_children" // on one IKE SA
	RefusePeerChildren   Reason = "ike_limit_peer_children"
	RefuseAllChildren    Reason = "ike_limit_all_children"
	RefuseAddress        Reason = "ike_address_refused"  // where no peer can be, authentic or not
	RefuseMoves          Reason = "ike_limit_moves"      // a peer's changes of address: each is followed, and these are not told one by one
	RefuseRedirect       Reason = "ike_redirect_refused" // RFC 5685: not asked for, or to where we do not go
	RefuseSPI            Reason = "ike_no_spi"           // the data plane has no SPI left
	RefuseFragments      Reason = "ike_limit_fragments"  // octets of fragments that wait for others
	RefuseChildSelectors Reason = "ike_child_exists"     // a Child SA of the rule exists with other selectors
)

// Reasons for Failed.
const (
	FailTimeout         Reason = "timeout"               // no response to the last retransmission
	FailSilent          Reason = "no_answer"             // nothing at all has come from the peer in this negotiation, by either version of IKE (S-043)
	FailProposal        Reason = "no_proposal_chosen"    // by either side
	FailKE              Reason = "invalid_ke"            // no common group, or an invalid public value
	FailAuthentication  Reason = "authentication_failed" // the peer said so, without saying why
	FailSelectors       Reason = "ts_unacceptable"       // no common traffic
	FailSyntax          Reason = "invalid_syntax"        // authenticated, and against the rules
	FailCritical        Reason = "unsupported_critical_payload"
	FailVersion         Reason = "invalid_major_version"
	FailNoAdditionalSAs Reason = "no_additional_sas"
	FailMaxQueue        Reason = "ts_max_queue"      // no more Child SAs for the same traffic (RFC 9611)
	FailTemporary       Reason = "temporary_failure" // the peer is busy; tried again
	FailNotFound        Reason = "child_sa_not_found"
	FailPeer            Reason = "peer_error"      // another error notification, in Detail
	FailCookie          Reason = "cookie_loop"     // the peer answers nothing but COOKIE or INVALID_KE_PAYLOAD
	FailInstall         Reason = "install_failed"  // the data plane refused the keys
	FailAddress         Reason = "address_refused" // an end that has moved is not let, or not found there
	FailMode            Reason = "mode_refused"    // tunnel mode or transport mode: the other end insists on the other
	FailInternal        Reason = "internal_error"  // Detail says what
)

// Reasons for IKEDeleted and ChildDeleted.
const (
	DeletedByPeer     Reason = "deleted_by_peer"
	DeletedByOperator Reason = "deleted_by_operator"
	DeletedReconfig   Reason = "reconfigured"
	DeletedRekeyed    Reason = "rekeyed"         // replaced by a successor
	DeletedReauth     Reason = "reauthenticated" // replaced by another that was authenticated anew
	DeletedRedundant  Reason = "redundant"       // the loser of a simultaneous negotiation (RFC 7296 2.8)
	DeletedExpired    Reason = "lifetime"        // hard lifetime, the rekey had failed
	DeletedRedirected Reason = "redirected"      // the peer has sent us to another gateway (RFC 5685)
	DeletedIdle       Reason = "idle"            // S-081
	DeletedDead       Reason = "peer_dead"       // no answer to a liveness check or another request
	DeletedInitial    Reason = "initial_contact" // the peer started anew (RFC 7296 2.4)
	DeletedFailed     Reason = "failed"          // a Failed fact says why
	DeletedWithIKE    Reason = "ike_deleted"     // the IKE SA ended and its children with it
)
