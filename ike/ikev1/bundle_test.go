package ikev1

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/isakmp"
	"sallyport/policy"
)

// bundled has an end protect its child by AH around ESP, in tunnel mode or between the two gateways.
func bundled(t testing.TB, transport bool, texts ...string) func(*ike.Config) {
	return func(c *ike.Config) {
		p := &c.Peers[0]
		child := &p.Children[0]
		child.Bundle, child.Transport, child.Proposals = true, transport, childProposals(t, texts...)
		if transport {
			child.Selectors = []policy.Selector{{Local: policy.HostRange(p.Local), Remote: policy.HostRange(p.Remote), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}
		}
	}
}

// usualBundle is in tunnel mode.
func usualBundle(t testing.TB) func(*ike.Config) {
	return bundled(t, false, "aes128-sha256", "AH sha256")
}

// bundle insists on one at an end, of these algorithms.
func (n *end) bundle(suite, around string) {
	n.link.t.Helper()
	out := n.outbound[n.cells["net"]]
	in := n.inbound[out.PairSPI]
	for _, sa := range []ike.ChildSA{in, out} {
		if sa.AH == nil || sa.Protocol != crypto.ProtocolESP || sa.Suite.String() != suite || sa.AH.Suite.String() != around {
			n.link.t.Fatalf("%s has %+v, expected AH by %s around ESP by %s", n.name, sa, around, suite)
		}
	}
	if spis := append(spisOf(in), spisOf(out)...); spis[0] == spis[1] || spis[2] == spis[3] {
		n.link.t.Errorf("%s has SPIs %#x, expected one of AH and one of ESP each way", n.name, spis)
	}
}

// S-096: AH around ESP is negotiated under one proposal number, in both roles and modes, with perfect forward secrecy and without; both ends have two SAs
// each way, and say so.
func TestBundle(t *testing.T) {
	for _, c := range []struct {
		name      string
		transport bool
		a, b      []string
		suite, ah string
		said      string // of what is established
	}{
		{"tunnel mode", false, []string{"aes128-sha256", "AH sha256"}, nil, "aes128-sha256", "sha256", "AH by sha256 around aes128-sha256"},
		{"transport mode", true, []string{"aes128-sha256", "AH sha256"}, nil, "aes128-sha256", "sha256", "AH by sha256 around aes128-sha256"},
		{"a cipher with an ICV of its own", false, []string{"AH sha384", "aes256gcm16"}, nil, "aes256gcm16", "sha384", "AH by sha384 around aes256gcm16"},
		{"perfect forward secrecy", false, []string{"aes128-sha256-modp2048", "AH sha1"}, nil, "aes128-sha256", "sha1", "AH by sha1 around aes128-sha256-modp2048"},
		{"the same in transport mode", true, []string{"3des-sha1-ecp256", "AH md5"}, nil, "3des-sha1", "md5", "AH by md5 around 3des-sha1-ecp256"},
		{"extended sequence numbers", false, []string{"aes256gcm16-esn", "AH sha512-esn"}, nil, "aes256gcm16", "sha512", "AH by sha512-esn around aes256gcm16-esn"},
		{"GMAC around NULL", true, []string{"null-sha256", "AH aes128gmac"}, nil, "null-sha256", "aes128gmac", "AH by aes128gmac around null-sha256"},
		{"the second of each", false, []string{"aes256gcm16", "aes128-sha1", "AH sha512", "AH sha1"}, []string{"AH sha1", "aes128-sha1"}, "aes128-sha1", "sha1",
			"AH by sha1 around aes128-sha1"},
		{"the second group", false, []string{"aes128-sha1-modp2048-ecp256", "AH sha1"}, []string{"AH sha1", "aes128-sha1-ecp256"}, "aes128-sha1", "sha1",
			"AH by sha1 around aes128-sha1-ecp256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.b == nil {
				c.b = c.a
			}
			l := up(t, bundled(t, c.transport, c.a...), bundled(t, c.transport, c.b...))
			l.settled(1, 1)
			for _, n := range []*end{l.a, l.b} {
				n.bundle(c.suite, c.ah)
				n.expect(ike.ChildEstablished, "", 1)
				f := n.facts[slices.IndexFunc(n.facts, func(f ike.Fact) bool { return f.Kind == ike.ChildEstablished })]
				info := n.engine.Snapshot()[0].Children[0]
				out := n.outbound[n.cells["net"]]
				if f.Suite != c.said || f.AHSPIOut != out.AH.SPI || f.AHSPIIn == 0 || info.AHSPIIn != f.AHSPIIn || info.AHSPIOut != f.AHSPIOut || info.AHSuite != c.ah || info.Suite != c.suite {
					t.Errorf("%s tells of %+v and shows %+v", n.name, f, info)
				}
				if out.Transport != c.transport || out.ESN != out.AH.ESN {
					t.Errorf("%s has %+v", n.name, out)
				}
			}
		})
	}
}

// RFC 2409 5.5: KEYMAT of each SA is of its own protocol and SPI, and both have the nonces of the one quick mode.
func TestKeysOfABundle(t *testing.T) {
	l := join(t, usualBundle(t), usualBundle(t))
	l.begin()
	var quick *quickResponder
	for quick == nil {
		l.deliver(0)
		for _, sa := range l.b.engine.sas {
			for _, x := range sa.exchanges() {
				quick = x.task.(*quickResponder)
			}
		}
	}
	ni, nr, d := quick.ni, quick.nr, quick.sa.keys.d.Bytes()
	l.run()
	for _, n := range []*end{l.a, l.b} {
		out := n.outbound[n.cells["net"]]
		for _, sa := range []ike.ChildSA{out, n.inbound[out.PairSPI]} {
			for _, half := range []struct {
				protocol byte // RFC 2407 4.4.1
				spi      uint32
				key      crypto.Secret
			}{{2, sa.AH.SPI, sa.AH.Keymat}, {3, sa.SPI, sa.Keymat}} {
				var want, block []byte
				for len(want) < half.key.Len() {
					name := binary.BigEndian.AppendUint32([]byte{half.protocol}, half.spi)
					block = crypto.PRF(crypto.PRFHMACSHA256, d, block, name, ni, nr)
					want = append(want, block...)
				}
				if got := half.key.Bytes(); string(got) != string(want[:len(got)]) {
					t.Errorf("%s: protocol %d, SPI %#x has key %x, expected %x", n.name, half.protocol, half.spi, got, want[:len(got)])
				}
			}
		}
	}
}

// S-079: a bundle is renewed as a whole, by either end and by both at once, in whatever order messages come and with one that is lost; no packet is, and the
// former two SAs go at both ends.
func TestRekeyBundle(t *testing.T) {
	for seed := range byte(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			l := up(t, func(c *ike.Config) { usualBundle(t)(c); c.Random = seeded(10 + seed) }, usualBundle(t))
			l.advance(time.Minute)
			was := l.a.outbound[l.a.cells["net"]]
			switch seed % 3 {
			case 0:
				l.a.step(ike.Rekey{Peer: "b", Child: "net"})
			case 1:
				l.b.step(ike.Rekey{Peer: "a", Child: "net"})
			case 2:
				l.a.step(ike.Rekey{Peer: "b", Child: "net"})
				l.b.step(ike.Rekey{Peer: "a", Child: "net"})
			}
			l.shuffle(int(seed), int(seed))
			l.busy(2*time.Minute, 500*time.Millisecond)
			l.established()
			l.settled(1, 1)
			if is := l.a.outbound[l.a.cells["net"]]; is.SPI == was.SPI || is.AH.SPI == was.AH.SPI {
				t.Errorf("a sends by SPIs %#x and before by %#x", spisOf(is), spisOf(was))
			}
		})
	}
}

// Both ends begin at the same moment: one bundle is left, the same at both.
func TestBothBeginBundle(t *testing.T) {
	for seed := range byte(5) {
		l := join(t, func(c *ike.Config) { usualBundle(t)(c); c.Random = seeded(10 + seed) }, func(c *ike.Config) { usualBundle(t)(c); both(c) })
		l.begin()
		l.run()
		l.busy(2*time.Minute, time.Second)
		l.established()
		for _, n := range []*end{l.a, l.b} {
			if len(n.inbound) != 1 || len(n.allocated) != 2 {
				t.Errorf("%s has %d pairs and %d SPIs:\n%s", n.name, len(n.inbound), len(n.allocated), n.story())
			}
		}
	}
}

// A bundle comes up whichever of its messages is lost, comes twice, or comes after the next.
func TestBundleMishaps(t *testing.T) {
	for which := 1; which <= messages; which++ {
		for name, do := range map[string]func(p packet, held *packet) []packet{
			"lost":  func(packet, *packet) []packet { return nil },
			"twice": func(p packet, _ *packet) []packet { return []packet{p, p} },
			"late":  func(p packet, held *packet) []packet { *held = p; return nil },
		} {
			t.Run(fmt.Sprintf("%d %s", which, name), func(t *testing.T) {
				l := join(t, usualBundle(t), usualBundle(t))
				var held packet
				l.mishaps(func(n int, p packet) []packet {
					switch {
					case n == which:
						return do(p, &held)
					case n == which+1 && held.to != nil:
						return []packet{p, held}
					}
					return []packet{p}
				})
				l.comesUp()
			})
		}
	}
}

// An end of a bundle is told of both protocols, in one message; a peer that says so of one alone has none that is of any use.
func TestDeleteBundle(t *testing.T) {
	var lines []string
	l := up(t, usualBundle(t), func(c *ike.Config) {
		usualBundle(t)(c)
		c.Observe = func(o ike.Observation) { lines = o.Lines() }
	})
	l.a.step(ike.Terminate{Peer: "b", Child: "net"})
	l.run()
	if n := strings.Count(strings.Join(lines, "\n"), "D("); n != 2 || !strings.Contains(lines[len(lines)-2], "AH") || !strings.Contains(lines[len(lines)-1], "ESP") {
		t.Errorf("b is told %q, expected the end of both protocols", lines)
	}
	l.advance(10 * time.Second)
	l.settled(1, 0)

	for name, which := range map[string]func(c *childSA) isakmp.Payload{
		"AH":  func(c *childSA) isakmp.Payload { return isakmp.DeleteSAs(isakmp.ProtocolAH, c.around.spiIn) },
		"ESP": func(c *childSA) isakmp.Payload { return isakmp.DeleteSAs(isakmp.ProtocolESP, c.spiIn) },
	} {
		l := up(t, usualBundle(t), usualBundle(t))
		l.toB(l.a.sealed(t, isakmp.ExchangeInformational, 4711, rightHash(4711), which(l.a.engine.peers[0].slots[0].live())))
		l.advance(10 * time.Second)
		l.settledAt(l.b, 1, 0)
		l.b.expect(ike.ChildDeleted, ike.DeletedByPeer, 1)
		if t.Failed() {
			t.Fatalf("%s alone was deleted", name)
		}
	}
	// SPIs of one protocol are not those of the other.
	l = up(t, usualBundle(t), usualBundle(t))
	c := l.a.engine.peers[0].slots[0].live()
	l.toB(l.a.sealed(t, isakmp.ExchangeInformational, 4711, rightHash(4711), isakmp.DeleteSAs(isakmp.ProtocolAH, c.spiIn), isakmp.DeleteSAs(isakmp.ProtocolESP, c.around.spiIn)))
	l.established()
}

// Of a quick mode that fails nothing is left, of either protocol: the data plane refuses a half or has one SPI only, a limit has come or the peer does not
// answer any more.
func TestBundleFails(t *testing.T) {
	for name, fail := range map[string]func(n *end){
		"inbound": func(n *end) { n.refuseIn = true }, "outbound": func(n *end) { n.refuseOut = true },
	} {
		for _, which := range []string{"a", "b"} {
			t.Run(name+" at "+which, func(t *testing.T) {
				l := join(t, usualBundle(t), usualBundle(t))
				n := map[string]*end{"a": l.a, "b": l.b}[which]
				fail(n)
				l.begin()
				l.advance(3 * time.Minute)
				l.established()
				l.settled(1, 1)
				n.expect(ike.Failed, ike.FailInstall, 1)
			})
		}
	}
	for _, which := range []string{"a", "b"} {
		t.Run("one SPI at "+which, func(t *testing.T) {
			l := join(t, usualBundle(t), usualBundle(t))
			n := map[string]*end{"a": l.a, "b": l.b}[which]
			n.room = 1
			l.begin()
			l.run()
			n.expect(ike.Refused, ike.RefuseSPI, 1)
			l.settled(1, 0)
			n.room = 0
			l.advance(10 * time.Second)
			l.established()
		})
	}
	for after := range messages {
		t.Run(fmt.Sprintf("silence after %d", after), func(t *testing.T) {
			l := join(t, func(c *ike.Config) { usualBundle(t)(c); onDemand(c) }, usualBundle(t))
			l.begin()
			l.mishaps(func(n int, p packet) []packet {
				if n > after {
					return nil
				}
				return []packet{p}
			})
			l.a.step(ike.Initiate{Peer: "b"})
			l.advance(20 * time.Minute)
			l.settled(0, 0)
		})
	}
	t.Run("hard lifetime", func(t *testing.T) {
		l := up(t, usualBundle(t), usualBundle(t))
		l.b.step(ike.Expire{SPI: l.a.cells["net"], Hard: true})
		l.advance(10 * time.Second)
		l.established() // anew, for a keeps it up
		l.settled(1, 1)
		l.b.expect(ike.ChildDeleted, ike.DeletedExpired, 1)
	})
}

// What is not a bundle at both ends is not one at either: the proposals, and who has said so, stand in the failure.
func TestBundleAgainstOther(t *testing.T) {
	alone := func(texts ...string) func(*ike.Config) {
		return func(c *ike.Config) { c.Peers[0].Children[0].Proposals = childProposals(t, texts...) }
	}
	for _, c := range []struct {
		name string
		a, b func(*ike.Config)
		want string // said by b
	}{
		{"ESP alone", usualBundle(t), alone("aes128-sha256"), "peer offers AH by sha256 (tunnel) around aes128-sha256 (tunnel) without a KE payload; expected one of aes128-sha256 (tunnel)"},
		{"AH alone", usualBundle(t), alone("AH sha256"), "expected one of AH by sha256 (tunnel)"},
		{"one or the other", usualBundle(t), alone("aes128-sha256", "AH sha256"), "expected one of aes128-sha256 (tunnel), AH by sha256 (tunnel)"},
		{"a bundle with ESP alone", alone("aes128-sha256"), usualBundle(t), "expected one of AH by sha256 (tunnel) around aes128-sha256 (tunnel)"},
		{"a bundle with one or the other", alone("aes128-sha256", "AH sha256"), usualBundle(t), "expected one of AH by sha256 (tunnel) around aes128-sha256 (tunnel)"},
		{"other algorithms", usualBundle(t), bundled(t, false, "aes128-sha256", "AH sha1"), "expected one of AH by sha1 (tunnel) around aes128-sha256 (tunnel)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := join(t, c.a, c.b)
			l.begin()
			l.run()
			l.settled(1, 0)
			l.a.expect(ike.Failed, ike.FailProposal, 1)
			if f := l.b.engine.peers[0].failure[ike.RoleResponder]; f.Reason != ike.FailProposal || !strings.Contains(f.Detail, c.want) {
				t.Errorf("b says %q, expected %q", f.Detail, c.want)
			}
		})
	}
}

// A peer that answers a bundle by half of it, by SPIs that are none or are in use, or with the two halves in another order: only the last is a bundle.
func TestHalfAnswered(t *testing.T) {
	spi := func(value uint32) []byte { return binary.BigEndian.AppendUint32(nil, value) }
	for _, c := range []struct {
		name   string
		change func(sa *isakmp.SA)
		taken  bool
	}{
		{"as it is", func(*isakmp.SA) {}, true},
		{"ESP first", func(sa *isakmp.SA) { slices.Reverse(sa.Proposals) }, true},
		{"one SPI for both", func(sa *isakmp.SA) { sa.Proposals[0].SPI = sa.Proposals[1].SPI }, true},
		{"without AH", func(sa *isakmp.SA) { sa.Proposals = sa.Proposals[1:] }, false},
		{"without ESP", func(sa *isakmp.SA) { sa.Proposals = sa.Proposals[:1] }, false},
		{"AH twice", func(sa *isakmp.SA) { sa.Proposals[1] = sa.Proposals[0] }, false},
		{"under two numbers", func(sa *isakmp.SA) { sa.Proposals[1].Number++ }, false},
		{"a reserved SPI of AH", func(sa *isakmp.SA) { sa.Proposals[0].SPI = spi(255) }, false},
		{"AH by another algorithm", func(sa *isakmp.SA) {
			p := isakmp.Phase2{Encapsulation: isakmp.EncapsulationTunnel, Auth: isakmp.AuthHMACSHA1}
			sa.Proposals[0].Transforms = []isakmp.Transform{p.Transform(1, uint8(isakmp.AHSHA1))}
		}, false},
		{"AH in the other mode", func(sa *isakmp.SA) {
			p := isakmp.Phase2{Encapsulation: isakmp.EncapsulationTransport, Auth: isakmp.AuthHMACSHA256, Lifetime: isakmp.Lifetime{Seconds: 3960}}
			sa.Proposals[0].Transforms = []isakmp.Transform{p.Transform(1, uint8(isakmp.AHSHA256))}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := join(t, usualBundle(t), usualBundle(t))
			a := &liar{end: l.b, chains: map[uint32][]byte{}, counts: map[uint32]int{}, nonces: map[uint32][]byte{}}
			a.change = func(kind isakmp.ExchangeType, number int, rest []byte) []byte {
				if kind != isakmp.ExchangeQuick || number != 2 {
					return nil
				}
				return withSA(t, rest, c.change)
			}
			l.twist = a.twist
			l.begin()
			l.run()
			established := 0
			if c.taken {
				established = 1
			}
			l.a.expect(ike.ChildEstablished, "", established)
			l.settledAt(l.a, 1, established)
			if f := l.a.engine.peers[0].failure[ike.RoleInitiator]; !c.taken && f.Reason != ike.FailProposal {
				t.Errorf("a says %v %q", f.Reason, f.Detail)
			}
		})
	}
}

// withSA changes the SA payload of a message of quick mode, which comes first.
func withSA(t testing.TB, rest []byte, change func(*isakmp.SA)) []byte {
	t.Helper()
	chain, err := isakmp.ParsePayloads(isakmp.PayloadSA, rest)
	if err != nil {
		t.Fatal(err)
	}
	sa := &isakmp.SA{Proposals: chain.Payloads[0].(*isakmp.SA).Proposals} // not as it came
	change(sa)
	chain.Payloads[0] = sa
	_, changed, err := isakmp.MarshalPayloads(chain.Payloads)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// A quick mode whose AH has the SPI of another SA of the peer's is refused: a delete would not say which of them it means.
func TestBundleSPIInUse(t *testing.T) {
	l := up(t, usualBundle(t), usualBundle(t))
	a := &liar{end: l.a, chains: map[uint32][]byte{}, counts: map[uint32]int{}, nonces: map[uint32][]byte{}}
	used := l.a.engine.peers[0].slots[0].live().around.spiIn
	a.change = func(kind isakmp.ExchangeType, number int, rest []byte) []byte {
		if kind != isakmp.ExchangeQuick || number != 1 {
			return nil
		}
		return withSA(t, rest, func(sa *isakmp.SA) { sa.Proposals[0].SPI = binary.BigEndian.AppendUint32(nil, used) })
	}
	l.twist = a.twist
	l.a.step(ike.Rekey{Peer: "b", Child: "net"})
	l.run()
	if f := l.b.engine.peers[0].failure[ike.RoleResponder]; !strings.Contains(f.Detail, fmt.Sprintf("peer's SPI %#08x of AH is in use", used)) {
		t.Errorf("b says %q", f.Detail)
	}
	l.established()
	l.settledAt(l.b, 1, 1)
}

// S-091: a bundle does not cross a NAT, and both ends say why.
func TestBundleAcrossNAT(t *testing.T) {
	l := join(t, usualBundle(t), usualBundle(t))
	l.nat = func(from netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(from.Addr(), 1000+from.Port()) }
	l.begin()
	l.run()
	l.settled(1, 0)
	if f := l.a.engine.peers[0].failure[ike.RoleInitiator]; f.Reason != ike.FailProposal || f.Detail != ike.NoAHAcrossNAT {
		t.Errorf("a says %v %q", f.Reason, f.Detail)
	} else if f.Attempt == nil || f.Attempt.Sent != 0 || f.Attempt.Ours.Local != nil {
		t.Errorf("a shows what it has never said: %+v", f.Attempt)
	}
	l = join(t, nil, usualBundle(t))
	l.nat = func(from netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(from.Addr(), 1000+from.Port()) }
	l.begin()
	l.run()
	if f := l.b.engine.peers[0].failure[ike.RoleResponder]; f.Reason != ike.FailProposal || !strings.HasSuffix(f.Detail, "("+ike.NoAHAcrossNAT+")") {
		t.Errorf("b says %v %q", f.Reason, f.Detail)
	}
}

// A child that becomes a bundle, or is one no more, is negotiated anew.
func TestReconfigureBundle(t *testing.T) {
	l := up(t, usualBundle(t), usualBundle(t))
	plain := func(c *ike.Config) { c.Peers[0].Children[0].Proposals = childProposals(t, "aes128-sha256") }
	for _, change := range []func(*ike.Config){plain, usualBundle(t)} {
		a, b := sideA(t), sideB(t)
		change(&a)
		change(&b)
		l.a.step(ike.Reconfigure{Peers: a.Peers})
		l.b.step(ike.Reconfigure{Peers: b.Peers})
		l.advance(time.Minute)
		l.established()
		l.settled(1, 1)
	}
	l.a.bundle("aes128-sha256", "sha256")
}
