package traffic

import (
	"errors"
	"fmt"
	"slices"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/policy"
)

// play makes the other side of a gateway's peer: who it says it is, what it knows, and the tunnels of its rules.
func (c *Config) play(gateway *ike.Peer, proposal *crypto.Proposal) error {
	switch {
	case gateway.LocalAuth != ike.AuthPSK || gateway.RemoteAuth != ike.AuthPSK:
		return errors.New("expected a preshared key at both ends, found certificates: the tester has no key of the peer's")
	case !gateway.Remote.IsValid():
		return errors.New("expected the address of the peer (remote:), found none")
	}
	peer := ike.Peer{Name: gateway.Name, Version: gateway.Version, Local: gateway.Remote, Remote: gateway.Local, LocalID: gateway.RemoteID, RemoteID: gateway.LocalID,
		PSK: gateway.PSK, PPK: gateway.PPK, Legacy: gateway.Legacy, IKEProposals: gateway.IKEProposals, FragmentSize: gateway.FragmentSize, Childless: gateway.Childless,
		MasterPFS: gateway.MasterPFS, DPDDelay: -1, RekeyTime: manyLife}
	var errs []error
	for i := range gateway.Children {
		child, tunnel, err := turnedChild(gateway, &gateway.Children[i], proposal)
		if err != nil {
			errs = append(errs, fmt.Errorf("rule %s: %w", gateway.Children[i].Name, err))
			continue
		}
		peer.Children, c.Tunnels = append(peer.Children, child), append(c.Tunnels, tunnel)
	}
	if len(peer.Children) > 0 {
		c.Peers = append(c.Peers, peer)
	}
	return errors.Join(errs...)
}

// turnedChild is the peer's side of a rule. It offers a single suite, so that what packets take is known before.
func turnedChild(gateway *ike.Peer, of *ike.Child, proposal *crypto.Proposal) (child ike.Child, t Tunnel, err error) {
	if of.Transport || of.Bundle {
		return child, t, errors.New("expected ESP in tunnel mode, found transport mode or AH")
	}
	offered := slices.Concat(of.Proposals, crypto.DefaultESPProposals())[0]
	if proposal != nil {
		offered = *proposal
	}
	if offered.Protocol != crypto.ProtocolESP {
		return child, t, errors.New("expected ESP alone, found AH")
	}
	offered.Ciphers = offered.Ciphers[:1]
	t = Tunnel{Name: of.Name, Gateway: gateway.Local, Peer: gateway.Remote, IKE: Negotiated{gateway.Name, of.Name}}
	t.Suite = crypto.Suite{Encr: offered.Ciphers[0].Encr, KeyBits: offered.Ciphers[0].KeyBits}
	if len(offered.Integ) > 0 {
		offered.Integ = offered.Integ[:1]
		t.Suite.Integ = offered.Integ[0]
	}
	if t.Suite.Encr == crypto.EncrNullAESGMAC {
		offered.ESN = []crypto.ESNID{crypto.ESNNo}
	}
	child = ike.Child{Name: of.Name, Proposals: []crypto.Proposal{offered}, Start: ike.StartOnDemand, RekeyTime: manyLife, IdleTimeout: -1}
	for _, s := range of.Selectors {
		child.Selectors = append(child.Selectors, turnedSelector(s))
	}
	return child, t, t.between(of.Selectors)
}

// turnedSelector is one as the other end sees it.
func turnedSelector(s policy.Selector) policy.Selector {
	s.Local, s.Remote = s.Remote, s.Local
	s.LocalPort, s.RemotePort = s.RemotePort, s.LocalPort
	return s
}
