package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/appliance/api"
	"sallyport/appliance/config"
	"sallyport/policy"
)

// policyCommand gathers what concerns policies as a whole.
func policyCommand() *cobra.Command {
	show := view("show", "Show the stored policies and the one in force", api.PathPolicy, policyTable)
	show.Long = `Show prints every stored policy with its rules, the one in force first, as the
configuration says it; "sallyport filters show" prints what they compile to.`
	show.Example = `  sallyport policy show --active`
	active := show.Flags().Bool("active", false, "the policy in force only")
	plain := show.RunE
	show.RunE = func(c *cobra.Command, args []string) error {
		if *active {
			return showActive(c)
		}
		return plain(c, args)
	}
	command := group("policy", "Show, check, compare and change the policy in force", "",
		show, checkCommand(), activateCommand(), diffCommand(), purgeCommand())
	addSocketFlag(command)
	addJSONFlag(command)
	return command
}

func showActive(c *cobra.Command) error {
	gateway, err := client(c)
	if err != nil {
		return err
	}
	var answer api.Policies
	if err := gateway.Get(c.Context(), api.PathPolicy, nil, &answer); err != nil {
		return err
	}
	stored := answer.Stored
	answer.Stored = nil
	for _, p := range stored {
		if p.Active {
			answer.Stored = append(answer.Stored, p)
		}
	}
	return print(c, answer, policyTable)
}

// policyTable is a heading and a table of rules for each policy.
func policyTable(out io.Writer, policies api.Policies) error {
	if policies.Active == "" {
		fmt.Fprintln(out, "no policy is in force: nothing passes")
	}
	for i, p := range policies.Stored {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintln(out, policyHeading(p))
		t := newTable(out, "RULE", "FILTER LIST", "FILTER ACTION", "PORTS", "AUTH", "WRITTEN AT", "METHODS")
		for _, r := range p.Rules {
			action := r.FilterAction
			if action != r.Action {
				action += " (" + r.Action + ")"
			}
			if !r.Enabled {
				action = "off"
			}
			t.row(r.Name, r.FilterList, action, r.Ports, strings.Join(r.AuthMethods, " "), r.Origin, strings.Join(r.Methods, " "))
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	return nil
}

// policyHeading is a policy's name with what holds for all of its rules.
func policyHeading(p api.Policy) string {
	words := []string{"stored"}
	if p.Active {
		words[0] = "in force"
	}
	if p.Sample {
		words = append(words, "a sample")
	}
	words = append(words, "the rest: "+p.DefaultAction)
	if p.RefreshSeconds > 0 {
		words = append(words, fmt.Sprintf("the file is looked at every %gs", p.RefreshSeconds))
	}
	heading := fmt.Sprintf("policy %s (%s)", p.Name, strings.Join(words, ", "))
	if p.Description != "" {
		heading += ": " + p.Description
	}
	return heading
}

func activateCommand() *cobra.Command {
	activate := &cobra.Command{
		Use:   "activate NAME",
		Short: "Make a stored policy the one in force",
		Long: `Activate swaps the policy in force for another that the configuration stores: checked
whole, then at once, so that no packet meets half of it. It writes active_policy in
the configuration file, whose former state becomes a backup. Only SAs end that the
new policy does not need as they are.`,
		Example: "  sallyport policy activate night --dry-run",
		Args:    between(1, 1),
	}
	dry := addDryRunFlag(activate)
	activate.RunE = func(c *cobra.Command, args []string) error {
		return change(c, api.PathActivate, api.Activate{Name: args[0], DryRun: *dry})
	}
	return activate
}

func purgeCommand() *cobra.Command {
	purge := &cobra.Command{
		Use:   "purge",
		Short: "Remove every policy, filter list and filter action: nothing passes after it",
		Long: `Purge cuts all policies, filter lists, filter actions and active_policy out of the
configuration file. What remains is the closed default: every SA ends and every
packet is dropped. The file before it is a backup: "sallyport config rollback"
brings it back.`,
		Example: "  sallyport policy purge --dry-run",
		Args:    noMore,
	}
	dry := addDryRunFlag(purge)
	purge.RunE = func(c *cobra.Command, _ []string) error {
		return change(c, api.PathPurge, api.Purge{DryRun: *dry})
	}
	return purge
}

func diffCommand() *cobra.Command {
	diff := &cobra.Command{
		Use:   "diff [FILE | OLD NEW]",
		Short: "Compare policies",
		Long: `Diff says which filters differ. Without a file it holds the gateway's configuration
file against what the gateway runs, with one file that file: both as a dry run of
the gateway itself, which also says which SAs would end. With two files it compares
them with each other and needs no running gateway.`,
		Example: `  sallyport policy diff gw-a.yaml
  sallyport policy diff gw-a.yaml gw-a-new.yaml`,
		Args: between(0, 2),
	}
	diff.RunE = func(c *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return change(c, api.PathReload, api.Reload{DryRun: true})
		case 1:
			return apply(c, args[0], true)
		}
		return diffFiles(c, args[0], args[1])
	}
	return diff
}

// diffFiles compares the active policies of two files.
func diffFiles(c *cobra.Command, oldPath, newPath string) error {
	before, err := load(oldPath, true)
	if err != nil {
		return err
	}
	after, err := load(newPath, true)
	if err != nil {
		return err
	}
	d := policy.Diff(before.Config.SPD, after.Config.SPD)
	compared := api.Change{Policy: d.NewPolicy, Added: d.Added, Removed: d.Removed, Changed: d.Changed}
	note := func(differs bool, format string, args ...any) {
		if differs {
			compared.Notes = append(compared.Notes, fmt.Sprintf(format, args...))
		}
	}
	note(d.OldPolicy != d.NewPolicy, "active policy: %s, before %s", cmp.Or(d.NewPolicy, "none"), cmp.Or(d.OldPolicy, "none"))
	note(d.DefaultChanged, "default action: %s, before %s", d.NewDefault, d.OldDefault)
	note(d.LevelChanged, "exemption level: %s, before %s", d.NewLevel, d.OldLevel)
	note(len(d.Tunnels) > 0, "Child SAs that protect other traffic: %s", strings.Join(d.Tunnels, ", "))
	return print(c, compared, changeTable)
}

// configCommand gathers what concerns the configuration file as a whole.
func configCommand() *cobra.Command {
	command := group("config", "Apply a configuration, go back to an earlier one",
		`Every change of the configuration file leaves a numbered backup of the file before
it, and is a transaction: a file with any mistake changes nothing.`,
		applyCommand(), rollbackCommand(), view("backups", "List the backups, the latest first", api.PathBackups, backupTable))
	addSocketFlag(command)
	addJSONFlag(command)
	return command
}

func applyCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "apply FILE",
		Short: "Make a file the gateway's configuration",
		Long: `Apply sends FILE, or standard input where FILE is -, to the running gateway, which
checks it whole, keeps a backup of its own file, writes the new one there and takes
it over at once. Key files are looked for beside the gateway's file. What cannot
change while it runs (ports, cores, memory) is named, and then nothing changes.`,
		Example: `  sallyport config apply gw-a-new.yaml --dry-run
  sallyport config apply gw-a-new.yaml`,
		Args: between(1, 1),
	}
	dry := addDryRunFlag(command)
	command.RunE = func(c *cobra.Command, args []string) error { return apply(c, args[0], *dry) }
	return command
}

// apply sends a file to the running gateway.
func apply(c *cobra.Command, path string, dryRun bool) error {
	text, err := readInput(c, path)
	if err != nil {
		return badConfiguration{fmt.Errorf("configuration: %w", err)}
	}
	if err := config.CheckText(path, text); err != nil { // JSON would put other characters in the place of what is none
		return badConfiguration{err}
	}
	name := path
	if path == "-" {
		name = "standard input"
	}
	return changeTo(c, name, api.PathApply, api.Apply{Text: string(text), DryRun: dryRun})
}

// readInput reads a file, which may be a pipe, or standard input where it is -.
func readInput(c *cobra.Command, path string) ([]byte, error) {
	if path == "-" {
		return config.ReadText(c.InOrStdin())
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := config.ReadText(file)
	if err != nil {
		if at := (*fs.PathError)(nil); errors.As(err, &at) {
			err = at.Err // without the path, which is said once
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}

func rollbackCommand() *cobra.Command {
	rollback := &cobra.Command{
		Use:   "rollback [NUMBER]",
		Short: "Go back to a backup, without a number to the latest",
		Long: `Rollback applies a backup as if it were a new file, so that it too leaves a backup:
rolling back twice comes back to where it began.`,
		Example: `  sallyport config backups
  sallyport config rollback 3 --dry-run`,
		Args: between(0, 1),
	}
	dry := addDryRunFlag(rollback)
	rollback.RunE = func(c *cobra.Command, args []string) error {
		number := 0
		if len(args) == 1 {
			var err error
			if number, err = strconv.Atoi(args[0]); err != nil || number < 1 {
				return fmt.Errorf("backup %q: expected a number that `sallyport config backups` lists", args[0])
			}
		}
		return change(c, api.PathRollback, api.Rollback{Number: number, DryRun: *dry})
	}
	return rollback
}

func backupTable(out io.Writer, backups []api.Backup) error {
	t := newTable(out, "NUMBER", "REPLACED AT", "POLICY", "BYTES")
	for _, b := range backups {
		t.row(fmt.Sprint(b.Number), b.Saved.Format(time.RFC3339), b.Policy, fmt.Sprint(b.Bytes))
	}
	return t.flush()
}
