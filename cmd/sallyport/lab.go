package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sallyport/perf/bench"
	"sallyport/perf/lab"
)

// labCommand gathers what needs no gateway of the user's own.
func labCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "lab",
		Short: "Try and measure the gateway on this machine",
		Args:  noMore,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	command.AddCommand(demoCommand(), benchCommand(), negotiateCommand(), gatewayCommand(), trafficCommand(), rfc2544Command(), hostileCommand(), peersCommand(), compareCommand())
	return command
}

func demoCommand() *cobra.Command {
	demo := &cobra.Command{
		Use:   "demo",
		Short: "Two gateways in network namespaces, traffic, and what was on the wire",
		Long: `Demo builds two sites out of network namespaces, starts a gateway in each, sends
ping and iperf3 from one LAN to the other and captures between the gateways. It
fails if a packet between the LANs is seen in clear. It needs root.`,
		Args: noMore,
	}
	keep := demo.Flags().Bool("keep", false, "leave everything running and say how to look around")
	demo.RunE = func(c *cobra.Command, _ []string) error {
		ctx, stop := untilHangup(c)
		defer stop()
		return lab.RunDemo(ctx, lab.Options{Keep: *keep, Out: c.OutOrStdout()})
	}
	return demo
}

// benchNIC gives a port a software NIC in the lab's build, which alone has one.
var benchNIC func(port uint16, queues int) (bench.NIC, error)

// benchProfile reads what a worker's stages have counted in the build of make profile, which alone counts.
var benchProfile bench.Profiler

func benchCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "bench",
		Short: "Measure the fast path, beside the floor",
		Long: `Bench sends packets from files that never end through tunnels and prints cycles
per packet beside the floor: taking packets from the source and freeing them,
plus crypto alone over the same bytes. Both are measured in alternating windows,
so compare ratios, not absolute figures; targets stand in brackets. Its tables:

  sizes       one core: sizes of packets and numbers of flows
  transforms  AES-256-GCM, AES-CBC with HMAC-SHA-256, ChaCha20-Poly1305, AH,
              NAT-T, IPv6 inside, outside and both, and the simple IMIX; from small
              sources, which stay in the core's own cache
  tunnels     what the same packets cost over 1 to 60,000 tunnels
  workers     two workers on two cores beside one
  policies    policies of many filters: cycles of a hit and a miss of the flow
              cache, what a flood of one-packet flows keeps of the hit rate, and
              what changing the policy takes
  soft        a flow in clear by a soft SA beside one by a filter that permits it
  offload     the queues of a crypto device beside cpu-crypto
  inline      inline protocol of a software NIC beside the CPU, and how fast SAs with
              sessions come and go; for a program that has such a NIC (make bench)
  profile     cycles by stage of the fast path, for a program that counts them
              (make profile)
  ike         IKE SAs a second of both versions, by preshared key and by certificate,
              in memory and over the data plane, their memory, what it takes to keep
              10,000 tunnels up, and what rekeys do to traffic; lab negotiate has
              what a whole gateway makes of it

It needs root; it reserves huge pages for as long as it runs if none are free.`,
		Args: noMore,
	}
	var o bench.Options
	var directions []string
	flags := command.Flags()
	flags.StringSliceVar(&o.Tables, "table", nil, strings.Join(bench.Tables, ", ")+" (default all)")
	flags.StringSliceVar(&o.Algorithms, "algorithm", nil, `in the first table: ESP suites, such as aes256-sha256, or "all" (default aes128gcm16)`)
	flags.StringSliceVar(&directions, "direction", nil, "outbound, inbound (default both)")
	flags.IntSliceVar(&o.Sizes, "size", nil, "in the first table: inner packet sizes in bytes, IPv4 header included (default 64,512,1400)")
	flags.IntSliceVar(&o.Flows, "flows", nil, "in the first table: numbers of UDP flows (default 1,1000,100000)")
	flags.IntSliceVar(&o.Filters, "filters", nil, "in the last table: sizes of the policy (default 10,100,1000,10000)")
	flags.IntVar(&o.Tunnels, "tunnels", 0, "in the first table: Child SAs that the flows are spread over (default 1)")
	flags.IntVar(&o.SourcePackets, "source-packets", 0, "in the first two tables: packets in a source, in whole bursts (default 4096 for sizes, 512 for transforms)")
	flags.DurationVar(&o.Window, "window", 0, "length of one measurement (default 50ms)")
	flags.IntVar(&o.Windows, "windows", 0, "measurements of each kind for a row (default 15)")
	flags.IntVar(&o.Core, "core", 0, "CPU to measure on, from 1 on (default the last one)")
	flags.StringVar(&o.HugePages, "huge-pages", "", "auto, on or off (default auto, which reserves them while it runs)")
	flags.BoolVar(&o.Quick, "quick", false, "a few short windows and rows, to see that it works")
	flags.StringVar(&o.JSON, "json", "", "also write the rows to this file, as a JSON array")
	flags.StringVar(&o.Report, "report", "", "also write a report to this file, with all samples, for lab compare; without the table ike")
	flags.StringVar(&o.HTML, "html", "", "also write the report as a page to this file")
	flags.BoolVar(&o.Append, "append", false, "with --json: the rows come behind those of the file")
	o.NIC, o.Profile = benchNIC, benchProfile
	command.RunE = func(c *cobra.Command, _ []string) error {
		if err := moreThanNone(flags, "tunnels", "source-packets", "window", "windows", "core"); err != nil {
			return err
		}
		for _, d := range directions {
			o.Directions = append(o.Directions, bench.Direction(d))
		}
		o.Out, o.Command = c.OutOrStdout(), os.Args
		ctx, stop := untilHangup(c)
		defer stop()
		return bench.Run(ctx, o)
	}
	return command
}

// moreThanNone refuses numbers, times and shares that are given as 0, which below would stand for their defaults.
func moreThanNone(flags *pflag.FlagSet, names ...string) error {
	for _, name := range names {
		if f := flags.Lookup(name); f.Changed && strings.Trim(f.Value.String(), "0s") == "" {
			return fmt.Errorf("--%s %s: expected more than 0", name, f.Value)
		}
	}
	return nil
}
