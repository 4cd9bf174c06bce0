package pipeline

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"sallyport/policy"
)

// everyForm is ESP, AH and bundles, in both modes over both IP versions.
func everyForm() []form {
	forms := []form{{suite: "aes128gcm16", udp: true}, {suite: "aes128-sha256", udp: true}}
	for i := range 4 {
		for _, f := range []form{{suite: "aes128gcm16"}, {suite: "aes128-sha256"}, {ah: "sha256"}, {suite: "aes128gcm16", ah: "sha1"}} {
			f.transport, f.outer6 = i&1 != 0, i&2 != 0
			forms = append(forms, f)
		}
	}
	return forms
}

// spiAt is where the outermost SPI of a packet of this form is.
func (f form) spiAt(packet []byte) int {
	at := headersOf(packet)
	switch {
	case f.udp:
		return at + udpHeaderLen
	case f.ah != "":
		return at + 4
	}
	return at
}

// S-063: every packet that is sent has the SPI of its own SA, also that of the ESP within AH, and one with any other is dropped, be it that
// of an SA of the other protocol. In transport mode a packet of nobody's SA is one of the hosts', and goes by the filters.
func TestSPIInEveryForm(t *testing.T) {
	for _, f := range everyForm() {
		t.Run(f.String(), func(t *testing.T) {
			r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
			version := f.versions()[0]
			out, in := r.formed(f, false), r.formed(f, true)
			r.outbound(out)
			sent := r.wantForward(lan, fromLAN(inner(version, 64, true)), wan)[etherHeaderLen:]
			if spi := binary.BigEndian.Uint32(sent[f.spiAt(sent):]); spi != out.outerSPI() {
				t.Errorf("SPI %#x on the wire, want %#x", spi, out.outerSPI())
			}
			if out.AH != nil {
				if spi := binary.BigEndian.Uint32(sent[headersOf(sent)+ahLen(out.AH.Suite, f.outer6):]); spi != out.SPI {
					t.Errorf("SPI %#x in AH, want %#x", spi, out.SPI)
				}
			}
			near := r.inbound(in)
			other := r.inbound(r.formed(f.opposite(), true))
			packet := near.encapsulate(inner(version, 64, false), 1)
			for bit := range 33 {
				forged := append([]byte(nil), packet...)
				at := forged[f.spiAt(forged):]
				binary.BigEndian.PutUint32(at, in.outerSPI()^uint32(1<<bit))
				if bit == 32 {
					binary.BigEndian.PutUint32(at, other.child.outerSPI())
				}
				if o, _ := r.check(wan, fromWAN(forged)); o.Reason != "no_inbound_sa" && !(f.transport && o.Reason == "clear_on_protected") {
					t.Errorf("SPI %#x in place of %#x: %+v", binary.BigEndian.Uint32(at), in.outerSPI(), o)
				}
			}
			r.wantForward(wan, fromWAN(packet), lan)
		})
	}
}

// opposite is the same with another protocol outside.
func (f form) opposite() form {
	if f.ah != "" {
		return form{suite: "aes128gcm16", transport: f.transport, outer6: f.outer6}
	}
	return form{ah: "sha256", transport: f.transport, outer6: f.outer6}
}

// S-065: the packet inside must be one of those that the SA is for: another protocol, port or, in tunnel mode, address than was
// negotiated is dropped in every form.
func TestSelectorsInEveryForm(t *testing.T) {
	for _, f := range everyForm() {
		t.Run(f.String(), func(t *testing.T) {
			r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6, allRule}})
			in := r.formed(f, true)
			for i := range in.Selectors {
				in.Selectors[i].Protocol, in.Selectors[i].LocalPort = protocolUDP, policy.PortRange{First: 5000, Last: 6000}
			}
			near := r.inbound(in)
			ends := func(inner []byte, reason string) {
				t.Helper()
				near.sequence++
				if o, _ := r.check(wan, fromWAN(near.encapsulate(inner, near.sequence))); o.Reason != reason {
					t.Errorf("% x: %+v, want %q", inner, o, reason)
				}
			}
			for _, version := range f.versions() {
				from, to, elsewhere := farHost, lanHost, netip.MustParseAddr("10.3.0.7")
				datagram := func(from, to netip.Addr, port uint16) []byte {
					if from.Is6() {
						return udp6(from, to, 1000, port, 8)
					}
					return udpPacket(from, to, 1000, port)
				}
				segment := []byte(tcp(farHost, lanHost))
				if version == 6 {
					from, to, elsewhere = farHost6, lanHost6, netip.MustParseAddr("2001:db8:3::7")
					segment = tcp6(farHost6, lanHost6)
				}
				ends(datagram(from, to, 5000), "")
				ends(datagram(from, to, 6000), "")
				ends(datagram(from, to, 4999), "selector_mismatch")
				ends(datagram(from, to, 6001), "selector_mismatch")
				ends(segment, "selector_mismatch")
				if !f.transport {
					ends(datagram(elsewhere, to, 5000), "selector_mismatch")
					ends(datagram(from, elsewhere, 5000), "selector_mismatch")
					ends(datagram(to, from, 5000), "selector_mismatch")
				}
			}
		})
	}
}

// S-065: filters say what of an SA's traffic is let in. The SA is for all between two networks, and of that TCP to port 445 only: port
// 80 is dropped once it is decrypted, and what is let in out of the SA is not let in without it.
func TestFiltersInEveryForm(t *testing.T) {
	toPort := func(packet []byte, port uint16) []byte {
		packet = append([]byte(nil), packet...)
		binary.BigEndian.PutUint16(packet[headersOf(packet)+2:], port)
		return packet
	}
	for _, f := range everyForm() {
		t.Run(f.String(), func(t *testing.T) {
			r := newRig6(t, rigOptions{rules: insideOnly(445)})
			near := r.inbound(r.formed(f, true))
			for _, version := range f.versions() {
				segment := []byte(tcp(farHost, lanHost))
				if version == 6 {
					segment = tcp6(farHost6, lanHost6)
				}
				near.sequence++
				r.wantForward(wan, fromWAN(near.encapsulate(toPort(segment, 445), near.sequence)), lan)
				near.sequence++
				r.wantDrop(wan, fromWAN(near.encapsulate(toPort(segment, 80), near.sequence)), "filter_block")
				r.wantDrop(wan, fromWAN(toPort(segment, 445)), "clear_on_protected")
			}
			blocked := uint64(0)
			for _, drops := range r.accounts().filters {
				blocked += drops["filter_block"]
			}
			if blocked != uint64(len(f.versions())) {
				t.Errorf("filters have blocked %d packets, want one of each IP version", blocked)
			}
		})
	}
}

// insideOnly is a policy that sends everything into the tunnel and lets in only TCP to one port.
func insideOnly(port uint16) (rules []rule) {
	for i, nets := range [][2]string{{"10.1.0.0/16", "10.2.0.0/16"}, {"2001:db8:1::/48", "2001:db8:2::/48"}} {
		rules = append(rules,
			rule{name: fmt.Sprint("out", i), source: nets[0], destination: nets[1], tunnel: "site", oneWay: true},
			rule{name: fmt.Sprint("in", i), source: nets[1], destination: nets[0], block: true, oneWay: true},
			rule{name: fmt.Sprint("only", i), source: nets[0], destination: nets[1], protocol: protocolTCP, from: policy.PortRange{First: port, Last: port}, tunnel: "site"})
	}
	return rules
}
