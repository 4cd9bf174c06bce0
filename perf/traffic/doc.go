// Package traffic is a generator and receiver of test packets with a gateway between its two ports. Toward the protected port it sends in clear, toward the
// unprotected one real ESP: it is the peer, and holds the peer's SAs.
//
//	generator ── protected  [gateway]  unprotected ── peer
//	   clear packets  ──────────────────────────▶  ESP
//	   clear packets  ◀──────────────────────────  ESP
//
// config.go says what is to be sent, mirror.go and play.go make the other side of a gateway's configuration; sizes.go and flows.go make lengths and flows of it, sas.go the SAs;
// limits.go refuses what the machine cannot do. negotiator.go is the gateway's peers, which make SAs by IKE; negotiate.go brings all of them up before a trial and ends them
// after the last one, change.go changes some while packets flow, datagram.go has their messages, and retire.go waits for loops that may still look at an SA.
// tester.go holds the ports, claim.go keeps other testers off them, trial.go runs a trial, learn.go has the gateway ask for hosts before, neighbour.go resolves the gateway's address and answers for hosts. result.go and verdict.go say what
// came of it. In C: packet.c has the test packet, send.c the generator, receive.c the receiver, esp.c the crypto, loop.c the loop of a core.
package traffic
