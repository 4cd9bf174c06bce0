package api

// IKELimit is a limit of IKE, with what there is of what it limits.
type IKELimit struct {
	Limit     string `json:"limit"`          // its key in ike.limits of the configuration
	IKE       int    `json:"ike,omitempty"`  // 1 or 2 where each version of IKE has the limit for itself; absent where both have it together
	Peer      string `json:"peer,omitempty"` // whose; absent from the row of all
	Each      bool   `json:"each"`           // it is for each peer, address, port or prefix by itself, and a row of all is about the one that has the most
	PerSecond bool   `json:"per_second"`     // it is a rate
	Value     int    `json:"value"`          // -1 of cookie_threshold: always
	Used      int    `json:"used"`           // now; of a rate, within this second
	Most      int    `json:"most"`           // ever since start
	Refused   uint64 `json:"refused"`        // since start; of cookie_threshold, answered by a cookie
}
