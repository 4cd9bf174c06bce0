package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"sallyport/pmd/eal"
)

// Machine is where the figures come from: they mean nothing without it.
type Machine struct {
	CPU        string `json:"cpu"`
	CPUs       int    `json:"cpus"`
	Core       int    `json:"core"`        // the one that was measured
	SecondCore int    `json:"second_core"` // that of a second worker; the same where there is no other
	Kernel     string `json:"kernel"`
	DPDK       string `json:"dpdk"`
	RealTime   bool   `json:"real_time"` // the measured thread had real-time priority
	HugePages  bool   `json:"huge_pages"`
}

// describeMachine needs the CPUs of the workers, the measured one first.
func describeMachine(cpus []int, realTime, hugePages bool) (Machine, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return Machine{}, fmt.Errorf("bench: %w", err)
	}
	cpu, err := cpuModel()
	if err != nil {
		return Machine{}, err
	}
	return Machine{
		CPU: cpu, CPUs: runtime.NumCPU(), Core: cpus[0], SecondCore: cpus[len(cpus)-1], RealTime: realTime,
		Kernel: unix.ByteSliceToString(name.Release[:]), DPDK: strings.TrimPrefix(eal.Version(), "DPDK "), HugePages: hugePages,
	}, nil
}

func cpuModel() (string, error) {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", fmt.Errorf("bench: %w", err)
	}
	var family, model string
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "model name":
			return fmt.Sprintf("%s (family %s model %s)", strings.TrimSpace(value), family, model), nil
		case "cpu family":
			family = strings.TrimSpace(value)
		case "model":
			model = strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH, nil
}

// siblings reports whether the two CPUs are threads of one physical core, as far as the kernel knows: a hypervisor may hide it.
func (m Machine) siblings() (bool, error) {
	var cores []string
	for _, cpu := range []int{m.Core, m.SecondCore} {
		b, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu))
		if err != nil {
			return false, fmt.Errorf("bench: %w", err)
		}
		cores = append(cores, string(b))
	}
	return cores[0] == cores[1], nil
}

func (m Machine) String() string {
	pages := "huge pages"
	if !m.HugePages {
		pages = "no huge pages (--no-huge: figures are worse than a gateway's with them)"
	}
	priority := "with real-time priority"
	if !m.RealTime {
		priority = "without real-time priority (others may take it away)"
	}
	return fmt.Sprintf("%s, %d CPUs, measured on CPU %d %s; Linux %s; DPDK %s; %s", m.CPU, m.CPUs, m.Core, priority, m.Kernel, m.DPDK, pages)
}
