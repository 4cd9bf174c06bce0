// Package offload decides where the work of an SA is done: in the port that sends or receives its packets (inline), in a crypto device beside the CPU (lookaside), or by the
// CPU. It asks ports and devices for what they can do, says for each way why it is not taken, and makes the sessions of ports.
//
//   - order.go: the order of the classes, as the configuration has it
//   - plan.go: the ways of an SA in that order, each with the reason against it
//   - capability.go: what a port says it can do, held against what an SA needs
//   - planner.go: sessions of ports, made and taken away
//   - security.go, security.c: rte_security and rte_flow
//
// A soft SA never comes here: it has nothing to process (S-101).
package offload
