package main

import (
	"errors"
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
		Args: noMore,
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
		Args:    noMore,
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
	show := &cobra.Command{
		Use:   "show",
		Short: "Show every SA: main mode, quick mode and soft ones",
		Long: `Show prints the live state: the IKE SAs (main mode), the IPsec SAs by which packets
are protected (quick mode), and the soft SAs by which they pass in clear.`,
		Example: "  sallyport sa show --type soft",
		Args:    noMore,
	}
	kind := show.Flags().String("type", "", "show one kind alone: "+strings.Join(sadKinds, ", "))
	show.RunE = func(c *cobra.Command, _ []string) error {
		if *kind != "" && !slices.Contains(sadKinds, *kind) {
			return fmt.Errorf("--type: expected one of %s, found %q", strings.Join(sadKinds, ", "), *kind)
		}
		gateway, err := client(c)
		if err != nil {
			return err
		}
		var sad api.SAD
		if err := gateway.Get(c.Context(), api.PathSAD, nil, &sad); err != nil {
			return err
		}
		sad = only(sad, *kind)
		return print(c, sad, func(out io.Writer, sad api.SAD) error { return sadTable(out, sad, *kind) })
	}
	command := group("sa", "Show the SAs, flush soft ones", "", show, flushSAsCommand())
	addSocketFlag(command)
	addJSONFlag(command)
	return command
}

// sadKinds are the kinds of SAs.
var sadKinds = []string{"mm", "qm", "manual", "soft"}

// only is the SAs of one kind, of all with none.
func only(sad api.SAD, kind string) api.SAD {
	one := api.SAD{MainMode: []api.IKE{}, QuickMode: []api.SA{}, Manual: []api.ManualSA{}, Soft: []api.SoftSA{}}
	switch kind {
	case "mm":
		one.MainMode = sad.MainMode
	case "qm":
		one.QuickMode = sad.QuickMode
	case "manual":
		one.Manual = sad.Manual
	case "soft":
		one.Soft = sad.Soft
	default:
		return sad
	}
	return one
}

func flushSAsCommand() *cobra.Command {
	flush := &cobra.Command{
		Use:   "flush --soft",
		Short: "End all soft SAs: what passed in clear by them is negotiated anew",
		Long: `Flush ends every soft SA at once. The next packet of that traffic waits while IKE
asks the peer again, four times; only if it stays silent there is another soft SA.
"sallyport down PEER" ends negotiated SAs.`,
		Example: "  sallyport sa flush --soft",
		Args:    noMore,
	}
	soft := flush.Flags().Bool("soft", false, "the soft SAs")
	flush.RunE = func(c *cobra.Command, _ []string) error {
		if !*soft {
			return errors.New("expected --soft: nothing else can be flushed; sallyport down PEER ends the SAs of a peer")
		}
		gateway, err := client(c)
		if err != nil {
			return err
		}
		var answer api.FlushedSAs
		if err := gateway.Post(c.Context(), api.PathFlushSAs, api.FlushSAs{Soft: true}, &answer); err != nil {
			return err
		}
		return print(c, answer, func(out io.Writer, f api.FlushedSAs) error {
			_, err := fmt.Fprintf(out, "%s ended\n", counted(f.Soft, "soft SA"))
			return err
		})
	}
	return flush
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

// sadTable writes the SAs by kind, or those of one kind.
func sadTable(out io.Writer, sad api.SAD, kind string) error {
	for _, part := range []struct {
		kind  string
		write func(io.Writer, api.SAD) error
	}{{"mm", mainModeSAs}, {"qm", quickModeSAs}, {"manual", func(out io.Writer, sad api.SAD) error { return manualTable(out, sad.Manual) }}, {"soft", softSAs}} {
		if kind != "" && kind != part.kind {
			continue
		}
		if err := part.write(out, sad); err != nil {
			return err
		}
	}
	return nil
}

func mainModeSAs(out io.Writer, sad api.SAD) error {
	fmt.Fprintf(out, "main mode, IKE SAs: %d\n", len(sad.MainMode))
	if len(sad.MainMode) == 0 {
		return nil
	}
	return ikeTable(out, sad.MainMode)
}

func quickModeSAs(out io.Writer, sad api.SAD) error {
	fmt.Fprintf(out, "quick mode, IPsec SAs: %d\n", len(sad.QuickMode))
	if len(sad.QuickMode) == 0 {
		return nil
	}
	if err := saTable(out, sad.QuickMode); err != nil {
		return err
	}
	return saDetails(out, sad.QuickMode)
}

// softSAs has the columns that other SAs have too, though a soft one has nothing to put there (S-046).
func softSAs(out io.Writer, sad api.SAD) error {
	fmt.Fprintf(out, "soft SAs: %d\n", len(sad.Soft))
	if len(sad.Soft) == 0 {
		return nil
	}
	t := newTable(out, "PEER", "SELECTOR", "OPERATION", "PROTECTION", "SPI", "KEYS", "AGE", "LEFT", "BYTES SENT", "BYTES RECEIVED", "RULE", "FILTER")
	for _, s := range sad.Soft {
		t.row(s.Peer, s.Selector, s.Operation, s.Protection, s.SPI, s.Keys, fmt.Sprintf("%.0fs", s.Age), fmt.Sprintf("%.0fs", s.Remaining),
			number(s.BytesSent), number(s.BytesReceived), s.Rule, s.Filter)
	}
	return t.flush()
}
