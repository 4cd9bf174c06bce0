package appliance

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// store keeps what outlives the process: the configuration file, its numbered
// backups, and the addresses that DNS names stood for.
type store struct {
	on    files
	path  string // of the configuration file, or of a link to it
	state string // folder of the rest
}

// keptBackups is how many backups stay; the oldest goes when one more is made.
const keptBackups = 100

func newStore(path, state string) *store { return &store{on: disk{}, path: path, state: state} }

// read is the configuration file as it is now.
func (s *store) read() ([]byte, error) {
	text, err := s.on.Read(s.path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return text, nil
}

// save puts text in the place of the file, after a backup of what was in force if
// that is another text. If the file holds something else, which somebody wrote by
// hand and did not load, that gets a backup of its own, numbered overwritten. Until
// the last step nothing that anyone reads has changed; errNotLasting is no failure
// of that step.
func (s *store) save(text, inForce []byte) (backup, overwritten int, err error) {
	present, err := s.read()
	if err != nil {
		return 0, 0, err
	}
	// Replacing a link would cut it off from its file, and it may lead to another one than before.
	file, err := filepath.EvalSymlinks(s.path)
	if err != nil {
		return 0, 0, fmt.Errorf("configuration: %w", err)
	}
	like, err := attributesOf(file)
	if err != nil {
		return 0, 0, fmt.Errorf("configuration: %w", err)
	}
	if !bytes.Equal(present, inForce) && !bytes.Equal(present, text) {
		if overwritten, err = s.backup(present); err != nil {
			return 0, 0, err
		}
	}
	if !bytes.Equal(inForce, text) {
		if backup, err = s.backup(inForce); err != nil {
			return 0, overwritten, err
		}
	}
	if !bytes.Equal(present, text) { // somebody may have put it there
		err = replace(s.on, file, text, like)
	}
	return backup, overwritten, err
}

// backup keeps a text under the next number.
func (s *store) backup(text []byte) (number int, err error) {
	folder := s.backupFolder()
	if err := s.on.MakeFolder(folder); err != nil {
		return 0, fmt.Errorf("backup: %w; set state_dir to a folder that the gateway may write", err)
	}
	numbers, err := s.backups()
	if err != nil {
		return 0, err
	}
	number = 1
	if len(numbers) > 0 {
		number = numbers[len(numbers)-1] + 1
	}
	if err := replace(s.on, s.backupPath(number), text, private); err != nil {
		return 0, fmt.Errorf("backup: %s", err) // not wrapped: errNotLasting means the file itself to callers
	}
	for ; len(numbers) >= keptBackups; numbers = numbers[1:] {
		if err := s.on.Remove(s.backupPath(numbers[0])); err != nil {
			return 0, fmt.Errorf("backup: %w", err)
		}
	}
	return number, nil
}

func (s *store) backupFolder() string { return filepath.Join(s.state, "backups") }

func (s *store) backupPath(number int) string {
	return filepath.Join(s.backupFolder(), fmt.Sprintf("%06d.yaml", number))
}

var backupName = regexp.MustCompile(`^([0-9]{6,9})\.yaml$`)

// backups are the numbers of the backups, the oldest first. Anything else in
// the folder, such as what a crash left unfinished, is none.
func (s *store) backups() ([]int, error) {
	entries, err := s.on.List(s.backupFolder())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("backups: %w", err)
	}
	var numbers []int
	for _, e := range entries {
		if match := backupName.FindStringSubmatch(e.Name()); match != nil {
			number, err := strconv.Atoi(match[1])
			if err == nil {
				numbers = append(numbers, number)
			}
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// load reads a backup; number 0 is the latest.
func (s *store) load(number int) (text []byte, found int, err error) {
	numbers, err := s.backups()
	if err != nil {
		return nil, 0, err
	}
	if len(numbers) == 0 {
		return nil, 0, badRequest{fmt.Errorf("expected a backup in %s, found none: each change of the configuration leaves one", s.backupFolder())}
	}
	number = cmp.Or(number, numbers[len(numbers)-1])
	if !slices.Contains(numbers, number) {
		return nil, 0, badRequest{fmt.Errorf("backup %d: expected one from %d to %d that is kept; `sallyport config backups` lists them", number, numbers[0], numbers[len(numbers)-1])}
	}
	text, err = s.on.Read(s.backupPath(number))
	if err != nil {
		return nil, 0, fmt.Errorf("backup %d: %w", number, err)
	}
	return text, number, nil
}

// saved is when a backup was made.
func (s *store) saved(number int) (time.Time, error) {
	info, err := os.Stat(s.backupPath(number))
	if err != nil {
		return time.Time{}, fmt.Errorf("backup %d: %w", number, err)
	}
	return info.ModTime().UTC(), nil
}
