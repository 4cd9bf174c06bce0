package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"sallyport/appliance/importer"
)

// importCommand turns the configuration of another system into ours.
func importCommand() *cobra.Command {
	return group("import", "Turn another system's configuration into this one's",
		`Import prints a whole configuration on standard output, and on standard error a list
of what has no equivalent, by line. Look for REPLACE in what it prints, complete it,
and let "sallyport check" have the last word. It needs no running gateway.`,
		importing("netsh", "a dump of netsh ipsec static", "policy.txt", importer.Netsh),
		importing("swanctl", "the connections of a swanctl.conf", "swanctl.conf", importer.Swanctl))
}

func importing(format, what, example string, convert func(name string, data []byte) (*importer.Result, error)) *cobra.Command {
	command := &cobra.Command{
		Use:   format + " FILE",
		Short: "Import " + what,
		Long: "Import " + what + `.
With --output the configuration is written to a new file, and preshared keys that the
source holds beside it, one a file with mode 0600; they are never printed. Exit code
2: FILE cannot be understood, and its lines are named.`,
		Example: "  sallyport import " + format + " " + example + " --output gw-a.yaml",
		Args:    between(1, 1),
	}
	output := command.Flags().StringP("output", "o", "", "write the configuration to this new file")
	addJSONFlag(command)
	command.RunE = func(c *cobra.Command, args []string) error {
		data, err := readInput(c, args[0])
		if err != nil {
			return badConfiguration{fmt.Errorf("import: %w", err)}
		}
		result, err := convert(args[0], data)
		if err != nil {
			return badConfiguration{err}
		}
		defer wipeKeys(result)
		if *output != "" {
			return errors.Join(printNotes(c, args[0], result), save(*output, result))
		}
		if n := len(result.Keys); n > 0 {
			result.Notes = append(result.Notes, importer.Note{Severity: importer.SeverityInfo,
				Text: fmt.Sprintf("preshared keys found and not written: %d; --output FILE writes them beside FILE", n)})
		}
		_, err = c.OutOrStdout().Write(result.YAML)
		return errors.Join(err, printNotes(c, args[0], result))
	}
	return command
}

// printNotes lists what an operator has to know, one a line with its place, or
// as JSON.
func printNotes(c *cobra.Command, name string, result *importer.Result) error {
	out := c.ErrOrStderr()
	if wantsJSON(c) {
		return printJSON(out, result.Notes)
	}
	for _, note := range result.Notes {
		place := name
		if note.Line > 0 {
			place = fmt.Sprintf("%s:%d", name, note.Line)
		}
		fmt.Fprintf(out, "%s: %s: %s\n", place, note.Severity, note.Text)
	}
	return nil
}

// save writes the configuration and its key files, all of them new: none is
// overwritten.
func save(path string, result *importer.Result) error {
	if err := create(path, 0o644, func(w io.Writer) error { _, err := w.Write(result.YAML); return err }); err != nil {
		return err
	}
	for _, key := range result.Keys {
		file := filepath.Join(filepath.Dir(path), key.Name)
		err := create(file, 0o600, func(w io.Writer) error {
			_, err := w.Write(key.Secret.Bytes())
			return errors.Join(err, endLine(w))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func create(path string, mode fs.FileMode, write func(io.Writer) error) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: import writes new files only; move it away or name another", path)
	}
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}

func endLine(w io.Writer) error {
	_, err := io.WriteString(w, "\n")
	return err
}

func wipeKeys(result *importer.Result) {
	for _, key := range result.Keys {
		key.Secret.Wipe()
	}
}
