package appliance

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/pki/pkitest"
)

// duel is the IKE of two gateways, from their configurations, joined in memory, with a clock of its own. The second one is not to be satisfied.
type duel struct {
	t       *testing.T
	now     time.Time
	ends    [2]*engines
	wire    []parcel
	checks  [2]*certificates
	answers chan ike.CertificatesChecked
	facts   [2][]ike.Fact // of each end
	said    [2][]string   // the lines of what each end sent, for people
	refuses bool          // the first one's data plane refuses SAs
	tried   []ike.ChildSA // that it was to install
	spi     uint32
}

type parcel struct {
	to int
	ike.Datagram
}

func newDuel(t *testing.T, texts ...string) *duel {
	t.Helper()
	d := &duel{t: t, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), spi: 0x1000, answers: make(chan ike.CertificatesChecked, 1)}
	for i, text := range texts {
		folder := t.TempDir()
		path := filepath.Join(folder, "sallyport.yaml")
		for name, content := range map[string]string{path: strings.ReplaceAll(text, "$DIR", folder), filepath.Join(folder, "peer.psk"): "wq7Lk2mXv9RtZ4pLc8HsJ3nYd6BfG\n"} {
			if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		loaded, err := load(path, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		d.checks[i] = newCertificates(folder, slog.New(slog.DiscardHandler))
		d.checks[i].configure(loaded.Config.Auth)
		t.Cleanup(d.checks[i].close)
		d.ends[i] = newEngines(ike.Config{Random: rand.Reader, Peers: loaded.Config.Peers,
			AllocateSPI: func(string, string) (uint32, error) { d.spi++; return d.spi, nil },
			Observe: func(o ike.Observation) {
				if o.Sent {
					d.said[i] = append(d.said[i], o.Lines()...)
				}
			}})
	}
	return d
}

func (d *duel) step(i int, event ike.Event) {
	for _, effect := range d.ends[i].Step(d.now, event) {
		switch ef := effect.(type) {
		case ike.Send:
			d.wire = append(d.wire, parcel{1 - i, ike.Datagram{Local: ef.Remote, Remote: ef.Local, Payload: bytes.Clone(ef.Payload)}})
		case ike.Fact:
			d.facts[i] = append(d.facts[i], ef)
		case ike.CheckCertificates:
			d.checks[i].check(ef, func(answer ike.CertificatesChecked) { d.answers <- answer })
			d.step(i, <-d.answers)
		case ike.InstallInbound:
			if i == 0 {
				d.tried = append(d.tried, ef.SA)
			}
			if i == 0 && d.refuses {
				d.step(i, ike.InstallFailed{SPI: ef.SA.PairSPI, Inbound: true, Reason: "refused"})
			}
		}
	}
}

// pass lets time pass.
func (d *duel) pass(length time.Duration) {
	for until := d.now.Add(length); d.now.Before(until); d.now = d.now.Add(100 * time.Millisecond) {
		for i := range d.ends {
			d.step(i, ike.Tick{})
		}
		for len(d.wire) > 0 {
			p := d.wire[0]
			d.wire = d.wire[1:]
			d.step(p.to, p.Datagram)
		}
	}
}

// preferring are two sites whose rules list certificate before psk, and have the files for both. The second one's certificate is of a CA that the first does not
// know.
func preferring(t *testing.T, version ike.Version) (a, b string) {
	t.Helper()
	known, unknown := newAuthority(t), newAuthority(t)
	unknown.issue(t, "gw-b", "gw-b.example")
	for _, file := range []string{"gw-b.pem", "gw-b.key"} {
		content, err := os.ReadFile(filepath.Join(unknown.folder, file))
		if err != nil {
			t.Fatal(err)
		}
		pkitest.Write(t, known.folder, file, content)
	}
	a, b = known.sites()
	for _, text := range []*string{&a, &b} {
		*text = strings.NewReplacer("auth: {certificate_file", "auth: {psk_file: peer.psk, certificate_file", "filter_action: protect, peer: far}",
			"filter_action: protect, peer: far, auth_methods: [certificate, psk]}").Replace(speaking(version, *text))
	}
	return a, b
}

// count is how many of the facts of an end are of a kind and a reason.
func (d *duel) count(i int, kind ike.FactKind, reason ike.Reason) (n int) {
	for _, f := range d.facts[i] {
		if f.Kind == kind && (reason == "" || f.Reason == reason) {
			n++
		}
	}
	return n
}

// said reports whether an end has said something of a word.
func (d *duel) saidOf(i int, word string) (n int) {
	for _, line := range d.said[i] {
		if strings.Contains(line, word) {
			n++
		}
	}
	return n
}

// S-024: both ends list certificate before psk, and the peer's certificate is bad: in more than a minute nothing else is tried, neither end proves itself by the key
// that both have, and there is no SA.
func TestNoOtherMethodIsTried(t *testing.T) {
	for version, words := range map[ike.Version][2]string{ike.V2: {"digital signature", "shared key"}, ike.V1: {"ECDSA", "pre-shared key"}} {
		t.Run(version.String(), func(t *testing.T) {
			a, b := preferring(t, version)
			d := newDuel(t, a, b)
			d.pass(70 * time.Second)
			if n := d.count(0, ike.Failed, ike.CertUntrusted); n < 3 || d.count(0, ike.IKEEstablished, "") != 0 || len(d.tried) != 0 {
				t.Errorf("%d negotiations failed, %d succeeded, %d SAs\n%v", n, d.count(0, ike.IKEEstablished, ""), len(d.tried), d.facts[0])
			}
			for i := range d.said {
				if right, other := d.saidOf(i, words[0]), d.saidOf(i, words[1]); right < 3 || other != 0 {
					t.Errorf("gateway %d said %q %d times and %q %d times, expected the former alone\n%s", i, words[0], right, words[1], other, strings.Join(d.said[i], "\n"))
				}
			}
		})
	}
}

// S-024: both ends list ESP before AH, and the ESP SAs that they agree on cannot be had: in more than a minute there is no try of AH.
func TestNoOtherProtocolIsTried(t *testing.T) {
	for _, version := range []ike.Version{ike.V2, ike.V1} {
		t.Run(version.String(), func(t *testing.T) {
			both := func(text string) string {
				return strings.Replace(speaking(version, text), "esp_proposals: [aes128gcm16]", "esp_proposals: [aes128gcm16], ah_proposals: [sha256]", 1)
			}
			d := newDuel(t, both(siteA()), both(siteB()))
			d.refuses = true
			d.pass(70 * time.Second)
			if n := d.count(0, ike.Failed, ike.FailInstall); n < 3 || len(d.tried) != n || d.count(0, ike.ChildEstablished, "") != d.count(0, ike.ChildDeleted, "") {
				t.Errorf("%d negotiations failed of %d\n%v", n, len(d.tried), d.facts[0])
			}
			for _, sa := range d.tried {
				if sa.Protocol != crypto.ProtocolESP {
					t.Errorf("an SA of %v is tried", sa.Protocol)
				}
			}
		})
	}
}

// S-024: what such a failure leaves of the traffic: it is dropped, and counted as blocked_negotiation_failed, with no SA and no soft SA, whatever else the rule
// lists.
func TestTrafficAfterMethodFailed(t *testing.T) {
	for _, version := range []ike.Version{ike.V2, ike.V1} {
		t.Run(version.String(), func(t *testing.T) {
			a, b := preferring(t, version)
			r := newRig(t, a, b)
			g := r.gateways[0]
			eventually(t, "packets to be dropped", func() bool {
				r.send(g, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", "secret")
				return g.drops("blocked_negotiation_failed") > 0
			})
			if sad := get[api.SAD](r, g, api.PathSAD); len(sad.QuickMode)+len(sad.Soft) != 0 || len(r.received(r.gateways[1])) != 0 {
				t.Errorf("SAs after a failed negotiation: %+v", sad)
			}
			if !strings.Contains(g.logs.String(), "reason=cert_untrusted") {
				t.Error("it failed for another reason than the certificate")
			}
		})
	}
}
