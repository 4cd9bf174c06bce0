package importer

import (
	"bytes"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"sallyport/policy"
)

// replace marks what the source does not say and an operator has to.
const replace = "REPLACE"

// yaml writes the draft as a configuration file.
func (f *finisher) yaml() ([]byte, error) {
	root := mapping()
	root.add("name", text("gateway"), replace+": the gateway's own name")
	f.sizesYAML(root)
	root.add("ports", f.portsYAML(), "")
	if len(f.draft.peers) > 0 {
		root.add("peers", f.peersYAML(), "")
	}
	if f.draft.exemptions.set {
		root.add("exemptions", mapping().flow().add("level", plain(strconv.Itoa(f.draft.exemptions.level)), "").Node, line(f.draft.exemptions.line))
	}
	if len(f.draft.lists) > 0 {
		root.add("filter_lists", f.listsYAML(), "")
	}
	if len(f.draft.actions) > 0 {
		root.add("filter_actions", f.actionsYAML(), "")
	}
	root.add("policies", f.policiesYAML(), "")
	root.add("active_policy", text(f.draft.active.name), "")
	root.HeadComment = fmt.Sprintf("Made by sallyport import from %s.\nWhat is marked %s the source does not say. Routes are to be added: routes: [{to: 0.0.0.0/0, via: ADDRESS}]",
		oneLine(f.draft.source), replace)
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(root.Node); err != nil {
		return nil, err
	}
	return out.Bytes(), encoder.Close()
}

// sizesYAML makes room for more tunnels than the data plane has without being told. A reload needs room for as many
// again, and a rekey for twice the SAs.
func (f *finisher) sizesYAML(root mappingNode) {
	const standardTunnels, mostTunnels, mostSAs = 1024, 65534, 1 << 24
	tunnels := 0
	for _, p := range f.draft.policies {
		for _, each := range p.rules {
			if each.peer != nil {
				tunnels++
			}
		}
	}
	if 2*tunnels <= standardTunnels {
		return
	}
	sas := 1 << bits.Len(uint(4*tunnels))
	sizes := mapping()
	sizes.add("max_tunnels", plain(strconv.Itoa(min(2*tunnels, mostTunnels))), "")
	sizes.add("max_sas", plain(strconv.Itoa(min(sas, mostSAs))), "")
	root.add("dataplane", sizes.Node, "")
}

func (f *finisher) portsYAML() *yaml.Node {
	port := func(name, device, role string, addresses []string, mark string) *yaml.Node {
		p := mapping()
		p.add("name", text(name), "")
		p.add("device", text(device), replace+": the interface or the PCI address")
		p.add("role", text(role), "")
		p.add("addresses", words(addresses), mark)
		return p.Node
	}
	var lan, wan []string
	for _, own := range f.lan {
		lan = append(lan, own.String())
	}
	for _, own := range f.wan {
		wan = append(wan, own.String())
	}
	mark := replace + ": the prefix length, which is that of the attached subnet"
	if f.wanHole {
		mark = replace
	}
	ports := sequence()
	ports.Content = append(ports.Content,
		port("lan", "net_af_packet0,iface=lan0", "protected", lan, replace),
		port("wan", "net_af_packet1,iface=wan0", "unprotected", wan, mark))
	return ports
}

func (f *finisher) peersYAML() *yaml.Node {
	peers := sequence()
	for _, p := range f.draft.peers {
		node := mapping()
		node.add("name", text(p.name), line(p.line))
		node.add("local", text(p.local.String()), marked(p.localIsPlaceholder))
		node.add("remote", text(p.remote.String()), marked(p.remoteIsPlaceholder))
		node.addText("local_id", p.localID)
		node.addText("remote_id", p.remoteID)
		if p.ikev1 {
			node.add("ike", plain("v1"), "")
		}
		node.add("auth", mapping().flow().add("psk_file", text(p.keyFile), "").Node, "")
		node.addWords("ike_proposals", p.ikeProposals)
		node.addText("start", p.start)
		if p.dpdDelay != nil {
			node.addText("dpd_delay", shortTime(*p.dpdDelay))
		}
		node.addTime("ike_rekey", p.ikeRekey)
		node.addTime("reauth", p.reauth)
		if p.mobike {
			node.add("mobike", plain("true"), "")
		}
		node.addTime("child_rekey", p.childRekey)
		node.addTime("idle_timeout", p.idleTimeout)
		if p.replayWindow > 0 {
			node.add("replay_window", plain(strconv.Itoa(p.replayWindow)), "")
		}
		peers.Content = append(peers.Content, node.Node)
	}
	return peers
}

func (f *finisher) listsYAML() *yaml.Node {
	lists := sequence()
	for _, l := range f.draft.lists {
		filters := sequence()
		for i := range l.filters {
			filters.Content = append(filters.Content, filterYAML(&l.filters[i]))
		}
		node := mapping()
		node.add("name", text(l.name), line(l.line))
		node.HeadComment = oneLine(l.about)
		node.add("filters", filters, "")
		lists.Content = append(lists.Content, node.Node)
	}
	return lists
}

func filterYAML(f *filter) *yaml.Node {
	node := mapping().flow()
	node.add("source", text(string(f.source)), "")
	node.add("destination", text(string(f.destination)), "")
	if f.protocol != 0 {
		node.add("protocol", text(policy.ProtocolName(f.protocol)), "")
	}
	if f.sourcePort != policy.AnyPort {
		node.add("source_port", plain(f.sourcePort.String()), "")
	}
	if f.destinationPort != policy.AnyPort {
		node.add("destination_port", plain(f.destinationPort.String()), "")
	}
	if !f.mirrored {
		node.add("mirrored", plain("false"), "")
	}
	node.LineComment = line(f.line)
	if f.hole {
		node.LineComment += ", " + replace + " the address"
	}
	node.HeadComment = oneLine(f.about)
	return node.Node
}

func (f *finisher) actionsYAML() *yaml.Node {
	actions := sequence()
	for _, a := range f.draft.actions {
		node := mapping()
		node.add("name", text(a.name), line(a.line))
		node.add("action", text(a.kind.String()), "")
		if a.kind == policy.ActionNegotiate {
			node.addWords("esp_proposals", a.proposals)
			node.addWords("ah_proposals", a.ah)
		}
		if a.kilobytes+a.packets > 0 {
			volume := mapping().flow()
			for _, limit := range []struct {
				key string
				n   int64
			}{{"kilobytes", a.kilobytes}, {"packets", a.packets}} {
				if limit.n > 0 {
					volume.add(limit.key, plain(strconv.FormatInt(limit.n, 10)), "")
				}
			}
			node.add("lifetime", volume.Node, "")
		}
		actions.Content = append(actions.Content, node.Node)
	}
	return actions
}

func (f *finisher) policiesYAML() *yaml.Node {
	policies := sequence()
	for _, p := range f.draft.policies {
		rules := sequence()
		for _, each := range p.rules {
			rules.Content = append(rules.Content, ruleYAML(each))
		}
		node := mapping()
		node.add("name", text(p.name), line(p.line))
		node.addText("description", oneLine(p.about))
		if p.refresh > 0 {
			node.add("refresh_seconds", plain(strconv.Itoa(int(p.refresh/time.Second))), "")
		}
		if p.ikeLifetime > 0 {
			node.add("key_exchange", mapping().flow().add("lifetime", text(shortTime(p.ikeLifetime)), "").Node, "")
		}
		node.addWords("key_exchange_methods", p.ikeProposals)
		node.add("rules", rules, "")
		policies.Content = append(policies.Content, node.Node)
	}
	return policies
}

func ruleYAML(r *rule) *yaml.Node {
	node := mapping()
	node.HeadComment = oneLine(r.about)
	node.add("name", text(r.name), line(r.line))
	node.add("filter_list", text(r.list.name), "")
	node.add("filter_action", text(r.action.name), "")
	if r.peer != nil {
		node.add("peer", text(r.peer.name), "")
	}
	if r.ports != policy.PortsAll {
		node.add("ports", text(r.ports.String()), "")
	}
	return node.Node
}

// mappingNode is a YAML mapping that is being written.
type mappingNode struct{ *yaml.Node }

func mapping() mappingNode { return mappingNode{&yaml.Node{Kind: yaml.MappingNode}} }

// flow puts the mapping on one line.
func (m mappingNode) flow() mappingNode {
	m.Style = yaml.FlowStyle
	return m
}

// add appends a key with its value, and a comment behind it.
func (m mappingNode) add(key string, value *yaml.Node, comment string) mappingNode {
	name := text(key)
	if value.Kind == yaml.ScalarNode || value.Style&yaml.FlowStyle != 0 {
		value.LineComment = comment
	} else {
		name.LineComment = comment
	}
	m.Content = append(m.Content, name, value)
	return m
}

// addText appends a key unless its value is empty.
func (m mappingNode) addText(key, value string) {
	if value != "" {
		m.add(key, text(value), "")
	}
}

// addTime appends a key unless its value is zero.
func (m mappingNode) addTime(key string, value time.Duration) {
	if value != 0 {
		m.add(key, text(shortTime(value)), "")
	}
}

// shortTime is a time as people write it: 8h, not 8h0m0s.
func shortTime(d time.Duration) string {
	written := d.String()
	if strings.HasSuffix(written, "m0s") {
		written = strings.TrimSuffix(written, "0s")
	}
	if strings.HasSuffix(written, "h0m") {
		written = strings.TrimSuffix(written, "0m")
	}
	return written
}

// addWords appends a key unless its list is empty.
func (m mappingNode) addWords(key string, values []string) {
	if len(values) > 0 {
		m.add(key, words(values), "")
	}
}

func sequence() *yaml.Node { return &yaml.Node{Kind: yaml.SequenceNode} }

// words is a list on one line.
func words(values []string) *yaml.Node {
	list := sequence()
	list.Style = yaml.FlowStyle
	for _, value := range values {
		list.Content = append(list.Content, text(value))
	}
	return list
}

// text is a value that is text, quoted where YAML would take it for something else.
func text(value string) *yaml.Node {
	node := &yaml.Node{}
	node.SetString(value)
	return node
}

// plain is a value that needs no quotation marks: a number, a range of numbers, true or false.
func plain(value string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: value} }

// line is a comment that leads to the source.
func line(number int) string {
	if number == 0 {
		return ""
	}
	return fmt.Sprintf("line %d", number)
}

// marked is the comment of a placeholder.
func marked(placeholder bool) string {
	if placeholder {
		return replace
	}
	return ""
}
