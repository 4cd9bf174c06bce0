// Package softnic is a network card that does ESP, in software: for tests, and for the lab in a
// build with the tag softnic. It is never in the shipped program.
//
// A program sees a port with a security context (rte_security) and rules (rte_flow), as of an
// inline card, and every line of the offload path runs on any machine. It is made of public means: callbacks of the port's
// queues do the work, by libIPSec_MB, and the few functions of DPDK that say what a port has are defined here
// (interpose.c), where they win over the libraries' in the whole process. The memory of a
// session is the program's mempool, as with a card's driver.
//
// Inline crypto (classes of ixgbe and txgbe): the program writes all of the packet, the IV too; the NIC
// encrypts and writes the ICV. Inbound it decrypts in place and says so. It knows no extended sequence numbers.
//
// Inline protocol (class of cnxk): the program hands over the inner packet behind its Ethernet header; the NIC counts, wraps and
// encrypts. Inbound it has the replay window and unwraps. IVs are those of crypto.ESP.DeriveIV, so that bytes can be compared.
//
// In rte_security_ipsec_xform the SPI and the UDP ports are in host order, addresses in network
// order, and the salt as it stands in the keys. The first number is esn.value, or 1. What a packet of the program
// that asks for a session does not get encrypted does not leave: the callback puts it behind those that do, and the
// driver takes fewer.
package softnic
