package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// Huge pages of 2 MB, the ones that can be reserved at any time.
const (
	hugePageFile = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
	hugePageMB   = 2
)

// ReserveHugePages asks the kernel for memoryMB more of huge pages. It returns how many pages that were, to be given back,
// and a word for the operator; 0 pages when the kernel has none, this process may not ask or memory is too scattered.
func ReserveHugePages(memoryMB int) (pages int, why string, err error) {
	before, err := hugePages()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, "this kernel has no huge pages of 2 MB", nil
	case err != nil:
		return 0, "", err
	}
	wanted := (memoryMB + hugePageMB - 1) / hugePageMB
	if err := setHugePages(before + wanted); errors.Is(err, fs.ErrPermission) {
		return 0, "this user may not reserve huge pages", nil
	} else if err != nil {
		return 0, "", err
	}
	after, err := hugePages()
	if err != nil {
		return 0, "", err
	}
	if after-before < wanted {
		return 0, fmt.Sprintf("the kernel found room for %d of %d huge pages only", after-before, wanted), ReleaseHugePages(after - before)
	}
	return wanted, fmt.Sprintf("reserved %d huge pages of %d MB until the end of the run", wanted, hugePageMB), nil
}

// ReleaseHugePages takes them from what there is now: others may have reserved some meanwhile.
func ReleaseHugePages(pages int) error {
	if pages <= 0 {
		return nil
	}
	now, err := hugePages()
	if err != nil {
		return err
	}
	return setHugePages(max(now-pages, 0))
}

func hugePages() (int, error) {
	text, err := os.ReadFile(hugePageFile)
	if err != nil {
		return 0, fmt.Errorf("bench: huge pages: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("bench: huge pages: %s: %w", hugePageFile, err)
	}
	return n, nil
}

func setHugePages(n int) error {
	if err := os.WriteFile(hugePageFile, []byte(strconv.Itoa(n)), 0); err != nil {
		return fmt.Errorf("bench: huge pages: %w", err)
	}
	return nil
}
