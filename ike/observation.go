package ike

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// Observation is a message in clear: one of ours when it is sent for the first time, one of a peer's when it is taken. It is what the IKE log is written
// from (S-110).
type Observation struct {
	Time          time.Time
	Sent          bool
	Local, Remote netip.AddrPort
	Peer          string // empty as long as it is not known
	// Lines tells what the message is, and then of each payload what stands in it, a line each. It shows no key and nothing of what proves an identity,
	// and what a peer wrote cannot break a line. It is for as long as the call to Config.Observe lasts.
	Lines func() []string
}

// observe tells of a message of this IKE SA.
func (sa *ikeSA) observe(m *message, ours bool) {
	if sa.engine.cfg.Observe == nil {
		return
	}
	o := Observation{Time: sa.engine.now, Sent: ours, Local: sa.local, Remote: sa.remote, Peer: sa.peerName(), Lines: func() []string { return linesOf(&m.Message) }}
	if !ours {
		o.Local, o.Remote = m.local, m.remote
	}
	sa.engine.cfg.Observe(o)
}

func linesOf(m *wire.Message) []string {
	kind := "request"
	if m.Response() {
		kind = "response"
	}
	lines := []string{fmt.Sprintf("IKEv2 %v %s %d of IKE SA %016x %016x", m.Exchange, kind, m.MessageID, m.InitiatorSPI, m.ResponderSPI)}
	for _, p := range m.Payloads {
		line := p.String()
		if content := contentOf(p); content != "" {
			line += ": " + content
		}
		lines = append(lines, line)
	}
	return lines
}

// contentOf is what of a payload is for people: lengths in the place of what is secret, or nobody can read.
func contentOf(p wire.Payload) string {
	switch p := p.(type) {
	case *wire.SA:
		return describe(p.Proposals) + spisOf(p.Proposals)
	case *wire.KE:
		group := crypto.Transform{Type: crypto.TransformDH, ID: p.Group}.Keyword()
		return fmt.Sprintf("%s, %s", group, Octets(p.Data))
	case *wire.Nonce:
		return Octets(p.Data)
	case *wire.ID:
		return identityOf(p).String()
	case *wire.Auth:
		return fmt.Sprintf("%v, %s", p.Method, Octets(p.Data))
	case *wire.Cert:
		return fmt.Sprintf("%v, %s", p.Encoding, Octets(p.Data))
	case *wire.CertReq:
		return fmt.Sprintf("%v, %d authorities", p.Encoding, len(p.Authorities)/authorityLen)
	case *wire.TS:
		return describeEndpoints(endpoints(p))
	case *wire.Notify:
		text := Octets(p.Data)
		if len(p.SPI) > 0 {
			text = fmt.Sprintf("about %v SPI %x, %s", p.Protocol, p.SPI, text)
		}
		return text
	case *wire.Delete:
		return DescribeSPIs(p.SPIs)
	case *wire.VendorID:
		return DescribeVendor(p.Data)
	}
	return ""
}

// spisOf is what proposals carry as SPIs, which are the same in all of one message.
func spisOf(proposals []wire.Proposal) string {
	if len(proposals) == 0 || len(proposals[0].SPI) == 0 {
		return ""
	}
	return fmt.Sprintf(", SPI %x", proposals[0].SPI)
}

// Octets is the length of what is not shown.
func Octets(data []byte) string { return fmt.Sprintf("%d octets", len(data)) }

// DescribeSPIs lists SPIs of ESP and AH, as far as they fit a line.
func DescribeSPIs(spis []uint32) string {
	var texts []string
	for _, spi := range spis[:min(len(spis), maxDescribed)] {
		texts = append(texts, fmt.Sprintf("%08x", spi))
	}
	if more := len(spis) - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, ", ")
}

// DescribeVendor is a vendor ID whose name is not known: its first octets.
func DescribeVendor(data []byte) string {
	const longest = 32
	if len(data) > longest {
		return fmt.Sprintf("%x... of %s", data[:longest], Octets(data))
	}
	return fmt.Sprintf("%x", data)
}
