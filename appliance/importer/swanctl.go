package importer

import (
	"slices"
	"strings"
	"time"

	"sallyport/policy"
)

// Swanctl turns a swanctl.conf of strongSwan into a configuration. name is the file's, for messages. The error joins an
// *Error for every mistake in the file, and with one there is no result.
func Swanctl(name string, data []byte) (*Result, error) {
	r := &report{file: name}
	text, readable := r.readText(data)
	if !readable {
		return nil, r.err()
	}
	root := (&swanctlParser{report: r}).parse(text)
	(&resolver{report: r, root: root, done: map[*section]bool{}, running: map[*section]bool{}}).resolve(root)
	s := &swanctlDraft{
		report: r, draft: &draft{source: name + ", a swanctl.conf of strongSwan"}, policy: &rulebook{name: "swanctl"},
		peers: map[peerKey]*peer{}, actions: map[string]*action{}, named: map[string]bool{},
	}
	s.root(root)
	return r.finish(s.draft)
}

// swanctlDraft turns a swanctl.conf into a draft.
type swanctlDraft struct {
	*report
	draft   *draft
	policy  *rulebook
	secrets []*swanctlSecret
	peers   map[peerKey]*peer
	actions map[string]*action // by their proposals
	shunts  []*rule            // children of mode pass and drop
	named   map[string]bool    // names of rules
}

// root reads the file as a whole.
func (s *swanctlDraft) root(root *section) {
	connections := root.byName["connections"]
	if connections == nil || len(connections.sections) == 0 {
		s.problem(0, "expected at least one connection (connections { name { ... } }), found none")
		return
	}
	for _, each := range append(root.settings, connections.settings...) {
		s.lost(each.line, "%s is in no section that it could be of: left out", quote(each.key))
	}
	s.readSecrets(root.byName["secrets"])
	for _, each := range root.sections {
		switch each.name {
		case "connections", "secrets":
		case "pools", "authorities":
			s.lost(each.line, "section %s has no equivalent", each.name)
		default:
			s.info(each.line, "section %s is none that strongSwan loads: left out, but for what refers to it", quote(each.name))
		}
	}
	s.policy.line = connections.line
	s.draft.policies, s.draft.active = []*rulebook{s.policy}, s.policy
	for _, each := range connections.sections {
		s.connection(each)
	}
	s.compareShunts()
	for _, secret := range s.secrets {
		if !secret.used {
			s.lost(secret.line, "the secret of section %s belongs to no connection and is left out", quote(secret.name))
		}
	}
}

// others notes the settings that have no equivalent. Values are never shown: they may be secrets.
func (s *swanctlDraft) others(what string, sec *section, known ...string) {
	for _, each := range sec.settings {
		if !slices.Contains(known, each.key) && sec.last[each.key] == each {
			s.lost(each.line, "%s %s: %s has no equivalent", what, quote(sec.name), quote(each.key))
		}
	}
}

// items is a list separated by commas.
func items(text string) []string {
	var list []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// duration reads a time in the form of strongSwan: seconds, or a number with s, m, h or d.
func (s *swanctlDraft) duration(sec *section, key string, standard time.Duration) time.Duration {
	text := sec.text(key)
	if text == "" {
		return standard
	}
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}
	unit, has := units[text[len(text)-1]]
	digits := text
	if has {
		digits = strings.TrimSpace(text[:len(text)-1])
	} else {
		unit = time.Second
	}
	number, ok := parseNumber(digits)
	if !ok || number > int64(100*365*24*time.Hour/unit) {
		s.problem(sec.at(key), "%s: expected a time (3600, 60m, 1h), found %s", key, quote(text))
		return standard
	}
	return time.Duration(number) * unit
}

// lifetime reads a time after which keys change; 0 is never, which a gateway does not have.
func (s *swanctlDraft) lifetime(sec *section, key string, standard time.Duration) time.Duration {
	lifetime := s.duration(sec, key, standard)
	if lifetime == 0 {
		s.changed(sec.at(key), "%s = 0: keys always change, every %s at the latest", key, shortTime(maxLifetime))
		return maxLifetime
	}
	return s.within(sec.at(key), key, lifetime)
}

// compareShunts says where a child that passes or drops decides otherwise than in strongSwan, where it wins over every tunnel.
func (s *swanctlDraft) compareShunts() {
	compared := 0
	for _, shunt := range s.shunts {
		for _, other := range s.policy.rules {
			if other.peer == nil {
				continue
			}
			if compared += len(shunt.list.filters) * len(other.list.filters); compared > maxSpecific {
				s.changed(shunt.line, "child %s passes or drops, which wins over every tunnel in strongSwan; here the most specific filter wins: compare them", quote(shunt.name))
				break
			}
			if contests(shunt, other) {
				s.changed(shunt.line, "child %s wins over every tunnel in strongSwan; here the most specific filter wins, so traffic that child %s (line %d) has too is protected: write the pass or drop for exactly that traffic",
					quote(shunt.name), quote(other.name), other.line)
			}
		}
	}
}

// contests reports whether some traffic is both of the shunt's and of the tunnel's, and the tunnel's filter is not the wider one.
func contests(shunt, tunnel *rule) bool {
	for i := range shunt.list.filters {
		for j := range tunnel.list.filters {
			a, b := &shunt.list.filters[i], &tunnel.list.filters[j]
			for _, c := range []filter{*b, b.reversed()} {
				if overlap(a.source, c.source) && overlap(a.destination, c.destination) && (a.protocol == 0 || c.protocol == 0 || a.protocol == c.protocol) && !narrower(a, &c) {
					return true
				}
			}
		}
	}
	return false
}

// overlap is true where it is not known.
func overlap(a, b address) bool {
	spanA, literalA := a.span()
	spanB, literalB := b.span()
	if !literalA || !literalB {
		return true
	}
	_, both := spanA.Intersect(spanB)
	return both
}

// narrower reports whether all traffic of a is of b, and not the other way round.
func narrower(a, b *filter) bool { return within(a, b) && !within(b, a) }

func within(a, b *filter) bool {
	return inside(a.source, b.source) && inside(a.destination, b.destination) && (b.protocol == 0 || a.protocol == b.protocol) &&
		b.sourcePort.ContainsRange(a.sourcePort) && b.destinationPort.ContainsRange(a.destinationPort)
}

func inside(a, b address) bool {
	spanA, literalA := a.span()
	spanB, literalB := b.span()
	return a == b || b == anyAddress || literalA && literalB && spanB.ContainsRange(spanA)
}

// addRule adds a rule with a list of its own.
func (s *swanctlDraft) addRule(r *rule) {
	r.ports = policy.PortsAll
	s.draft.lists = append(s.draft.lists, r.list)
	s.policy.rules = append(s.policy.rules, r)
}
