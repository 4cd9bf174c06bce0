package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/appliance/api"
)

// eventsCommand shows the stream of IKE facts.
func eventsCommand() *cobra.Command {
	events := &cobra.Command{
		Use:   "events",
		Short: "Show what IKE has done last, and with --follow what it does",
		Long: `Events prints the facts of IKE that the gateway still knows, oldest first, one on a
line: the same that are in its log and, counted by kind and reason, in its metrics.
What strangers cause (dropped, refused) is kept apart, so that it takes no other's
place. With --json each line is an object.`,
		Example: `  sallyport show events --peer site-b
  sallyport show events --follow --json`,
		Args: noMore,
	}
	follow := events.Flags().BoolP("follow", "f", false, "go on with what comes, until interrupted")
	peer := events.Flags().String("peer", "", "of this peer only")
	events.RunE = func(c *cobra.Command, _ []string) error {
		gateway, err := client(c)
		if err != nil {
			return err
		}
		query := url.Values{"follow": {strconv.FormatBool(*follow)}}
		if *peer != "" {
			query.Set("peer", *peer)
		}
		ctx, stop := untilSignal(c)
		defer stop()
		err = gateway.Follow(ctx, api.PathEvents, query, eventPrinter(c.OutOrStdout(), wantsJSON(c)))
		if ctx.Err() != nil && !errors.As(err, new(brokenOutput)) {
			return nil // told to stop
		}
		return err
	}
	return events
}

// brokenOutput is an error of who reads what is printed.
type brokenOutput struct{ error }

func eventPrinter(out io.Writer, asJSON bool) func(api.Event) error {
	return func(e api.Event) error {
		text := eventLine(e)
		if asJSON {
			line, err := json.Marshal(e)
			if err != nil {
				return err
			}
			text = string(line)
		}
		if _, err := fmt.Fprintln(out, text); err != nil {
			return brokenOutput{err}
		}
		return nil
	}
}

// eventLine is an event as a line for people: when, what, with whom, why, and the rest in the order of the log.
func eventLine(e api.Event) string {
	if e.Lost > 0 {
		return fmt.Sprintf("(%d events are not kept any more)", e.Lost)
	}
	line := fmt.Sprintf("%s %-19s %s", e.Time.Local().Format("15:04:05.000"), e.Kind, strings.TrimSuffix(e.Peer+"/"+e.Child, "/"))
	why := []string{e.Reason, e.Detail}
	line = strings.Join(append([]string{line}, slices.DeleteFunc(why, func(s string) bool { return s == "" })...), "  ")
	for _, part := range []struct{ name, value string }{
		{"role", e.Role}, {"local", e.Local}, {"remote", e.Remote}, {"tries", strings.TrimPrefix(strconv.Itoa(e.Tries), "0")}, {"suite", e.Suite},
		{"spi_in", e.SPIIn}, {"spi_out", e.SPIOut}, {"ah_spi_in", e.AHSPIIn}, {"ah_spi_out", e.AHSPIOut}, {"selectors", strings.Join(e.Selectors, ", ")},
	} {
		if part.value != "" {
			line += "  " + part.name + "=" + part.value
		}
	}
	return strings.TrimRight(line, " ")
}
