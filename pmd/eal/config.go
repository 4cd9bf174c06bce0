package eal

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	defaultMemoryMB = 512
	// minMemoryMB is about what the EAL and a smallest pool need.
	minMemoryMB     = 64
	defaultLogLevel = "notice"
)

// Config says how DPDK starts. The zero value starts it on core 0 with 512 MB, huge pages if there are enough.
type Config struct {
	HugePages  string   // auto (the default), on or off
	MemoryMB   int      // memory for pools, rings and tables; 0 means 512
	FilePrefix string   // names this process to DPDK; the default has the process id and is unique
	MainCore   int      // CPU of DPDK's own threads (interrupts, alarms); no data core
	Devices    []string // virtual devices made at start, such as "crypto_aesni_mb0"; ports come later, through ethdev.Open
	AllowPCI   []string // addresses of the PCI devices DPDK may take; the PCI bus is not touched if there are none
	LogLevel   string   // error, warning, notice (the default), info or debug
}

var (
	pciForm    = regexp.MustCompile(`^([0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]$`)
	prefixForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	vdevForm   = regexp.MustCompile(`^[a-z][a-z0-9_]*(,.*)?$`)
)

// IsPCIAddress says whether the text has the form of a PCI device's address, with or without a domain.
func IsPCIAddress(text string) bool { return pciForm.MatchString(text) }

// withDefaults fills in what was left open.
func (c Config) withDefaults() Config {
	if c.HugePages == "" {
		c.HugePages = HugePagesAuto
	}
	if c.MemoryMB == 0 {
		c.MemoryMB = defaultMemoryMB
	}
	if c.FilePrefix == "" {
		c.FilePrefix = "sallyport-" + strconv.Itoa(os.Getpid())
	}
	if c.LogLevel == "" {
		c.LogLevel = defaultLogLevel
	}
	return c
}

// validate finds every mistake that rte_eal_init would answer with a usage text or a crash.
func (c Config) validate() error {
	var errs []error
	if c.MemoryMB < minMemoryMB {
		errs = append(errs, fmt.Errorf("memory of %d MB, expected at least %d", c.MemoryMB, minMemoryMB))
	}
	if !prefixForm.MatchString(c.FilePrefix) {
		errs = append(errs, fmt.Errorf("file prefix %q, expected 1 to 64 letters, digits, dots, hyphens and underscores", c.FilePrefix))
	}
	if c.MainCore < 0 {
		errs = append(errs, fmt.Errorf("main core %d, expected the number of a CPU", c.MainCore))
	}
	for _, device := range c.Devices {
		if !vdevForm.MatchString(device) {
			errs = append(errs, fmt.Errorf("device %q, expected a virtual device such as crypto_aesni_mb0", device))
		}
	}
	for _, address := range c.AllowPCI {
		if !IsPCIAddress(address) {
			errs = append(errs, fmt.Errorf("PCI address %q, expected the form 0000:00:05.0", address))
		}
	}
	if !slices.Contains(logLevels, c.LogLevel) {
		errs = append(errs, fmt.Errorf("log level %q, expected one of %s", c.LogLevel, strings.Join(logLevels, ", ")))
	}
	return errors.Join(errs...)
}

// arguments is the command line for rte_eal_init.
func (c Config) arguments(hugePages bool) []string {
	args := []string{
		"sallyport",
		// One lcore, on the main core. Data cores run goroutines' threads that register themselves.
		fmt.Sprintf("--lcores=0@%d", c.MainCore),
		"--no-telemetry", "--file-prefix=" + c.FilePrefix,
		"-m", strconv.Itoa(c.MemoryMB),
		"--log-level=" + c.LogLevel,
	}
	if c.LogLevel == "info" || c.LogLevel == "debug" {
		// The level above is a ceiling; most drivers stay at notice unless asked.
		args = append(args, "--log-level=*:"+c.LogLevel)
	}
	// Nothing on disk, nothing shared. --in-memory says both, but not together with --no-huge, which has no files anyway.
	if hugePages {
		args = append(args, "--in-memory")
	} else {
		args = append(args, "--no-huge", "--no-shconf")
	}
	if len(c.AllowPCI) == 0 {
		args = append(args, "--no-pci")
	}
	for _, address := range c.AllowPCI {
		args = append(args, "--allow="+address)
	}
	for _, device := range c.Devices {
		args = append(args, "--vdev="+device)
	}
	return args
}
