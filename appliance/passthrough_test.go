package appliance

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"sallyport/appliance/api"
	"sallyport/ike"
)

// passing is a site whose second port is a protected one too, with a peer on it that may send in clear until its tunnel is up (S-026).
func passing(filter string) string {
	return strings.NewReplacer("role: unprotected", "role: protected", "start: always", "start: on-demand",
		"{source: 10.1.0.0/24, destination: 10.2.0.0/24}", filter,
		"action: negotiate,", "action: negotiate, inbound_passthrough: true,", "peer: far}", "peer: far, ports: lan}",
	).Replace(siteA())
}

// speaking has a site speak a version of IKE with its peer.
func speaking(version ike.Version, text string) string {
	if version != ike.V2 {
		text = strings.Replace(text, "aes128gcm16-prfsha256-ecp256", "aes128-sha256-ecp256", 1)
	}
	return strings.Replace(text, "{name: far, ", "{name: far, ike: "+version.String()+", ", 1)
}

// inject puts a packet in clear on the wire to a gateway's second port.
func (r *rig) inject(g *rigGateway, source, destination string, protocol uint8, body []byte) {
	frame := ipv4Frame(g.ports[rigWAN].mac, netip.MustParseAddr(source), netip.MustParseAddr(destination), protocol, body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, injection{g, rigWAN, frame})
}

// tcpHeader is a segment without data.
func tcpHeader(source, destination uint16, flags byte) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, source)
	binary.BigEndian.PutUint16(b[2:], destination)
	b[12], b[13] = 5<<4, flags
	return b
}

// S-026: with inbound pass-through a clear SYN of the client is forwarded to the server, whose SYN-ACK is held and starts IKE, and goes through the tunnel;
// once the two IPsec SAs are there no clear packet of the client comes in any more.
func TestInboundPassthrough(t *testing.T) {
	for _, version := range []ike.Version{ike.V2, ike.V1} {
		t.Run(version.String(), func(t *testing.T) { testInboundPassthrough(t, version) })
	}
}

func testInboundPassthrough(t *testing.T, version ike.Version) {
	r := newRig(t, speaking(version, passing("{source: 10.1.0.0/24, destination: 10.2.0.0/24}")), speaking(version, siteB()))
	a, b := r.gateways[0], r.gateways[1]
	const syn, synAck = 0x02, 0x12
	refused := func() uint64 { return a.plane.Counters().Ports[rigWAN].Drops["clear_on_protected"] }
	r.inject(a, "10.2.0.7", "10.1.0.7", 6, tcpHeader(40000, 80, syn))
	eventually(t, "the server to get the SYN", func() bool { return len(r.received(a)) == 1 })
	if sad := get[api.SAD](r, a, api.PathSAD); len(sad.MainMode) != 0 || refused() != 0 {
		t.Errorf("before the answer: %+v, %d dropped", sad, refused())
	}
	r.mu.Lock()
	answer := ipv4Frame(a.ports[rigLAN].mac, netip.MustParseAddr("10.1.0.7"), netip.MustParseAddr("10.2.0.7"), 6, tcpHeader(80, 40000, synAck))
	r.waiting = append(r.waiting, injection{a, rigLAN, answer})
	r.mu.Unlock()
	eventually(t, "the client to get the SYN-ACK", func() bool { return len(r.received(b)) == 1 })
	r.mu.Lock()
	if p := r.arrived[b.cfg.Name][0]; p.protocol != 6 || p.packet[33] != synAck {
		t.Errorf("the client got %x", p.packet)
	}
	r.mu.Unlock()
	if sad := get[api.SAD](r, a, api.PathSAD); len(sad.MainMode) != 1 || len(sad.QuickMode) != 2 || sad.MainMode[0].Version != version.Number() {
		t.Errorf("after the answer: %+v", sad)
	}
	for range 3 {
		r.inject(a, "10.2.0.7", "10.1.0.7", 6, tcpHeader(40001, 80, syn))
	}
	eventually(t, "clear packets to be dropped", func() bool { return refused() == 3 })
	if n := len(r.received(a)); n != 1 {
		t.Errorf("the server got %d packets, expected the first alone", n)
	}
}

// The same where the peer has no rule for the gateway but its default response rule on, which is what pass-through is for (S-027): a clear echo of the peer's is
// taken, and the answer goes through a tunnel that the peer's rule agrees to.
func TestInboundPassthroughToDefaultResponse(t *testing.T) {
	for _, version := range []ike.Version{ike.V2, ike.V1} {
		t.Run(version.String(), func(t *testing.T) { testPassthroughToDefaultResponse(t, version) })
	}
}

func testPassthroughToDefaultResponse(t *testing.T, version ike.Version) {
	client := strings.NewReplacer("psk_file: peer.psk", "psk_file: unused.psk", "remote: 192.0.2.1,", "remote: 192.0.2.77,",
		"  - name: whole\n", "  - name: whole\n    default_response: {enabled: true, ike: any, esp_proposals: [aes128gcm16], auth: {psk_file: peer.psk}}\n").Replace(siteB())
	r := newRig(t, speaking(version, passing("{source: 192.0.2.1, destination: 192.0.2.2}")), client)
	a, b := r.gateways[0], r.gateways[1]
	refused := func() uint64 { return a.plane.Counters().Ports[rigWAN].Drops["clear_on_protected"] }
	request := []byte{8, 0, 0, 0, 0, 7, 0, 1, 'p', 'i', 'n', 'g'}
	binary.BigEndian.PutUint16(request[2:], internetChecksum(request))
	r.inject(a, "192.0.2.2", "192.0.2.1", 1, request)
	eventually(t, "the answer to come through the tunnel", func() bool {
		rows := r.dynamicRows(b)
		return len(rows) == 2 && rows[0].Packets+rows[1].Packets == 1
	})
	if refused() != 0 {
		t.Errorf("%d dropped before the SAs were there", refused())
	}
	eventually(t, "the SAs of the peer", func() bool {
		sad := get[api.SAD](r, b, api.PathSAD)
		return len(sad.MainMode) == 1 && len(sad.QuickMode) == 2 && sad.MainMode[0].Peer == "dynamic:192.0.2.1" && sad.MainMode[0].Version == version.Number()
	})
	for range 3 {
		r.inject(a, "192.0.2.2", "192.0.2.1", 1, request)
	}
	eventually(t, "clear packets to be dropped", func() bool { return refused() == 3 })
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.wire {
		if p.protocol != protoESP && p.protocol != protoUDP {
			t.Errorf("protocol %d from %s in clear on the wire", p.protocol, p.source)
		}
	}
}
