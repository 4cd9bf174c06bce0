package crypto

import "slices"

// clearMutable gives the headers the form that the ICV covers: what may change on the way
// is zero, and what will change predictably is as it will arrive (RFC 4302 section 3.3.3.1
// and appendix A). The headers were parsed, so that every length in them holds.
func (h *ipHeaders) clearMutable(packet []byte) {
	if h.version == 4 {
		clearIPv4(packet[:h.end])
		return
	}
	// Traffic class and flow label, then the hop limit.
	packet[0] &= 0xf0
	clear(packet[1:4])
	packet[7] = 0
	for _, e := range h.extensions {
		if e.protocol == protocolRouting {
			arrive(packet[24:ipv6HeaderLen], packet[e.start:e.end])
		} else {
			clearIPv6Options(packet[e.start+2 : e.end])
		}
	}
}

// immutableIPv4Options go into the ICV as they are (RFC 4302 appendix A1): security,
// extended and commercial security, router alert, sender directed delivery.
var immutableIPv4Options = []byte{130, 133, 134, 148, 149}

const (
	ipv4LooseRoute  = 131
	ipv4StrictRoute = 137
)

func clearIPv4(header []byte) {
	header[1] = 0        // TOS
	clear(header[6:8])   // flags and fragment offset
	header[8] = 0        // TTL
	clear(header[10:12]) // checksum
	options := header[ipv4HeaderLen:]
	for len(options) > 0 && options[0] != ipv4OptionEnd {
		if options[0] == ipv4OptionNop {
			options = options[1:]
			continue
		}
		option := options[:options[1]]
		options = options[len(option):]
		if option[0] == ipv4LooseRoute || option[0] == ipv4StrictRoute {
			lastStop(header[16:20], option)
		}
		if !slices.Contains(immutableIPv4Options, option[0]) {
			clear(option)
		}
	}
}

// lastStop sets the destination to the end of a source route that is not yet used up. The
// pointer counts from 1 and stands on the next address (RFC 791 section 3.1).
func lastStop(destination, route []byte) {
	if len(route) >= 3+len(destination) && int(route[2]) <= len(route) {
		copy(destination, route[len(route)-len(destination):])
	}
}

// arrive lets a routing header take the packet through the segments that it has left
// (RFC 8200 section 4.4).
func arrive(destination, routing []byte) {
	addresses := routing[8:]
	for ; routing[3] > 0; routing[3]-- {
		next := addresses[len(addresses)-int(routing[3])*len(destination):][:len(destination)]
		for i := range next {
			next[i], destination[i] = destination[i], next[i]
		}
	}
}

// clearIPv6Options clears the data of each option that may change on the way: bit 5 of
// its type says so (RFC 8200 section 4.2). Type and length stay.
func clearIPv6Options(options []byte) {
	const mayChange = 0x20
	for len(options) > 0 {
		if options[0] == ipv6OptionPad1 {
			options = options[1:]
			continue
		}
		end := 2 + int(options[1])
		if options[0]&mayChange != 0 {
			clear(options[2:end])
		}
		options = options[end:]
	}
}
