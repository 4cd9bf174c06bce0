// Package ikev1 negotiates by IKEv1 (RFC 2407 to 2409): main mode, quick mode and the informational exchange, as initiator and responder. Its messages
// are those of package isakmp; its configuration, events, effects and facts are those of package ike, so that whoever runs the one engine can run
// the other beside it.
//
// [Engine] is a function, Step(now, event) -> effects, as ike.Engine is. Where the two differ:
//
//	An ISAKMP SA is what IKEv2 calls an IKE SA. It may end and leave its IPsec SAs alone (S-077): those belong to the peer, and whichever ISAKMP SA is
//	there renews and deletes them.
//	A message acknowledges the one before it, or nothing does: a delete is said again to who seems to have missed it. What is lost all the same is found out
//	by time.
//	Nothing authenticates messages 1 to 4 of main mode, nor any informational exchange in clear: the former are taken for what they are worth until
//	message 5 or 6 proves them, and the latter are counted.
//
// What is where, from the outside in:
//
//	engine.go receive.go reconfigure.go snapshot.go       Step; a datagram finds its ISAKMP SA; another configuration while all runs
//	why.go                                                how far a negotiation came, for people
//	peer.go slot.go places.go                             what a peer should have: ISAKMP SAs; for each rule one pair of IPsec SAs in use
//	phase1.go child.go lifetime.go liveness.go            the life of an ISAKMP SA and of a pair: state diagrams stand here
//	layer.go                                              one protocol of a pair: of a bundle, AH around ESP, there are two
//	opening.go openings.go limit.go                       main mode while many are begun in a peer's name; limits
//	exchange.go message.go fragment.go                    conversations: IV chains, retransmission; a message opened and sealed; cut in fragments
//	mainmode_initiator.go mainmode_responder.go           main mode
//	unheard.go                                            a peer that nothing comes from
//	proof.go auth.go identity.go certificate.go vendor.go who each end is, and what it speaks
//	quick_initiator.go quick_responder.go commit.go       quick mode; the commit bit
//	question.go                                           checks of certificates that are out
//	informational.go farewell.go log.go                   deletes and notifications; messages for the IKE log
//	proposal.go proposal_child.go algorithms.go words.go  choice of algorithms
//	selectors.go nat.go keys.go                           traffic, NATs, key schedules
package ikev1
