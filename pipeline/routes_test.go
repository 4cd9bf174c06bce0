package pipeline

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// Routes by the longest prefix, as the naive lookup finds them, from the default route to those of one host. TestIPv6Routes is the same for IPv6.
func TestIPv4Routes(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 4))
	o := rigOptions{rules: []rule{allRule}}
	benchmarking := netip.MustParsePrefix("198.18.0.0/15") // RFC 2544 appendix C.2.2: no port's subnet
	seen := map[netip.Prefix]bool{}
	address := func() netip.Addr {
		// few bits differ, so that prefixes lie within each other
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 0xc6120000|random.Uint32()&random.Uint32()&0x1ffff)))
	}
	for len(o.routes) < 200 {
		p := netip.PrefixFrom(address(), benchmarking.Bits()+random.IntN(33-benchmarking.Bits())).Masked()
		if !seen[p] {
			seen[p] = true
			o.routes = append(o.routes, Route{To: p, Via: []netip.Addr{peer, lanHost}[random.IntN(2)]})
		}
	}
	r := newRig6(t, o)
	ports := map[int]int{}
	for range 2000 {
		to := address()
		key, _ := nextHop(r.ref.routes, to)
		r.wantForward(lan, fromHost(tcp(lanHost, to)), key.Port)
		ports[key.Port]++
	}
	if len(ports) != 2 {
		t.Errorf("packets left by ports %v, want both", ports)
	}
}
