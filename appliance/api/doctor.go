package api

// Examination is what `sallyport doctor` finds on the paths to peers.
type Examination struct {
	Openings []Opening         `json:"openings"` // that a path needs, both ways (S-093)
	Peers    []PeerExamination `json:"peers"`
}

// PeerExamination is one path, asked at this moment.
type PeerExamination struct {
	Peer     string    `json:"peer"`
	Local    string    `json:"local"`
	Remote   string    `json:"remote"`
	Openings []Opening `json:"openings"` // the same, in the same order
}

// Opening is something that firewalls on a path have to let through.
type Opening struct {
	Name      string  `json:"name"`
	Carries   string  `json:"carries"`
	Open      bool    `json:"open"`                         // an answer came through
	Traffic   bool    `json:"traffic,omitempty"`            // no answer, but packets of an SA did
	RoundTrip float64 `json:"round_trip_seconds,omitempty"` // of the answer
	Error     string  `json:"error,omitempty"`              // the question could not be sent
}
