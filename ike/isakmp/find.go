package isakmp

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

// FindVendor gives the first vendor ID of a known vendor, or nil.
func FindVendor(payloads []Payload, v Vendor) *VendorID {
	for _, p := range FindAll[*VendorID](payloads) {
		if p.Vendor() == v {
			return p
		}
	}
	return nil
}
