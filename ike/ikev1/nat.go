package ikev1

import (
	"net/netip"
	"slices"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/isakmp"
	"sallyport/policy"
)

// natVersion is which NAT traversal two ends have in common.
type natVersion uint8

const (
	natNone  natVersion = iota
	natDraft            // draft-ietf-ipsec-nat-t-ike-02 or 03: private numbers for payloads and encapsulation modes
	natRFC              // RFC 3947
)

// natVendors are those that we speak, in the order in which we like them. Drafts 00 and 01 stay on port 500, where ESP cannot be told from IKE.
var natVendors = []isakmp.Vendor{isakmp.VendorNATT, isakmp.VendorNATTDraft03, isakmp.VendorNATTDraft02Newline, isakmp.VendorNATTDraft02}

// chooseNAT picks from the vendors of the peer's message.
func chooseNAT(theirs []isakmp.Vendor) (isakmp.Vendor, natVersion) {
	for _, v := range natVendors {
		if slices.Contains(theirs, v) {
			return v, versionOf(v)
		}
	}
	return isakmp.VendorUnknown, natNone
}

func versionOf(v isakmp.Vendor) natVersion {
	if v.NATTDraft() {
		return natDraft
	}
	return natRFC
}

// nat is what is known of NATs on the way of an ISAKMP SA.
type nat struct {
	version       natVersion
	local, remote bool // one stands before us, before the peer
}

// across reports whether there is a NAT, so that IKE goes on at port 4500 and ESP in UDP.
func (n nat) across() bool { return n.local || n.remote }

// natDetection are the NAT-D payloads of messages 3 and 4 of main mode: the peer's end first, then ours (RFC 3947 3.2). None without a version in common.
func (n nat) natDetection(prf crypto.PRFID, cookies isakmp.Cookies, local, remote netip.AddrPort) []isakmp.Payload {
	if n.version == natNone {
		return nil
	}
	end := func(a netip.AddrPort) isakmp.Payload {
		return &isakmp.NATD{Draft: n.version == natDraft, Hash: crypto.Hash(prf, isakmp.NATDOctets(cookies, a))}
	}
	return []isakmp.Payload{end(remote), end(local)}
}

// detect reads those of the peer's message, which came to local from remote. A message without them says that nothing stands between.
func (n *nat) detect(m *isakmp.Message, prf crypto.PRFID, local, remote netip.AddrPort) {
	if n.version == natNone {
		return
	}
	_, n.remote, n.local = isakmp.NATDetected(m, remote, local, func(octets []byte) []byte { return crypto.Hash(prf, octets) })
}

// Ports of IKE.
const (
	portIKE  = 500
	portNATT = 4500 // with the non-ESP marker (RFC 3948 2.2)
)

// float are the ends from message 5 of main mode on, by the initiator's word (RFC 3947 4, C-12). A responder goes by where that message comes from.
func (n nat) float(local, remote netip.AddrPort) (netip.AddrPort, netip.AddrPort) {
	if !n.across() {
		return local, remote
	}
	return onPort(local, portNATT), onPort(remote, portNATT)
}

func onPort(a netip.AddrPort, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), port) }

// encapsulation is the mode of an IPsec SA as quick mode says it (RFC 3947 5.1).
func (n nat) encapsulation(transport bool) isakmp.Encapsulation {
	modes := [2]isakmp.Encapsulation{isakmp.EncapsulationTunnel, isakmp.EncapsulationTransport}
	switch {
	case n.across() && n.version == natDraft:
		modes = [2]isakmp.Encapsulation{isakmp.EncapsulationUDPTunnelDraft, isakmp.EncapsulationUDPTransportDraft}
	case n.across():
		modes = [2]isakmp.Encapsulation{isakmp.EncapsulationUDPTunnel, isakmp.EncapsulationUDPTransport}
	}
	if transport {
		return modes[1]
	}
	return modes[0]
}

// originals are the NAT-OA payloads of quick mode, in transport mode across a NAT only: the initiator's address and the responder's, as their sender sees
// them (RFC 3947 5.2). Those of a peer's we do not need: the data plane computes the checksums of what comes out of such an SA anew (RFC 3948 3.1.2 b).
func (n nat) originals(transport, initiator bool, local, remote netip.Addr) []isakmp.Payload {
	if !transport || !n.across() {
		return nil
	}
	list := []isakmp.Payload{
		&isakmp.NATOA{Draft: n.version == natDraft, Address: local.Unmap()},
		&isakmp.NATOA{Draft: n.version == natDraft, Address: remote.Unmap()},
	}
	if !initiator {
		slices.Reverse(list)
	}
	return list
}

// ownView puts the addresses that we see into a selector of transport mode that the peer wrote: ours where a NAT stands before us, for the peer knows us by
// the NAT's, and the NAT's where one stands before the peer, whose own address we never see (as RFC 7296 2.23.1 has it).
func (n nat) ownView(s policy.Selector, transport bool, local, remote netip.Addr) policy.Selector {
	if transport && n.local {
		s.Local = policy.HostRange(local.Unmap())
	}
	if transport && n.remote {
		s.Remote = policy.HostRange(remote.Unmap())
	}
	return s
}

// passable is what of the terms can travel between the two ends: AH covers the addresses that a NAT changes (S-091, RFC 3715 2.1).
func (n nat) passable(t quickTerms) quickTerms {
	if n.across() {
		t.proposals = slices.DeleteFunc(slices.Clone(t.proposals), func(p crypto.Proposal) bool { return p.Protocol == crypto.ProtocolAH || len(t.around) > 0 })
	}
	return t
}

// whyNot explains the refusal of an offer where the NAT leaves one of the two ends nothing but AH, which has passable's fate.
func (n nat) whyNot(ours quickTerms, offered *isakmp.SA) string {
	withoutAH := func(group []isakmp.Proposal) bool {
		return !slices.ContainsFunc(group, func(p isakmp.Proposal) bool { return p.Protocol == isakmp.ProtocolAH })
	}
	if n.across() && (len(ours.proposals) == 0 || !slices.ContainsFunc(offered.Alternatives(), withoutAH)) {
		return " (" + ike.NoAHAcrossNAT + ")"
	}
	return ""
}
