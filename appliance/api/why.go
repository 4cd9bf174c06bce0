package api

import "time"

// Why is why a peer's tunnels are up or not, as one screen shows it.
type Why struct {
	Peer        string      `json:"peer"`
	Verdict     string      `json:"verdict"`           // up, partly up, not up, down (by an operator)
	State       string      `json:"state"`             // of the IKE SA, or idle
	IKE         string      `json:"ike"`               // v2, v1 or any, as configured
	Version     int         `json:"version"`           // of the IKE SA, or of the next one: 1 or 2
	Vendors     []string    `json:"vendors,omitempty"` // of IKEv1: what the peer says that it is and can do
	Since       time.Time   `json:"since,omitzero"`
	Clock       time.Time   `json:"clock"` // of the gateway, now
	Local       string      `json:"local"`
	Remote      string      `json:"remote"`
	Tunnels     []WhyTunnel `json:"tunnels"`
	NextAttempt time.Time   `json:"next_attempt,omitzero"`
	Path        WhyPath     `json:"path"`

	Trying      *WhyAttempt `json:"trying,omitempty"`       // of ours that goes on
	Failed      *WhyAttempt `json:"failed,omitempty"`       // the last of ours that failed
	PeersFailed *WhyAttempt `json:"peers_failed,omitempty"` // the last of the peer's that failed

	Refused *WhyNote `json:"refused,omitempty"` // by a limit, of what came from the peer's address
	Dropped *WhyNote `json:"dropped,omitempty"`
	Stray   *WhyNote `json:"stray,omitempty"` // of what came from addresses that no peer has
	// Unproven counts responses to IKE_SA_INIT that were not found to be the peer's, where several came.
	Unproven *WhyNote `json:"unproven,omitempty"`
	// Fallback is there where a rule of the peer's has fallback_clear.
	Fallback *WhyFallback `json:"fallback,omitempty"`
	Todo     string       `json:"todo"`
}

// WhyFallback is how it stands with traffic in clear while the peer is silent.
type WhyFallback struct {
	SoftSAs int       `json:"soft_sas"`          // now
	Waiting int       `json:"waiting"`           // selectors that become soft SAs if the peer stays silent
	Refused string    `json:"refused,omitempty"` // why there is no soft SA whatever the peer does
	Until   time.Time `json:"until,omitzero"`    // the end of that, where it has one
	Text    string    `json:"text"`
}

// WhyTunnel is a rule whose traffic the peer's tunnel is for.
type WhyTunnel struct {
	Name  string `json:"name"`
	Up    bool   `json:"up"`
	Down  bool   `json:"down,omitempty"` // an operator has taken it down
	Start string `json:"start"`          // always or on-demand
}

// WhyPath is how packets to the peer leave.
type WhyPath struct {
	Port      string `json:"port,omitempty"`
	Link      string `json:"link,omitempty"`      // up or down
	NextHop   string `json:"next_hop,omitempty"`  // empty: no route
	Neighbour string `json:"neighbour,omitempty"` // its MAC address, or unresolved
}

// WhyAttempt is a negotiation as far as it came.
type WhyAttempt struct {
	Role         string           `json:"role"` // initiator: we began it
	Began        time.Time        `json:"began"`
	Ended        time.Time        `json:"ended,omitzero"`
	Exchange     string           `json:"exchange"`       // the last one
	Sent         int              `json:"sent,omitempty"` // sendings of our request
	NextSending  time.Time        `json:"next_sending,omitzero"`
	Answer       string           `json:"answer,omitempty"` // response, or an error notification
	Cookies      int              `json:"cookies,omitempty"`
	NAT          string           `json:"nat,omitempty"` // local, remote, both: before whom one was found
	Fragments    bool             `json:"fragments,omitempty"`
	Reason       string           `json:"reason,omitempty"`
	Detail       string           `json:"detail,omitempty"`
	Rows         []WhyRow         `json:"rows,omitempty"`
	Certificates []WhyCertificate `json:"certificates,omitempty"`
}

// WhyRow is something that both ends must agree on, side by side.
type WhyRow struct {
	What    string `json:"what"`
	Ours    string `json:"ours"`
	Peers   string `json:"peers,omitempty"` // empty: it did not say
	Differs bool   `json:"differs,omitempty"`
}

// WhyCertificate is one of the chain that the peer sent, or our own.
type WhyCertificate struct {
	Ours      bool      `json:"ours,omitempty"`
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Fault     string    `json:"fault,omitempty"` // against our clock
}

// WhyNote counts datagrams that were not taken.
type WhyNote struct {
	Reason string    `json:"reason"` // of the last one
	Remote string    `json:"remote"`
	At     time.Time `json:"at"`
	Count  uint64    `json:"count"` // since start
}
