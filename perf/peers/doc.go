// Package peers runs IPsec implementations that are not ours for the lab's interoperability tests:
// strongSwan with its ESP in user space, as a daemon in a namespace, and the Linux kernel with its own
// ESP, as a User-mode Linux guest on a namespace's interface, alone with manual keys or with strongSwan,
// libreswan or openiked in it.
//
// Reading order: strongswan.go and strongswanconf.go run the daemon anywhere a Machine can run
// commands, raw.go reads what it reports; guest.go and modules.go run the guest, guestnet.go gives it its
// place in the network; daemon.go says what all daemons in a guest can do, libreswan.go and openiked.go are
// the others; manual.go gives its kernel keys by hand, in the words of algorithms.go, and
// matrix.go lists the ways of doing so that a gateway must understand.
package peers
