package ikev1

import (
	"slices"
	"strings"
	"testing"

	"sallyport/crypto"
	"sallyport/ike/isakmp"
)

// childProposals reads proposals of ESP, and behind "AH " of AH.
func childProposals(t testing.TB, texts ...string) (list []crypto.Proposal) {
	t.Helper()
	for _, text := range texts {
		parse := crypto.ParseESPProposalWithLegacy
		word, isAH := strings.CutPrefix(text, "AH ")
		if isAH {
			parse = crypto.ParseAHProposalWithLegacy
		}
		p, err := parse(word)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

// terms are those of tunnel mode, with AH around them behind "+".
func terms(t testing.TB, texts string) quickTerms {
	t.Helper()
	q := quickTerms{encapsulation: isakmp.EncapsulationTunnel}
	inner, outer, bundle := strings.Cut(texts, " + ")
	q.proposals = childProposals(t, strings.Split(inner, ", ")...)
	if bundle {
		q.around = childProposals(t, strings.Split(outer, ", ")...)
	}
	return q
}

func (c phase2Choice) text() string {
	var parts []string
	for _, half := range []*childHalf{c.ah, c.esp} {
		if half == nil {
			continue
		}
		text := half.suite.String()
		if half.esn {
			text += "-esn"
		}
		parts = append(parts, text)
	}
	text := strings.Join(parts, " around ")
	if c.dh != crypto.DHNone {
		text += ", " + groupWord(isakmp.Group(c.dh))
	}
	return text
}

// S-064, S-082: what each end wants of algorithms, protocols, mode and perfect forward secrecy has to meet; the responder's order counts.
func TestChoosePhase2(t *testing.T) {
	transport := func(q *quickTerms) { q.encapsulation = isakmp.EncapsulationTransport }
	for _, c := range []struct {
		name         string
		ours, theirs string
		change       func(theirs *quickTerms)
		want, err    string
	}{
		{name: "our order counts", ours: "aes128gcm16, aes256-sha256", theirs: "aes256-sha256, aes128gcm16", want: "aes128gcm16"},
		{name: "3DES in transport mode against AES", ours: "aes128-sha1", theirs: "3des-sha1",
			err: "peer offers 3des-sha1 (tunnel) without a KE payload; expected one of aes128-sha1 (tunnel)"},
		{name: "integrity algorithms differ", ours: "aes128-sha256", theirs: "aes128-sha1", err: "peer offers aes128-sha1"},
		{name: "key lengths differ", ours: "aes256-sha256", theirs: "aes128-sha256", err: "peer offers aes128-sha256"},
		{name: "modes differ", ours: "aes128-sha256", theirs: "aes128-sha256", change: transport,
			err: "peer offers aes128-sha256 (transport) without a KE payload; expected one of aes128-sha256 (tunnel)"},
		{name: "AH against ESP", ours: "AH sha256", theirs: "aes128-sha256", err: "expected one of AH by sha256 (tunnel)"},
		{name: "AH", ours: "AH sha1-aes256gmac", theirs: "AH aes256gmac-md5", want: "aes256gmac"},
		{name: "PFS at both", ours: "aes128-sha256-modp2048-ecp256", theirs: "aes128-sha256-ecp256-modp2048", want: "aes128-sha256, ecp256"},
		{name: "PFS at the initiator only", ours: "aes128-sha256", theirs: "aes128-sha256-modp2048",
			err: "peer offers aes128-sha256-modp2048 (tunnel) with 256 octets of KE; expected one of aes128-sha256 (tunnel)"},
		{name: "PFS at the responder only", ours: "aes128-sha256-modp2048", theirs: "aes128-sha256",
			err: "peer offers aes128-sha256 (tunnel) without a KE payload; expected one of aes128-sha256-modp2048 (tunnel)"},
		{name: "extended sequence numbers at both", ours: "aes128gcm16-esn-noesn", theirs: "aes128gcm16-noesn-esn", want: "aes128gcm16-esn"},
		{name: "extended sequence numbers here only", ours: "aes128gcm16-esn-noesn", theirs: "aes128gcm16", want: "aes128gcm16"},
		{name: "extended sequence numbers demanded", ours: "aes128gcm16-esn", theirs: "aes128gcm16", err: "expected one of aes128gcm16-esn (tunnel)"},
		{name: "a bundle", ours: "aes128-sha1-sha256 + AH sha256", theirs: "aes128-sha256 + AH sha1-sha256", want: "sha256 around aes128-sha256"},
		{name: "a bundle with PFS", ours: "3des-sha1-modp1024 + AH md5", theirs: "3des-sha1-modp1024 + AH md5", want: "md5 around 3des-sha1, modp1024"},
		{name: "a bundle against ESP alone", ours: "aes128-sha1", theirs: "aes128-sha1 + AH sha1",
			err: "peer offers AH by sha1 (tunnel) around aes128-sha1 (tunnel) without a KE payload; expected one of aes128-sha1 (tunnel)"},
		{name: "ESP alone against a bundle", ours: "aes128-sha1 + AH sha1", theirs: "aes128-sha1", err: "expected one of AH by sha1 (tunnel) around aes128-sha1 (tunnel)"},
		{name: "the AH of bundles differs", ours: "aes128-sha1 + AH sha1", theirs: "aes128-sha1 + AH md5", err: "peer offers AH by md5 (tunnel) around aes128-sha1 (tunnel)"},
		{name: "every cipher", ours: "null-des-3des-aes192-aes192ctr-aesxcbc", theirs: "aes192ctr-aesxcbc", want: "aes192ctr-aesxcbc"},
		{name: "GMAC", ours: "aes256gmac", theirs: "aes256gmac", want: "aes256gmac"},
		{name: "CCM", ours: "aes256ccm8", theirs: "aes256ccm16-aes256ccm12-aes256ccm8", want: "aes256ccm8"},
	} {
		ours, theirs := terms(t, c.ours), terms(t, c.theirs)
		ours.lifetime, theirs.lifetime = isakmp.Lifetime{Seconds: 3600}, isakmp.Lifetime{Seconds: 600, Kilobytes: 1 << 20}
		if c.change != nil {
			c.change(&theirs)
		}
		group := quickGroups(theirs.proposals)[0]
		ke, _ := group.ValueLens()
		choice, err := choosePhase2(ours, received(t, offerPhase2(theirs, group, childSPIs{0x1001, 0x1002})), ke)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, expected %q", c.name, err, c.err)
			}
			continue
		}
		if err != nil || choice.text() != c.want || choice.lifetime != theirs.lifetime || choice.encapsulation != isakmp.EncapsulationTunnel {
			t.Errorf("%s: chosen %s for %v, error %v, expected %s for %v", c.name, choice.text(), choice.lifetime, err, c.want, theirs.lifetime)
			continue
		}
		if ah := choice.ah; ah != nil && ah.spi != 0x1001 || choice.esp != nil && choice.esp.spi != 0x1002 {
			t.Errorf("%s: SPIs %v and %v, expected 0x1001 for AH and 0x1002 for ESP", c.name, choice.ah, choice.esp)
		}
		confirmed, err := confirmPhase2(theirs, group, received(t, choice.answer(childSPIs{0x2001, 0x2002})))
		if err != nil || confirmed.text() != c.want || confirmed.esp != nil && confirmed.esp.spi != 0x2002 || confirmed.ah != nil && confirmed.ah.spi != 0x2001 {
			t.Errorf("%s: the initiator reads %s, error %v, expected %s", c.name, confirmed.text(), err, c.want)
		}
	}
}

// One KE payload serves all of an offer: of several groups one is offered at a time, and what has none of it is not offered beside.
func TestQuickGroups(t *testing.T) {
	q := terms(t, "aes128-sha256-ecp256-modp2048, aes256-sha256-modp2048, aes128-sha1, aes128-sha1-curve25519")
	groups := quickGroups(q.proposals)
	if want := []crypto.DHID{crypto.DHECP256, crypto.DHMODP2048, crypto.DHNone}; !slices.Equal(groups, want) {
		t.Errorf("groups %v, expected %v", groups, want)
	}
	for i, want := range []string{
		"aes128-sha256-ecp256 (tunnel)", "aes128-sha256-modp2048 (tunnel), aes256-sha256-modp2048 (tunnel)", "aes128-sha1 (tunnel)",
	} {
		offers := readOffers(received(t, offerPhase2(q, groups[i], childSPIs{1000, 1000})).Alternatives())
		if got := describeOffers(offers); got != want {
			t.Errorf("with %v offers %s, expected %s", groups[i], got, want)
		}
	}
}

// A transform without a lifetime lives for that of RFC 2407 4.5; of a bundle the shorter one counts.
func TestLifetimesOfPhase2(t *testing.T) {
	q := terms(t, "aes128-sha1 + AH sha1")
	for _, c := range []struct {
		ah, esp, want isakmp.Lifetime
	}{
		{isakmp.Lifetime{}, isakmp.Lifetime{}, isakmp.Lifetime{Seconds: 28800}},
		{isakmp.Lifetime{Kilobytes: 5}, isakmp.Lifetime{Seconds: 60}, isakmp.Lifetime{Seconds: 60, Kilobytes: 5}},
		{isakmp.Lifetime{Seconds: 70, Kilobytes: 5}, isakmp.Lifetime{Seconds: 60, Kilobytes: 9}, isakmp.Lifetime{Seconds: 60, Kilobytes: 5}},
	} {
		sa := offerPhase2(q, crypto.DHNone, childSPIs{1000, 1001})
		for i, life := range []isakmp.Lifetime{c.ah, c.esp} {
			p, _ := sa.Proposals[i].Transforms[0].Phase2()
			p.Lifetime = life
			sa.Proposals[i].Transforms[0] = p.Transform(1, sa.Proposals[i].Transforms[0].ID)
		}
		choice, err := choosePhase2(q, received(t, sa), 0)
		if err != nil || choice.lifetime != c.want {
			t.Errorf("AH for %v and ESP for %v live for %v, error %v, expected %v", c.ah, c.esp, choice.lifetime, err, c.want)
		}
	}
}

// S-064: offers that are none are passed over, and answers that are not within the offer refused.
func TestHostilePhase2(t *testing.T) {
	q := terms(t, "aes128-sha1")
	group := func(proposals ...isakmp.Proposal) *isakmp.SA { return &isakmp.SA{Proposals: proposals} }
	good := offerPhase2(q, crypto.DHNone, childSPIs{esp: 4096}).Proposals[0]
	with := func(change func(*isakmp.Proposal)) isakmp.Proposal {
		p := good
		p.Transforms = slices.Clone(p.Transforms)
		change(&p)
		return p
	}
	attribute := func(kind, value uint16) isakmp.Proposal {
		return with(func(p *isakmp.Proposal) {
			p.Transforms[0].Attributes = append(slices.Clone(p.Transforms[0].Attributes), isakmp.Basic(kind, value))
		})
	}
	for name, c := range map[string]struct {
		sa    *isakmp.SA
		taken bool
	}{
		"as offered":                         {group(good), true},
		"number 0":                           {group(with(func(p *isakmp.Proposal) { p.Number = 0 })), true},
		"with an SPI that no packet carries": {group(with(func(p *isakmp.Proposal) { p.SPI = []byte{0, 0, 0, 255} })), false},
		"ESP twice under one number":         {group(good, good), false},
		"with IPCOMP": {group(good, isakmp.Proposal{Number: good.Number, Protocol: isakmp.ProtocolIPCOMP, SPI: []byte{0, 1},
			Transforms: []isakmp.Transform{{ID: 2}}}), false},
		"of ISAKMP":                        {group(isakmp.Proposal{Protocol: isakmp.ProtocolISAKMP, Transforms: good.Transforms}), false},
		"an attribute that is not known":   {group(attribute(99, 1)), false},
		"a group without a KE payload":     {group(attribute(3, 14)), false},
		"extended sequence numbers":        {group(attribute(11, 1)), false},
		"another form of sequence numbers": {group(attribute(11, 2)), false},
		"a lifetime in furlongs":           {group(attribute(1, 3)), false},
		"no attributes":                    {group(with(func(p *isakmp.Proposal) { p.Transforms[0].Attributes = nil })), false},
		"the transform of AH in ESP":       {group(with(func(p *isakmp.Proposal) { p.Transforms[0].ID = 3 })), false},
	} {
		if _, err := choosePhase2(q, received(t, c.sa), 0); (err == nil) != c.taken {
			t.Errorf("%s offered: error %v, expected to be taken: %t", name, err, c.taken)
		}
		if _, err := confirmPhase2(q, crypto.DHNone, received(t, c.sa)); (err == nil) != c.taken {
			t.Errorf("%s answered: error %v, expected to be taken: %t", name, err, c.taken)
		}
	}
	several := terms(t, "aes128-aes256-sha1, aes128gcm16")
	if _, err := confirmPhase2(several, crypto.DHNone, received(t, offerPhase2(several, crypto.DHNone, childSPIs{esp: 4096}))); err == nil {
		t.Error("our offer is taken for an answer")
	}
}

// 100 proposals with 100 transforms each cost one look at each transform, and what is said of them stays short.
func TestManyChildProposals(t *testing.T) {
	ours := terms(t, "aes128-aes192-aes256-sha1-sha256-sha384-sha512-esn-noesn + AH sha1-sha256-sha384-sha512-esn-noesn")
	var offered isakmp.SA
	for number := range uint8(100) {
		p := isakmp.Proposal{Number: number, Protocol: isakmp.ProtocolESP, SPI: []byte{1, 2, 3, 4}}
		for i := range uint8(100) {
			transform := isakmp.Phase2{Encapsulation: isakmp.EncapsulationTunnel, Auth: isakmp.AuthHMACMD5, KeyBits: uint16(i) + 1}
			p.Transforms = append(p.Transforms, transform.Transform(i, uint8(isakmp.ESPAES)))
		}
		ah := isakmp.Proposal{Number: number, Protocol: isakmp.ProtocolAH, SPI: []byte{1, 2, 3, 4}, Transforms: p.Transforms}
		offered.Proposals = append(offered.Proposals, p, ah)
	}
	if _, err := choosePhase2(ours, &offered, 0); err == nil || len(err.Error()) > 6000 {
		t.Errorf("error %.200v, expected one of at most 6000 octets", err)
	}
}

// What strongSwan and libreswan offered in quick mode, and what strongSwan answered.
func TestCapturedPhase2(t *testing.T) {
	for _, v := range []struct {
		name   string
		prf    crypto.PRFID
		cipher phase1Cipher
		ours   string
		quick  int // message 1 of quick mode
		main   [4]int
		mode   isakmp.Encapsulation
		want   string
	}{
		{"ikev1-psk-pfs-tunnel", crypto.PRFHMACSHA256, phase1Cipher{crypto.EncrAESCBC, 32}, "aes256-sha256-modp2048", 6, [4]int{0, 1, 2, 3}, isakmp.EncapsulationTunnel, "aes256-sha256, modp2048"},
		{"ikev1-rsa-3des-md5-fragments", crypto.PRFHMACMD5, phase1Cipher{crypto.Encr3DES, 24}, "3des-sha1", 6, [4]int{0, 1, 2, 3}, isakmp.EncapsulationTunnel, "3des-sha1"},
		{"ikev1-libreswan-ah-dpd", crypto.PRFHMACSHA1, phase1Cipher{crypto.Encr3DES, 24}, "AH sha1", 10, [4]int{0, 3, 6, 7}, isakmp.EncapsulationTransport, "sha1"},
	} {
		c := readCapture(t, v.name)
		k, seen := c.mainModeKeys(t, v.prf, v.cipher, []*isakmp.Message{c.messages[v.main[0]], c.messages[v.main[1]], c.messages[v.main[2]], c.messages[v.main[3]]})
		last := c.checkProofs(t, k, seen, c.messages[v.quick-2:])
		request, iv := c.open(t, k, k.phase2IV(last, c.messages[v.quick].MessageID), c.messages[v.quick])
		answer, _ := c.open(t, k, iv, c.messages[v.quick+1])
		q := terms(t, v.ours)
		q.encapsulation = v.mode
		ke := 0
		if p := isakmp.Find[*isakmp.KE](request.Payloads); p != nil {
			ke = len(p.Data)
		}
		choice, err := choosePhase2(q, isakmp.Find[*isakmp.SA](request.Payloads), ke)
		if err != nil || choice.text() != v.want {
			t.Errorf("%s: chosen %s, error %v, expected %s", v.name, choice.text(), err, v.want)
		}
		if confirmed, err := confirmPhase2(q, quickGroups(q.proposals)[0], isakmp.Find[*isakmp.SA](answer.Payloads)); err != nil || confirmed.text() != v.want {
			t.Errorf("%s: answered %s, error %v, expected %s", v.name, confirmed.text(), err, v.want)
		}
	}
}
