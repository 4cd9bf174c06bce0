package config

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what a configuration has to fit.
type Machine struct {
	Cores    []int // numbers of the cores that are online
	UID      int   // of this process: who may own key files beside root
	MemoryMB int   // MiB of main memory; 0: not known
}

// ThisMachine is the machine that this process runs on.
func ThisMachine() Machine {
	m := Machine{UID: os.Geteuid()}
	online, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err == nil {
		m.Cores, err = parseCPUList(strings.TrimSpace(string(online)))
	}
	if err != nil { // a kernel without sysfs: all that Go counts
		for core := range runtime.NumCPU() {
			m.Cores = append(m.Cores, core)
		}
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.MemoryMB = int(info.Totalram * uint64(info.Unit) >> 20)
	}
	return m
}

// parseCPUList reads the kernel's form of a set of cores: 0-3,8.
func parseCPUList(text string) ([]int, error) {
	var cores []int
	for part := range strings.SplitSeq(text, ",") {
		firstText, lastText, isRange := strings.Cut(part, "-")
		if !isRange {
			lastText = firstText
		}
		first, errFirst := strconv.Atoi(firstText)
		last, errLast := strconv.Atoi(lastText)
		if errFirst != nil || errLast != nil || first < 0 || last < first {
			return nil, fmt.Errorf("expected a list of cores such as 0-3,8, found %q", text)
		}
		for core := first; core <= last; core++ {
			cores = append(cores, core)
		}
	}
	return cores, nil
}
