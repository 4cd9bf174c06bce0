package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// noMore takes no argument. What was meant is said: a command of a similar name, or how a file is named.
func noMore(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("unknown command %q for %q: %s", args[0], c.CommandPath(), instead(c, args[0]))
}

// instead is what may have been meant by a word after a command.
func instead(c *cobra.Command, word string) string {
	if other := elsewhere[c.CommandPath()+" "+word]; other != "" {
		return "that is " + other
	}
	var all []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			all = append(all, sub.Name())
		}
	}
	if len(all) > 0 {
		if similar := similarTo(c, word); len(similar) > 0 {
			return "did you mean " + strings.Join(similar, " or ") + "?"
		}
		return "expected one of " + strings.Join(all, ", ")
	}
	if file := c.Flags().Lookup("config"); file != nil {
		return "name the file with -" + file.Shorthand
	}
	return "expected no argument"
}

// elsewhere is where things are that are looked for in another place.
var elsewhere = map[string]string{
	"sallyport show soft":   "sallyport sa show --type soft",
	"sallyport show policy": "sallyport policy show",
	"sallyport show limits": "sallyport show ike limits",
}

// similarTo are the subcommands whose names are two letters away at most.
func similarTo(c *cobra.Command, word string) []string {
	const letters = 2
	c.SuggestionsMinimumDistance = letters
	return c.SuggestionsFor(word)
}

// between takes fewest to most arguments and otherwise shows how the command is used.
func between(fewest, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < fewest || len(args) > most {
			return fmt.Errorf("expected %s%s, found %d arguments", c.CommandPath(), strings.TrimPrefix(c.Use, c.Name()), len(args))
		}
		return nil
	}
}
