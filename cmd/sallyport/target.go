package main

import (
	"errors"
	"fmt"
	"net/netip"

	"sallyport/perf/lab"
)

// readAddresses reads what the flags of each command with a target say of it.
func readAddresses(t *lab.Target, gateway, source, via string) error {
	var errs [3]error
	t.Gateway, errs[0] = readAddress("target", gateway, "that of the gateway")
	t.Source, errs[1] = readAddress("source", source, "one of the target's link that nobody has")
	if via != "" {
		t.Via, errs[2] = readAddress("via", via, "that of the router before the target")
	}
	if t.Interface == "" {
		return errors.Join(append(errs[:], errors.New("--interface is missing: expected the one by which the target is reached"))...)
	}
	return errors.Join(errs[:]...)
}

func readAddress(flag, text, what string) (a netip.Addr, err error) {
	if text == "" {
		return a, fmt.Errorf("--%s is missing: expected %s", flag, what)
	}
	if a, err = netip.ParseAddr(text); err != nil {
		return a, fmt.Errorf("--%s %q: expected an IPv4 address, %s", flag, text, what)
	}
	return a, nil
}
