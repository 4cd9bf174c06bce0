// Package traffic is a generator and receiver of test packets with a gateway between its two ports. Toward the protected port it sends in clear, toward the
// unprotected one real ESP: it is the peer, and holds the peer's SAs.
//
//	generator ── protected  [gateway]  unprotected ── peer
//	   clear packets  ──────────────────────────▶  ESP
//	   clear packets  ◀──────────────────────────  ESP
//
// config.go says what is to be sent, sizes.go and flows.go make lengths and flows of it, sas.go the SAs; limits.go refuses what the machine cannot do.
// tester.go holds the ports, trial.go runs a trial, neighbour.go resolves the gateway's address and answers for hosts. result.go and verdict.go say what
// came of it. In C: packet.c has the test packet, send.c the generator, receive.c the receiver, esp.c the crypto, loop.c the loop of a core.
package traffic
