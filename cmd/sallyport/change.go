package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/appliance/api"
	"sallyport/policy"
)

func addDryRunFlag(command *cobra.Command) *bool {
	return command.Flags().Bool("dry-run", false, "change nothing, and say which filters would change and which SAs would end")
}

// change asks the running gateway for a change of its policy and prints what
// came of it, or with a dry run would come.
func change(c *cobra.Command, path string, body any) error { return changeTo(c, "", path, body) }

// changeTo is change where the configuration is the operator's own text: mistakes are named by its file, not by the one
// that the gateway would write it to.
func changeTo(c *cobra.Command, file, path string, body any) error {
	gateway, err := client(c)
	if err != nil {
		return err
	}
	done, err := gateway.Change(c.Context(), path, body)
	if err != nil {
		var refused *api.Refused
		if !errors.As(err, &refused) {
			return err
		}
		for i := range refused.Errors {
			refused.Errors[i].File = cmp.Or(file, refused.Errors[i].File)
		}
		if wantsJSON(c) {
			return errors.Join(err, printJSON(c.OutOrStdout(), api.Change{Errors: refused.Errors}))
		}
		return err
	}
	return print(c, *done, func(out io.Writer, c api.Change) error { return errors.Join(changeTable(out, c), outcome(out, c)) })
}

// changeTable says what a change does to filters, to SAs and to files.
func changeTable(out io.Writer, c api.Change) error {
	if err := differenceTable(out, c); err != nil {
		return err
	}
	for _, note := range c.Notes {
		fmt.Fprintln(out, note)
	}
	verb := "ends"
	if !c.Applied {
		verb = "would end"
	}
	for _, sa := range c.Ended {
		fmt.Fprintf(out, "Child SA %s/%s %s: %s\n", sa.Peer, sa.Child, verb, sa.Why)
	}
	if len(c.Kept) > 0 {
		fmt.Fprintf(out, "Child SAs that stay: %s\n", strings.Join(c.Kept, ", "))
	}
	for _, warning := range c.Warnings {
		fmt.Fprintln(out, "warning:", warning)
	}
	return nil
}

// differenceTable is the filters that come, go and change: + and - mark what is
// in one of the two policies, < and > one filter before and after.
func differenceTable(out io.Writer, c api.Change) error {
	if len(c.Added)+len(c.Removed)+len(c.Changed) == 0 {
		_, err := fmt.Fprintln(out, "no filter changes")
		return err
	}
	t := newTable(out, " ", "VERDICT", "SOURCE", "DESTINATION", "PROTOCOL", "PORTS", "RULE", "FILTER")
	line := func(mark string, r policy.Row) {
		t.row(mark, verdictOf(r), source(r), destination(r), r.Protocol, r.Ports, r.Rule, place(r))
	}
	for _, r := range c.Removed {
		line("-", r)
	}
	for _, r := range c.Changed {
		line("<", r.Old)
		line(">", r.New)
	}
	for _, r := range c.Added {
		line("+", r)
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "filters: %d come (+), %d go (-), %d change (< before, > after)\n", len(c.Added), len(c.Removed), len(c.Changed))
	return err
}

// verdictOf is a verdict with what a filter lets pass in clear all the same: two that differ in no more would look alike.
func verdictOf(r policy.Row) string {
	text := r.Verdict
	if r.Fallback {
		text += ", or in clear after silence"
	}
	if r.Passthrough {
		text += ", or in clear until it is up"
	}
	return text
}

// outcome closes the words about a change of the running gateway.
func outcome(out io.Writer, c api.Change) error {
	policy, back := "no policy is in force: nothing passes", " (`sallyport config rollback` brings it back)"
	if c.Policy != "" {
		policy, back = fmt.Sprintf("policy %s is in force", c.Policy), ""
	}
	switch {
	case !c.Applied:
		_, err := fmt.Fprintln(out, "dry run: nothing has changed")
		return err
	case c.Backup != 0:
		policy += fmt.Sprintf("; the file before it is backup %d%s", c.Backup, back)
	}
	_, err := fmt.Fprintln(out, policy)
	return err
}

// addressCommand tells the gateway of an address that came or went.
func addressCommand() *cobra.Command {
	address := group("address", "Change the gateway's own addresses at run time",
		`Address adds an own address to a port, or removes one, until the next start; the
configuration file is not touched. Filters on "my" addresses follow at once. Those
of an address that has gone block, and tunnels from it end: nothing that they
protected passes in clear.`,
		addressChange("add", "Add an own address to a port", false),
		addressChange("remove", "Remove an own address from a port", true))
	addSocketFlag(address)
	addJSONFlag(address)
	return address
}

func addressChange(verb, short string, remove bool) *cobra.Command {
	command := &cobra.Command{
		Use:     verb + " PORT ADDRESS/LENGTH",
		Short:   short,
		Example: "  sallyport address " + verb + " wan 192.0.2.7/24 --dry-run",
		Args:    between(2, 2),
	}
	dry := addDryRunFlag(command)
	command.RunE = func(c *cobra.Command, args []string) error {
		return change(c, api.PathAddresses, api.ChangeAddress{Port: args[0], Address: args[1], Remove: remove, DryRun: *dry})
	}
	return command
}

// reloadCommand does what SIGHUP does, and says what came of it.
func reloadCommand() *cobra.Command {
	reload := &cobra.Command{
		Use:   "reload",
		Short: "Read the configuration file again",
		Long: `Reload has the running gateway read its configuration file again, as SIGHUP does,
and prints what changed. A file with a mistake changes nothing.`,
		Example: "  sallyport reload --dry-run",
		Args:    noMore,
	}
	addSocketFlag(reload)
	addJSONFlag(reload)
	dry := addDryRunFlag(reload)
	reload.RunE = func(c *cobra.Command, _ []string) error {
		return change(c, api.PathReload, api.Reload{DryRun: *dry})
	}
	return reload
}
