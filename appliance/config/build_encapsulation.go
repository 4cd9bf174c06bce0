package config

import "time"

const (
	defaultTTL = 64 // of an outer header, as hosts use it (RFC 1700)
	maxTTL     = 255
)

// encapsulation checks how packets are to be put into outer ones, and warns of what tells an observer more than it must.
func (b *builder) encapsulation(key string, raw *fileEncapsulation) Encapsulation {
	out := Encapsulation{
		DF: string(raw.DF), DSCP: int(raw.DSCP), ECN: raw.ECN == "on", TTL: uint8(b.within(key+".ttl", raw.TTL, 1, maxTTL, "hops")),
		FragmentAfter: raw.Fragment == "after", MSSClamp: int(raw.MSSClamp), TFCPad: int(raw.TFCPad), DummyInterval: time.Duration(raw.DummyInterval), PathMTU: raw.PathMTU == "on",
	}
	if out.TFCPad > 0 && out.TFCPad > b.largestMTU() {
		b.add(key+".tfc_pad", "expected at most the mtu of a port, %d bytes, found %d: no packet of that length would ever leave", b.largestMTU(), out.TFCPad)
	}
	return out
}

// padding refuses to hide lengths where that cannot be done: the padding is between an inner packet and the end of ESP (RFC 4303 section 2.7). ah is
// what the file says of AH, if anything.
func (b *builder) padding(key string, raw *fileEncapsulation, transport bool, ah string) {
	switch {
	case raw.TFCPad == 0:
	case transport:
		b.add(key, "expected off with mode: transport: only the packets of tunnels can be padded (RFC 4303 section 2.7)")
	case ah != "":
		b.add(key, "expected off with %s: only ESP can pad packets (RFC 4303 section 2.7)", ah)
	}
}

// largestMTU is that of the port with the largest one.
func (b *builder) largestMTU() int {
	largest := 0
	for _, port := range b.config.Ports {
		largest = max(largest, port.MTU)
	}
	return largest
}
