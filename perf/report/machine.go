package report

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
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

// Describe says what this machine is, of which the CPUs are measured, the first one above all. The version of DPDK is as rte_version has it: this package knows nothing of it.
func Describe(dpdk string, cpus []int) (Machine, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return Machine{}, fmt.Errorf("report: %w", err)
	}
	cpu, err := cpuModel()
	if err != nil {
		return Machine{}, err
	}
	return Machine{CPU: cpu, CPUs: runtime.NumCPU(), Core: cpus[0], SecondCore: cpus[len(cpus)-1], Kernel: unix.ByteSliceToString(name.Release[:]),
		DPDK: strings.TrimPrefix(dpdk, "DPDK ")}, nil
}

func cpuModel() (string, error) {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", fmt.Errorf("report: %w", err)
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

// Siblings reports whether the two CPUs are threads of one physical core, as far as the kernel knows: a hypervisor may hide it.
func (m Machine) Siblings() (bool, error) {
	var cores []string
	for _, cpu := range []int{m.Core, m.SecondCore} {
		b, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu))
		if err != nil {
			return false, fmt.Errorf("report: %w", err)
		}
		cores = append(cores, string(b))
	}
	return cores[0] == cores[1], nil
}

func (m Machine) String() string {
	return fmt.Sprintf("%s, %d CPUs, measured on CPU %d %s; Linux %s; DPDK %s; %s", m.CPU, m.CPUs, m.Core, m.priority(), m.Kernel, m.DPDK, m.pages())
}

func (m Machine) pages() string {
	if !m.HugePages {
		return "no huge pages (--no-huge: figures are worse than a gateway's with them)"
	}
	return "huge pages"
}

func (m Machine) priority() string {
	if !m.RealTime {
		return "without real-time priority (others may take it away)"
	}
	return "with real-time priority"
}

// differences names what two machines do not share. Which CPU of the machine was measured is no difference.
func (m Machine) differences(other Machine) (list []string) {
	for _, part := range []struct {
		what string
		a, b any
	}{
		{"CPU", m.CPU, other.CPU}, {"number of CPUs", m.CPUs, other.CPUs}, {"kernel", m.Kernel, other.Kernel}, {"DPDK", m.DPDK, other.DPDK},
		{"real-time priority", m.RealTime, other.RealTime}, {"huge pages", m.HugePages, other.HugePages},
	} {
		if part.a != part.b {
			list = append(list, fmt.Sprintf("%s: %v in A, %v in B", part.what, part.a, part.b))
		}
	}
	return list
}
