package api

import "time"

// Event is one entry of the stream of IKE facts: one JSON object a line. The log has a line of the same names for it, and the metric
// sallyport_ike_facts_total counts it by peer, version, kind and reason. With Lost, and nothing else but Number, it is a gap instead: so many events
// before this number are not kept any more.
type Event struct {
	Number uint64    `json:"number"`
	Lost   uint64    `json:"lost,omitempty"`
	Time   time.Time `json:"time,omitzero"`
	Kind   string    `json:"kind,omitempty"`

	// Fields that do not apply are absent. They stand in the order and under the names of the log line.
	Version     int       `json:"version,omitempty"` // of IKE: 1 or 2
	Peer        string    `json:"peer,omitempty"`    // absent for what no peer is known to have sent
	Child       string    `json:"child,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	Detail      string    `json:"detail,omitempty"` // for people
	Local       string    `json:"local,omitempty"`
	Remote      string    `json:"remote,omitempty"`
	Role        string    `json:"role,omitempty"`    // initiator or responder of the exchange
	IKESPI      string    `json:"ike_spi,omitempty"` // INITIATOR/RESPONDER
	SPIIn       string    `json:"spi_in,omitempty"`
	SPIOut      string    `json:"spi_out,omitempty"`
	AHSPIIn     string    `json:"ah_spi_in,omitempty"` // of the AH around the ESP of a bundle
	AHSPIOut    string    `json:"ah_spi_out,omitempty"`
	Suite       string    `json:"suite,omitempty"`
	Tries       int       `json:"tries,omitempty"` // sendings of the request up to now
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	Selectors   []string  `json:"selectors,omitempty"`
}
