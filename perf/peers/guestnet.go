package peers

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sallyport/perf/lab"
)

// guestLink is the guest's name of its interface.
const guestLink = "vec0"

// Configure gives the guest its place in the topology: the WAN address on its interface, an address
// in its LAN on the loopback, and the other LAN behind the peer, or all that is not its own behind its router.
func (g *Guest) Configure(ctx context.Context, site, peer *lab.Site) error {
	lines := [][]string{
		{"ip", "link", "set", guestLink, "up"},
		{"ip", "address", "add", netip.PrefixFrom(site.WANAddress, 24).String(), "dev", guestLink},
		{"ip", "address", "add", site.HostAddress.String() + "/32", "dev", "lo"},
	}
	via := peer.WANAddress
	if site.Router.IsValid() {
		via = site.Router
		lines = append(lines, []string{"ip", "route", "add", "default", "via", via.String()})
	}
	return g.lines(ctx, append(lines, []string{"ip", "route", "add", peer.LAN.String(), "via", via.String(), "src", site.HostAddress.String()})...)
}

// ConfigureCases adds what the cases of a matrix need to Configure: IPv6, and every address of the guest's LANs for its own, so
// that each case has a host.
func (g *Guest) ConfigureCases(ctx context.Context, site, peer *lab.Site) error {
	settings := "/proc/sys/net/ipv6/conf/" + guestLink + "/"
	via := peer.WANAddress6
	if site.Router6.IsValid() {
		via = site.Router6
	}
	return g.lines(ctx,
		[]string{"ip", "route", "add", "local", site.LAN.String(), "dev", "lo"},
		[]string{"modprobe", "ipv6"},
		[]string{"sh", "-c", "echo 0 >" + settings + "accept_dad; echo 0 >" + settings + "router_solicitations"},
		[]string{"ip", "address", "add", netip.PrefixFrom(site.WANAddress6, 64).String(), "dev", guestLink, "nodad"},
		[]string{"ip", "address", "add", site.HostAddress6.String() + "/128", "dev", "lo"},
		[]string{"ip", "route", "add", "local", site.LAN6.String(), "dev", "lo"},
		[]string{"sh", "-c", "echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind"}, // in IPv4 the route is enough
		[]string{"ip", "route", "add", peer.LAN6.String(), "via", via.String(), "src", site.HostAddress6.String()},
	)
}

// Readdress gives the guest another address in its network in place of one that it has.
func (g *Guest) Readdress(ctx context.Context, from, to netip.Addr) error {
	return g.lines(ctx,
		// Without this a network's first address takes the others with it.
		[]string{"sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/" + guestLink + "/promote_secondaries"},
		[]string{"ip", "address", "add", netip.PrefixFrom(to, 24).String(), "dev", guestLink},
		[]string{"ip", "address", "del", netip.PrefixFrom(from, 24).String(), "dev", guestLink})
}

// lines runs commands in the guest until one fails.
func (g *Guest) lines(ctx context.Context, lines ...[]string) error {
	for _, line := range lines {
		if _, err := g.Run(ctx, line...); err != nil {
			return err
		}
	}
	return nil
}

// pingProgram sends echo requests one after the other, and prints how many were answered. Each is waited for on its own: ping leaves one
// interval after it has sent the last of several.
const pingProgram = `n=0; i=0; while [ $i -lt $2 ]; do i=$((i + 1)); ping -n -q -c 1 -W $3 $1 >/dev/null && n=$((n + 1)); done; echo $n`

// Ping sends echo requests from the guest and counts the answers.
func (g *Guest) Ping(ctx context.Context, to netip.Addr, o lab.PingOptions) (lab.PingResult, error) {
	out, err := g.Run(ctx, "sh", "-c", pingProgram, "ping", to.String(), fmt.Sprint(o.Count), fmt.Sprint(int(cmp.Or(o.Wait, pingWait).Seconds())))
	if err != nil {
		return lab.PingResult{}, err
	}
	received, err := strconv.Atoi(strings.TrimSpace(out))
	return lab.PingResult{Sent: o.Count, Received: received}, err
}

// pingWait is how long an answer may take, on a busy machine.
const pingWait = 20 * time.Second

// echoLimit is how long the service may take to open its sockets.
const echoLimit = time.Minute

// ServeEcho starts the echo service at the addresses, which must be the guest's own. Where no IKE daemon does so, it opens the sockets
// that make the guest's kernel take ESP in UDP on port 4500.
func (g *Guest) ServeEcho(ctx context.Context, encapsulation bool, addresses ...netip.Addr) error {
	if err := g.compile(ctx, "echo", guestEcho, "echo"); err != nil {
		return err
	}
	line := guestDir + "/echo"
	if encapsulation {
		line += " -u"
	}
	for _, a := range addresses {
		line += " " + a.String()
	}
	if _, err := g.Run(ctx, "sh", "-c", "exec setsid "+line+" </dev/null >"+guestDir+"/echo.log 2>&1 &"); err != nil {
		return err
	}
	var said []byte
	err := lab.Until(ctx, nil, "the guest's echo service", echoLimit, func() (bool, error) {
		said, _ = os.ReadFile(filepath.Join(g.HostDir, "echo.log"))
		return strings.HasPrefix(string(said), "ready"), g.Process.Alive()
	})
	if err != nil {
		return fmt.Errorf("peers: %w: %s", err, said)
	}
	return nil
}

// XFRMErrors are the kernel's counters of packets that its IPsec refused, those that are not zero.
func (g *Guest) XFRMErrors(ctx context.Context) (map[string]string, error) {
	out, err := g.Run(ctx, "cat", "/proc/net/xfrm_stat")
	if err != nil {
		return nil, err
	}
	errors := map[string]string{}
	for line := range strings.Lines(out) {
		if name, count, _ := strings.Cut(strings.TrimSpace(line), " "); strings.TrimSpace(count) != "0" {
			errors[name] = strings.TrimSpace(count)
		}
	}
	return errors, nil
}
