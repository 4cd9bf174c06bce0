// Package interop is tests only: our gateway negotiates IKEv2 with daemons that are not ours, strongSwan, libreswan and openiked,
// whose packets the Linux kernel of a guest protects.
//
// Reading order: bed_test.go has the network, the guest and what runs in it for all cases; case_test.go says what a case is and
// carries one out; strongswan_test.go, libreswan_test.go and openiked_test.go list them.
package interop
