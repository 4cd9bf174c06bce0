package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/appliance/api"
)

// crlCommand holds what concerns revoked certificates.
func crlCommand() *cobra.Command {
	show := view("show", "Show the CRLs that serve, and the servers that are left alone", api.PathCRL, crlTable)
	command := group("crl", "Show and flush the CRLs of peers' certificates", "", show, flushCommand())
	addSocketFlag(command)
	addJSONFlag(command)
	return command
}

func flushCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "flush",
		Short: "Forget cached CRLs and OCSP answers: the next check of a certificate asks anew",
		Long: `Flush forgets every cached CRL, every OCSP answer and every server that did not
answer. A certificate that was revoked while its CRL was cached is refused from
then on; SAs that are up stay up, "sallyport down" ends them.`,
		Args: noMore,
		RunE: func(c *cobra.Command, _ []string) error {
			gateway, err := client(c)
			if err != nil {
				return err
			}
			var answer api.Flushed
			if err := gateway.Post(c.Context(), api.PathCRLFlush, struct{}{}, &answer); err != nil {
				return err
			}
			return print(c, answer, func(out io.Writer, f api.Flushed) error {
				_, err := fmt.Fprintf(out, "%d cached CRLs forgotten\n", f.CRLs)
				return err
			})
		},
	}
}

// certificateTable has no issuer, names or fingerprint, which are in the JSON, so that it fits a terminal; below it stands what is to be done.
func certificateTable(out io.Writer, certificates []api.Certificate) error {
	t := newTable(out, "USE", "SUBJECT", "SERIAL", "KEY", "ENDS", "DAYS", "PEERS", "FILE")
	var notes []string
	for _, c := range certificates {
		t.row(c.Use, c.Subject, shortened(c.Serial, 16), c.Key, c.NotAfter.UTC().Format(time.DateOnly), strconv.Itoa(c.DaysLeft), few(c.Peers), c.File)
		if c.Warning != "" {
			notes = append(notes, c.File+": "+c.Warning)
		}
	}
	if err := t.flush(); err != nil || len(notes) == 0 {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s\n", strings.Join(notes, "\n"))
	return err
}

// few names the first of many.
func few(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], " "), len(names)-most)
}

// shortened is a text of at most so many characters.
func shortened(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-3]) + "..."
	}
	return text
}

// crlTable says below it what is not to be had, and what that means.
func crlTable(out io.Writer, r api.Revocation) error {
	t := newTable(out, "SOURCE", "ISSUER", "OF", "USED UNTIL", "REVOKED", "BYTES")
	for _, c := range r.CRLs {
		t.row(c.Source, c.Issuer, c.ThisUpdate.UTC().Format(time.RFC3339), c.NextUpdate.UTC().Format(time.RFC3339), strconv.Itoa(c.Revoked), strconv.Itoa(c.Bytes))
	}
	if err := t.flush(); err != nil {
		return err
	}
	means := map[int]string{
		0: "nobody is asked, and a revoked certificate passes", 1: "a certificate passes if it cannot be told whether it is revoked",
		2: "a certificate is refused if it cannot be told whether it is revoked",
	}
	fmt.Fprintf(out, "\ncrl_mode %d: %s\n", r.Mode, means[r.Mode])
	for _, s := range r.Servers {
		fmt.Fprintf(out, "not asked again for %s: %s\n", until(time.Now(), s.Until), s.Error)
	}
	return nil
}
