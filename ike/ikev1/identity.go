package ikev1

import (
	"strings"

	"sallyport/ike"
	"sallyport/ike/isakmp"
	"sallyport/ike/wire"
)

// identityPayload is who we are, in messages 5 and 6 of main mode. Both versions of IKE number the kinds of identities alike. Protocol and port stay
// zero, as RFC 2407 4.6.2 lets them: after a change of ports neither 500 nor 4500 would be right.
func identityPayload(id ike.Identity) *isakmp.ID {
	return &isakmp.ID{Type: isakmp.IDType(id.Type), Data: []byte(id.Data)}
}

// identityOf is who a peer says to be. A network is nobody: it is equal to no identity that is configured.
func identityOf(p *isakmp.ID) ike.Identity {
	return ike.Identity{Type: wire.IDType(p.Type), Data: string(p.Data)}
}

// identify finds the peer that calls itself so among those that may be at its address and prove themselves by the method that was chosen; a template of the
// default response rule, which stands behind the peers, is anybody who is a host.
func identify(among []*ike.Peer, method isakmp.AuthMethod, id *isakmp.ID) (*ike.Peer, error) {
	found := identityOf(id)
	var expected []string
	for _, p := range among {
		if !proves(p, method) {
			continue
		}
		if found.Equal(p.RemoteID) || p.RemoteID.IsZero() && isHost(id) {
			return p, nil
		}
		if len(expected) < maxDescribed {
			expected = append(expected, describePeer(p))
		}
	}
	if len(expected) == 0 {
		return nil, failf(ike.AuthOtherMethod, "peer is %v and proves itself by %v, by which nobody is expected at its address", found, method)
	}
	return nil, failf(ike.AuthIdentity, "peer is %v, expected %s", found, strings.Join(expected, ", or "))
}
