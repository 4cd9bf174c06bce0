package eal

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Modes of Config.HugePages.
const (
	HugePagesAuto = "auto" // huge pages if enough are free, else ordinary memory
	HugePagesOn   = "on"   // huge pages or an error
	HugePagesOff  = "off"  // ordinary memory
)

// hugePageDir is where the kernel shows its pools of huge pages, one directory per page size.
const hugePageDir = "/sys/kernel/mm/hugepages"

// hugePagePool is the state of the kernel's huge pages of one size.
type hugePagePool struct {
	pageKB uint64
	free   uint64 // pages that nobody has reserved
}

// readHugePages reads the pools below hugePageDir. A kernel without huge pages has none.
func readHugePages(sys fs.FS) ([]hugePagePool, error) {
	entries, err := fs.ReadDir(sys, ".")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("huge pages: %w", err)
	}
	var pools []hugePagePool
	for _, entry := range entries {
		size, isPool := strings.CutPrefix(entry.Name(), "hugepages-")
		size, isKB := strings.CutSuffix(size, "kB")
		if !isPool || !isKB {
			continue
		}
		pageKB, err := strconv.ParseUint(size, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("huge pages: directory %s: %w", entry.Name(), err)
		}
		free, err := readCount(sys, entry.Name()+"/free_hugepages")
		if err != nil {
			return nil, err
		}
		reserved, err := readCount(sys, entry.Name()+"/resv_hugepages")
		if err != nil {
			return nil, err
		}
		pools = append(pools, hugePagePool{pageKB: pageKB, free: free - min(reserved, free)})
	}
	return pools, nil
}

func readCount(sys fs.FS, name string) (uint64, error) {
	text, err := fs.ReadFile(sys, name)
	if err != nil {
		return 0, fmt.Errorf("huge pages: %w", err)
	}
	count, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("huge pages: %s: %w", name, err)
	}
	return count, nil
}

// chooseHugePages decides whether memoryMB come from huge pages, and says why in words for the operator.
func chooseHugePages(mode string, memoryMB int, pools []hugePagePool) (use bool, why string, err error) {
	var freeKB uint64
	for _, pool := range pools {
		freeKB += pool.pageKB * pool.free
	}
	wantedKB := uint64(memoryMB) * 1024
	enough := freeKB >= wantedKB
	found := fmt.Sprintf("%d MB of huge pages are free, %d MB are wanted", freeKB/1024, memoryMB)
	switch mode {
	case HugePagesOff:
		return false, "huge pages are turned off in the configuration", nil
	case HugePagesAuto, "":
		if enough {
			return true, found, nil
		}
		return false, found + "; " + reserveAdvice(wantedKB-freeKB, pools), nil
	case HugePagesOn:
		if enough {
			return true, found, nil
		}
		return false, "", fmt.Errorf("huge pages are required but %s; %s, or set huge_pages to %s", found,
			reserveAdvice(wantedKB-freeKB, pools), HugePagesAuto)
	}
	return false, "", fmt.Errorf("huge pages: %q, expected %s, %s or %s", mode, HugePagesAuto, HugePagesOn, HugePagesOff)
}

// reserveAdvice names what reserves the missing kilobytes in the smallest pages the kernel has: those can be reserved at any time,
// the larger ones often at boot only.
func reserveAdvice(missingKB uint64, pools []hugePagePool) string {
	if len(pools) == 0 {
		return "this kernel has no huge pages"
	}
	pageKB := pools[0].pageKB
	for _, pool := range pools {
		pageKB = min(pageKB, pool.pageKB)
	}
	pages := (missingKB + pageKB - 1) / pageKB
	return fmt.Sprintf("to have them, add %d to %s/hugepages-%dkB/nr_hugepages", pages, hugePageDir, pageKB)
}
