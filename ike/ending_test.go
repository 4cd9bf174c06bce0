package ike

import (
	"slices"
	"testing"
	"time"

	"sallyport/crypto"
)

// What Endings tells beforehand is what Reconfigure does: those Child SAs end and no other.
func TestEndingsComeTrue(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Peer)
		ended  []string
		why    string
	}{
		"nothing":        {func(*Peer) {}, nil, ""},
		"times":          {func(p *Peer) { p.DPDDelay, p.RekeyTime, p.Children[0].RekeyTime = time.Minute, time.Hour, time.Hour }, nil, ""},
		"start":          {func(p *Peer) { p.Children[0].Start = StartOnDemand }, nil, ""},
		"defaults named": {func(p *Peer) { p.DPDDelay, p.Children[0].ESPProposals = DefaultDPDDelay, crypto.DefaultESPProposals() }, nil, ""},
		"selectors":      {func(p *Peer) { p.Children[0].Selectors = append(slices.Clone(p.Children[0].Selectors), wider) }, []string{"net"}, "it protects other traffic (selectors)"},
		"proposals":      {func(p *Peer) { p.Children[0].ESPProposals = espProposals(t, "aes256gcm16") }, []string{"net"}, "it is protected otherwise (ESP proposals)"},
		"child gone":     {func(p *Peer) { p.Children = p.Children[:1] }, []string{"voice"}, "no rule of the policy needs it any longer"},
		"renamed":        {func(p *Peer) { p.Children[0].Name = "lan" }, []string{"net"}, "no rule of the policy needs it any longer"},
		"key":            {func(p *Peer) { p.PSK = crypto.NewSecret([]byte("new key")) }, []string{"net", "voice"}, "its peer changed: preshared key"},
		"IKE proposals":  {func(p *Peer) { p.IKEProposals = nil }, []string{"net", "voice"}, "its peer changed: IKE proposals"},
		"peer renamed":   {func(p *Peer) { p.Name = "c" }, []string{"net", "voice"}, "its peer is negotiated with no longer"},
	} {
		t.Run(name, func(t *testing.T) {
			l := join(t, withVoice(false), withVoice(true))
			upWithVoice(l)
			before := l.a.cfg.Peers
			l.a.configure(c.change)
			l.run()
			var told, ended []string
			for _, e := range Endings(before, l.a.cfg.Peers) {
				told = append(told, e.Child)
				if e.Peer != "b" || e.Why != c.why {
					t.Errorf("told %+v, expected the reason %q", e, c.why)
				}
			}
			for _, f := range l.a.facts {
				if f.Kind == ChildDeleted {
					ended = append(ended, f.Child)
				}
			}
			slices.Sort(told)
			slices.Sort(ended)
			if !slices.Equal(told, c.ended) || !slices.Equal(ended, c.ended) {
				t.Errorf("told that %v end, and %v did, expected %v", told, ended, c.ended)
			}
		})
	}
}
