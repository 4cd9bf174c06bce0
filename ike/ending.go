package ike

import (
	"reflect"
	"slices"
)

// Ending is a child whose SAs Reconfigure ends.
type Ending struct{ Peer, Child, Why string }

// Endings says which children lose their SAs when Reconfigure replaces one list of peers by another: it is told beforehand what
// reconfigure will do. The IKE SAs with a peer that moves keep them when an address changes (SAInfo.MOBIKE).
func Endings(old, configured []Peer, moves func(peer string) bool) []Ending {
	var endings []Ending
	for _, was := range old {
		was = was.withDefaults()
		i := slices.IndexFunc(configured, func(p Peer) bool { return p.Name == was.Name })
		var is Peer
		if i >= 0 {
			is = configured[i].withDefaults()
		}
		for _, c := range was.Children {
			why := "its peer is negotiated with no longer"
			if i >= 0 {
				why = endingOf(was, is, c, moves)
			}
			if why != "" {
				endings = append(endings, Ending{Peer: was.Name, Child: c.Name, Why: why})
			}
		}
	}
	return endings
}

// endingOf is why the SAs of a child of a peer that stays end, empty if they do not. The peers have their defaults.
func endingOf(was, is Peer, c Child, moves func(peer string) bool) string {
	moved := was.Local != is.Local || was.Remote != is.Remote
	switch {
	case !sameIdentity(was, is):
		return "its peer changed: " + identityChange(was, is)
	case moved && !moves(was.Name):
		return "its peer changed: addresses, and it does not support that (mobike)"
	}
	i := slices.IndexFunc(is.Children, func(other Child) bool { return other.Name == c.Name })
	switch {
	case i < 0:
		return "no rule of the policy needs it any longer"
	case sameProtection(c, is.Children[i]):
		return ""
	case !covers(c.Selectors, is.Children[i].Selectors) || !covers(is.Children[i].Selectors, c.Selectors):
		return "it protects other traffic (selectors)"
	case c.Transport != is.Children[i].Transport:
		return "it is protected otherwise (mode)"
	}
	return "it is protected otherwise (proposals)"
}

// identityChange names the first difference between two configurations of a peer.
func identityChange(was, is Peer) string {
	switch {
	case (was.Local != is.Local || was.Remote != is.Remote) && !(was.MOBIKE && is.MOBIKE):
		return "addresses"
	case was.Version != is.Version:
		return "version of IKE"
	case was.LocalID != is.LocalID || was.RemoteID != is.RemoteID:
		return "identities"
	case !was.PSK.Equal(is.PSK):
		return "preshared key"
	case !was.PPK.Equal(is.PPK):
		return "postquantum preshared key"
	case was.LocalAuth != is.LocalAuth || was.RemoteAuth != is.RemoteAuth:
		return "authentication method"
	case !stillTrusts(was, is):
		return "trusted authorities"
	case !reflect.DeepEqual(was.IKEProposals, is.IKEProposals):
		return "IKE proposals"
	}
	return "other settings"
}
