// Package offload decides where the work of an SA is done: in the port that sends or receives its packets (inline), in a crypto device beside the CPU (lookaside), or by the
// CPU. It asks ports and devices for what they can do, says for each way why it is not taken, and makes the sessions of ports.
//
//   - order.go: the order of the classes, as the configuration has it
//   - plan.go: the ways of an SA in that order, each with the reason against it
//   - capability.go: what an SA needs, held against what a port says it can do
//   - planner.go: sessions of ports, made and taken away
//   - nic.go, rule.c: an Ethernet port's sessions (rte_security, package cryptodev) and rules (rte_flow)
//
// A soft SA never comes here: it has nothing to process (S-101).
package offload
