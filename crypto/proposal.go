package crypto

import (
	"fmt"
	"slices"
	"strings"
)

// Cipher is an encryption algorithm with its key length.
type Cipher struct {
	Encr    EncrID
	KeyBits int
}

// Proposal is what one side offers or accepts: of each kind a list in order of
// preference, of which the peers agree on one each. All ciphers are AEAD and
// Integ is empty, or none is and it is not: RFC 7296 section 3.3 wants the two
// families in proposals of their own.
//
// An IKE proposal has PRF and DH and no ESN. An ESP proposal has ESN and no PRF;
// its DH list, if any, asks for perfect forward secrecy. An AH proposal is the same
// without ciphers. Beside DH there may be additional key exchanges, carried out after it
// in their order (RFC 9370): the secret then is no weaker than the strongest of them.
// DHNone among the alternatives makes one optional. A method is in one list at most, for
// the peers must not agree on it twice.
type Proposal struct {
	Protocol Protocol
	Ciphers  []Cipher
	Integ    []IntegID
	PRF      []PRFID
	DH       []DHID
	ESN      []ESNID

	AdditionalKE [AdditionalKEs][]DHID
}

// IKEProposal is a Proposal whose Protocol is ProtocolIKE.
type IKEProposal = Proposal

// ESPProposal is a Proposal whose Protocol is ProtocolESP.
type ESPProposal = Proposal

// ParseIKEProposal reads "aes128gcm16-prfsha256-ecp256". As in strongSwan several
// words of a kind list alternatives, and a proposal without a PRF takes those of
// the hashes it names for integrity: "aes256-sha256-modp2048". With an AEAD such
// a hash serves as PRF only: "aes256gcm16-sha384-ecp384". Legacy algorithms are refused.
func ParseIKEProposal(text string) (IKEProposal, error) {
	return refuseLegacy(text, ParseIKEProposalWithLegacy)
}

// ParseIKEProposalWithLegacy takes every algorithm that IKE can use: "3des-md5-modp1024". It
// is for whoever asks Legacy what they allow.
func ParseIKEProposalWithLegacy(text string) (IKEProposal, error) {
	p := Proposal{Protocol: ProtocolIKE}
	err := p.parse(text, TransformEncr, TransformInteg, TransformPRF, TransformDH)
	if err != nil {
		return Proposal{}, fmt.Errorf("IKE proposal %s: %w", quoted(text), err)
	}
	return p, nil
}

// ParseESPProposal reads "aes128gcm16", "aes256-sha256", "aes128gcm16-ecp256" (new
// Diffie-Hellman exchange with each rekey) or "aes128-sha256-esn". Without "esn"
// the proposal offers 32-bit sequence numbers only. Legacy algorithms are refused.
func ParseESPProposal(text string) (ESPProposal, error) {
	return refuseLegacy(text, ParseESPProposalWithLegacy)
}

func refuseLegacy(text string, parse func(string) (Proposal, error)) (Proposal, error) {
	p, err := parse(text)
	if err != nil {
		return Proposal{}, err
	}
	if names := p.Legacy(); len(names) > 0 {
		err := fmt.Errorf("weak %s, expected others unless legacy algorithms are allowed", strings.Join(names, " and "))
		return Proposal{}, fmt.Errorf("%s proposal %s: %w", p.Protocol, quoted(text), err)
	}
	return p, nil
}

// ParseESPProposalWithLegacy takes every algorithm that ESP can use: "3des-sha1",
// "null-sha256". It is for whoever asks Legacy what they allow.
func ParseESPProposalWithLegacy(text string) (ESPProposal, error) {
	p := Proposal{Protocol: ProtocolESP}
	err := p.parse(text, TransformEncr, TransformInteg, TransformDH, TransformESN)
	if err != nil {
		return Proposal{}, fmt.Errorf("ESP proposal %s: %w", quoted(text), err)
	}
	return p, nil
}

// ParseAHProposal reads "sha256", "sha256-esn" or "sha256-ecp256" as ParseESPProposal
// does, without ciphers. Legacy algorithms are refused.
func ParseAHProposal(text string) (Proposal, error) {
	return refuseLegacy(text, ParseAHProposalWithLegacy)
}

// ParseAHProposalWithLegacy takes every algorithm that AH can use.
func ParseAHProposalWithLegacy(text string) (Proposal, error) {
	p := Proposal{Protocol: ProtocolAH}
	if err := p.parse(text, TransformInteg, TransformDH, TransformESN); err != nil {
		return Proposal{}, fmt.Errorf("AH proposal %s: %w", quoted(text), err)
	}
	return p, nil
}

func (p *Proposal) parse(text string, kinds ...TransformType) error {
	words, err := parseKeywords(text, p.Protocol, kinds...)
	if err != nil {
		return err
	}
	for _, word := range words {
		if slices.Contains(p.Transforms(), word.transform()) {
			return fmt.Errorf("%q names %s a second time", word.name, word.transform())
		}
		p.add(word)
	}
	p.derive()
	return p.Validate()
}

func (p *Proposal) add(word keyword) {
	switch word.kind {
	case TransformEncr:
		p.Ciphers = append(p.Ciphers, Cipher{EncrID(word.id), word.keyBits})
	case TransformInteg:
		p.Integ = append(p.Integ, IntegID(word.id))
	case TransformPRF:
		p.PRF = append(p.PRF, PRFID(word.id))
	case TransformDH:
		p.DH = append(p.DH, DHID(word.id))
	case TransformESN:
		p.ESN = append(p.ESN, ESNID(word.id))
	default:
		if i, ok := word.kind.additional(); ok {
			p.AdditionalKE[i] = append(p.AdditionalKE[i], DHID(word.id))
		}
	}
}

// derive fills in what the words leave open.
func (p *Proposal) derive() {
	if p.Protocol != ProtocolIKE {
		if len(p.ESN) == 0 {
			p.ESN = []ESNID{ESNNo}
		}
		return
	}
	if len(p.PRF) > 0 {
		return
	}
	for _, id := range p.Integ {
		if row, ok := integByID(id); ok {
			p.PRF = append(p.PRF, row.prf)
		}
	}
	if aead, classic := p.families(); aead && !classic {
		p.Integ = nil
	}
}

func (p Proposal) families() (aead, classic bool) {
	for _, c := range p.Ciphers {
		if c.Encr.AEAD() {
			aead = true
		} else {
			classic = true
		}
	}
	return aead, classic
}

// Validate reports the first rule that the proposal breaks.
func (p Proposal) Validate() error {
	aead, classic := p.families()
	switch {
	case p.Protocol == ProtocolAH && len(p.Ciphers) > 0:
		return fmt.Errorf("%s with AH, which has integrity alone: expected ESP", p.Ciphers[0].Encr)
	case p.Protocol == ProtocolAH && len(p.Integ) == 0:
		return fmt.Errorf("no integrity algorithm, expected one of %s", wordList(p.Protocol, TransformInteg))
	case p.Protocol != ProtocolAH && len(p.Ciphers) == 0:
		return fmt.Errorf("no cipher, expected one of %s", wordList(p.Protocol, TransformEncr))
	case aead && classic:
		return fmt.Errorf("AEAD and other ciphers in one proposal, write two proposals")
	case aead && len(p.Integ) > 0:
		return fmt.Errorf("%s protects integrity itself, remove %s", p.Ciphers[0].Encr, p.Integ[0])
	case classic && len(p.Integ) == 0:
		return fmt.Errorf("%s needs an integrity algorithm, expected one of %s", p.Ciphers[0].Encr, wordList(p.Protocol, TransformInteg))
	case p.Protocol != ProtocolIKE && len(p.ESN) == 0:
		return fmt.Errorf("no sequence number form, expected one of %s", wordList(p.Protocol, TransformESN))
	case p.Protocol == ProtocolIKE && len(p.PRF) == 0:
		return fmt.Errorf("no PRF, expected one of %s", wordList(p.Protocol, TransformPRF))
	case p.Protocol == ProtocolIKE && len(p.DH) == 0:
		return fmt.Errorf("no key exchange, expected one of %s", wordList(p.Protocol, TransformDH))
	}
	for _, s := range p.Suites() {
		if err := s.Validate(); err != nil {
			return err
		}
	}
	if err := p.validateAdditional(); err != nil {
		return err
	}
	for _, t := range p.Transforms() {
		if !t.serves(p.Protocol) {
			return fmt.Errorf("%s %s is not supported for %s, expected one of %s", t.Type, t, p.Protocol, wordList(p.Protocol, t.Type))
		}
	}
	return nil
}

// validateAdditional holds the proposal to RFC 9370 section 2.2.1: the peers must not agree
// on a method twice. Whatever a peer offers or answers, one of these comes of it or nothing.
func (p Proposal) validateAdditional() error {
	used := slices.Clone(p.DH)
	for i, methods := range p.AdditionalKE {
		if len(methods) > 0 && len(p.DH) == 0 {
			return fmt.Errorf("%s without a first key exchange, expected one of %s", AdditionalKE(i), wordList(p.Protocol, TransformDH))
		}
		for _, method := range methods {
			if method != DHNone && slices.Contains(used, method) {
				return fmt.Errorf("%s is %s, which the proposal has already, expected another", AdditionalKE(i), method)
			}
			used = append(used, method)
		}
	}
	return nil
}

// Suites lists the suites the proposal can end in, in order of preference: the
// cipher decides before the integrity algorithm.
func (p Proposal) Suites() []Suite {
	var suites []Suite
	if p.Protocol == ProtocolAH {
		for _, integ := range p.Integ {
			suites = append(suites, Suite{Integ: integ})
		}
	}
	for _, c := range p.Ciphers {
		if len(p.Integ) == 0 {
			suites = append(suites, Suite{Encr: c.Encr, KeyBits: c.KeyBits})
		}
		for _, integ := range p.Integ {
			suites = append(suites, Suite{Encr: c.Encr, KeyBits: c.KeyBits, Integ: integ})
		}
	}
	return suites
}

// Transforms lists the proposal as an SA payload carries it, kind by kind in the
// order of the transform types.
func (p Proposal) Transforms() []Transform {
	var list []Transform
	for _, c := range p.Ciphers {
		list = append(list, Transform{TransformEncr, uint16(c.Encr), uint16(c.KeyBits)})
	}
	for _, id := range p.PRF {
		list = append(list, Transform{Type: TransformPRF, ID: uint16(id)})
	}
	for _, id := range p.Integ {
		list = append(list, Transform{Type: TransformInteg, ID: uint16(id)})
	}
	for _, id := range p.DH {
		list = append(list, Transform{Type: TransformDH, ID: uint16(id)})
	}
	for _, id := range p.ESN {
		list = append(list, Transform{Type: TransformESN, ID: uint16(id)})
	}
	for i, methods := range p.AdditionalKE {
		for _, id := range methods {
			list = append(list, Transform{Type: AdditionalKE(i), ID: uint16(id)})
		}
	}
	return list
}

// Legacy lists the words of those algorithms in the proposal that nobody should get
// without asking for them: see Suite.Legacy.
func (p Proposal) Legacy() []string {
	var names []string
	for _, t := range p.Transforms() {
		if t.legacy() {
			names = append(names, t.Keyword())
		}
	}
	return names
}

// String returns the keyword form; parsing it gives an equal proposal.
func (p Proposal) String() string {
	var names []string
	for _, t := range p.Transforms() {
		names = append(names, t.Keyword())
	}
	return strings.Join(names, "-")
}

// DefaultIKEProposals is what an IKE SA offers when the configuration does not
// say: AES-GCM first, then AES-CBC for peers without it.
func DefaultIKEProposals() []IKEProposal {
	groups := []DHID{DHECP256, DHCurve25519, DHECP384, DHMODP2048}
	return []IKEProposal{
		{
			Protocol: ProtocolIKE,
			Ciphers:  []Cipher{{EncrAESGCM16, 128}, {EncrAESGCM16, 256}},
			PRF:      []PRFID{PRFHMACSHA256, PRFHMACSHA384, PRFHMACSHA512},
			DH:       groups,
		},
		{
			Protocol: ProtocolIKE,
			Ciphers:  []Cipher{{EncrAESCBC, 128}, {EncrAESCBC, 256}},
			Integ:    []IntegID{IntegHMACSHA256, IntegHMACSHA384, IntegHMACSHA512},
			PRF:      []PRFID{PRFHMACSHA256, PRFHMACSHA384, PRFHMACSHA512},
			DH:       slices.Clone(groups),
		},
	}
}

// DefaultESPProposals is what a Child SA offers when the configuration does not
// say: AES-GCM first, and extended sequence numbers where the peer has them too: 32
// bits end within minutes at the rate of fast ports (S-080). SHA-1 is for those who ask
// for it.
func DefaultESPProposals() []ESPProposal {
	return []ESPProposal{
		{
			Protocol: ProtocolESP,
			Ciphers:  []Cipher{{EncrAESGCM16, 128}, {EncrAESGCM16, 256}},
			ESN:      []ESNID{ESNYes, ESNNo},
		},
		{
			Protocol: ProtocolESP,
			Ciphers:  []Cipher{{EncrAESCBC, 128}, {EncrAESCBC, 256}},
			Integ:    []IntegID{IntegHMACSHA256, IntegHMACSHA384, IntegHMACSHA512},
			ESN:      []ESNID{ESNYes, ESNNo},
		},
	}
}
