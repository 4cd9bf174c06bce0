// Package interop is tests only: our gateway negotiates IKEv2 and IKEv1 with daemons that are not ours, strongSwan, libreswan and openiked,
// whose packets the Linux kernel of a guest protects.
//
// Reading order: bed_test.go has the network, the guest and what runs in it for all cases; case_test.go says what a case is and
// carries one out, wants_test.go and rekey_test.go have what cases share; pki_test.go makes certificates. strongswan_test.go,
// certificates_test.go, life_test.go, algorithms_test.go and nat_test.go list the cases of strongSwan, libreswan_test.go and
// openiked_test.go those of the others, ikev1_test.go those of IKEv1. docs/INTEROP.md is for those who want to run them.
package interop
