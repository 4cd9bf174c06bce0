package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/appliance/api"
)

// explainCommand answers "why?" for one packet.
func explainCommand() *cobra.Command {
	explain := view("explain", "Say what the gateway would do with a packet now, and why", api.PathExplain, explanationTable)
	explain.Long = `Explain asks the running gateway's own tables what would become of a packet at this
moment: which exemptions were considered and why they do not apply, which filters
match in the order of weight and where each is written, which one decides, the SA the
packet would use, the port it would leave by, and what the flow caches remember of its
flow. It sends nothing, counts nothing and changes nothing.`
	explain.Example = `  sallyport explain --src 10.1.0.5 --dst 10.2.0.9 --proto tcp --dport 445
  sallyport explain --src 10.2.0.9 --dst 10.1.0.5 --proto tcp --dport 445 --in to-site-b
  sallyport explain --src 192.0.2.9 --dst 192.0.2.1 --proto udp --sport 500 --dport 500 --in wan
  sallyport explain --src 10.1.0.5 --dst 10.2.0.9 --proto icmp --json`
	flags := explain.Flags()
	flags.String("src", "", "source address")
	flags.String("dst", "", "destination address")
	flags.String("proto", "", "IP protocol: tcp, udp, icmp, another name or a number")
	flags.String("sport", "", "source port of TCP or UDP")
	flags.String("dport", "", "destination port, which TCP and UDP need")
	flags.String("in", "", "port that the packet comes in by; for one out of a tunnel the Child SA, which has the name of its rule; local for the gateway's own (default the port toward the source, in clear)")
	for _, needed := range []string{"src", "dst", "proto"} {
		if err := explain.MarkFlagRequired(needed); err != nil {
			panic(err) // the flag is defined above
		}
	}
	addSocketFlag(explain)
	addJSONFlag(explain)
	return explain
}

// explanationTable is the explanation in the order in which a packet is treated.
func explanationTable(out io.Writer, e api.Explanation) error {
	arrival := "comes in by port " + e.Port
	switch {
	case e.InTunnel != "":
		arrival += " through the Child SA " + e.InTunnel
	case e.Port == "local":
		arrival = "from the gateway itself"
	}
	fmt.Fprintf(out, "packet: %s, %s\npolicy: %s\n\n", e.Packet, arrival, cmp.Or(e.Policy, "none, nothing passes"))

	if err := errors.Join(considered(out, e.Exemptions), matching(out, e.Matches)); err != nil {
		return err
	}
	return verdictLines(out, e)
}

// considered has one line for the rows of a kind that are not in force and would
// not match either; the JSON has every row and both reasons.
func considered(out io.Writer, exemptions []api.ExemptionCheck) error {
	fmt.Fprintln(out, "exemptions considered:")
	t := newTable(out, "EXEMPTION", "IN FORCE", "MATCHES", "WHY")
	for len(exemptions) > 0 {
		x, same := exemptions[0], 1
		for same < len(exemptions) && idle(x) && idle(exemptions[same]) && kindOf(exemptions[same]) == kindOf(x) {
			same++
		}
		if same > 1 {
			x.Name = fmt.Sprintf("%s (%d)", kindOf(x), same)
		}
		if idle(x) {
			x.Why, _, _ = strings.Cut(x.Why, "; ")
		}
		t.row(x.Name, yes(x.InForce), yes(x.Matches), x.Why)
		exemptions = exemptions[same:]
	}
	return t.flush()
}

func idle(x api.ExemptionCheck) bool { return !x.InForce && !x.Matches }

// kindOf is the first word of an exemption's name.
func kindOf(x api.ExemptionCheck) string {
	kind, _, _ := strings.Cut(x.Name, "-")
	return kind
}

func matching(out io.Writer, filters []api.Filter) error {
	if len(filters) == 0 {
		_, err := fmt.Fprintln(out, "\nfilters that match: none")
		return err
	}
	fmt.Fprintln(out, "\nfilters that match, the heaviest first:")
	t := newTable(out, "WEIGHT", "VERDICT", "SOURCE", "DESTINATION", "PROTOCOL", "PORTS", "RULE", "FILTER LIST", "WRITTEN AT")
	for _, f := range filters {
		t.row(fmt.Sprint(f.Weight), f.Verdict, source(f.Row), destination(f.Row),
			f.Protocol, f.Ports, f.Rule, f.FilterList, f.Origin)
	}
	return t.flush()
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

// verdictLines say what decides and what is done.
func verdictLines(out io.Writer, e api.Explanation) error {
	lines := []string{""}
	add := func(name, text string) { lines = append(lines, fmt.Sprintf("%-11s %s", name+":", text)) }
	add("decided by", decision(e))
	add("verdict", e.Verdict)
	action := e.Action
	switch {
	case e.Reason != "":
		action += ", " + e.Reason
	case e.SoftSA != nil:
		action += ", in CLEAR by a soft SA"
	case e.Tunnel != "" && e.CellState == holding:
		action += ", and until an SA is up the packet waits, within bounds, and has one negotiated"
	}
	add("action", action)
	if e.Tunnel != "" {
		add("Child SA", e.Tunnel+", "+e.CellState)
		add("SA", association(e))
	}
	if e.Fallback != "" {
		add("in clear", e.Fallback)
	}
	add("leaves by", cmp.Or(e.OutPort, "no port"))
	if e.NextHop != "" {
		add("next hop", e.NextHop+", "+e.Neighbour)
	}
	add("flow cache", remembered(e.Cached))
	if e.Disagreement != "" {
		add("WARNING", "the policy and the data plane disagree: "+e.Disagreement)
	}
	_, err := fmt.Fprintln(out, strings.Join(lines, "\n"))
	return err
}

// holding is the state of a Child SA that is to be negotiated.
const holding = "hold"

// decision names what decides over the packet.
func decision(e api.Explanation) string {
	switch {
	case e.Exempted != "":
		return "exemption " + e.Exempted
	case e.Winner != nil:
		text := fmt.Sprintf("rule %s, filter %s", e.Winner.Rule, e.Winner.Filter)
		if e.Winner.Origin != "" {
			text += ", " + e.Winner.Origin
		}
		return text
	}
	return "no filter: the default action"
}

// association names the SA that the packet would use.
func association(e api.Explanation) string {
	switch {
	case e.SA != nil:
		return fmt.Sprintf("%s %s, %s, %s > %s", e.SA.Direction, e.SA.SPI, e.SA.Suite, e.SA.Local, e.SA.Remote)
	case e.SoftSA != nil:
		return fmt.Sprintf("soft, in CLEAR for %.0fs more, with %s for %s", e.SoftSA.Remaining, e.SoftSA.Peer, e.SoftSA.Selector)
	}
	return "none yet"
}

// remembered is what the flow caches hold.
func remembered(cached []api.CachedFlow) string {
	var list []string
	for _, f := range cached {
		text := fmt.Sprintf("worker %d: %s", f.Worker, f.Action)
		if f.Reason != "" {
			text += ", " + f.Reason
		}
		if !f.Current {
			text += " (of an older policy, decided anew at the next packet)"
		}
		list = append(list, text)
	}
	return cmp.Or(strings.Join(list, "; "), "nothing")
}
