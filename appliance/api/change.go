package api

import (
	"fmt"
	"strings"
	"time"

	"sallyport/policy"
)

// The bodies of the POSTs that change the policy in force. With DryRun nothing
// changes, and the answer says what would.
type (
	// Apply replaces the configuration file by Text.
	Apply struct {
		Text   string `json:"text"`
		DryRun bool   `json:"dry_run,omitempty"`
	}
	// Rollback replaces the configuration file by a backup; number 0 is the latest.
	Rollback struct {
		Number int  `json:"number,omitempty"`
		DryRun bool `json:"dry_run,omitempty"`
	}
	// Reload reads the configuration file again.
	Reload struct {
		DryRun bool `json:"dry_run,omitempty"`
	}
	// Activate makes a stored policy the one in force.
	Activate struct {
		Name   string `json:"name"`
		DryRun bool   `json:"dry_run,omitempty"`
	}
	// Purge removes every policy, filter list and filter action: nothing passes after it.
	Purge struct {
		DryRun bool `json:"dry_run,omitempty"`
	}
	// Resolve asks DNS again for every name that filters use.
	Resolve struct {
		DryRun bool `json:"dry_run,omitempty"`
	}
	// SetLevel sets the exemption level, 0 to 3, until the next start or change of the configuration's own.
	SetLevel struct {
		Level  string `json:"level"`
		DryRun bool   `json:"dry_run,omitempty"`
	}
	// ChangeAddress adds an own address to a port, or removes it, until the next start.
	ChangeAddress struct {
		Port    string `json:"port"`
		Address string `json:"address"` // with the length of its subnet: 10.1.0.1/24
		Remove  bool   `json:"remove,omitempty"`
		DryRun  bool   `json:"dry_run,omitempty"`
	}
)

// Change is what came, or with a dry run would come, of one of them. A refused
// configuration is HTTP 422 with Errors, and nothing has changed.
type Change struct {
	Applied  bool          `json:"applied"`
	Policy   string        `json:"policy"`           // in force after it
	Backup   int           `json:"backup,omitempty"` // number of the backup made of the file before
	Warnings []string      `json:"warnings,omitempty"`
	Errors   []ConfigError `json:"errors,omitempty"`

	Added   []policy.Row       `json:"added,omitempty"`
	Removed []policy.Row       `json:"removed,omitempty"`
	Changed []policy.RowChange `json:"changed,omitempty"`
	Notes   []string           `json:"notes,omitempty"` // changes that are no filter's: default action, exemption level, resolved names

	Ended []EndedSA `json:"ended,omitempty"` // Child SAs that end, one for each that is up
	Kept  []string  `json:"kept,omitempty"`  // Child SAs that are up and stay, as PEER/CHILD
}

// ConfigError is one mistake in a configuration.
type ConfigError struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"` // 0 where it has none
	Key     string `json:"key,omitempty"`
	Message string `json:"message"`
}

// String is "file:line: key: message", as `sallyport check` prints it.
func (e ConfigError) String() string {
	var text strings.Builder
	text.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&text, ":%d", e.Line)
	}
	for _, part := range []string{e.Key, e.Message} {
		if part != "" && text.Len() > 0 {
			text.WriteString(": ")
		}
		text.WriteString(part)
	}
	return text.String()
}

// EndedSA is a Child SA that a change ends, and why.
type EndedSA struct {
	Peer  string `json:"peer"`
	Child string `json:"child"`
	Why   string `json:"why"`
}

// Refused is the error of a Client whose configuration the gateway refused.
type Refused struct{ Errors []ConfigError }

// Error is every mistake, each on a line of its own.
func (r *Refused) Error() string {
	lines := make([]string, 0, len(r.Errors))
	for _, e := range r.Errors {
		lines = append(lines, e.String())
	}
	return strings.Join(lines, "\n")
}

// Backup is a configuration that was in force once.
type Backup struct {
	Number int       `json:"number"`
	Saved  time.Time `json:"saved"` // when another replaced it
	Policy string    `json:"policy"`
	Bytes  int       `json:"bytes"`
}
