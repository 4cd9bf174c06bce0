package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"sallyport/appliance"
	"sallyport/pmd/eal"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of Sallyport, Go and DPDK",
		Args:  noMore,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "sallyport %s\n%s\n%s\n", appliance.Version(), runtime.Version(), eal.Version())
			return err
		},
	}
}
