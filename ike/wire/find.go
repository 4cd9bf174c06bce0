package wire

// Find gives the first payload of type T, or nil: Find[*SA](m.Payloads).
func Find[T Payload](payloads []Payload) T {
	for _, p := range payloads {
		if found, ok := p.(T); ok {
			return found
		}
	}
	var none T
	return none
}

// Protected says whether there is an SK or SKF payload.
func Protected(payloads []Payload) bool {
	return Find[*Encrypted](payloads) != nil || Find[*Fragment](payloads) != nil
}

// FindAll gives the payloads of type T in their order.
func FindAll[T Payload](payloads []Payload) []T {
	var all []T
	for _, p := range payloads {
		if found, ok := p.(T); ok {
			all = append(all, found)
		}
	}
	return all
}

// FindID gives the IDi (initiator) or IDr payload, or nil.
func FindID(payloads []Payload, initiator bool) *ID {
	for _, id := range FindAll[*ID](payloads) {
		if id.Initiator == initiator {
			return id
		}
	}
	return nil
}

// FindTS gives the TSi (initiator) or TSr payload, or nil.
func FindTS(payloads []Payload, initiator bool) *TS {
	for _, ts := range FindAll[*TS](payloads) {
		if ts.Initiator == initiator {
			return ts
		}
	}
	return nil
}

// FindNotify gives the first notification of type t, or nil.
func FindNotify(payloads []Payload, t NotifyType) *Notify {
	for _, n := range FindAll[*Notify](payloads) {
		if n.Type == t {
			return n
		}
	}
	return nil
}

// FindError gives the first notification that is an error, or nil.
func FindError(payloads []Payload) *Notify {
	for _, n := range FindAll[*Notify](payloads) {
		if n.Type.IsError() {
			return n
		}
	}
	return nil
}
