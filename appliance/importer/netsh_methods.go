package importer

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sallyport/crypto"
)

// What an action gets that asks for a new Diffie-Hellman exchange with every key and names no algorithm that the gateway has.
var forwardSecret = []string{"aes128gcm16-" + standardGroup, "aes128-sha256-" + standardGroup}

const standardGroup = "ecp256"

// The bounds of key lifetimes in a configuration.
const (
	minLifetime = 10 * time.Second
	maxLifetime = 7 * 24 * time.Hour
)

// securityMethod is the form of one method of qmsecmethods: AH[SHA1]+ESP[3DES,SHA1]:100000k/3600s.
var securityMethod = regexp.MustCompile(`(?i)^(?:AH\[(\w+)\]\+?)?(?:ESP\[(\w+),(\w+)\])?(?::(\d+)([ks])(?:/(\d+)([ks]))?)?$`)

// methods is what qmsecmethods and qmpfs of an action come to.
type methods struct {
	proposals []string
	lifetime  time.Duration // the shortest of all methods, 0 without one
}

// methods reads the security methods of an object.
func (s *netshScript) methods(o *object) methods {
	var m methods
	pfs := s.yes(o, "qmpfs", false)
	line := o.at("qmsecmethods")
	var dropped []string
	for _, text := range splitMethods(o.text("qmsecmethods")) {
		parts := securityMethod.FindStringSubmatch(text)
		if parts == nil || parts[1] == "" && parts[2] == "" {
			s.problem(line, "qmsecmethods: expected methods such as ESP[3DES,SHA1]:100000k/3600s, separated by blanks, found %s", quote(text))
			continue
		}
		if parts[1] != "" {
			s.lost(line, "%s: AH is not offered; ESP, which protects the content too, takes its place", quote(text))
		}
		s.lifetime(&m, line, parts[4:])
		proposal, why := espProposal(parts[2], parts[3], pfs)
		if why != "" {
			dropped = append(dropped, quote(text)+" ("+why+")")
			continue
		}
		m.proposals = append(m.proposals, proposal)
	}
	if len(dropped) > 0 {
		s.changed(line, "not offered: %s; %s instead", strings.Join(dropped, ", "), s.instead(m.proposals))
	}
	if pfs && len(m.proposals) == 0 {
		m.proposals = forwardSecret
		s.info(o.at("qmpfs"), "qmpfs: every new key gets a Diffie-Hellman exchange of its own, group %s", standardGroup)
	}
	return m
}

// instead says what takes the place of methods that are not offered.
func (s *netshScript) instead(proposals []string) string {
	if len(proposals) == 0 {
		return "AES-GCM and then AES-CBC with SHA-2, for which the other side has to be set up too,"
	}
	return strings.Join(proposals, ", ")
}

// splitMethods separates methods at blanks, but not inside brackets.
func splitMethods(text string) []string {
	depth := 0
	return strings.FieldsFunc(strings.Map(func(c rune) rune {
		switch {
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == ' ' && depth > 0:
			return -1
		}
		return c
	}, text), func(c rune) bool { return c == ' ' || c == '\t' })
}

// lifetime reads "100000k/3600s", in either order.
func (s *netshScript) lifetime(m *methods, line int, parts []string) {
	for i := 0; i+1 < len(parts); i += 2 {
		number, err := strconv.ParseInt(parts[i], 10, 32)
		switch {
		case parts[i] == "":
		case err != nil:
			s.problem(line, "qmsecmethods: expected a lifetime below 2^31, found %s", quote(parts[i]))
		case strings.EqualFold(parts[i+1], "k"):
			s.lost(line, "a lifetime of %d KiB has no equivalent: keys change by time, and before their sequence numbers end", number)
		default:
			lifetime := s.within(line, "a lifetime", time.Duration(number)*time.Second)
			if m.lifetime == 0 || lifetime < m.lifetime {
				m.lifetime = lifetime
			}
		}
	}
}

// within brings a lifetime into the bounds of a configuration.
func (r *report) within(line int, what string, d time.Duration) time.Duration {
	fitting := min(max(d, minLifetime), maxLifetime)
	if fitting != d {
		r.changed(line, "%s of %s is now %s: it may be from %s to %s", what, shortTime(d), shortTime(fitting), minLifetime, shortTime(maxLifetime))
	}
	return fitting
}

// espProposal is a method as the gateway writes it, or why it has none.
func espProposal(cipher, hash string, pfs bool) (proposal, why string) {
	cipher, hash = strings.ToLower(cipher), strings.ToLower(hash)
	if cipher == "" {
		return "", "AH only"
	}
	if cipher == "none" {
		return "", "no encryption"
	}
	proposal = cipher + "-" + hash
	if pfs {
		proposal += "-" + standardGroup
	}
	if _, err := crypto.ParseESPProposal(proposal); err != nil {
		return "", "too weak or unknown"
	}
	return proposal, ""
}

// mainModeMethod is the form of one method of mmsecmethods: 3DES-SHA1-2.
var mainModeMethod = regexp.MustCompile(`^(\w+)-(\w+)-(\w+)$`)

// groups are the Diffie-Hellman groups of mmsecmethods.
var groups = map[string]string{"1": "modp768", "2": "modp1024", "3": "modp2048"}

// ikeProposals reads the main-mode methods of a policy.
func (s *netshScript) ikeProposals(o *object) []string {
	var proposals, dropped []string
	line := o.at("mmsecmethods")
	for text := range strings.FieldsSeq(o.text("mmsecmethods")) {
		parts := mainModeMethod.FindStringSubmatch(strings.ToLower(text))
		if parts == nil {
			s.problem(line, "mmsecmethods: expected methods such as 3DES-SHA1-2, separated by blanks, found %s", quote(text))
			continue
		}
		group, known := groups[parts[3]]
		if !known {
			group = parts[3]
		}
		proposal := fmt.Sprintf("%s-%s-%s", parts[1], parts[2], group)
		if _, err := crypto.ParseIKEProposal(proposal); err != nil {
			dropped = append(dropped, quote(text))
			continue
		}
		proposals = append(proposals, proposal)
	}
	if len(dropped) > 0 {
		s.changed(line, "not offered: %s (too weak or unknown); %s instead", strings.Join(dropped, ", "), s.instead(proposals))
	}
	return proposals
}
