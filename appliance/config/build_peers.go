package config

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/ikev1"
)

const (
	minRekey = 10 * time.Second   // a shorter life is a typing error, and a flood of negotiations
	maxRekey = 7 * 24 * time.Hour // so that keys do change
	maxDelay = 24 * time.Hour

	minReauth = time.Minute

	minFragment = 576  // any IPv4 path carries that (RFC 7383, section 2.5.1)
	maxFragment = 9728 // the largest MTU of a port
)

// buildPeers makes the PAD (RFC 4301, section 4.4.3). The Child SAs come later, from the active policy.
func (b *builder) buildPeers() {
	names, pairs := map[string]string{}, map[identityPair]string{}
	b.keyOwners = map[[sha256.Size]byte]string{}
	b.peers = map[string]int{}
	b.config.plan.warned = max(1, len(b.raw.Peers))
	if b.raw.Lab {
		b.config.plan.warned = warnedInLab
	}
	for i := range b.raw.Peers {
		raw, key := &b.raw.Peers[i], fmt.Sprintf("peers[%d]", i)
		b.name(key+".name", raw.Name, names)
		b.peers[raw.Name] = i
		local, remote := netip.Addr(raw.Local), netip.Addr(raw.Remote)
		b.sameVersion(key, local, remote)
		b.endpoints(key, local, remote)
		peer := ike.Peer{
			Name: raw.Name, Version: raw.IKE, Local: local, Remote: remote, LocalID: raw.LocalID, RemoteID: raw.RemoteID,
			DPDDelay: orNever(b.delay(key+".dpd_delay", raw.DPDDelay)),
			PSK:      b.psk(key+".auth", fmt.Sprintf("peer %q", raw.Name), &raw.Auth),
			Legacy:   b.raw.Legacy,
		}
		b.identities(key, &peer, pairs)
		b.certificates(key+".auth", raw, &peer)
		b.ppk(key, raw, &peer)
		b.keyExchange(key, raw, &peer)
		b.mobility(key, raw, &peer)
		b.version(key, raw)
		if b.hasValue(key + ".reauth") {
			peer.ReauthTime = b.reauth(key+".reauth", raw.Reauth)
		}
		b.rekey(key+".child_rekey", raw.ChildRekey)
		b.delay(key+".idle_timeout", raw.IdleTimeout)
		peer.FragmentSize = b.fragmentSize(key+".fragment_size", raw.FragmentSize)
		b.within(key+".replay_window", raw.ReplayWindow, minReplay, maxReplay, "packets")
		b.config.plan.peers = append(b.config.plan.peers, peer)
	}
	if more := b.weakKeys - b.config.plan.warned; more > 0 {
		b.warn("peers with a weak preshared key that allow_weak_psk lets pass, beside these: %d", more)
	}
	b.weakKeys = 0 // that of the default response has its own line
}

// keyExchange gives a peer its IKE lifetime and proposals: its own, or those of the active policy (S-003).
func (b *builder) keyExchange(key string, raw *filePeer, peer *ike.Peer) {
	peer.RekeyTime = ike.DefaultIKERekey
	proposals := raw.IKEProposals
	if b.active >= 0 {
		active := &b.raw.Policies[b.active]
		peer.RekeyTime, peer.ChildLimit, peer.MasterPFS = active.KeyExchange.Lifetime, active.KeyExchange.ChildLimit, active.KeyExchange.MasterPFS
		if proposals == nil {
			proposals = active.KeyExchangeMethods
		}
	}
	if b.hasValue(key + ".ike_rekey") {
		peer.RekeyTime = b.rekey(key+".ike_rekey", raw.IKERekey)
	}
	b.someProposals(key+".ike_proposals", toProposals(raw.IKEProposals), raw.IKEProposals != nil)
	b.strength(key+".ike_proposals", fmt.Sprintf("peer %q", raw.Name), toProposals(raw.IKEProposals))
	if peer.IKEProposals = toProposals(proposals); len(proposals) == 0 {
		peer.IKEProposals = defaultIKEProposals(peer.Version)
	}
}

// defaultIKEProposals are those of a version. None: a peer of both gets those of either, by the engine of that.
func defaultIKEProposals(version ike.Version) []crypto.IKEProposal {
	switch version {
	case ike.V1:
		return ikev1.DefaultIKEProposals()
	case ike.V2:
		return crypto.DefaultIKEProposals()
	}
	return nil
}

// maxProposals is how many proposals a list has at most: all go into one message, and that of IKE's own cannot be fragmented.
const maxProposals = 32

// mobility reads whether an end may change its address (RFC 4555).
func (b *builder) mobility(key string, raw *filePeer, peer *ike.Peer) {
	peer.MOBIKE, peer.Redirect = raw.MOBIKE, raw.Redirect
	for i, additional := range raw.Additional {
		a := netip.Addr(additional)
		peer.Additional = append(peer.Additional, a)
		b.own(fmt.Sprintf("%s.additional_addresses[%d]", key, i), a)
	}
	if raw.MOBIKE && raw.LocalID.IsZero() {
		b.add(key+".local_id", "expected an identity that stays when the address changes, found none: without the key it is the address")
	}
}

// someProposals refuses a list that is there and empty, because no methods at all is not what one gets without the key, and one that goes on and on.
func (b *builder) someProposals(key string, proposals []crypto.Proposal, given bool) {
	switch n := len(proposals); {
	case given && n == 0:
		b.add(key, "expected at least one proposal, found none: without the key there are good ones")
	case n > maxProposals:
		b.add(key, "expected at most %d proposals, found %d: one proposal may hold several algorithms of each kind (aes128-aes256-sha256-sha384-ecp256)", maxProposals, n)
	}
	seen := map[string]int{}
	for i, p := range proposals[:min(len(proposals), maxProposals)] {
		text := p.String()
		if first, again := seen[text]; again && !b.anyWithin(key) {
			b.add(fmt.Sprintf("%s[%d]", key, i), "expected each proposal once, found %s, which is %s[%d] already", text, key, first)
		}
		seen[text] = i
	}
}

// endpoints checks the outer addresses of a peer's tunnels (S-005).
func (b *builder) endpoints(key string, local, remote netip.Addr) {
	b.own(key+".local", local)
	b.tunnelMTU(local)
	if remote.IsValid() && b.portOf(func(p netip.Prefix) bool { return p.Addr() == remote }) != nil {
		b.add(key+".remote", "expected the address of another gateway, found %s, which is this one's own", remote)
	}
	if remote.IsValid() && (!remote.IsGlobalUnicast() || remote.Is4() && remote.As4()[0] >= 240 || b.portOf(func(p netip.Prefix) bool { return isNetworkOrBroadcast(p, remote) }) != nil) {
		b.add(key+".remote", "expected the address of another gateway, found %s, which no host can have", remote)
	}
}

// tunnelMTU refuses tunnels over a port whose packets cannot hold what puts them into others, nor a message of IKE.
func (b *builder) tunnelMTU(local netip.Addr) {
	for i := range b.config.Ports {
		port := &b.config.Ports[i]
		if port.MTU < minMTUTunnel && slices.ContainsFunc(port.Addresses, func(p netip.Prefix) bool { return p.IsValid() && p.Addr() == local }) {
			b.add(fmt.Sprintf("ports[%d].mtu", i), "expected at least %d bytes on a port that tunnels begin at (local: %s), found %d", minMTUTunnel, local, port.MTU)
		}
	}
}

// own checks an address of the gateway itself.
func (b *builder) own(key string, local netip.Addr) {
	if local.IsValid() && !b.anyWithin("ports") && b.portOf(func(p netip.Prefix) bool { return p.Addr() == local }) == nil {
		var own []string
		for _, a := range b.config.Environment.LocalAddresses {
			own = append(own, a.String())
		}
		b.add(key, "expected an address of a port (%s), found %s", strings.Join(own, ", "), local)
	}
}

// identityPair is what tells one peer from another.
type identityPair struct {
	local, remote     netip.Addr
	localID, remoteID ike.Identity
}

// identities fills in the addresses where there are no identities, and refuses a peer that cannot be told from another.
func (b *builder) identities(key string, peer *ike.Peer, others map[identityPair]string) {
	if peer.LocalID.IsZero() && peer.Local.IsValid() {
		peer.LocalID = ike.AddressIdentity(peer.Local)
	}
	if peer.RemoteID.IsZero() && peer.Remote.IsValid() {
		peer.RemoteID = ike.AddressIdentity(peer.Remote)
	}
	pair := identityPair{peer.Local, peer.Remote, peer.LocalID, peer.RemoteID}
	if other, same := others[pair]; same && peer.Local.IsValid() && peer.Remote.IsValid() {
		b.add(key, "expected other addresses or identities than those of peer %q, found the same: the two cannot be told apart", other)
	}
	others[pair] = peer.Name
}

// perCore is how many workers have Child SAs of their own with the peer: no more than there are.
func (b *builder) perCore(key string, wanted perCore) int {
	workers := len(b.config.Dataplane.Workers)
	switch {
	case wanted == asManyAsWork:
		return workers
	case int(wanted) > workers:
		b.add(key, "expected at most one for each of dataplane.workers, %d, found %d: auto is as many as there are", workers, wanted)
	}
	return int(wanted)
}

func (b *builder) rekey(key string, d time.Duration) time.Duration {
	if d < minRekey || d > maxRekey {
		b.add(key, "expected a time from %s to %s, found %s", minRekey, maxRekey, d)
	}
	return d
}

// reauth checks the time between two authentications, whose zero means never. A shorter one than minReauth is a flood of Diffie-Hellman computations at both
// ends, and other gateways begin early by a fixed time.
func (b *builder) reauth(key string, d time.Duration) time.Duration {
	if d != 0 && (d < minReauth || d > maxRekey) {
		b.add(key, "expected 0s (never) or a time from %s to %s, found %s", minReauth, maxRekey, d)
	}
	return orNever(d)
}

// delay checks a time whose zero means never.
func (b *builder) delay(key string, d time.Duration) time.Duration {
	if d != 0 && d < time.Second || d > maxDelay {
		b.add(key, "expected 0s (never) or a time from 1s to %s, found %s", maxDelay, d)
	}
	return d
}

// orNever turns the zero of the file into the negative value by which package ike knows never.
func orNever(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// fragmentSize takes 0 for never, as lengths of time do.
func (b *builder) fragmentSize(key string, value int) int {
	if value == 0 {
		return -1
	}
	return b.within(key, value, minFragment, maxFragment, "bytes, or 0 for never")
}

// psk reads the preshared key of a peer and refuses weak ones (S-067). owners knows the peers by the digest of their keys.
func (b *builder) psk(key, user string, auth *fileAuth) crypto.Secret {
	if auth.PSKFile == "" {
		if b.has(key + ".psk_file") {
			b.add(key+".psk_file", "expected the name of a file that holds the preshared key, found nothing")
		}
		return crypto.Secret{}
	}
	psk, err := readPSK(b.path, auth.PSKFile, b.options.Machine.UID)
	if err != nil {
		b.add(key+".psk_file", "%s", err)
		return crypto.Secret{}
	}
	const allow = "; for a lab, auth.allow_weak_psk: true lets it pass"
	weakness := pskWeakness(psk.Bytes())
	digest := sha256.Sum256(psk.Bytes())
	if owner, shared := b.keyOwners[digest]; shared {
		weakness = fmt.Sprintf("expected a preshared key of its own, found that of %s: each of the two could pose as the other", owner)
	}
	b.keyOwners[digest] = user
	switch {
	case weakness != "" && !auth.AllowWeakPSK:
		b.add(key+".psk_file", "%s", weakness+allow)
	case weakness != "":
		if b.weakKeys++; b.weakKeys <= b.config.plan.warned {
			b.warn("%s has a weak preshared key, and allow_weak_psk lets it pass: %s", user, weakness)
		}
	}
	return psk
}
