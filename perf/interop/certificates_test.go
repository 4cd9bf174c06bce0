package interop

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"sallyport/perf/lab"
	"sallyport/perf/peers"
)

// certificateCases are those of strongSwan with certificates.
func certificateCases(t *testing.T, b *bed) []testCase {
	var all []testCase
	for _, k := range []struct {
		kind   keyKind
		core   bool
		name   string
		scheme string // of both ends' signatures, in strongSwan's log
		change func(*bed, *peers.Tunnel)
	}{
		// RFC 7427 lets each end choose: strongSwan signs by PKCS #1 v1.5 unless it is told to, we by PSS.
		{rsa2048, true, "rsa", "RSA_EMSA_", nil},
		{rsa2048, false, "pss", "RSA_EMSA_PSS_", func(_ *bed, t *peers.Tunnel) { t.Settings = "rsa_pss = yes" }},
		{p256, true, "ecdsa256", "ECDSA_WITH_", nil},
		{p384, false, "ecdsa384", "ECDSA_WITH_", nil},
		{p521, false, "ecdsa521", "ECDSA_WITH_", nil},
		{curve, false, "ed25519", "ED25519", nil},
		// RFC 7296 without RFC 7427: methods 1 and 9 to 11.
		{p256, false, "ecdsa256-rfc4754", "ECDSA-256", func(_ *bed, t *peers.Tunnel) { t.Settings = "signature_authentication = no" }},
	} {
		c := chainOf(t, b, k.kind)
		changes := []func(*bed, *peers.Tunnel){swanCertificates(c)}
		if k.change != nil {
			changes = append(changes, k.change)
		}
		all = append(all, testCase{name: k.name, core: k.core, ike: defaultIKE, esp: defaultESP, ours: c.ours(), theirs: strongSwan(changes...), wire: plainESP, check: wantSignatures(k.scheme)})
	}
	c, big := chainOf(t, b, p256), chainOf(t, b, rsa4096)
	return append(all,
		testCase{name: "crl-strict", ike: defaultIKE, esp: defaultESP, ours: c.ours(), wire: plainESP,
			theirs: strongSwan(swanCertificates(c), swanLists(c.ours().files["root.crl"], c.ours().files["intermediate.crl"]))},
		testCase{name: "revoked", core: true, ike: defaultIKE, esp: defaultESP, ours: c.ours(c.b), theirs: strongSwan(swanCertificates(c)), refusal: "revoked"},
		testCase{name: "revoked-by-peer", ike: defaultIKE, esp: defaultESP, ours: c.ours(), refusal: "AUTHENTICATION_FAILED",
			theirs: strongSwan(swanCertificates(c), swanLists(c.ours().files["root.crl"], mustList(t, c.intermediate, c.a))), starts: weStart},
		testCase{name: "wrong-ca", ike: defaultIKE, esp: defaultESP, ours: c.ours().trusting(chainOf(t, b, p384)), theirs: strongSwan(swanCertificates(c)), refusal: "cert_untrusted"},
		testCase{name: "identity-mail", ike: defaultIKE, esp: defaultESP, wire: plainESP, ours: c.ours().called(mailA, mailB),
			theirs: strongSwan(swanCertificates(c), swanCalled(mailB, mailA))},
		testCase{name: "identity-address", ike: defaultIKE, esp: defaultESP, wire: plainESP, ours: c.ours().called(b.A.WANAddress.String(), b.B.WANAddress.String()),
			theirs: strongSwan(swanCertificates(c), swanCalled(b.B.WANAddress.String(), b.A.WANAddress.String()))},
		testCase{name: "identity-dn", ike: defaultIKE, esp: defaultESP, wire: plainESP, ours: c.ours().called("dn:CN="+nameA+",O=Sallyport,C=GB", "dn:CN="+nameB+",O=Sallyport,C=GB"),
			theirs: strongSwan(swanCertificates(c), swanCalled("C=GB, O=Sallyport, CN="+nameB, "C=GB, O=Sallyport, CN="+nameA))},
		testCase{name: "psk-and-certificate", ike: defaultIKE, esp: defaultESP, wire: plainESP, ours: c.ours().halves(),
			theirs: strongSwan(swanCertificates(c), func(_ *bed, t *peers.Tunnel) {
				t.RemoteAuth = "auth = psk"
				t.Secrets = fmt.Sprintf("ike-psk {\n secret = %q\n id-1 = %s\n id-2 = %s\n}", psk, nameA, nameB)
			})},
		testCase{name: "fragmentation", core: true, ike: defaultIKE, esp: defaultESP, wire: plainESP, ours: big.ours(), theirs: strongSwan(swanCertificates(big)), check: wantFragments},
	)
}

func mustList(t *testing.T, authority, revoked *holder) []byte {
	t.Helper()
	list, err := authority.crl(revoked)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// called gives both ends other identities.
func (o ours) called(local, remote string) ours {
	o.peer = strings.NewReplacer("local_id: "+nameA, "local_id: \""+local+"\"", "remote_id: "+nameB, "remote_id: \""+remote+"\"").Replace(o.peer)
	return o
}

// trusting has us trust another root.
func (o ours) trusting(other *chain) ours {
	o.files["root.pem"] = other.root.pem()
	return o
}

// halves has us prove ourselves with the preshared key, and the peer with its certificate.
func (o ours) halves() ours {
	o.peer = strings.Replace(o.peer, "auth: {", "auth: {psk_file: gw-a.psk, local: psk, remote: certificate, ", 1)
	return o
}

// swanCertificates are the peer's side of a case with certificates: the root is trusted, the CA below it is known.
func swanCertificates(c *chain) func(*bed, *peers.Tunnel) {
	return func(_ *bed, t *peers.Tunnel) {
		t.PSK, t.LocalID, t.RemoteID = "", nameB, nameA
		t.LocalAuth = "certs = gw-b.pem"
		t.Files = map[string][]byte{"x509/gw-b.pem": c.b.pem(), "x509/intermediate.pem": c.intermediate.pem(), "x509ca/root.pem": c.root.pem(), "private/gw-b.pem": c.b.keyPEM()}
	}
}

func swanCalled(local, remote string) func(*bed, *peers.Tunnel) {
	return func(_ *bed, t *peers.Tunnel) { t.LocalID, t.RemoteID = local, remote }
}

// swanLists has the peer insist on lists, and gives it some.
func swanLists(lists ...[]byte) func(*bed, *peers.Tunnel) {
	return func(_ *bed, t *peers.Tunnel) {
		t.RemoteAuth = "revocation = strict"
		files := maps.Clone(t.Files)
		for i, list := range lists {
			files[fmt.Sprintf("x509crl/%d.pem", i)] = list
		}
		t.Files = files
	}
}

// wantSignatures wants both ends to have signed by a scheme, as strongSwan calls it.
func wantSignatures(scheme string) func(t *testing.T, r *running) {
	return func(t *testing.T, r *running) {
		log := r.peer.Log()
		for _, who := range []string{"'" + nameA + "' with " + scheme, "'" + nameB + "' (myself) with " + scheme} {
			if !strings.Contains(log, "authentication of "+who) {
				t.Errorf("expected authentication of %s in strongSwan's log", who)
			}
		}
	}
}

// wantFragments wants IKE messages in fragments of their own (RFC 7383, in IKEv1 those of Cisco's) from both sides, and none in fragments of IP.
func wantFragments(t *testing.T, r *running) {
	const nextPayloadAt = 16
	fragment := map[bool]byte{true: 132, false: 53}[r.v1]
	a, b, err := r.capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if a.Fragments+b.Fragments > 0 {
		t.Errorf("the sites sent %d and %d fragments of IP, want none", a.Fragments, b.Fragments)
	}
	frames, err := lab.ReadPcap(r.pcap)
	if err != nil {
		t.Fatal(err)
	}
	pieces := map[byte]int{} // by the last octet of the sender's address
	for _, f := range frames {
		const etherLen, ipv4Len, udpLen = 14, 20, 8
		if len(f) < etherLen+ipv4Len+udpLen+28 || f[12] != 8 || f[13] != 0 || f[etherLen+9] != 17 {
			continue
		}
		message := f[etherLen+ipv4Len+udpLen:]
		if port := f[etherLen+ipv4Len:]; port[0] == 4500>>8 && port[1] == 4500&0xff {
			message = message[4:] // the marker
		}
		if message[nextPayloadAt] == fragment {
			pieces[f[etherLen+15]]++
		}
	}
	if pieces[1] < 2 || pieces[2] < 2 {
		t.Errorf("fragments of IKE by sender: %v, want at least 2 of each", pieces)
	}
}
