package importer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/crypto"
	"sallyport/policy"
)

// child reads a child, which becomes a rule.
func (s *swanctlDraft) child(p *peer, connection, sec *section) {
	s.others("child", sec, "local_ts", "remote_ts", "esp_proposals", "ah_proposals", "mode", "start_action", "rekey_time", "inactivity", "replay_window",
		"dpd_action", "close_action", "life_time", "rand_time", "rekey_bytes", "rekey_packets", "life_bytes", "life_packets", "rand_bytes", "rand_packets")
	r := &rule{line: sec.line, name: s.ruleName(connection, sec)}
	mode := sec.text("mode")
	r.list = &list{line: sec.line, name: r.name, filters: s.filters(p, sec)}
	switch mode {
	case "pass":
		r.action = s.action(action{name: "pass", kind: policy.ActionPermit})
	case "drop":
		r.action = s.action(action{name: "drop", kind: policy.ActionBlock})
	case "", "tunnel":
	case "transport", "transport_proxy", "beet":
		s.changed(sec.at("mode"), "child %s: mode %s is not offered: here it is a tunnel", quote(sec.name), mode)
	default:
		s.problem(sec.at("mode"), "mode: expected tunnel, transport, pass or drop, found %s", quote(mode))
	}
	if r.action == nil {
		r.peer = p
		r.action = s.protect(sec)
		s.childSettings(p, sec)
	} else {
		s.shunts = append(s.shunts, r)
	}
	s.addRule(r)
}

// isShunt reports whether a child passes or drops its traffic, without a tunnel.
func isShunt(child *section) bool {
	return child.text("mode") == "pass" || child.text("mode") == "drop"
}

// ruleName is the child's name, with that of its connection where several have the same.
func (s *swanctlDraft) ruleName(connection, sec *section) string {
	name := sec.name
	if s.named[name] {
		name = connection.name + "-" + sec.name
	}
	s.named[name] = true
	return name
}

// action is the action like this one, made once. Two of a name get numbers from finish.
func (s *swanctlDraft) action(like action) *action {
	key := fmt.Sprintf("%+v", like)
	if s.actions[key] == nil {
		s.actions[key] = &like
		s.draft.actions = append(s.draft.actions, &like)
	}
	return s.actions[key]
}

// protect is the action of a child with a tunnel.
func (s *swanctlDraft) protect(sec *section) *action {
	a := action{name: "protect", kind: policy.ActionNegotiate}
	a.proposals = s.proposals(sec, "esp_proposals", func(text string) error { _, err := crypto.ParseESPProposal(text); return err })
	switch {
	case sec.text("ah_proposals") == "":
	case sec.text("esp_proposals") != "" && len(a.proposals) == 0: // AH alone would pass in clear what was to be encrypted
		s.lost(sec.at("ah_proposals"), "child %s: AH is left out: beside it stood ESP, of which nothing is left but the gateway's own choice", quote(sec.name))
	default:
		a.ah = s.proposals(sec, "ah_proposals", func(text string) error { _, err := crypto.ParseAHProposal(text); return err })
		s.changed(sec.at("ah_proposals"), "child %s: AH authenticates and encrypts nothing, and crosses no NAT", quote(sec.name))
	}
	if all := append(slices.Clone(a.proposals), a.ah...); len(all) > 0 {
		a.name += "-" + all[0]
	}
	a.kilobytes = s.volume(sec, "bytes", 1024, leastOctets)
	a.packets = s.volume(sec, "packets", 1, leastOctets/leastFrame)
	return s.action(a)
}

// What a port without speed_mbps, of 10 Gbit/s, carries in the 10 seconds of rekey.min_seconds: less is refused as the life of an SA (S-078).
const (
	leastOctets = 10_000_000_000 / 8 * 10
	leastFrame  = 84 // octets on the wire
)

// volume reads how much an SA may carry before it gets new keys, in units; 0 is no limit. strongSwan says when it is rekeyed, when it ends, or both; here it
// ends a tenth after.
func (s *swanctlDraft) volume(sec *section, of string, unit, least int64) int64 {
	read := func(key string) int64 {
		text := sec.text(key)
		number, ok := parseNumber(text)
		if text != "" && !ok {
			s.problem(sec.at(key), "%s: expected a number of %s, found %s", key, of, quote(text))
		}
		return number
	}
	key := "rekey_" + of
	rekey, life := read(key), read("life_"+of)
	switch {
	case rekey == 0 && life == 0:
		return 0
	case rekey == 0:
		key, rekey = "life_"+of, life-life/11
	case life > 0:
		s.changed(sec.at("life_"+of), "child %s: life_%s is not carried over: an SA ends a tenth after rekey_%s", quote(sec.name), of, of)
	}
	if rekey < least {
		s.changed(sec.at(key), "child %s: %s is now %d %s, the least for a port of 10 Gbit/s, which carries it in 10 s: with less in speed_mbps and rekey.min_seconds lifetime may be %d", quote(sec.name), key, (least+unit-1)/unit, units(unit, of), max(rekey/unit, 1))
		rekey = least
	}
	return (rekey + unit - 1) / unit
}

func units(unit int64, of string) string {
	if unit > 1 {
		return "KiB"
	}
	return of
}

// childSettings reads what a child has of its own in strongSwan and what is the peer's here.
func (s *swanctlDraft) childSettings(p *peer, sec *section) {
	rekey := s.lifetime(sec, "rekey_time", time.Hour)
	if p.childRekey != 0 && rekey != p.childRekey {
		s.changed(sec.at("rekey_time"), "child %s: its peer has one rekey_time for all children, the shortest", quote(sec.name))
	}
	if p.childRekey == 0 || rekey < p.childRekey {
		p.childRekey = rekey
	}
	s.start(p, sec)
	if sec.last["inactivity"] != nil {
		p.idleTimeout = min(max(s.duration(sec, "inactivity", 0), time.Second), 24*time.Hour)
	}
	if text := sec.text("replay_window"); text != "" {
		window, ok := parseNumber(text)
		if !ok {
			s.problem(sec.at("replay_window"), "replay_window: expected a number of packets, found %s", quote(text))
		}
		p.replayWindow = int(min(max(window, 64), 8192))
		if ok && int64(p.replayWindow) != window {
			s.changed(sec.at("replay_window"), "replay_window of %d is now %d: it may be from 64 to 8192", window, p.replayWindow)
		}
	}
	s.instead("child", sec, []instead{
		{"life_time", nil, "an SA whose rekey fails ends a tenth of child_rekey after it"},
		{"rand_time", nil, "keys change up to a tenth early"},
		{"rand_bytes", nil, "keys change up to a tenth early"},
		{"rand_packets", nil, "keys change up to a tenth early"},
		{"dpd_action", nil, "start says when a tunnel whose peer was silent comes up again"},
		{"close_action", nil, "start says when a tunnel that the peer has ended comes up again"},
	})
}

// start reads when a tunnel comes up.
func (s *swanctlDraft) start(p *peer, sec *section) {
	start := "on-demand"
	switch text := strings.ReplaceAll(sec.text("start_action"), " ", ""); text {
	case "start", "trap|start", "start|trap":
		start = "always"
	case "trap", "route":
	case "", "none":
		s.changed(sec.at("start_action"), "child %s waits for the other side in strongSwan; here it also comes up when a packet needs it (start: on-demand)", quote(sec.name))
	default:
		s.problem(sec.at("start_action"), "start_action: expected none, trap or start, found %s", quote(text))
	}
	if p.start != "" && p.start != start {
		s.changed(sec.at("start_action"), "child %s: its peer has one start for all children: always", quote(sec.name))
		start = "always"
	}
	p.start = start
}

// filters is every pair of a local and a remote traffic selector that have a protocol in common.
func (s *swanctlDraft) filters(p *peer, sec *section) []filter {
	locals, remotes := s.selectors(p, sec, "local_ts"), s.selectors(p, sec, "remote_ts")
	if len(locals)*len(remotes) > maxSpecific {
		s.problem(sec.line, "child %s has more than %d pairs of traffic selectors", quote(sec.name), maxSpecific)
		return nil
	}
	l := &list{name: sec.name}
	seen := map[string]int{}
	for _, local := range locals {
		for _, remote := range remotes {
			if f, fit := pair(local, remote); fit {
				f.line = sec.line
				l.addUnique(s.report, seen, f)
			}
		}
	}
	if len(l.filters) == 0 && len(locals) > 0 && len(remotes) > 0 {
		s.problem(sec.line, "child %s: no local and remote traffic selectors have a protocol and an IP version in common", quote(sec.name))
	}
	return l.filters
}

// trafficSelector is one side of a child's traffic.
type trafficSelector struct {
	address  address
	protocol uint8
	ports    policy.PortRange
}

// pair joins two sides; false where no packet is of both.
func pair(local, remote trafficSelector) (filter, bool) {
	localSpan, localLiteral := local.address.span()
	remoteSpan, remoteLiteral := remote.address.span()
	switch {
	case localLiteral && remoteLiteral && localSpan.Is4() != remoteSpan.Is4():
		return filter{}, false
	case local.protocol != 0 && remote.protocol != 0 && local.protocol != remote.protocol:
		return filter{}, false
	}
	return filter{source: local.address, destination: remote.address, protocol: max(local.protocol, remote.protocol),
		sourcePort: local.ports, destinationPort: remote.ports, mirrored: true}, true
}

// selectors reads the traffic selectors of one side.
func (s *swanctlDraft) selectors(p *peer, sec *section, key string) []trafficSelector {
	list := items(sec.text(key))
	if len(list) == 0 {
		list = []string{"dynamic"}
	}
	var selectors []trafficSelector
	for _, text := range list {
		subnet, rest, limited := strings.Cut(text, "[")
		ts := trafficSelector{ports: policy.AnyPort}
		var err error
		if limited {
			err = ts.limit(strings.TrimSuffix(strings.TrimSpace(rest), "]"))
		}
		if err == nil {
			ts.address, err = s.subnet(p, sec, key, strings.TrimSpace(subnet))
		}
		if err != nil {
			s.problem(sec.at(key), "%s %s: %s", key, quote(text), err)
			continue
		}
		selectors = append(selectors, ts)
	}
	return selectors
}

// subnet reads the addresses of a traffic selector; dynamic is the address of that end.
func (s *swanctlDraft) subnet(p *peer, sec *section, key, text string) (address, error) {
	switch strings.TrimPrefix(text, "%") {
	case "dynamic", "":
		end := p.local
		if key == "remote_ts" {
			end = p.remote
		}
		switch {
		case end.IsValid():
			return hostAddress(end), nil
		case key == "local_ts":
			return ownAddress, nil
		}
		s.lost(sec.at(key), "child %s: remote_ts is the peer's address, which is not known: REPLACE the destination of the filter", quote(sec.name))
		return unknown, nil
	}
	if prefix, err := netip.ParsePrefix(text); err == nil {
		text = prefix.Masked().String()
	}
	span, err := policy.ParseAddrRange(text)
	if err != nil {
		return unknown, fmt.Errorf("expected an address, a prefix, a range (10.1.0.10-10.1.0.20) or dynamic, found %s", quote(text))
	}
	return address(span.String()), nil
}

// limit reads the protocol and the port of a traffic selector: tcp/80, udp/1024-65535, icmp, /53.
func (t *trafficSelector) limit(text string) error {
	protocol, port, hasPort := strings.Cut(text, "/")
	aliases := map[string]string{"ipv6-icmp": "icmpv6", "": "any"}
	if name, aliased := aliases[strings.ToLower(protocol)]; aliased {
		protocol = name
	}
	number, err := policy.ParseProtocol(protocol)
	if err != nil {
		return err
	}
	t.protocol = number
	if !hasPort || port == "any" || port == "%any" {
		return nil
	}
	if name := policy.ProtocolName(number); name != "tcp" && name != "udp" && name != "sctp" {
		return fmt.Errorf("expected tcp, udp or sctp with a port, found %s", name)
	}
	ports, err := policy.ParsePortRange(port)
	if err != nil {
		return fmt.Errorf("%w; names of services and opaque are not offered", err)
	}
	t.ports = ports
	return nil
}
