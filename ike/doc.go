// Package ike negotiates: IKEv2 (RFC 7296) as initiator and responder, with pre-shared keys or certificates.
//
// [Engine] is a function, Step(now, event) -> effects, with no socket, clock or goroutine inside. Time and randomness come from outside, so
// equal events and equal random octets give equal datagrams, and a test joins two engines by a slice of messages. Whoever runs it
// carries out the effects in their order: that order is what keeps a rekey free of loss.
//
// What is where, from the outside in:
//
//	config.go event.go effect.go fact.go reason.go snapshot.go     what a caller sees
//	identity.go identity_name.go identity_nametext.go              what a peer calls itself
//	engine.go                                                      Step
//	receive.go admission.go cookie.go departed.go                  a datagram finds its IKE SA, or is refused before it costs much
//	ledger.go limit.go limituse.go                                 what limits hold back: of both versions together, of this one, for people
//	dynamic.go                                                     peers that nobody has configured: the default response rule
//	reconfigure.go ending.go lifetime.go                           another configuration while all runs; when an SA is renewed and ends
//	peer.go slot.go percore.go                                     what a peer should have: IKE SAs; for each rule one Child SA in use
//	mobike.go paths.go task_mobike.go                              an end that changes its address (RFC 4555)
//	redirect.go                                                    a gateway that sends us to another one (RFC 5685)
//	reauth.go heir.go                                              both ends prove anew who they are; of two IKE SAs one stays
//	sa.go child.go liveness.go nat.go                              the life of an IKE SA and of a Child SA: state diagrams stand here
//	taskmanager.go task.go message.go                              exchanges: message ids, window, retransmission; opening
//	unheard.go                                                     a peer that nothing comes from
//	fragment.go reassembly.go                                      sealing, in fragments where a datagram would get too long (RFC 7383); putting together
//	task_init.go task_intermediate.go task_auth.go                 IKE_SA_INIT, IKE_INTERMEDIATE, IKE_AUTH
//	claims.go                                                      several have answered IKE_SA_INIT: who is the peer
//	proof.go credential.go certificate.go                          who each end is: AUTH, CERT and CERTREQ, checks that are out
//	signature.go signature_hash.go signature_identifier.go         signatures in AUTH (RFC 7427)
//	task_child.go task_child_responder.go task_rekey_ike.go        CREATE_CHILD_SA, and the Child SA of IKE_AUTH
//	task_followup.go                                               IKE_FOLLOWUP_KE
//	task_delete.go                                                 INFORMATIONAL
//	why.go observation.go keylog.go                                how far a negotiation came, and each message, for people; keys for captures in a lab
//	keys.go keyexchange.go proposal.go selectors.go mode.go        key schedules, Diffie-Hellman, choice of algorithms, narrowing, transport mode
//
// Certificates are octets here: what they are worth is found out elsewhere, at the effect CheckCertificates, and comes back as the event
// CertificatesChecked. Until then the exchange waits.
//
// Package wire is the codec. Package ikev1 is the engine of IKEv1, with the same events, effects and facts; what the two share of deadlines, token buckets
// and randomness stands in internal.
package ike
