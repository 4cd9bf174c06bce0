package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"sallyport/perf/traffic"
	"sallyport/perf/trials"
)

func rfc2544Command() *cobra.Command {
	command := &cobra.Command{
		Use:   "rfc2544 GATEWAY.yaml",
		Short: "Search for what a gateway can do: throughput, latency, loss, bursts",
		Long: `Rfc2544 stands on both sides of a gateway, as lab traffic does, and searches for the
highest rate at which nothing is lost, or no more than --loss, over sizes of frames
and numbers of tunnels. --benchmark says what else it measures:

  throughput    by RFC 9971 (MLRsearch); without loss that of RFC 2544, section 26.1
  latency       at fractions of the throughput (26.2)
  loss-rate     from the highest rate downward, until nothing is lost (26.3)
  back-to-back  the longest burst that loses nothing (26.4, RFC 9004)
  reconf        what is lost, out of order and twice while tunnels get new keys,
                are removed and are added, at 90 % of the throughput: of those
                tunnels and of the others; by IKE alone

A rate is that of all directions together. Trials of --trial 60s comply with the RFC;
the default is for a look. With --repeat 4 and more, lab compare can tell noise from
what has changed.

While it runs, a line says how long it will still take. A target that is down, drops
everything, leaks, mangles, sends frames back or answers for others ends it with that
verdict; Ctrl-C ends it too, and what has been measured by then is printed and
written. docs/LAB.md explains the figures. It needs root.`,
		Example: `  sallyport lab rfc2544 gw.yaml --protected net_af_packet,iface=eth1 --unprotected net_af_packet,iface=eth2
  sallyport lab rfc2544 gw.yaml --protected 0000:00:05.0 --unprotected 0000:00:06.0 --core 2,3 --trial 60s --first 1s --json out.json --html out.html
  sallyport lab rfc2544 gw.yaml --protected net_memif,id=0 --unprotected net_memif,id=1 --size 64,1280 --tunnels 1,1000 --loss 0,0.005`,
		Args: between(1, 1),
	}
	var o trials.Options
	var highest, lowest string
	flags := command.Flags()
	flags.StringVar(&o.Target.Protected, "protected", "", "device that is joined to the gateway's protected port")
	flags.StringVar(&o.Target.Unprotected, "unprotected", "", "device that is joined to its unprotected port")
	flags.StringVar(&o.Target.ProtectedMAC, "protected-mac", "", "MAC address of the gateway's protected port (default: asked for)")
	flags.StringVar(&o.Target.UnprotectedMAC, "unprotected-mac", "", "MAC address of its unprotected port (default: asked for)")
	flags.StringArrayVar(&o.Target.Clear, "clear", nil, "hosts of both sides, `NEAR=FAR`, that exchange packets in clear, in place of the SAs")
	flags.StringVar(&o.Target.Proposal, "proposal", "", "what IKE offers for ESP, such as aes128gcm16-esn (default the first of the gateway's own)")
	flags.IntVar(&o.Target.AtOnce, "at-once", 0, "tunnels that are negotiated at once (default 64)")
	flags.DurationVar(&o.Target.Wait, "wait", 0, "how long the gateway may take to answer ARP or neighbour discovery, or for the next tunnel (default 3s, and 30s)")
	flags.StringSliceVar(&o.Target.Directions, "direction", nil, "outbound, inbound (default both)")
	flags.IntVar(&o.Target.Flows, "flows", 0, "UDP flows of each direction (default one for each tunnel)")
	flags.Uint64Var(&o.Target.Sequence, "sequence", 0, "last sequence number that the SAs to the gateway have sent, which an earlier run has printed")
	flags.IntSliceVar(&o.Target.Cores, "core", nil, "CPU to send and receive on; of two the second receives (default any)")
	flags.BoolVar(&o.Target.Sleep, "sleep", false, "sleep when there is nothing to do: for a machine that has no core to spare, at the price of times that are too long")
	flags.StringVar(&o.Target.HugePages, "huge-pages", "", "auto, on or off (default auto)")
	flags.StringSliceVar(&o.Sizes, "size", nil, "octets of Ethernet frames in clear, imix, or a genome of RFC 6985 (default 64,128,256,512,1024,1280,1518,imix, those that fit)")
	flags.IntSliceVar(&o.Tunnels, "tunnels", nil, "how many of the gateway's tunnels take part (default all)")
	flags.StringSliceVar(&o.Bench.Benchmarks, "benchmark", nil, "throughput, latency, loss-rate, back-to-back, reconf (default throughput,latency)")
	flags.IntVar(&o.Change, "change", 0, "tunnels that are changed by reconf, the last ones (default a tenth of them)")
	flags.StringVar(&highest, "max-rate", "", "highest rate, such as 1.5Mpps (default what this machine can send)")
	flags.StringVar(&lowest, "min-rate", "", "least rate, at which any target that works passes something (default 100pps)")
	flags.DurationVar(&o.Bench.Trial, "trial", 0, "length of a trial that decides (default 2s)")
	flags.DurationVar(&o.Bench.Initial, "first", 0, "length of the first trials, which look for the region (default that of --trial)")
	flags.DurationVar(&o.Bench.Sum, "sum", 0, "length of the trials at a load together (default that of --trial)")
	flags.Float64Var(&o.Bench.Width, "width", 0, "how near the throughput is found, as a share of it (default 0.005)")
	flags.Float64SliceVar(&o.Bench.LossRatios, "loss", nil, "`shares` that may be lost, a search for each (default 0)")
	flags.Float64Var(&o.Bench.ExceedRatio, "exceed", 0, "share of the time at a load in which more may be lost")
	flags.IntVar(&o.Bench.Repeat, "repeat", 0, "searches for each throughput (default 1)")
	flags.Float64SliceVar(&o.Bench.Fractions, "latency-at", nil, "`fractions` of the throughput at which latency is measured (default 0.1,0.5,0.9,1)")
	flags.IntVar(&o.Bench.Latencies, "latency-trials", 0, "trials at each (default 5)")
	flags.IntVar(&o.Bench.Bursts, "bursts", 0, "searches for the longest burst (default 10)")
	flags.StringVar(&o.JSON, "json", "", "also write the report to this file, for lab compare")
	flags.StringVar(&o.HTML, "html", "", "also write it as a page to this file")
	for _, flag := range []string{"loss", "latency-at"} { // pflag would show the empty default as [], behind the true one
		flags.Lookup(flag).DefValue = ""
	}
	command.RunE = func(c *cobra.Command, args []string) error {
		for flag, device := range map[string]string{"protected": o.Target.Protected, "unprotected": o.Target.Unprotected} {
			if device == "" {
				return fmt.Errorf("--%s is missing: expected a device such as net_af_packet,iface=eth1", flag)
			}
		}
		if err := moreThanNone(flags, "flows", "trial", "first", "sum", "width", "repeat", "latency-trials", "bursts", "change", "at-once", "wait"); err != nil {
			return err
		}
		for flag, rate := range map[string]struct {
			text string
			of   *float64
		}{"max-rate": {highest, &o.Bench.Limits.Max}, "min-rate": {lowest, &o.Bench.Limits.Min}} {
			if rate.text == "" {
				continue
			}
			parsed, err := traffic.ParseRate(rate.text)
			if err != nil || parsed.Packets == 0 {
				return fmt.Errorf("--%s %s: expected packets a second, such as 10kpps or 1.5Mpps", flag, rate.text)
			}
			*rate.of = parsed.Packets
		}
		o.Target.Gateway, o.Target.Command = args[0], os.Args
		o.Out, o.Bench.Progress = c.OutOrStdout(), c.ErrOrStderr()
		o.Bench.Terminal = terminalAt(os.Stderr)
		ctx, stop := untilHangup(c)
		defer stop()
		return trials.Main(ctx, o)
	}
	return command
}

// terminalAt says whether a person is there to see lines take each other's place.
func terminalAt(file *os.File) bool {
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
