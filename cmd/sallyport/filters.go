package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/appliance/api"
	"sallyport/policy"
)

// filtersCommand shows what the policy compiles to.
func filtersCommand() *cobra.Command {
	show := &cobra.Command{
		Use:   "show",
		Short: "Show the compiled filters in match order, with hits",
		Long: `Show prints what the policy in force compiles to, in the order in which a packet
meets it: the heaviest filter first. The weight comes from the addresses, then the
protocol, then the ports; the place in the file does not count.`,
		Example: `  sallyport filters show --all
  sallyport filters show --mm`,
		Args: cobra.NoArgs,
	}
	all := show.Flags().Bool("all", false, "also what is exempt from filters, and what happens to the rest")
	mainMode := show.Flags().Bool("mm", false, "main-mode filters instead: the addresses that IKE is spoken between")
	show.MarkFlagsMutuallyExclusive("all", "mm")
	show.RunE = func(c *cobra.Command, _ []string) error {
		gateway, err := client(c)
		if err != nil {
			return err
		}
		if *mainMode {
			var rows []policy.MainModeRow
			if err := gateway.Get(c.Context(), api.PathMainMode, nil, &rows); err != nil {
				return err
			}
			return print(c, rows, mainModeTable)
		}
		var filters []api.Filter
		if err := gateway.Get(c.Context(), api.PathFilters, nil, &filters); err != nil {
			return err
		}
		if !*all {
			filters = written(filters)
		}
		return print(c, filters, filterTable)
	}

	resolve := &cobra.Command{
		Use:   "resolve",
		Short: "Ask DNS again for the names that filters use",
		Long: `Resolve asks for every DNS name in the filter lists and puts the answers in force.
The gateway never does so by itself: a name stands for the addresses that it had when
it was first used, whatever DNS says later.`,
		Example: "  sallyport filters resolve --dry-run",
		Args:    cobra.NoArgs,
	}
	dry := addDryRunFlag(resolve)
	resolve.RunE = func(c *cobra.Command, _ []string) error {
		return change(c, api.PathResolve, api.Resolve{DryRun: *dry})
	}

	command := group("filters", "Show the compiled filters, resolve their names", "", show, resolve)
	addSocketFlag(command)
	addJSONFlag(command)
	return command
}

// written is the filters of rules, a deny-all of weight 0 among them, without exemptions and the default action.
func written(filters []api.Filter) []api.Filter {
	list := []api.Filter{}
	for _, f := range filters {
		if f.FilterList != "" {
			list = append(list, f)
		}
	}
	return list
}

func mainModeTable(out io.Writer, rows []policy.MainModeRow) error {
	t := newTable(out, "WEIGHT", "SOURCE", "DESTINATION", "RULES", "CHILD SAS", "AUTH")
	for _, r := range rows {
		t.row(fmt.Sprint(r.Weight), r.Source, r.Destination, strings.Join(r.Rules, " "), strings.Join(r.Tunnels, " "), strings.Join(r.AuthMethods, " "))
	}
	return t.flush()
}

// exemptCommand shows and sets what passes whatever the filters say.
func exemptCommand() *cobra.Command {
	show := view("show", "Show the exemptions of a level, with hits", api.PathExemptions, exemptionTable)
	show.Long = `Show prints every filter that is implied, whatever the policy says: at level 0
Kerberos, IKE, RSVP, multicast, broadcast and IPv6 of the gateway's own addresses, at
level 3, the one without a setting, IKE alone. Transit traffic is never exempt.`
	show.Example = "  sallyport exempt show --level 0"
	show.Flags().String("level", "", "the level to show, 0 to 3 (default the one in force)")

	level := &cobra.Command{
		Use:   "level NUMBER",
		Short: "Set the exemption level, 0 to 3, until the next start",
		Long: `Level sets what is exempt from the filters, at once and until the next start or the
next change of the configuration's own exemptions.level: 3 IKE only; 2 also RSVP and
Kerberos; 1 IKE, multicast and broadcast; 0 all of them.`,
		Example: "  sallyport exempt level 1 --dry-run",
		Args:    between(1, 1),
	}
	dry := addDryRunFlag(level)
	level.RunE = func(c *cobra.Command, args []string) error {
		return change(c, api.PathLevel, api.SetLevel{Level: args[0], DryRun: *dry})
	}

	command := group("exempt", "Show and set what passes whatever the filters say", "", show, level)
	addSocketFlag(command)
	addJSONFlag(command)
	return command
}

func exemptionTable(out io.Writer, exemptions api.Exemptions) error {
	heading := "exemption level " + exemptions.Level
	if exemptions.Level != exemptions.InForce {
		heading += fmt.Sprintf("; level %s is in force", exemptions.InForce)
	}
	fmt.Fprintln(out, heading)
	t := newTable(out, "EXEMPTION", "DIRECTION", "IN FORCE", "PACKETS", "BYTES", "FILTERS")
	var reasons []string
	for _, x := range exemptions.Rows {
		t.row(x.Name, x.Direction, yes(x.InForce), number(x.Packets), number(x.Bytes), strings.Join(x.Filters, ", "))
		if reason := x.Kind + " is not in force: " + x.Why; !x.InForce && !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	if err := t.flush(); err != nil || len(reasons) == 0 {
		return err
	}
	_, err := fmt.Fprintln(out, strings.Join(reasons, "\n"))
	return err
}

// saCommand shows live state, as policyCommand shows the static one (S-108).
func saCommand() *cobra.Command {
	show := view("show", "Show every SA: main mode, quick mode and soft ones", api.PathSAD, sadTable)
	show.Long = `Show prints the live state: the IKE SAs (main mode), the IPsec SAs by which packets
are protected (quick mode), and the soft SAs by which they may go in clear.`
	command := group("sa", "Show the SAs", "", show)
	addSocketFlag(command)
	addJSONFlag(command)
	return command
}

// saDetails is how each SA protects packets, between which addresses, and what it has dropped.
func saDetails(out io.Writer, sas []api.SA) error {
	t := newTable(out, "SPI", "PROTOCOL", "MODE", "LOCAL", "REMOTE", "PATH MTU", "REPLAY WINDOW", "DROPS BY REASON")
	for _, s := range sas {
		protocol := s.Protocol
		if s.UDPEncap {
			protocol += " in udp"
		}
		t.row(s.SPI, protocol, s.Mode, s.Local, s.Remote, positive(s.PathMTU), positive(s.ReplayWindow), byReason(s.Drops))
		if s.AHSPI != "" { // its drops are counted with those of the ESP in it
			t.row(s.AHSPI, "ah of the same", s.Mode, s.Local, s.Remote, "", positive(s.ReplayWindow), "")
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, s := range sas {
		if text := lifetimeText(s); text != "" {
			fmt.Fprintf(out, "%s: %s\n", s.SPI, text)
		}
	}
	return nil
}

// lifetimeText is what an SA has used of what it may carry, and how much of that meant nothing; empty when there is no limit and no dummy packet.
func lifetimeText(s api.SA) string {
	var parts []string
	limit := func(what string, used, soft, hard uint64) {
		switch {
		case hard > 0 && soft > 0:
			parts = append(parts, fmt.Sprintf("%d of %d %s, soft %d", used, hard, what, soft))
		case hard > 0:
			parts = append(parts, fmt.Sprintf("%d of %d %s", used, hard, what))
		case soft > 0:
			parts = append(parts, fmt.Sprintf("%d %s, soft %d", used, what, soft))
		}
	}
	if l := s.Lifetime; l != nil {
		limit("packets", s.Packets, l.SoftPackets, l.HardPackets)
		limit("bytes", s.Bytes, l.SoftBytes, l.HardBytes)
	}
	if s.Dummies > 0 {
		parts = append(parts, fmt.Sprintf("%d dummy packets", s.Dummies))
	}
	return strings.Join(parts, "; ")
}

// positive is a number that is not there where it is 0.
func positive(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// manualTable is there only where a lab has SAs with keys of its own.
func manualTable(out io.Writer, sas []api.ManualSA) error {
	if len(sas) == 0 {
		return nil
	}
	fmt.Fprintf(out, "manual SAs: %d\n", len(sas))
	t := newTable(out, "SA", "RULE", "STATE", "WHY")
	for _, s := range sas {
		t.row(s.Name, s.Rule, s.State, s.Why)
	}
	return t.flush()
}

func sadTable(out io.Writer, sad api.SAD) error {
	fmt.Fprintf(out, "main mode, IKE SAs: %d\n", len(sad.MainMode))
	if len(sad.MainMode) > 0 {
		if err := ikeTable(out, sad.MainMode); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "quick mode, IPsec SAs: %d\n", len(sad.QuickMode))
	if len(sad.QuickMode) > 0 {
		if err := saTable(out, sad.QuickMode); err != nil {
			return err
		}
		if err := saDetails(out, sad.QuickMode); err != nil {
			return err
		}
	}
	if err := manualTable(out, sad.Manual); err != nil {
		return err
	}
	fmt.Fprintf(out, "soft SAs: %d\n", len(sad.Soft))
	if len(sad.Soft) == 0 {
		return nil
	}
	t := newTable(out, "PEER", "SELECTOR", "OPERATION", "AGE", "REMAINING")
	for _, s := range sad.Soft {
		t.row(s.Peer, s.Selector, s.Operation, fmt.Sprintf("%.0fs", s.Age), fmt.Sprintf("%.0fs", s.Remaining))
	}
	return t.flush()
}
