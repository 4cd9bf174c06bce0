package config

import (
	"math"
	"slices"
	"time"

	"sallyport/ike"
)

const (
	minHalfOpenTime = time.Second // a round trip with a slow peer, and its computations
	maxHalfOpenTime = 5 * time.Minute
)

// limits checks what bounds IKE (S-084 to S-088).
func (b *builder) limits() {
	raw := &b.raw.IKE.Limits
	limits := &b.config.Limits
	for _, l := range []struct {
		key       string
		value     int
		low, high int
		unit      string
		limit     *int
	}{
		{ike.LimitHalfOpen, raw.HalfOpen, 16, 1e6, "IKE SAs", &limits.HalfOpen},
		{ike.LimitHalfOpenPerAddress, raw.HalfOpenPerAddress, 2, 1e5, "IKE SAs", &limits.HalfOpenPerAddress},
		{ike.LimitHalfOpenPerPort, raw.HalfOpenPerPort, 2, 1e5, "IKE SAs", &limits.HalfOpenEstablished},
		{ike.LimitCookieThreshold, raw.CookieThreshold, 0, 1e6, "IKE SAs", &limits.CookieThreshold},
		{ike.LimitRate, raw.Rate, 1, 1e6, "a second", &limits.Inits},
		{ike.LimitRatePerPrefix, raw.RatePerPrefix, 1, 1e6, "a second", &limits.InitsPerPrefix},
		{ike.LimitRatePerAddress, raw.RatePerAddress, 1, 1e6, "a second", &limits.ProvenInits},
		{ike.LimitRateOfStrangers, raw.RateOfStrangers, 1, 1e6, "a second", &limits.StrangerInits},
		{ike.LimitEstablished, raw.MaxEstablished, 1, 1e6, "IKE SAs", &limits.Established},
		{ike.LimitEstablishedPerPeer, raw.MaxEstablishedPerPeer, 2, 1e5, "IKE SAs", &limits.IKEPerPeer},
		{ike.LimitChildren, raw.MaxChildren, 1, 1e6, "Child SAs", &limits.Children},
		{ike.LimitChildrenPerPeer, raw.MaxChildrenPerPeer, 1, 1e6, "Child SAs", &limits.ChildrenPerPeer},
		{ike.LimitChildrenPerIKE, raw.MaxChildrenPerIKESA, 2, 1e5, "Child SAs", &limits.ChildrenPerIKE},
		{ike.LimitChildrenPerRule, raw.MaxChildrenPerRule, 2, 1e5, "Child SAs", &limits.ChildrenPerChild},
		{ike.LimitRequestsPerPeer, raw.RequestsPerPeer, 1, 1e6, "a second", &limits.Requests},
		{ike.LimitDynamicPeers, raw.DynamicPeers, 1, 60000, "peers", &limits.Dynamic},
		{ike.LimitChecks, raw.CertificateChecks, 2, 1e5, "checks", &limits.Checks},
		{ike.LimitChecksPerPeer, raw.CertificateChecksPerPeer, 1, 1e5, "checks", &limits.ChecksPerPeer},
		{ike.LimitFragmentKB, raw.FragmentKB, 64, 1 << 20, "KiB", &limits.FragmentOctetsAll},
		{ike.LimitUnprotectedReplies, raw.RepliesToStrangers, 1, 1e5, "a second", &limits.UnprotectedReplies},
	} {
		*l.limit = b.within("ike.limits."+l.key, l.value, l.low, l.high, l.unit)
	}
	limits.FragmentOctetsAll = min(limits.FragmentOctetsAll, math.MaxInt>>10) << 10
	if limits.HalfOpenTimeout = raw.HalfOpenTimeout; raw.HalfOpenTimeout < minHalfOpenTime || raw.HalfOpenTimeout > maxHalfOpenTime {
		b.add("ike.limits.half_open_timeout", "expected a time from %s to %s, found %s", minHalfOpenTime, maxHalfOpenTime, raw.HalfOpenTimeout)
	}
	b.limitsTogether()
	if limits.CookieThreshold == 0 { // which stands for the default elsewhere
		limits.CookieThreshold = -1
	}
}

// limitsTogether checks limits that mean nothing by themselves, or beside which others do. One that is wrong by itself says nothing about others.
func (b *builder) limitsTogether() {
	raw := &b.raw.IKE.Limits
	good := func(keys ...string) bool {
		return !slices.ContainsFunc(keys, func(key string) bool { return b.anyWithin("ike.limits." + key) })
	}
	if most := raw.HalfOpen - raw.HalfOpen/4; raw.HalfOpenPerAddress > most && good(ike.LimitHalfOpen, ike.LimitHalfOpenPerAddress) {
		b.add("ike.limits.half_open_per_address", "expected at most three quarters of ike.limits.half_open, %d, found %d: one address would keep all others out", most, raw.HalfOpenPerAddress)
	}
	if raw.CookieThreshold >= raw.HalfOpenPerAddress && good(ike.LimitCookieThreshold, ike.LimitHalfOpenPerAddress) {
		b.add("ike.limits.cookie_threshold", "expected less than ike.limits.half_open_per_address, %d, found %d: whoever forges a peer's address would take all its places before a cookie is demanded",
			raw.HalfOpenPerAddress, raw.CookieThreshold)
	}
	if peers := len(b.raw.Peers); raw.MaxEstablished < peers && good(ike.LimitEstablished) {
		b.add("ike.limits.max_established", "expected at least %d, one for each peer of this file, found %d", peers, raw.MaxEstablished)
	}
}
