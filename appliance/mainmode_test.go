package appliance

import (
	"fmt"
	"net/netip"
	"testing"

	"sallyport/appliance/api"
	"sallyport/ike/isakmp"
)

// message1 begins main mode with a list of authentication methods, each with the same algorithms.
func message1(t *testing.T, cookie uint64, methods ...isakmp.AuthMethod) string {
	t.Helper()
	offer := isakmp.Proposal{Number: 1, Protocol: isakmp.ProtocolISAKMP}
	for i, method := range methods {
		p := isakmp.Phase1{Encryption: isakmp.EncryptionAES, KeyBits: 128, Hash: isakmp.HashSHA256, Auth: method, Group: isakmp.Group(19)}
		offer.Transforms = append(offer.Transforms, p.Transform(uint8(i+1)))
	}
	m := isakmp.Message{Header: isakmp.Header{Cookies: isakmp.Cookies{Initiator: cookie}, Exchange: isakmp.ExchangeMain},
		Payloads: []isakmp.Payload{&isakmp.SA{Proposals: []isakmp.Proposal{offer}}}}
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// answersTo are the messages of IKE that have gone to an address.
func (r *rig) answersTo(g *rigGateway, address string) (list []packetView) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.arrived[g.cfg.Name] {
		if p.protocol == protoUDP && p.destination == netip.MustParseAddr(address) {
			list = append(list, p)
		}
	}
	return list
}

// S-059: of one list of methods each of two initiators at different addresses is given the one of its own rule, which message 2 announces; who offers the other
// rule's alone is given none.
func TestMethodOfEachSourceAddress(t *testing.T) {
	a := newAuthority(t)
	certificate := fmt.Sprintf("local_id: gw-a.example, remote_id: gw-c.example, auth: {certificate_file: %s/gw-a.pem, private_key_file: %s/gw-a.key, ca_files: [%s/ca.pem]}", a.folder, a.folder, a.folder)
	text := replaced(older(passive(siteA())), "filter_lists:", "  - {name: third, ike: v1, local: 192.0.2.1, remote: 192.0.2.3, "+certificate+", ike_proposals: [aes128-sha256-ecp256], start: on-demand}\nfilter_lists:")
	text = replaced(text, "  - {name: nets, filter_list: nets, filter_action: protect, peer: far}\n", "  - {name: nets, filter_list: nets, filter_action: protect, peer: far}\n      - {name: web, filter_list: web, filter_action: protect, peer: third}\n")
	r := newRig(t, text+"auth: {fetch_networks: [127.0.0.0/8]}\n")
	g := r.gateways[0]
	both := []isakmp.AuthMethod{isakmp.AuthECDSASHA256P256, isakmp.AuthPreSharedKey}
	for number, c := range []struct {
		from   string
		offers []isakmp.AuthMethod
		wants  isakmp.AuthMethod // 0: refused
	}{
		{"192.0.2.2", both, isakmp.AuthPreSharedKey},
		{"192.0.2.3", both, isakmp.AuthECDSASHA256P256},
		{"192.0.2.2", both[:1], 0},
		{"192.0.2.3", both[1:], 0},
	} {
		before := len(r.answersTo(g, c.from))
		r.send(g, rigWAN, c.from+":500", "192.0.2.1:500", message1(t, uint64(number+1), c.offers...))
		eventually(t, "an answer to "+c.from, func() bool { return len(r.answersTo(g, c.from)) > before })
		m, err := isakmp.Parse(r.answersTo(g, c.from)[before].payload)
		if err != nil || m.Initiator != uint64(number+1) {
			t.Fatalf("answer %+v, error %v", m, err)
		}
		if c.wants == 0 {
			if n := isakmp.FindError(m.Payloads); n == nil || n.Type != isakmp.NotifyNoProposalChosen {
				t.Errorf("%s, which offers %v, gets %v, expected NO-PROPOSAL-CHOSEN", c.from, c.offers, m.Payloads)
			}
			continue
		}
		sa := isakmp.Find[*isakmp.SA](m.Payloads)
		if sa == nil || len(sa.Proposals) != 1 || len(sa.Proposals[0].Transforms) != 1 {
			t.Fatalf("%s gets %v, expected one transform", c.from, m.Payloads)
		}
		if chosen, err := sa.Proposals[0].Transforms[0].Phase1(); err != nil || chosen.Auth != c.wants {
			t.Errorf("%s is told %v, error %v; its rule has %v", c.from, chosen.Auth, err, c.wants)
		}
	}
}

// S-034: main mode is answered on UDP port 500 from port 500, and on 4500 from whichever; from 500 to 501 and from 501 to 500 it is filtered. Where the policy
// in force permits and blocks and protects nothing, neither port is open. C-07.
func TestIKEPortsOfAGateway(t *testing.T) {
	r := newRig(t, older(passive(siteA())))
	g := r.gateways[0]
	filtered := func() uint64 { return g.plane.Counters().Ports[rigWAN].Drops["no_filter"] }
	first := uint64(1)
	try := func(from, to int) (message string) {
		marker := ""
		if to == 4500 {
			marker = "\x00\x00\x00\x00" // RFC 3948 2.2
		}
		message = marker + message1(t, first, isakmp.AuthPreSharedKey)
		first++
		r.send(g, rigWAN, fmt.Sprintf("192.0.2.2:%d", from), fmt.Sprintf("192.0.2.1:%d", to), message)
		return message
	}
	for _, ports := range [][2]int{{500, 500}, {4500, 4500}, {40000, 4500}} {
		before := len(r.answersTo(g, "192.0.2.2"))
		try(ports[0], ports[1])
		eventually(t, fmt.Sprintf("an answer from port %d", ports[1]), func() bool { return len(r.answersTo(g, "192.0.2.2")) > before })
		if p := r.answersTo(g, "192.0.2.2")[before]; int(p.sourcePort) != ports[1] || int(p.port) != ports[0] {
			t.Errorf("the answer goes from port %d to %d, expected %d to %d", p.sourcePort, p.port, ports[1], ports[0])
		}
	}
	answered := len(r.answersTo(g, "192.0.2.2"))
	refuse := func(ports ...[2]int) {
		t.Helper()
		before := filtered()
		for _, p := range ports {
			try(p[0], p[1])
		}
		eventually(t, "all to be filtered", func() bool { return filtered() == before+uint64(len(ports)) })
		if n := len(r.answersTo(g, "192.0.2.2")); n != answered {
			t.Errorf("%d answers to what is filtered", n-answered)
		}
	}
	refuse([2]int{500, 501}, [2]int{501, 500})
	r.change(g, api.PathActivate, api.Activate{Name: "nothing"})
	answered = len(r.answersTo(g, "192.0.2.2"))
	refuse([2]int{500, 500}, [2]int{4500, 4500})
	r.change(g, api.PathActivate, api.Activate{Name: "whole"})
	answered = len(r.answersTo(g, "192.0.2.2"))
	try(500, 500)
	eventually(t, "an answer again", func() bool { return len(r.answersTo(g, "192.0.2.2")) > answered })
}
