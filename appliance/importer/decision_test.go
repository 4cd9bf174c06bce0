package importer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"sallyport/policy"
)

// sourceFilter is a filter as Windows would hold it, for an oracle that knows nothing of the importer.
type sourceFilter struct {
	source, destination netip.Prefix // not valid: me
	protocol            uint8
	sourcePort, port    uint16
	mirrored            bool
	action              string
	ports               policy.PortGroup
}

// generate writes a random script of up to 12 rules, and the filters that it stands for. Addresses are few, so that
// filters meet.
func generate(r *rand.Rand) (string, []sourceFilter) {
	var script strings.Builder
	var filters []sourceFilter
	script.WriteString("pushd ipsec static\nadd policy name=p assign=yes\n")
	for i := range 1 + r.IntN(12) {
		action := []string{"permit", "block", "negotiate"}[r.IntN(3)]
		connection := []string{"all", "lan", "dialup"}[r.IntN(3)]
		fmt.Fprintf(&script, "add filteraction name=a%d action=%s\n", i, action)
		for range 1 + r.IntN(3) {
			f := sourceFilter{action: action, mirrored: r.IntN(3) > 0, ports: policy.PortsAll}
			if action != "negotiate" { // which holds for all ports, with a note
				f.ports = map[string]policy.PortGroup{"all": policy.PortsAll, "lan": policy.PortsLAN, "dialup": policy.PortsWAN}[connection]
			}
			f.source, f.destination = side(r), side(r)
			fmt.Fprintf(&script, "add filter filterlist=l%d mirrored=%t %s %s", i, f.mirrored, writeSide("src", f.source), writeSide("dst", f.destination))
			f.protocol = []uint8{0, 1, 6, 17}[r.IntN(4)]
			fmt.Fprintf(&script, " protocol=%d", f.protocol)
			if f.protocol >= 6 {
				f.sourcePort, f.port = []uint16{0, 1024}[r.IntN(2)], []uint16{0, 80, 443}[r.IntN(3)]
				fmt.Fprintf(&script, " srcport=%d dstport=%d", f.sourcePort, f.port)
			}
			script.WriteString("\n")
			filters = append(filters, f)
		}
		fmt.Fprintf(&script, "add rule name=r%d policy=p filterlist=l%d filteraction=a%d conntype=%s\n", i, i, i, connection)
	}
	return strings.NewReplacer("=true", "=yes", "=false", "=no").Replace(script.String()), filters
}

func writeSide(tag string, p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return tag + "addr=me"
	case p.Bits() == 0:
		return tag + "addr=any"
	}
	return fmt.Sprintf("%saddr=%s %smask=%d", tag, p.Addr(), tag, p.Bits())
}

func side(r *rand.Rand) netip.Prefix {
	if r.IntN(3) == 0 {
		return netip.Prefix{}
	}
	bits := []int{0, 8, 16, 24, 32}[r.IntN(5)]
	p, _ := randomAddress(r).Prefix(bits)
	return p
}

func randomAddress(r *rand.Rand) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(r.IntN(2)), byte(r.IntN(2)), byte(1 + r.IntN(2))})
}

// decide is what the source does with a packet: of the filters that match, the one with most of the address fixed, then
// with a protocol, then with ports; among equal ones the most restrictive action. Without any the gateway blocks.
func decide(filters []sourceFilter, own []netip.Addr, p policy.Packet, port policy.PortGroup) string {
	best, decision := -1, "block"
	for i := range filters {
		f := &filters[i]
		if f.ports&port == 0 {
			continue
		}
		forward := f.matches(own, p.Source, p.Destination, p.SourcePort, p.DestinationPort, p)
		backward := (f.mirrored || f.action == "negotiate") && f.matches(own, p.Destination, p.Source, p.DestinationPort, p.SourcePort, p)
		if !forward && !backward {
			continue
		}
		weight := f.weight()*4 + map[string]int{"permit": 0, "negotiate": 1, "block": 2}[f.action]
		if weight > best {
			best, decision = weight, f.action
		}
	}
	return decision
}

func (f *sourceFilter) matches(own []netip.Addr, source, destination netip.Addr, sourcePort, port uint16, p policy.Packet) bool {
	within := func(prefix netip.Prefix, a netip.Addr) bool {
		if prefix.IsValid() {
			return prefix.Contains(a)
		}
		for _, each := range own {
			if each == a {
				return true
			}
		}
		return false
	}
	return within(f.source, source) && within(f.destination, destination) && (f.protocol == 0 || f.protocol == p.Protocol) &&
		(f.sourcePort == 0 || f.sourcePort == sourcePort) && (f.port == 0 || f.port == port)
}

func (f *sourceFilter) weight() int {
	bits := func(p netip.Prefix) int {
		if p.IsValid() {
			return p.Bits()
		}
		return 32
	}
	weight := (bits(f.source) + bits(f.destination)) * 1000
	if f.protocol != 0 {
		weight += 100
	}
	for _, port := range []uint16{f.sourcePort, f.port} {
		if port != 0 {
			weight += 16
		}
	}
	return weight
}

// The imported policy decides as the source would: 200 random scripts, 1000 packets each.
func TestImportDecidesAsTheSource(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 11))
	imported, matched := 0, 0
	for range 200 {
		script, filters := generate(r)
		result, err := Netsh("script", []byte(script))
		if err != nil {
			t.Fatalf("%v\n%s", err, script)
		}
		imported++
		c := mustParse(t, result)
		own := c.Environment.LocalAddresses
		for range 1000 {
			p := policy.Packet{Source: packetAddress(r, own), Destination: packetAddress(r, own), Protocol: []uint8{1, 6, 17, 50}[r.IntN(4)]}
			if p.HasPorts = p.Protocol == 6 || p.Protocol == 17; p.HasPorts {
				p.SourcePort, p.DestinationPort = []uint16{1024, 80, 443, 5000}[r.IntN(4)], []uint16{1024, 80, 443, 5000}[r.IntN(4)]
			}
			port := []policy.PortGroup{policy.PortsLAN, policy.PortsWAN}[r.IntN(2)]
			want, got := decide(filters, own, p, port), "block"
			if e, ok := c.SPD.Match(p, port); ok {
				matched++
				got = map[policy.Verdict]string{policy.VerdictProtect: "negotiate", policy.VerdictRequire: "negotiate", policy.VerdictPermit: "permit"}[e.Verdict]
				if got == "" {
					got = "block"
				}
			}
			if got != want {
				t.Fatalf("packet %+v on %s: the import decides %s, the source %s\n%s\n%s", p, port, got, want, script, result.YAML)
			}
		}
	}
	t.Logf("%d scripts, %d packets matched a filter", imported, matched)
}

func packetAddress(r *rand.Rand, own []netip.Addr) netip.Addr {
	if r.IntN(3) == 0 {
		return own[r.IntN(len(own))]
	}
	return randomAddress(r)
}
