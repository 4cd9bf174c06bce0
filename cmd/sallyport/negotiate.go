package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sallyport/perf/negotiate"
)

func negotiateCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "negotiate",
		Short: "Measure how many SAs a second a gateway negotiates, and what overload does to it",
		Long: `Negotiate starts a gateway on the last CPU, in a network namespace, and lets
thousands of peers connect to it from the others, each once. It sweeps the time
between initiations and prints main modes, quick modes and SAs a second: a main
mode (IKEv2: IKE_SA_INIT and IKE_AUTH) makes 1 SA, a quick mode (a Child SA) 2.

At 0 ms as many connections are under way as --outstanding lets: by default more
than the gateway takes at once, so that it has to shed load. The same is measured
with few at once, and the rate at 0 ms should be at least 90 % of the best of all.

With --pfs session each quick mode after the first, by IKEv1 the first too, makes
a Diffie-Hellman exchange; with master there is a main mode with authentication
for each quick mode. Only the peers are set so: the gateway need not be. After
--pfs none the others say what they cost: quick modes a second at 0 ms, beside
those without.

With --target a gateway that is there already, of whatever make, is negotiated with:
by --interface of this host, where all of its peers are behind --source, an address
of that link that nobody has. It has to have the peers in its configuration, by their
addresses or as any, and routes for --peer-net and --host-net by --source. They have
one preshared key, or each a certificate by a CA that the target trusts and has its
own of. One peer goes before the others, and says whether the target is down, refuses
it or is another one. The SAs are deleted in the end. Measure your own.

Fewer --peers make a gateway that starts sooner, and a window that says less: with
fewer than twice --outstanding it is from the first connection to the last.
--json, --report and --html write what there is so far also when it is interrupted.
For lab compare measure several times, by --repeat.

It needs root, and takes about a minute.`,
		Example: `  sallyport lab negotiate
  sallyport lab negotiate --ike v2 --interval 50,0 --auth psk,certificate
  sallyport lab negotiate --ike v1 --interval 0 --pfs none,session,master
  sallyport lab negotiate --target 192.0.2.1 --interface eth1 --source 192.0.2.2 --psk-file peers.psk --ike v2 --interval 0 --repeat 5 --report out.json`,
		Args: noMore,
	}
	var o negotiate.Options
	var target targetFlags
	flags := command.Flags()
	flags.IntSliceVar(&o.Intervals, "interval", nil, "milliseconds between initiations (default 250,200,150,100,50,0)")
	flags.StringSliceVar(&o.Versions, "ike", nil, "versions of IKE: v1, v2 (default both)")
	flags.StringSliceVar(&o.Auth, "auth", nil, "psk, certificate (of ECDSA P-256), certificate-rsa (default psk)")
	flags.StringSliceVar(&o.PFS, "pfs", nil, "perfect forward secrecy of quick modes: none, session, master (default none)")
	flags.IntVar(&o.QuickModes, "quick-modes", 0, "of each connection, each in place of the one before (default 1, with --pfs session or master 4)")
	flags.DurationVar(&o.Time, "time", 0, "length of the measurement of each interval but 0 ms (default 4s)")
	flags.IntVar(&o.Peers, "peers", 0, "peers that connect at 0 ms (default 4000)")
	flags.IntVar(&o.Outstanding, "outstanding", 0, "at 0 ms, most connections under way at once (default 1500)")
	flags.IntVar(&o.Repeat, "repeat", 0, "how often each interval is measured (default 1)")
	flags.StringVar(&o.JSON, "json", "", "also write the rows to this file, as a JSON array")
	flags.StringVar(&o.Report, "report", "", "also write a report to this file, for lab compare")
	flags.StringVar(&o.HTML, "html", "", "also write the report as a page to this file")
	target.add(flags)
	command.RunE = func(c *cobra.Command, _ []string) error {
		if err := moreThanNone(flags, "quick-modes", "time", "peers", "outstanding", "repeat"); err != nil {
			return err
		}
		var err error
		if o.Target, err = target.read(flags); err != nil {
			return err
		}
		o.Out, o.Progress, o.Command = c.OutOrStdout(), c.ErrOrStderr(), os.Args
		ctx, stop := untilHangup(c)
		defer stop()
		return negotiate.Run(ctx, o)
	}
	return command
}

// targetFlags say what there is to negotiate with.
type targetFlags struct {
	gateway, source, via    string
	peers, hosts, protected string
	rest                    negotiate.Target
}

func (t *targetFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&t.gateway, "target", "", "negotiate with this gateway, by its IPv4 address, and start none")
	flags.StringVar(&t.rest.Interface, "interface", "", "that the target is reached by")
	flags.StringVar(&t.source, "source", "", "an address of that link that nobody has, behind which the peers are")
	flags.StringVar(&t.via, "via", "", "the router before the target, if it is not on that link")
	flags.StringVar(&t.peers, "peer-net", "", "network of the peers' addresses (default 10.64.0.0/10)")
	flags.StringVar(&t.hosts, "host-net", "", "network of the host behind each peer (default 10.128.0.0/10)")
	flags.StringVar(&t.protected, "protected-net", "", "network that the target protects (default 10.1.0.0/24)")
	flags.StringVar(&t.rest.ID, "target-id", "", "identity of the target (default its address)")
	flags.StringVar(&t.rest.PSKFile, "psk-file", "", "file with the preshared key of all peers")
	flags.StringVar(&t.rest.CAFile, "ca", "", "certificate of the CA of target and peers, in PEM")
	flags.StringVar(&t.rest.CAKeyFile, "ca-key", "", "its private key, which issues the peers' certificates")
	flags.StringVar(&t.rest.IKE, "ike-proposal", "", "algorithms of IKE (default aes128-sha256-ecp256)")
	flags.StringVar(&t.rest.ESP, "esp-proposal", "", "algorithms of ESP (default aes128gcm16, with --pfs session aes128gcm16-ecp256)")
}

// ofTarget are the flags that say nothing without one.
var ofTarget = []string{"interface", "source", "via", "peer-net", "host-net", "protected-net", "target-id", "psk-file", "ca", "ca-key", "ike-proposal", "esp-proposal"}

// read makes a target of the flags, nil without one.
func (t *targetFlags) read(flags *pflag.FlagSet) (*negotiate.Target, error) {
	if !flags.Changed("target") {
		for _, name := range ofTarget {
			if flags.Changed(name) {
				return nil, fmt.Errorf("--%s is of a target: say which by --target", name)
			}
		}
		return nil, nil
	}
	target := t.rest
	errs := []error{readAddresses(&target.Target, t.gateway, t.source, t.via)}
	for _, network := range []struct {
		flag, text string
		into       *netip.Prefix
	}{{"peer-net", t.peers, &target.Peers}, {"host-net", t.hosts, &target.Hosts}, {"protected-net", t.protected, &target.Protected}} {
		if network.text == "" {
			continue
		}
		var err error
		if *network.into, err = netip.ParsePrefix(network.text); err != nil {
			errs = append(errs, fmt.Errorf("--%s %q: expected a network such as 10.64.0.0/10", network.flag, network.text))
		}
	}
	return &target, errors.Join(errs...)
}
