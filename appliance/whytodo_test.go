package appliance

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"sallyport/appliance/api"
	"sallyport/ike"
	"sallyport/pki/pkitest"
)

// aim is a view of a peer that is not up and reached by a good path.
func aim() *api.Why {
	now := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	return &api.Why{Peer: "far", Verdict: "not up", State: "idle", Clock: now, Local: "192.0.2.1", Remote: "192.0.2.2", Tunnels: []api.WhyTunnel{{Name: "nets"}},
		Path: api.WhyPath{Port: "wan", Link: "up", NextHop: "192.0.2.254", Neighbour: "02:00:00:00:00:02"}}
}

func attempted(w *api.Why, role ike.Role, ago time.Duration, exchange, answer string, reason ike.Reason) *api.WhyAttempt {
	return &api.WhyAttempt{Role: role.String(), Exchange: exchange, Answer: answer, Reason: string(reason), Ended: w.Clock.Add(-ago)}
}

// What to do follows from the failure that says most, and from where it is now.
func TestTodo(t *testing.T) {
	for name, test := range map[string]struct {
		set  func(*api.Why)
		want string
	}{
		"the peer refuses us, and we have refused it for a reason that we know": {func(w *api.Why) {
			w.Failed = attempted(w, ike.RoleInitiator, time.Second, "IKE_AUTH", "AUTHENTICATION_FAILED", ike.FailAuthentication)
			w.PeersFailed = attempted(w, ike.RoleResponder, time.Minute, "IKE_AUTH", "AUTHENTICATION_FAILED", ike.AuthKey)
		}, "the preshared keys differ"},
		"the same, but long ago": {func(w *api.Why) {
			w.Failed = attempted(w, ike.RoleInitiator, time.Second, "IKE_AUTH", "AUTHENTICATION_FAILED", ike.FailAuthentication)
			w.PeersFailed = attempted(w, ike.RoleResponder, time.Hour, "IKE_AUTH", "AUTHENTICATION_FAILED", ike.AuthKey)
		}, "says why only in its own log"},
		"our own certificate is over": {func(w *api.Why) {
			w.Failed = attempted(w, ike.RoleInitiator, time.Second, "IKE_AUTH", "AUTHENTICATION_FAILED", ike.FailAuthentication)
			w.Failed.Certificates = []api.WhyCertificate{{Ours: true, Subject: "CN=gw-a", Issuer: "CN=root", Fault: "over by our clock"}}
		}, "our own certificate is over by our clock: renew it"},
		"the peer refuses our certificate": {func(w *api.Why) {
			w.Failed = attempted(w, ike.RoleInitiator, time.Second, "IKE_AUTH", "AUTHENTICATION_FAILED", ike.FailAuthentication)
			w.Failed.Certificates = []api.WhyCertificate{{Ours: true, Subject: "CN=gw-a", Issuer: "CN=root"}}
		}, "does it trust CN=root"},
		"a wrong key where there are two": {func(w *api.Why) {
			w.PeersFailed = attempted(w, ike.RoleResponder, time.Second, "IKE_AUTH", "AUTHENTICATION_FAILED", ike.AuthKey)
			w.PeersFailed.Rows = []api.WhyRow{{What: rowPPK, Ours: `"joint", required`}}
		}, "the preshared keys differ, or the postquantum ones"},
		"our answers do not arrive": {func(w *api.Why) {
			w.PeersFailed = attempted(w, ike.RoleResponder, time.Second, "IKE_SA_INIT", "response", ike.FailTimeout)
		}, "do our packets reach it"},
		"the next hop has gone since the last failure": {func(w *api.Why) {
			w.Path.Neighbour, w.Trying = "unresolved", &api.WhyAttempt{Role: "initiator", Exchange: "IKE_SA_INIT", Sent: 3}
			w.PeersFailed = attempted(w, ike.RoleResponder, time.Minute, "IKE_SA_INIT", "response", ike.FailTimeout)
		}, "nobody answers ARP or neighbour discovery for 192.0.2.254"},
		"silence, and a stranger": {func(w *api.Why) {
			w.Trying, w.Stray = &api.WhyAttempt{Role: "initiator", Exchange: "IKE_SA_INIT", Sent: 3}, &api.WhyNote{Remote: "192.0.2.77", At: w.Clock, Count: 1}
		}, "IKE comes from 192.0.2.77, which is no peer's address (not proven, anybody can write that; last 0s ago, 1 such since the start): if that is this peer, its remote: is wrong. If not, nothing comes back from 192.0.2.2"},
		"silence, and a stranger of yesterday": {func(w *api.Why) {
			w.Trying, w.Stray = &api.WhyAttempt{Role: "initiator", Exchange: "IKE_SA_INIT", Sent: 3}, &api.WhyNote{Remote: "192.0.2.77", At: w.Clock.Add(-24 * time.Hour), Count: 1}
		}, "nothing comes back from 192.0.2.2: is it up"},
		"a peer of version 1 that sends much": {func(w *api.Why) {
			w.Trying = &api.WhyAttempt{Role: "initiator", Exchange: "IKE_SA_INIT", Sent: 3}
			w.Dropped, w.Refused = &api.WhyNote{Reason: string(ike.DropVersion), At: w.Clock}, &api.WhyNote{Reason: string(ike.RefuseRate), At: w.Clock}
		}, "IKEv1 comes from the peer's address (not proven"},
		"a peer of version 2 since an older failure": {func(w *api.Why) {
			w.IKE, w.Version, w.Dropped = "v1", 1, &api.WhyNote{Reason: string(ike.DropVersion), At: w.Clock.Add(-time.Second)}
			w.Failed = attempted(w, ike.RoleInitiator, time.Minute, quickMode, "INVALID-ID-INFORMATION", ike.FailSelectors)
		}, "IKEv2 comes from the peer's address (not proven"},
		"a failure since the peer was of version 2": {func(w *api.Why) {
			w.IKE, w.Version, w.Dropped = "v1", 1, &api.WhyNote{Reason: string(ike.DropVersion), At: w.Clock.Add(-time.Minute)}
			w.Failed = attempted(w, ike.RoleInitiator, time.Second, quickMode, "INVALID-ID-INFORMATION", ike.FailSelectors)
		}, "mirror image"},
		"IKEv1 with another key, before anybody has given up": {func(w *api.Why) {
			w.Version, w.State, w.Dropped = 1, "proving", &api.WhyNote{Reason: string(ike.DropIntegrity), At: w.Clock}
			w.Trying = &api.WhyAttempt{Role: "initiator", Exchange: mainMode, Answer: "response", Sent: 2, Rows: []api.WhyRow{{What: rowWe, Ours: "192.0.2.1 by pre-shared key"}}}
		}, "does not decrypt: the preshared keys differ"},
		"the same with certificates": {func(w *api.Why) {
			w.Version, w.State, w.Dropped = 1, "proving", &api.WhyNote{Reason: string(ike.DropIntegrity), At: w.Clock}
			w.Trying = &api.WhyAttempt{Role: "initiator", Exchange: mainMode, Answer: "response", Sent: 2, Rows: []api.WhyRow{{What: rowWe, Ours: "CN=gw-a by certificate"}}}
		}, "wait"},
		"a peer of IKEv1 that says no more, and its offer that we have refused": {func(w *api.Why) {
			w.Version, w.Failed = 1, attempted(w, ike.RoleInitiator, time.Second, mainMode, "response", ike.FailTimeout)
			w.PeersFailed = attempted(w, ike.RoleResponder, 10*time.Second, mainMode, "", ike.FailProposal)
		}, "give both ends an IKE proposal in common"},
		"between two attempts": {func(w *api.Why) {
			w.Tunnels[0].Start, w.NextAttempt = "always", w.Clock.Add(time.Second)
		}, "wait: the next attempt is due"},
		"IKEv1 with bundle at one end only, at the end that refuses": {func(w *api.Why) {
			w.Version, w.PeersFailed = 1, attempted(w, ike.RoleResponder, time.Second, quickMode, "NO-PROPOSAL-CHOSEN", ike.FailProposal)
		}, "above says what the peer offers and what we expect; is bundle the same"},
		"nobody is asked, and a stranger asks": {func(w *api.Why) {
			w.Stray = &api.WhyNote{Reason: string(ike.DropNoPolicy), Remote: "192.0.2.77", At: w.Clock, Count: 1}
		}, "its remote: is wrong, or a NAT"},
		"a NAT on the way of AH, by IKEv1": {func(w *api.Why) {
			w.Failed = attempted(w, ike.RoleInitiator, time.Second, quickMode, "", ike.FailProposal)
			w.Failed.Detail = "quick mode: " + ike.NoAHAcrossNAT
		}, "AH and bundles cannot cross the NAT on the path"},
		"the same, of the peer's": {func(w *api.Why) {
			w.PeersFailed = attempted(w, ike.RoleResponder, time.Second, quickMode, "NO-PROPOSAL-CHOSEN", ike.FailProposal)
			w.PeersFailed.Detail = ike.NoAHAcrossNAT
		}, "AH and bundles cannot cross the NAT on the path"},
		"a no in clear, and then nothing": {func(w *api.Why) {
			w.Failed = attempted(w, ike.RoleInitiator, time.Second, mainMode, "NO-PROPOSAL-CHOSEN, which anybody may have sent", ike.FailTimeout)
		}, "compare ike_proposals of both ends"},
		"nothing at all by IKEv1": {func(w *api.Why) {
			w.Failed = attempted(w, ike.RoleInitiator, time.Second, mainMode, "", ike.FailSilent)
		}, "nothing comes back from 192.0.2.2"},
		"nothing at all by IKEv2": {func(w *api.Why) {
			w.Failed = attempted(w, ike.RoleInitiator, time.Second, "IKE_SA_INIT", "", ike.FailSilent)
		}, "nothing comes back from 192.0.2.2"},
		"nothing after message 3": {func(w *api.Why) {
			w.Failed = attempted(w, ike.RoleInitiator, time.Second, mainMode, "response", ike.FailTimeout)
		}, "the peer went silent in the middle"},
		"nothing after message 5": {func(w *api.Why) {
			w.Failed = attempted(w, ike.RoleInitiator, time.Second, mainMode, "response", ike.FailTimeout)
			w.Failed.Rows = []api.WhyRow{{What: rowWe, Ours: "192.0.2.1 by pre-shared key"}}
		}, "does it know us as 192.0.2.1 by pre-shared key, by the same key?"},
		"nothing to quick mode": {func(w *api.Why) {
			w.Failed = attempted(w, ike.RoleInitiator, time.Second, quickMode, "", ike.FailTimeout)
		}, "the peer has answered main mode and not quick mode"},
		"keys of two kinds, by IKEv1": {func(w *api.Why) {
			w.Failed = attempted(w, ike.RoleInitiator, time.Second, mainMode, "response", ike.AuthAlgorithm)
		}, "give both ends keys of one kind"},
		"a limit of yesterday": {func(w *api.Why) {
			w.Refused = &api.WhyNote{Reason: string(ike.RefuseHalfOpen), At: w.Clock.Add(-24 * time.Hour)}
		}, "nothing has asked for it yet"},
	} {
		w := aim()
		test.set(w)
		if got := todo(w); !strings.Contains(got, test.want) {
			t.Errorf("%s: expected %q, found %q", name, test.want, got)
		}
		var screen strings.Builder
		if err := w.Screen(&screen); err != nil || screen.Len() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A fault of the peer's certificate is marked at the certificate, one of its key at who it is.
func TestFaultsAreMarkedWhereTheyAre(t *testing.T) {
	for reason, want := range map[ike.Reason]string{ike.CertRevoked: "certificate", ike.CRLExpired: "certificate", ike.AuthIdentity: rowPeer, ike.AuthPPK: rowPPK} {
		view := &api.WhyAttempt{Rows: []api.WhyRow{{What: rowWe}, {What: rowPeer}, {What: rowPPK}}, Certificates: []api.WhyCertificate{{Ours: true}, {}}}
		markFault(view, reason)
		var marked []string
		for _, row := range view.Rows {
			if row.Differs {
				marked = append(marked, row.What)
			}
		}
		if view.Certificates[1].Fault != "" && view.Certificates[0].Fault == "" {
			marked = append(marked, "certificate")
		}
		if got := strings.Join(marked, ","); got != want {
			t.Errorf("%s: marked %q, expected %q", reason, got, want)
		}
	}
}

// What a peer wrote into a certificate that nobody has checked yet cannot control the terminal that shows it, nor fill it.
func TestScreenOfAHostileCertificate(t *testing.T) {
	leaf := pkitest.NewRoot(t, "root").Issue("gw-b.example", func(c *x509.Certificate) {
		c.Subject.CommonName, c.Subject.Organization = "gw\x1b[2J\x1b[31mevil\u202e", []string{strings.Repeat("ü", 5000)}
	})
	w := aim()
	w.Failed = attempted(w, ike.RoleInitiator, time.Second, "IKE_AUTH", "response", ike.CertUntrusted)
	w.Failed.Certificates = certificateViews([][]byte{leaf.Certificate.Raw}, false, w.Clock)
	w.Failed.Detail = "odd \x1b[2J\x9b words"
	var screen strings.Builder
	if err := w.Screen(&screen); err != nil {
		t.Fatal(err)
	}
	if !utf8.ValidString(screen.String()) || strings.ContainsAny(screen.String(), "\x1b\u009b\u202e") || !strings.Contains(screen.String(), "evil") || screen.Len() > 4000 {
		t.Errorf("found %d characters\n%q", screen.Len(), screen.String())
	}
}
