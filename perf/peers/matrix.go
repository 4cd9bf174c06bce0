package peers

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"sallyport/crypto"
	"sallyport/perf/lab"
)

// Case is one way to protect traffic that the kernel has, with keys given by hand.
type Case struct {
	Layers         []crypto.Suite // from the inside out: ESP, AH, or ESP with AH around it
	Transport      bool
	Inner6, Outer6 bool // IPv6; in transport mode there is only one header
	UDP            bool
	ESN            bool
	ReplayWindow   int    // 32 when 0
	Sequence       uint64 // both ends send their first packet with this number; 1 when 0
}

// Name says it all, for tests: "aes128gcm16-tunnel-4in6-esn".
func (c Case) Name() string {
	var parts []string
	for _, s := range c.Layers {
		if s.AH() {
			parts = append(parts, "ah")
		}
		parts = append(parts, s.String())
	}
	version := map[bool]string{false: "4", true: "6"}
	if c.Transport {
		parts = append(parts, "transport", version[c.Inner6])
	} else {
		parts = append(parts, "tunnel", version[c.Inner6]+"in"+version[c.Outer6])
	}
	for _, flag := range []struct {
		set  bool
		name string
	}{{c.UDP, "udp"}, {c.ESN, "esn"}, {c.ReplayWindow > 0, fmt.Sprint("window", c.ReplayWindow)}, {c.Sequence > 0, fmt.Sprintf("from%#x", c.Sequence)}} {
		if flag.set {
			parts = append(parts, flag.name)
		}
	}
	return strings.Join(parts, "-")
}

// suite reads a suite of the tables below: "ah-" stands before the integrity algorithm of AH.
func suite(text string) crypto.Suite {
	parse := crypto.ParseSuite
	name, isAH := strings.CutPrefix(text, "ah-")
	if isAH {
		parse = crypto.ParseAHSuite
	}
	s, err := parse(name)
	if err != nil {
		panic(err) // a word of this file
	}
	return s
}

func suites(names ...string) []crypto.Suite {
	var all []crypto.Suite
	for _, name := range names {
		all = append(all, suite(name))
	}
	return all
}

// espKinds has a suite for each way in which ciphers and integrity algorithms are put together.
var espKinds = []string{"aes256gcm16", "aes192ccm12", "aes128gmac", "chacha20poly1305", "aes128-sha256", "aes256ctr-aescmac", "3des-md5", "null-sha1"}

// beforeWrap is a sequence number from which a short test gets beyond 32 bits, and which is further from there than a replay window is
// long: what is behind the window's edge belongs to the cycle before (RFC 4303 appendix A2.2).
const beforeWrap = 1<<32 - 96

// CoreMatrix has a case of every kind.
func CoreMatrix() []Case {
	return []Case{
		{Layers: suites("aes256gcm16")},
		{Layers: suites("aes128ccm16")},
		{Layers: suites("aes192ctr-sha384")},
		{Layers: suites("chacha20poly1305"), ESN: true},
		{Layers: suites("aes256-sha512"), Inner6: true},
		{Layers: suites("3des-md5")},
		{Layers: suites("des-sha1"), Transport: true},
		{Layers: suites("null-sha256"), Transport: true},
		{Layers: suites("aes128gmac"), Outer6: true},
		{Layers: suites("aes128-aesxcbc"), UDP: true},
		{Layers: suites("aes128gcm8"), UDP: true, Inner6: true, ESN: true},
		{Layers: suites("aes128gcm16"), Inner6: true, Outer6: true, ESN: true, Sequence: beforeWrap},
		{Layers: suites("aes128-sha256"), ESN: true, Sequence: beforeWrap, ReplayWindow: 64},
		{Layers: suites("aes256-aescmac"), Transport: true, Inner6: true},
		{Layers: suites("ah-sha256")},
		{Layers: suites("ah-sha1"), Transport: true, ESN: true},
		{Layers: suites("ah-sha512"), Inner6: true, Outer6: true},
		{Layers: suites("ah-aesxcbc"), Transport: true, Inner6: true},
		{Layers: suites("aes128gcm16", "ah-sha256")},
		{Layers: suites("aes128-sha1", "ah-md5"), Transport: true},
		{Layers: suites("chacha20poly1305", "ah-aescmac"), Transport: true, Inner6: true, ESN: true},
	}
}

// FullMatrix has every algorithm that the kernel has, and every mode with each kind of algorithm.
func FullMatrix() []Case {
	all := CoreMatrix()
	add := func(c Case) {
		if !slices.ContainsFunc(all, func(other Case) bool { return other.Name() == c.Name() }) {
			all = append(all, c)
		}
	}
	for _, s := range crypto.Suites() {
		if KernelHas(s) {
			add(Case{Layers: []crypto.Suite{s}})
		}
	}
	for _, name := range []string{"md5", "sha1", "sha256", "sha384", "sha512", "aesxcbc", "aescmac"} {
		for _, c := range modes {
			c.Layers = suites("ah-" + name)
			add(c)
		}
	}
	for _, name := range espKinds {
		for _, c := range modes {
			for _, esn := range []bool{false, true} {
				c.Layers, c.ESN = suites(name), esn
				add(c)
			}
		}
		for _, outer6 := range []bool{false, true} {
			add(Case{Layers: suites(name), UDP: true, Outer6: outer6})
		}
		for i, c := range modes {
			c.Layers = suites(name, []string{"ah-sha256", "ah-sha1", "ah-aesxcbc"}[i%3])
			add(c)
		}
	}
	for _, name := range []string{"aes128gcm16", "aes128-sha256", "ah-sha384"} {
		for _, window := range []int{64, 256, 1024, kernelWindow} {
			add(Case{Layers: suites(name), ReplayWindow: window})
		}
		add(Case{Layers: suites(name), ESN: true, Sequence: beforeWrap})
	}
	return all
}

// kernelWindow is the longest replay window of the kernel, in packets (XFRMA_REPLAY_ESN_MAX).
const kernelWindow = 4096

// modes are tunnels in all combinations of IP versions, and transport mode in both versions.
var modes = []Case{
	{}, {Inner6: true}, {Outer6: true}, {Inner6: true, Outer6: true}, {Transport: true}, {Transport: true, Inner6: true, Outer6: true},
}

// Host is the address, in site B's LAN, of the host whose traffic the case with this number protects.
func (c Case) Host(b *lab.Site, number int) netip.Addr {
	if c.Inner6 {
		address := b.LAN6.Addr().As16()
		address[14], address[15] = 1, byte(number)
		return netip.AddrFrom16(address)
	}
	address := b.LAN.Addr().As4()
	address[3] = byte(firstHost + number)
	return netip.AddrFrom4(address)
}

// firstHost is the last octet of the first case's host, behind the lab's own addresses.
const firstHost = 20

// MaxCases is how many cases a guest may have at once.
const MaxCases = 200

// Tunnel is what site B, a guest, needs for the case with this number; site A has the same keys and SPIs the other way
// round. SPIs differ by number, layer and direction, keys by case.
func (c Case) Tunnel(a, b *lab.Site, number int) ManualTunnel {
	host, peer := c.Host(b, number), a.HostAddress
	if c.Inner6 {
		peer = a.HostAddress6
	}
	m := ManualTunnel{LocalNet: netip.PrefixFrom(host, host.BitLen()), RemoteNet: netip.PrefixFrom(peer, peer.BitLen()),
		Transport: c.Transport, UDP: c.UDP, ESN: c.ESN, ReplayWindow: c.ReplayWindow, Sequence: c.Sequence}
	switch {
	case c.Transport:
		m.Local, m.Remote = host, peer
	case c.Outer6:
		m.Local, m.Remote = b.WANAddress6, a.WANAddress6
	default:
		m.Local, m.Remote = b.WANAddress, a.WANAddress
	}
	for i, s := range c.Layers {
		id := uint32(number*2 + i)
		m.Layers = append(m.Layers, ManualLayer{Suite: s,
			Out: ManualSA{SPI: toGateway + id, Keymat: c.keymat(s, byte(2*i))},
			In:  ManualSA{SPI: toGuest + id, Keymat: c.keymat(s, byte(2*i+1))}})
	}
	return m
}

// SPIs of the first case, toward either end.
const (
	toGateway = 0x51000001
	toGuest   = 0x61000001
)

// keymat is key material of the length that the suite takes: no other case has it, because a gateway that has them one after the other would
// go on behind the numbers that the key has seen, and the layers and directions of a case differ.
func (c Case) keymat(s crypto.Suite, which byte) crypto.Secret {
	b := make([]byte, s.KeymatLen())
	seed := sha256.Sum256(append([]byte(c.Name()), which))
	rand.NewChaCha8(seed).Read(b)
	return crypto.NewSecret(b)
}
