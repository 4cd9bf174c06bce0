package lab

import (
	"encoding/json"
	"fmt"

	"sallyport/perf/report"
)

// WriteRows writes what a command has measured to its JSON file, of a run that was interrupted too. Without the name of a file it writes nothing.
func WriteRows[T any](file string, rows []T) error {
	if file == "" {
		return nil
	}
	b, err := json.MarshalIndent(append([]T{}, rows...), "", "  ")
	if err != nil {
		return fmt.Errorf("writing what was measured: %w", err)
	}
	return report.WriteFile(file, append(b, '\n'))
}
