package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"sallyport/perf/traffic"
)

func trafficCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "traffic GATEWAY.yaml",
		Short: "Send test packets through a gateway, in clear and as ESP, and count what arrives",
		Long: `Traffic has two ports, joined to the gateway's protected and unprotected one. To
the first it sends in clear, to the second ESP: it is all peers of the gateway,
which it reads from the gateway's configuration, or from one that describes a
gateway of another make. It negotiates the tunnels by IKE before it sends, or has
SAs with keys given by hand. It also has the hosts and routers of both sides, and
answers ARP and neighbour discovery for them. For thousands of tunnels lab gateway
writes the configuration.

Each packet has its flow, its number and the time in it, and each octet of it is
looked at when it arrives: it prints what was sent, received, lost, reordered and
duplicated, how long packets took, what else arrived, and a verdict. The exit
code is 1 when the target is down, does not make the tunnels, is silent, mangles packets, sends them back,
sends in clear what it should have protected, or sends what is not for here.

A rate, flows or frames that this machine or the ports cannot do are refused with
the number that they can. Ctrl-C ends it and still prints and writes what was
measured. docs/TRAFFIC.md explains the counters. It needs root.`,
		Example: `  sallyport lab traffic gw.yaml --protected net_af_packet,iface=eth1 --unprotected net_af_packet,iface=eth2
  sallyport lab traffic gw.yaml --protected 0000:00:05.0 --unprotected 0000:00:06.0 --size 64:7,594:4,1464:1 --rate 1Mpps --flows 10000 --core 2,3
  sallyport lab traffic router.yaml --protected net_memif,id=0 --unprotected net_memif,id=1 --clear 10.1.0.0/24=10.2.0.0/24`,
		Args: between(1, 1),
	}
	var o traffic.Options
	flags := command.Flags()
	flags.StringVar(&o.Protected, "protected", "", "device that is joined to the gateway's protected port")
	flags.StringVar(&o.Unprotected, "unprotected", "", "device that is joined to its unprotected port")
	flags.StringVar(&o.ProtectedMAC, "protected-mac", "", "MAC address of the gateway's protected port (default: asked for)")
	flags.StringVar(&o.UnprotectedMAC, "unprotected-mac", "", "MAC address of its unprotected port (default: asked for)")
	flags.StringArrayVar(&o.Clear, "clear", nil, "hosts of both sides, `NEAR=FAR`, that exchange packets in clear, in place of the SAs")
	flags.IntVar(&o.Tunnels, "tunnels", 0, "how many of the gateway's tunnels take part, the first ones (default all)")
	flags.StringVar(&o.Proposal, "proposal", "", "what IKE offers for ESP, such as aes128gcm16-esn (default the first of the gateway's own)")
	flags.IntVar(&o.AtOnce, "at-once", 0, "tunnels that are negotiated at once (default 64)")
	flags.StringSliceVar(&o.Directions, "direction", nil, "outbound, inbound (default both)")
	flags.IntVar(&o.Flows, "flows", 0, "UDP flows of each direction, spread over the tunnels (default 1)")
	flags.StringVar(&o.Sizes, "size", "", "octets of Ethernet frames in clear: 512, a mix 64:7,594:4,1518:1, imix, or a genome of RFC 6985, genome:aafg; ESP around them has to fit the unprotected port's MTU (default 512)")
	flags.StringVar(&o.Order, "order", "", "how flows take turns: random, zipf (default round robin)")
	flags.Float64Var(&o.Exponent, "exponent", 0, "of zipf (default 1.1)")
	flags.StringVar(&o.Rate, "rate", "", "of each direction: 10kpps, 100Mbps, max (default 10kpps, with --quick 1kpps)")
	flags.IntVar(&o.Burst, "burst", 0, "packets back to back (default 1)")
	flags.DurationVar(&o.Duration, "time", 0, "how long to send (default 10s, with --quick 1s)")
	flags.DurationVar(&o.Wait, "wait", 0, "how long the gateway may take to answer ARP or neighbour discovery, or for the next tunnel (default 3s, and 30s)")
	flags.Uint64Var(&o.Sequence, "sequence", 0, "last sequence number that the SAs to the gateway have sent, which an earlier run has printed")
	flags.IntSliceVar(&o.Cores, "core", nil, "CPU to send and receive on; of two the second receives (default any)")
	flags.BoolVar(&o.Sleep, "sleep", false, "sleep when there is nothing to do: for a machine that has no core to spare, at the price of times that are too long")
	flags.StringVar(&o.HugePages, "huge-pages", "", "auto, on or off (default auto)")
	flags.BoolVar(&o.Quick, "quick", false, "a second at a low rate, to see that it works")
	flags.StringVar(&o.JSON, "json", "", "also write a report to this file")
	command.RunE = func(c *cobra.Command, args []string) error {
		for flag, device := range map[string]string{"protected": o.Protected, "unprotected": o.Unprotected} {
			if device == "" {
				return fmt.Errorf("--%s is missing: expected a device such as net_af_packet,iface=eth1", flag)
			}
		}
		if err := moreThanNone(flags, "flows", "burst", "time", "wait", "tunnels", "at-once"); err != nil {
			return err
		}
		o.Gateway, o.Command = args[0], os.Args
		o.Out, o.Progress = c.OutOrStdout(), c.ErrOrStderr()
		ctx, stop := untilHangup(c)
		defer stop()
		return traffic.Main(ctx, o)
	}
	return command
}
