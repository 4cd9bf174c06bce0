package lab

import (
	"encoding/json"
	"fmt"
	"os"
)

// WriteRows writes what a command has measured to its JSON file, of a run that was interrupted too. Without the name of a file it writes nothing.
func WriteRows[T any](file string, rows []T) error {
	if file == "" {
		return nil
	}
	b, err := json.MarshalIndent(append([]T{}, rows...), "", "  ")
	if err == nil {
		err = os.WriteFile(file, append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("writing what was measured: %w", err)
	}
	return nil
}
