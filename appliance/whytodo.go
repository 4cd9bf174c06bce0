package appliance

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/appliance/api"
	"sallyport/ike"
)

// todo is the one line that ends the screen: the next thing to do for who reads it.
func todo(w *api.Why) string {
	failed := w.Told()
	silent := w.Trying != nil && w.Trying.Answer == "" && (w.Trying.Exchange == "IKE_SA_INIT" || w.Trying.Exchange == mainMode) && w.Trying.Sent > 1 && w.PeersFailed == nil
	switch {
	case w.Verdict == "up":
		return "nothing: the tunnel is up; packets that do not pass are explained by `sallyport explain`"
	case strings.HasPrefix(w.Verdict, "down"):
		return fmt.Sprintf("`sallyport up %s` lets it come up again", w.Peer)
	case onlyDown(w):
		return fmt.Sprintf("`sallyport up %s` lets what an operator has taken down come up again", w.Peer)
	case w.Path.Link == "down":
		return fmt.Sprintf("port %s has no link: look at the cable, the switch and `sallyport show ports`", w.Path.Port)
	case w.Path.NextHop == "":
		return fmt.Sprintf("no route leads to %s: add one under routes", w.Remote)
	case unresolved(w) && w.Trying != nil && w.Trying.Sent > 1:
		return todoSilence(w)
	case otherVersion(w) != "" && (failed == nil || w.Dropped.At.After(failed.Ended)):
		return otherVersion(w)
	case undecipherable(w) && (failed == nil || w.Dropped.At.After(failed.Ended)):
		return "what the peer sends does not decrypt: " + advice[ike.AuthKey]
	case failed != nil && unanswered(failed) || failed == nil && silent:
		return todoSilence(w)
	case failed != nil:
		return adviceOn(w, failed)
	case w.Trying == nil && lately(w, w.Stray) && w.Stray.Reason == string(ike.DropNoPolicy):
		return fmt.Sprintf("IKE comes from %s, which is no peer's address%s: if that is this peer, its remote: is wrong, or a NAT in between is missing", w.Stray.Remote, unproven(w, w.Stray))
	case lately(w, w.Refused):
		return fmt.Sprintf("our limit (%s) has refused the peer: find out who sends so much from %s; it is let in again by itself when that ends", w.Refused.Reason, w.Remote)
	case w.Trying != nil && w.Trying.Exchange == mainMode && w.Trying.Answer != "" && w.Trying.Answer != "response":
		return refusedOffer
	case w.Trying != nil:
		return "wait: the negotiation goes on"
	case !w.NextAttempt.IsZero() && slices.ContainsFunc(w.Tunnels, func(t api.WhyTunnel) bool { return !t.Up && t.Start == ike.StartAlways.String() }):
		return fmt.Sprintf("wait: the next attempt is due (the clock's row above); `sallyport up %s` begins at once", w.Peer)
	}
	return fmt.Sprintf("nothing has asked for it yet: the first packet brings it up (start: on-demand), or `sallyport up %s`", w.Peer)
}

// refusedOffer is about a main mode to whose first message a no in clear has come.
const refusedOffer = "compare ike_proposals of both ends, and the peer's log: it, or somebody in its name, does not take what we offer"

// unanswered reports whether a negotiation of ours has met silence. In IKEv1 one that came further than its first message did not.
func unanswered(failed *api.WhyAttempt) bool {
	return failed.Reason == string(ike.FailSilent) || failed.Reason == string(ike.FailTimeout) && failed.Role == ike.RoleInitiator.String() && (!byIKEv1(failed) || failed.Exchange == mainMode && failed.Answer == "")
}

// byIKEv1 reports whether a negotiation was by IKEv1.
func byIKEv1(a *api.WhyAttempt) bool { return a.Exchange == mainMode || a.Exchange == quickMode }

// onlyDown reports whether no other tunnel is missing than those an operator has taken down.
func onlyDown(w *api.Why) bool {
	return !slices.ContainsFunc(w.Tunnels, func(t api.WhyTunnel) bool { return !t.Up && !t.Down })
}

// lately reports whether a note is young enough to have to do with what fails now: with some attempts of a peer.
func lately(w *api.Why, n *api.WhyNote) bool { return n != nil && w.Clock.Sub(n.At) < 5*time.Minute }

// unproven says of a note what it is worth: what it is about anybody can have written, in whoever's name.
func unproven(w *api.Why, n *api.WhyNote) string {
	return fmt.Sprintf(" (not proven, anybody can write that; last %s ago, %d such since the start)", max(w.Clock.Sub(n.At), 0).Truncate(time.Second), n.Count)
}

// unresolved reports whether the next hop has not said where it is.
func unresolved(w *api.Why) bool { return w.Path.Neighbour == "unresolved" }

// todoSilence is about a peer from which nothing comes back.
func todoSilence(w *api.Why) string {
	switch {
	case otherVersion(w) != "":
		return otherVersion(w)
	case lately(w, w.Unproven):
		return fmt.Sprintf("several answer our IKE_SA_INIT in the peer's name, the last from %s, and no proof has come in time: find out who on the path does so", w.Unproven.Remote)
	case unresolved(w):
		return fmt.Sprintf("nobody answers ARP or neighbour discovery for %s on port %s: is it up, in that subnet, and on that VLAN?", w.Path.NextHop, w.Path.Port)
	case lately(w, w.Refused) && w.Refused.Reason != string(ike.RefuseRate): // that one says less than what it would have answered
		return fmt.Sprintf("our limit (%s) has refused what came from the peer's address: find out who sends so much from %s", w.Refused.Reason, w.Remote)
	}
	text := fmt.Sprintf("nothing comes back from %s: is it up, does it know our address %s, is UDP 500 and 4500 open both ways? `sallyport doctor %s` asks", w.Remote, w.Local, w.Peer)
	if lately(w, w.Stray) {
		text = fmt.Sprintf("IKE comes from %s, which is no peer's address%s: if that is this peer, its remote: is wrong. If not, ", w.Stray.Remote, unproven(w, w.Stray)) + text
	}
	return text
}

// otherVersion is about a peer that speaks the IKE that we do not speak with it; empty where nothing says so.
func otherVersion(w *api.Why) string {
	switch {
	case !lately(w, w.Dropped) || w.Dropped.Reason != string(ike.DropVersion):
		return ""
	case w.IKE == ike.V1.String():
		return fmt.Sprintf("IKEv2 comes from the peer's address%s: if that is the peer, it speaks the stronger one, so take ike: v1 away from it (docs/TUNNELS.md)", unproven(w, w.Dropped))
	}
	return fmt.Sprintf("IKEv1 comes from the peer's address%s: if that is the peer, set it to IKEv2, or if it has nothing better write ike: v1 here (docs/TUNNELS.md)", unproven(w, w.Dropped))
}

// undecipherable reports whether a main mode with preshared keys has come to where their difference shows, and no further: neither end can say so to the
// other, and each repeats what it has sent until it gives up.
func undecipherable(w *api.Why) bool {
	return w.Version == 1 && w.State == "proving" && lately(w, w.Dropped) && w.Dropped.Reason == string(ike.DropIntegrity) && w.Trying != nil && w.Trying.Sent > 1 &&
		slices.ContainsFunc(w.Trying.Rows, func(r api.WhyRow) bool { return r.What == rowWe && strings.HasSuffix(r.Ours, methodText(ike.AuthPSK)) })
}

func adviceOn(w *api.Why, failed *api.WhyAttempt) string {
	child := strings.HasPrefix(failed.Exchange, "CREATE") || failed.Exchange == "IKE_AUTH" || failed.Exchange == quickMode
	text := advice[ike.Reason(failed.Reason)]
	switch ike.Reason(failed.Reason) {
	case ike.FailProposal, ike.FailKE:
		if !child {
			text = "give both ends an IKE proposal in common: ike_proposals of the peer"
		}
		text += whereItDiffers(failed)
		if failed.Exchange == quickMode && failed.Role != ike.RoleInitiator.String() && !slices.ContainsFunc(failed.Rows, func(r api.WhyRow) bool { return r.Differs }) {
			text += "; is bundle the same at both ends?"
		}
		if strings.Contains(failed.Detail, ike.NoAHAcrossNAT) {
			text = "AH and bundles cannot cross the NAT on the path: give both ends ESP alone to offer (esp_proposals of the rule's filter action), or a path without NAT"
		}
	case ike.FailAuthentication:
		text = adviceOnOurProof(failed)
	case ike.AuthKey:
		if hasPPK(failed) {
			text = "the preshared keys differ, or the postquantum ones: the same psk_file, and the same ppk_file, at both ends, then `sallyport reload`"
		}
	case ike.AuthAlgorithm, ike.CertKeyType:
		if byIKEv1(failed) {
			text = "give both ends keys of one kind, for IKEv1 has one method for both: RSA, or ECDSA on the same of P-256, P-384 and P-521; or speak IKEv2"
		}
	case ike.FailTimeout:
		if byIKEv1(failed) && failed.Role == ike.RoleInitiator.String() {
			text = adviceOnHalfAnswered(failed)
		}
		if failed.Role != ike.RoleInitiator.String() && (failed.Exchange == "IKE_SA_INIT" || failed.Exchange == mainMode) {
			text = "the peer's first request comes in and nothing after our answer: do our packets reach it, is UDP 500 and 4500 open both ways, do long packets pass (fragment_size)? `sallyport doctor PEER` asks"
		}
	}
	return strings.ReplaceAll(text, "PEER", w.Peer)
}

// adviceOnHalfAnswered is about a peer of IKEv1 that fell silent on the way: by that it refuses more often than by a word.
func adviceOnHalfAnswered(failed *api.WhyAttempt) string {
	switch {
	case failed.Exchange == quickMode:
		return "the peer has answered main mode and not quick mode, and its log may say why: compare esp_proposals, PFS and the filters; do long packets pass (fragment_size)?"
	case failed.Answer != "response":
		return refusedOffer
	case slices.ContainsFunc(failed.Rows, func(r api.WhyRow) bool { return r.What == rowWe }): // message 5 was sent
		return fmt.Sprintf("the peer does not answer our proof: does it know us as %s, by the same key? its log says; or is UDP 4500 closed, or are long packets lost (fragment_size)?", ourIdentity(failed))
	}
	return advice[ike.FailTimeout]
}

// whereItDiffers points to the rows without anything in common, or to the one who knows them.
func whereItDiffers(failed *api.WhyAttempt) string {
	if slices.ContainsFunc(failed.Rows, func(r api.WhyRow) bool { return r.Differs }) {
		return " (the rows marked <- have nothing in common)"
	}
	if failed.Role != ike.RoleInitiator.String() {
		return "; the last failure above says what the peer offers and what we expect"
	}
	return "; what it would accept stands in the peer's own log"
}

// adviceOnOurProof is about a peer that refuses us, of which it says no more than that.
func adviceOnOurProof(failed *api.WhyAttempt) string {
	const refuses = "the peer refuses us and says why only in its own log: "
	ours := slices.IndexFunc(failed.Certificates, func(c api.WhyCertificate) bool { return c.Ours })
	switch {
	case ours >= 0 && failed.Certificates[ours].Fault != "":
		return fmt.Sprintf("our own certificate is %s: renew it, unless our clock is wrong (the row above), then `sallyport reload`", failed.Certificates[ours].Fault)
	case ours >= 0:
		return refuses + fmt.Sprintf("does it know us as %s, does it trust %s and find our certificate neither over nor revoked?", ourIdentity(failed), failed.Certificates[ours].Issuer)
	case hasPPK(failed):
		return refuses + fmt.Sprintf("does it know us as %s, by the same key, and has it the same ppk_file and ppk_id?", ourIdentity(failed))
	}
	return refuses + fmt.Sprintf("does it know us as %s, and by the same key?", ourIdentity(failed))
}

func hasPPK(failed *api.WhyAttempt) bool {
	return slices.ContainsFunc(failed.Rows, func(r api.WhyRow) bool { return r.What == rowPPK })
}

// ourIdentity is who we said that we are.
func ourIdentity(failed *api.WhyAttempt) string {
	for _, row := range failed.Rows {
		if row.What == rowWe {
			return row.Ours
		}
	}
	return "what we are"
}

// advice is what to do about each reason for a failure. PEER stands for the peer's name.
var advice = map[ike.Reason]string{
	ike.FailTimeout:         "the peer went silent in the middle: is UDP 4500 open, do long packets pass (fragment_size)? `sallyport doctor PEER` asks",
	ike.FailSilent:          "nothing comes back: is the peer up, and UDP 500 and 4500 open both ways? `sallyport doctor PEER` asks",
	ike.FailProposal:        "give both ends a proposal in common: esp_proposals or ah_proposals of the rule's filter action, and the same mode",
	ike.FailKE:              "give both ends a group in common: the last part of esp_proposals (PFS) or of ike_proposals",
	ike.FailAuthentication:  "the peer refuses us: see its log",
	ike.FailSelectors:       "make the filters of the rule the mirror image of the peer's traffic selectors: local and remote networks, protocol, ports",
	ike.FailSyntax:          "one end writes what the other does not read: capture it, and report it with the versions of both",
	ike.FailCritical:        "the peer insists on an extension that we do not have: turn it off there; the detail names it",
	ike.FailVersion:         "set the peer to IKEv2",
	ike.FailNoAdditionalSAs: "too many SAs: fewer rules for this peer, dataplane.max_sas, or the same limit of the peer",
	ike.FailTemporary:       "wait: the peer was busy, and is asked again",
	ike.FailNotFound:        "nothing: the peer had lost the Child SA, another is made",
	ike.FailPeer:            "look up the peer's error in its log",
	ike.FailCookie:          "the peer asks for cookies again and again: it is under attack, or something between changes our packets; `sallyport doctor PEER`",
	ike.FailInstall:         "the data plane refused the SA: `sallyport show sas` (is dataplane.max_sas reached?) and the log",
	ike.FailMaxQueue:        "nothing: the peer has as many Child SAs of the rule as it wants (RFC 9611)",
	ike.FailMode:            "set mode: tunnel or transport, the same at both ends (filter_actions[].mode)",
	ike.FailAddress:         "an end has moved to where it may not be, or does not answer there: see the detail, and the peer's log (mobike)",
	ike.FailInternal:        "see the log, and report it",

	ike.AuthIdentity:    "set the peer's remote_id, or its own identity, so that the row marked <- agrees (local_id is who we are)",
	ike.AuthOtherMethod: "let both ends prove themselves as the other expects: auth of the peer, auth_methods of the rule",
	ike.AuthKey:         "the preshared keys differ: put the same one into psk_file at both ends, then `sallyport reload`",
	ike.AuthPPK:         "the postquantum preshared keys differ, or one end has none: the same ppk_file and ppk_id at both ends (RFC 8784)",
	ike.AuthSigned:      "the peer signs with another key than its certificate's: give it the key that belongs to the certificate",
	ike.AuthAlgorithm:   "let the peer sign with SHA-256 or better (RFC 7427)",

	ike.CertMissing:     "give the peer a certificate to send, of an authority in ca_files",
	ike.CertForm:        "have the peer send its certificate itself: X.509, no URL",
	ike.CertTooMany:     "have the peer send its own certificate and its intermediates only",
	ike.CertMalformed:   "renew the peer's certificate: it is not to be read",
	ike.CertKeyInsecure: "renew the peer's certificate with a key of ECDSA, or of RSA with 2048 bits or more",
	ike.CertKeyShort:    "renew the peer's certificate with a key of ECDSA, or of RSA with 2048 bits or more",
	ike.CertKeyType:     "renew the peer's certificate with a key of RSA 2048 bits or more, ECDSA P-256 to P-521 or Ed25519",
	ike.CertSignature:   "have the peer's certificate issued anew with SHA-256 or better",
	ike.CertUsage:       "have the peer's certificate issued with the key usage digitalSignature",
	ike.CertPurpose:     "have the peer's certificate issued for IKE: without extended key usage, or with the right one",
	ike.CertIsCA:        "give the peer a certificate of its own: it shows a CA's",
	ike.CertExpired:     "renew the certificate that is over, unless our clock is wrong (the row above)",
	ike.CertNotYet:      "is our clock right (the row above)? otherwise wait until the certificate is valid",
	ike.CertCritical:    "have the certificate issued without the critical extension",
	ike.CertUntrusted:   "put the root CA of the peer's chain into its ca_files, or have the peer send its intermediates",
	ike.CertConstraints: "a CA on the path may not issue this certificate: see the detail",
	ike.CertIdentity:    "the certificate names somebody else: set certificate_id or remote_id of the peer, or renew the certificate",
	ike.CertRevoked:     "the peer's certificate is revoked: renew it, if that was meant; `sallyport crl flush` asks again",
	ike.CertBusy:        "wait: too many certificates are checked at once",
	ike.CertUnanswered:  "the check gave no answer: see the log",

	ike.CRLMissing:     "the certificate does not say where its CRL is: list the CRL of its CA in auth.crl_files, issue it anew, or choose another auth.crl_mode",
	ike.CRLUnreachable: "let the gateway's host reach the CRL server that the detail names; `sallyport crl flush` asks again",
	ike.CRLRefused:     "the CRL is at a place that is not asked: see the detail",
	ike.CRLTooLarge:    "have the CA split its CRL",
	ike.CRLMalformed:   "have the CA publish a good CRL; `sallyport crl flush` asks again",
	ike.CRLSignature:   "have the CA publish a CRL that it has signed itself",
	ike.CRLExpired:     "have the CA publish a new CRL, unless our clock is wrong (the row above); `sallyport crl flush` asks again",
	ike.CRLNotYet:      "is our clock right (the row above)?",
	ike.CRLUnsupported: "have the CA publish a plain, full CRL",
	ike.CRLScope:       "have the CA publish a CRL for this kind of certificate",
	ike.OCSPAnswer:     "have the OCSP server answer good or revoked for this certificate, signed by who may",
}
