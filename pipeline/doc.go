// Package pipeline is the data plane of the gateway: a fast path in C that runs on the data cores, and the Go side that fills
// its tables and serves its exceptions.
//
// # A packet's journey
//
// Each stage is a file. A worker takes a burst of packets through them, from the first to the last, before it takes another:
//
//  1. worker.c: the loop of a data core. Polls each port, then what Go and other workers handed over, then crypto devices.
//     vlan.c: several ports on one device; tags come off here and go on at the last stage.
//  2. parse.c: Ethernet and IPv4. What is malformed is a counted drop; ARP goes to Go; ESP for an own address to stage 7.
//     parse_ipv6.c: IPv6 frames, put aside by parse.c as a burst of their own; neighbour discovery goes to Go.
//     reassemble.c: fragments wait for the others of their packet, which goes on as if it had arrived whole.
//     link.c: ARP and neighbour discovery, of which Go gets what can mean anything to it.
//  3. flow_cache.c: the memo of what was decided for a 5-tuple and port role, never state that admits a reverse packet.
//     flow_cache6.c: the same for IPv6, in a table of its own.
//  4. classify.c: on a miss, the compiled policy, which acl_match.c asks, the route and the next hop. classify6.c: for IPv6.
//  5. punt.c: packets for Go, in a queue for each class: IKE, packets to own addresses, packets that wait for a neighbour or an SA.
//     inject.c: packets from Go.
//  6. outbound.c: a tunnel's packets, encapsulated, numbered and encrypted. outbound_general.c: the same for every SA that is
//     not ESP with AES-GCM in a tunnel: other ciphers, transport mode, ESP in UDP over IPv6, AH of ah.c and bundles.
//  7. inbound.c: ESP for us, with the replay window of replay.h: decrypted, checked against its SA, back to stage 3.
//     inbound6.c: the last step for IPv6 in a tunnel. inbound_general.c: the same for all other SAs. early.c: what comes before its SA.
//  8. crypto_direct.c: AES-GCM by the library itself. crypto_sync.c: packets of any shape, by the library, by its jobs in
//     crypto_job.c, for all SAs of a burst together, or by a device in crypto_cpu.c. crypto_async.c: operations
//     of a device that gives them back later; crypto_queue.c: its queues, what waits for it, and a device that stops answering; crypto_devices.c: how
//     such queues come and go. crypto_whole.c: devices that do all of ESP. crypt.h: IVs and nonces.
//     inline.c: SAs of which a port's NIC does the crypto, or all of it; inline_plain.c: the common packets of those of which it does all; inline_lost.c: a NIC that does nothing any more; inline_sent.c: packets that a NIC
//     has to send still.
//  9. transmit.c: next hop, link-layer header, transmit queue. fragment.c: what has no room on a link or in a tunnel, cut.
//
// Called from stages 6 and 7: mss.c for TCP's segment size. fields.h for DF, DSCP, ECN and TTL of outer headers. checksum.h for
// those of UDP and TCP across a NAT.
//
// dataplane.h, sa.h, lengths.h, stages.h, vlan.h, inline.h, whole.h, mss.h, acl.h, ah.h, classify.h, esp.h, outer.h, frame.h, siphash.h, fragment.h, reassembly.h, mbuf.h, ipv4.h and ipv6.h are the workers' own shapes and helpers. publish.c,
// publish_ipv6.c, acl.c, sa.c, sad.c, soft.c and next_hops.c change the tables under the workers' feet, dataplane.c and reassembly.c make them, grace.c frees what was in them when no
// worker reads it any more, and counters.c reads the counts. tables.h, flow_entry.h, exceptions.h and drop_reasons.h are the shapes and names that both sides share; fastpath.h and lab.h are what Go
// calls. tally.c ends what is dropped, and counts it. events.c tells Go of SAs whose lifetime ends, with sequence.h, and of peers that move. relocate.c: SAs whose work is done
// elsewhere from now on.
//
// # The Go side
//
//   - config.go: the exported types. vlan.go: ports of VLANs. dataplane.go: New and Close. workers.go: threads and cores. cells.go: tunnels.
//   - snapshot.go: policy, own addresses and routes, prepared and published. classifier.go: their C form, with addresses.go,
//     ranges.go, routes.go, exempt.go and filterslots.go. reclaim.go: grace periods.
//   - sad.go: SAs, with saconfig.go for their C form, spi.go for inbound SPIs, fields.go for their outer headers and
//     inline.go for sessions of ports. devices.go: crypto devices that work beside the workers. drivers.go: who is asked without the lock. relocate.go: SAs that go from port to device
//     to CPU, with settle.go for how that ends, place.go for where operators want them, leaving.go for sessions of ports that have ended, losses.go for NICs and devices that do nothing
//     any more, relocate_idle.go for SAs that carry nothing, and reroute.go for SAs whose peers come to be behind other ports.
//     soft.go: soft SAs, which let traffic pass in clear; unheard.go: whether a peer's silence may be our own deafness.
//     events.go: what workers tell of them. natt.go: peers and gateways behind a NAT. dummy.go: packets that hide when there are others.
//   - slowpath.go: what workers punt, dispatched; punt.go: the classes of that, their shares, and whose IKE is a peer's. neighbour.go: ARP and the state of neighbours, with portshares.go for the room that each port has.
//     discovery.go: the same of IPv6. adjacency.go: indices of neighbours. hold.go: packets that
//     wait for an SA to leave by; early.go: those that wait for the one they came by. icmp.go, icmp6.go, tokenbucket.go: messages about packets; pathmtu.go: such messages about ours. answer.go: what is sent in answer, and IKE. echo.go: echoes of ESP
//     and AH.
//   - accounts.go: drops by filter and by SA. counters.go, flows.go, explain.go with explain.c: what operators see. layout.go: Go and C agree on sizes.
//   - packet.go, packet6.go, tuple.go: headers. reference.go, reference6.go, reference_esp.go, reference_ah.go, reference_fields.go, reference_fragment.go, reference_mss.go, reference_natt.go: all packet functions once more
//     in plain Go, which tests compare the fast path with. lab.go with lab.c, lab_crypt.go with lab_crypt.c: what the benchmark and tests need and a
//     gateway never calls. profile.go with profile.c and profile.h: cycles by stage, in the build of make profile alone.
//
// # Rules
//
// A data core runs no Go, waits for nobody and allocates nothing after New. Each packet has one end and each drop one
// reason: received + split = forwarded + delivered + dropped + waiting + reassembling + merged, for every port
// (Counters.Conserved). Tables are published by
// pointer; what they replace is freed when no worker can be reading it. Time is an argument of everything in Go that ages.
package pipeline
