package main

import (
	"github.com/spf13/cobra"

	"sallyport/perf/report"
)

func compareCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "compare A.json B.json",
		Short: "Say of two reports of the lab what differs by more than the noise",
		Long: `Compare matches the rows of two reports by their names and prints, for each figure,
the medians, the ratio of B to A and between which ratios 95 % of samples drawn
again are. Whether that is a difference is decided by the Mann-Whitney U test at
5 %: what may as well be chance is within the noise, and fewer than four samples
of each tell nothing. Both have to be of the same tool. If the machines were not
the same, that stands first. docs/LAB.md has an example.`,
		Example: "  sallyport lab compare before.json after.json",
		Args:    between(2, 2),
		RunE: func(c *cobra.Command, files []string) error {
			var reports [2]*report.Report
			for i, file := range files {
				var err error
				if reports[i], err = report.Read(file); err != nil {
					return err
				}
			}
			difference, err := report.Compare(reports[0], reports[1])
			if err != nil {
				return err
			}
			return difference.WriteText(c.OutOrStdout())
		},
	}
}
