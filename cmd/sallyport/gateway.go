package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"sallyport/perf/manytunnels"
)

func gatewayCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "gateway FILE",
		Short: "Write the configuration of a gateway with one tunnel or thousands of them",
		Long: `Gateway writes a configuration that sallyport run and lab traffic both read: ports,
routes, and a rule for each tunnel, with a peer of its own that IKE negotiates with
by a preshared key, which is beside it in FILE with the ending psk. With --manual
tunnels have SAs with keys given by hand in place of that. All keys are random, or
those of --manual are derived from the first line of --seed-file, in a way that
docs/TRAFFIC.md says, so that a gateway of another make can have the same.

Only their owner can read the files; those that are there are not written over.`,
		Example: `  sallyport lab gateway gw.yaml --tunnels 1000
  sallyport lab gateway gw.yaml --tunnels 60000 --manual --seed-file seed --algorithm aes256-sha256-esn`,
		Args: between(1, 1),
	}
	var o manytunnels.Options
	var seed string
	flags := command.Flags()
	flags.IntVar(&o.Tunnels, "tunnels", 1, "how many, up to 60000")
	flags.BoolVar(&o.Manual, "manual", false, "SAs with keys given by hand, in place of IKE")
	flags.StringVar(&seed, "seed-file", "", "file whose first line the keys of --manual are derived from (default random)")
	flags.StringVar(&o.Algorithm, "algorithm", "", "of ESP (default aes128gcm16)")
	flags.StringVar(&o.Version, "ike", "", "v1 or v2 (default v2)")
	flags.StringVar(&o.Protected, "protected", "", "the gateway's protected device (default net_af_packet0,iface=lan0)")
	flags.StringVar(&o.Unprotected, "unprotected", "", "its unprotected device (default net_af_packet1,iface=wan0)")
	command.RunE = func(c *cobra.Command, args []string) error {
		if o.Tunnels < 1 {
			return fmt.Errorf("--tunnels %d: expected more than 0", o.Tunnels)
		}
		if seed != "" {
			if !o.Manual {
				return errors.New("--seed-file is for keys given by hand: expected --manual, too")
			}
			text, err := os.ReadFile(seed)
			if err != nil {
				return err
			}
			line, _, _ := bytes.Cut(text, []byte("\n"))
			o.Seed = append([]byte{}, bytes.TrimSpace(line)...)
		}
		o.File = args[0]
		o.Updated = time.Now().Format(time.DateOnly)
		if err := manytunnels.Write(o); err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "%s is written; tunnels: %d; sallyport run -c %s --lab runs it\n", o.File, o.Tunnels, o.File)
		return nil
	}
	return command
}
