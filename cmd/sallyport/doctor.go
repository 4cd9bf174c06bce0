package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/appliance/api"
)

// doctorCommand finds out what a firewall on the path to a peer keeps away (S-093).
func doctorCommand() *cobra.Command {
	doctor := &cobra.Command{
		Use:   "doctor [PEER]",
		Short: "Ask through every opening that a path to a peer needs, and name the blocked one",
		Long: `Doctor prints the openings that a path between gateways needs, both ways, and has
the running gateway ask each peer, or the one that is named, through each of them: IKE
in a version that there is not, which every peer answers, and echo packets of ESP and
AH, which a gateway answers to the ends of its tunnels. An opening without an answer is
blocked on the way there or back; a peer of another make may not answer echo packets,
and then packets of an SA count as an answer. The exit code is 1 if one is blocked.`,
		Example: `  sallyport doctor
  sallyport doctor site-b --json`,
		Args: between(0, 1),
	}
	addSocketFlag(doctor)
	addJSONFlag(doctor)
	doctor.RunE = func(c *cobra.Command, args []string) error {
		query := url.Values{}
		if len(args) == 1 {
			query.Set("peer", args[0])
		}
		gateway, err := client(c)
		if err != nil {
			return err
		}
		var found api.Examination
		if err := gateway.Get(c.Context(), api.PathDoctor, query, &found); err != nil {
			return err
		}
		if err := print(c, found, examinationTable); err != nil {
			return err
		}
		return blockedOpenings(found)
	}
	return doctor
}

func examinationTable(out io.Writer, found api.Examination) error {
	fmt.Fprintln(out, "a path between gateways needs these openings, both ways:")
	for _, o := range found.Openings {
		fmt.Fprintf(out, "  %-15s %s\n", o.Name, o.Carries)
	}
	for _, p := range found.Peers {
		fmt.Fprintf(out, "\n%s, from %s to %s\n", p.Peer, p.Local, p.Remote)
		t := newTable(out, "OPENING", "STATE", "ROUND TRIP")
		for _, o := range p.Openings {
			t.row(o.Name, openingState(o), roundTrip(o))
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	return nil
}

func openingState(o api.Opening) string {
	switch {
	case o.Traffic:
		return "open: an SA brings packets"
	case o.Open:
		return "open"
	case o.Error != "":
		return "not asked: " + o.Error
	}
	return "BLOCKED: no answer"
}

func roundTrip(o api.Opening) string {
	if o.RoundTrip == 0 {
		return ""
	}
	return time.Duration(o.RoundTrip * float64(time.Second)).Round(10 * time.Microsecond).String()
}

// blockedOpenings is an error that names what got no answer; nil if everything did.
func blockedOpenings(found api.Examination) error {
	var lines []string
	for _, p := range found.Peers {
		var names []string
		for _, o := range p.Openings {
			if !o.Open {
				names = append(names, o.Name)
			}
		}
		switch len(names) {
		case 0:
		case len(p.Openings):
			lines = append(lines, fmt.Sprintf("%s answers nothing: it is down, or has no such peer, or the whole path is blocked", p.Peer))
		default:
			lines = append(lines, fmt.Sprintf("%s is blocked on the path to %s: let the firewalls there pass it both ways", strings.Join(names, ", "), p.Peer))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(lines, "\n"))
}
