package ikev1

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/crypto"
	"sallyport/ike/isakmp"
)

// What was offered and what is wanted, for people: in the words of the configuration, and where it has none by the names of the registries.

// Bounds of what a hostile offer can put into a Fact.
const (
	maxDescribed = 16   // entries of a list
	maxText      = 1000 // octets of a list, beyond which its entries are counted only
)

// wordings are the texts of what was agreed on, by [agreedAlgorithms] or [isakmp.Phase1]. A configuration has few of them, and thousands of SAs have each in common.
type wordings map[any]string

// mostDescribed bounds them.
const mostDescribed = 64

// of is the text of something, which is made when it is not there.
func (t *wordings) of(named any, describe func() string) string {
	text, known := (*t)[named]
	if !known {
		if text = describe(); *t == nil {
			*t = wordings{}
		}
		if len(*t) < mostDescribed {
			(*t)[named] = text
		}
	}
	return text
}

// listed joins texts as far as they fit.
func listed(texts []string, separator string) string {
	length := 0
	for i, text := range texts {
		if length += len(separator) + len(text); i > 0 && length > maxText {
			return fmt.Sprintf("%s%sand %d more", strings.Join(texts[:i], separator), separator, len(texts)-i)
		}
	}
	return strings.Join(texts, separator)
}

// describePhase1 lists transforms of main mode: "aes256-sha256-modp2048 (pre-shared key)".
func describePhase1(list []isakmp.Phase1) string {
	if len(list) == 0 {
		return "nothing for an ISAKMP SA that can be read"
	}
	var texts []string
	for _, t := range list[:min(len(list), maxDescribed)] {
		words := []string{encryptionWord(t), hashWord(t.Hash), groupWord(t.Group)}
		texts = append(texts, fmt.Sprintf("%s (%v)", strings.Join(words, "-"), t.Auth))
	}
	return listed(texts, ", ")
}

func encryptionWord(t isakmp.Phase1) string {
	if id, ok := encrOf(t.Encryption); ok {
		return crypto.Transform{Type: crypto.TransformEncr, ID: uint16(id), KeyBits: t.KeyBits}.Keyword()
	}
	if t.KeyBits == 0 {
		return t.Encryption.String()
	}
	return fmt.Sprintf("%v-%d", t.Encryption, t.KeyBits)
}

func hashWord(h isakmp.HashAlgorithm) string {
	for _, row := range hashes {
		if row.wire == h {
			return crypto.Transform{Type: crypto.TransformInteg, ID: uint16(row.integ)}.Keyword()
		}
	}
	return h.String()
}

func groupWord(g isakmp.Group) string {
	if id := crypto.DHID(g); slices.Contains(dhGroups, id) {
		return crypto.Transform{Type: crypto.TransformDH, ID: uint16(id)}.Keyword()
	}
	return g.String()
}

// describeAlternatives lists what we want of a quick mode: "aes256-sha256-modp2048 (tunnel)".
func describeAlternatives(list []alternative) string {
	if len(list) == 0 {
		return "nothing: no proposal is left that IKEv1 can say"
	}
	var texts []string
	for _, a := range list[:min(len(list), maxDescribed)] {
		texts = append(texts, describeTransforms(a.ah, a.esp))
	}
	return listed(texts, ", ")
}

// describeOffers lists what a peer wants, or has answered.
func describeOffers(list []offer) string {
	var texts []string
	for i := range list[:min(len(list), maxDescribed)] {
		texts = append(texts, list[i].describe())
	}
	return listed(texts, ", ")
}

func (o *offer) describe() string {
	var ah, esp []childTransform
	for _, p := range o.proposals {
		if p.Protocol != isakmp.ProtocolAH && p.Protocol != isakmp.ProtocolESP {
			return fmt.Sprintf("an SA of %v, which is not supported", p.Protocol)
		}
		for i := range p.Transforms[:min(len(p.Transforms), maxDescribed)] {
			t := childTransform{protocol: p.Protocol, id: p.Transforms[i].ID}
			var err error
			if t.Phase2, err = p.Transforms[i].Phase2(); err != nil {
				continue
			}
			if p.Protocol == isakmp.ProtocolAH {
				ah = append(ah, t)
			} else {
				esp = append(esp, t)
			}
		}
	}
	if len(ah)+len(esp) == 0 {
		return "nothing that can be read"
	}
	return describeTransforms(ah, esp)
}

// describeTransforms is one alternative, each protocol's transforms with "or" between them.
func describeTransforms(ah, esp []childTransform) string {
	var parts []string
	for _, list := range [][]childTransform{ah, esp} {
		var texts []string
		for _, t := range list[:min(len(list), maxDescribed)] {
			texts = append(texts, t.String())
		}
		if len(texts) > 0 {
			parts = append(parts, listed(texts, " or "))
		}
	}
	return strings.Join(parts, " around ")
}

// String is the keyword form of a transform, and its mode. ESP goes without saying.
func (t childTransform) String() string {
	var words []string
	known, ok := childTransformOf(t.suite())
	switch ok = ok && known.protocol == t.protocol && known.id == t.id; {
	case t.protocol == isakmp.ProtocolAH && ok:
		words = append(words, "AH by "+t.suite().String())
	case t.protocol == isakmp.ProtocolAH:
		words = append(words, fmt.Sprintf("AH by %v with %v", isakmp.AHTransform(t.id), t.Auth))
	case ok && t.suite().Validate() == nil:
		words = append(words, t.suite().String())
	default:
		words = append(words, fmt.Sprintf("%v with %v", isakmp.ESPTransform(t.id), isakmp.Phase2{KeyBits: t.KeyBits, Auth: t.Auth}))
	}
	if t.Group != 0 {
		words = append(words, groupWord(t.Group))
	}
	if t.ESN {
		words = append(words, "esn")
	}
	mode := "no mode"
	if t.Encapsulation != 0 {
		mode = t.Encapsulation.String()
	}
	return fmt.Sprintf("%s (%s)", strings.Join(words, "-"), mode)
}

// describeKE says what is beside an offer.
func describeKE(octets int) string {
	if octets == 0 {
		return " without a KE payload"
	}
	return fmt.Sprintf(" with %d octets of KE", octets)
}
