package traffic

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
)

// claim takes the kernel's interface of a device, if it is of one, for this tester alone, until it is given back: AF_PACKET would give each of two the frames of both, and their counts would mean
// nothing. The name is one of the network namespace, and is free again when the process ends, however it does.
func claim(device string) (giveBack func() error, err error) {
	_, name, found := strings.Cut(device, "iface=")
	name, _, _ = strings.Cut(name, ",")
	if !found || name == "" {
		return func() error { return nil }, nil
	}
	taken, err := net.ListenUnix("unix", &net.UnixAddr{Name: "@sallyport-lab-port-" + name, Net: "unix"})
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("device %s: interface %s is in use by another run of the lab: expected one that is free, or wait until that has ended", device, name)
	}
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", device, err)
	}
	return taken.Close, nil
}
