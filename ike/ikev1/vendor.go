package ikev1

import (
	"slices"

	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// capabilities is what two ends of an ISAKMP SA have in common beyond RFC 2409, by the vendor IDs of main mode's first two messages.
type capabilities struct {
	dpd       bool          // the peer answers R-U-THERE (RFC 3706)
	fragments bool          // it takes fragments, and we may send some
	nat       natVersion    // natNone: no NAT traversal
	natVendor isakmp.Vendor // the one that says so, which a responder repeats
	names     []string      // of all vendor IDs that are known, for people
}

// maxVendors bounds the names of a peer's vendor IDs that are kept.
const maxVendors = 16

// vendors are the vendor IDs of message 1: all that we can do.
func vendors(p *ike.Peer) []isakmp.Payload {
	list := []isakmp.Payload{isakmp.NewVendorID(isakmp.VendorDPD)}
	for _, v := range natVendors {
		list = append(list, isakmp.NewVendorID(v))
	}
	if mayFragment(p) {
		list = append(list, isakmp.NewVendorID(isakmp.VendorFragmentation))
	}
	return list
}

// agreed are those of message 2: what message 1 has, for anybody may have written that in another's name, and gets no more back than is of use. Of the versions
// of NAT traversal it is the one that was chosen, for a responder chooses (RFC 3947 3.1).
func (c capabilities) agreed() (list []isakmp.Payload) {
	if c.dpd {
		list = append(list, isakmp.NewVendorID(isakmp.VendorDPD))
	}
	if c.nat != natNone {
		list = append(list, isakmp.NewVendorID(c.natVendor))
	}
	if c.fragments {
		list = append(list, isakmp.NewVendorID(isakmp.VendorFragmentation))
	}
	return list
}

// readVendors finds out what the peer's message 1 or 2 makes common.
func readVendors(p *ike.Peer, payloads []isakmp.Payload) capabilities {
	var c capabilities
	var theirs []isakmp.Vendor
	for _, v := range isakmp.FindAll[*isakmp.VendorID](payloads) {
		vendor := v.Vendor()
		if vendor == isakmp.VendorUnknown {
			continue
		}
		theirs = append(theirs, vendor)
		if vendor == isakmp.VendorFragmentation && v.Fragmentation() && mayFragment(p) {
			c.fragments = true
		}
		if len(c.names) < maxVendors {
			if name := v.Name(); !slices.Contains(c.names, name) {
				c.names = append(c.names, name)
			}
		}
	}
	c.dpd = slices.Contains(theirs, isakmp.VendorDPD)
	c.natVendor, c.nat = chooseNAT(theirs)
	return c
}

// mayFragment reports whether the configuration lets a peer's messages be cut.
func mayFragment(p *ike.Peer) bool { return p.FragmentSize >= 0 }
