package config

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/crypto"
)

// cryptoDrivers are the drivers of virtual crypto devices in DPDK 22.11; a device is a driver's name and what tells it from others of its.
var cryptoDrivers = []string{"crypto_aesni_gcm", "crypto_aesni_mb", "crypto_armv8", "crypto_caam_jr", "crypto_chacha20_poly1305", "crypto_dpaa2_sec", "crypto_dpaa_sec", "crypto_kasumi",
	"crypto_mvsam", "crypto_null", "crypto_openssl", "crypto_scheduler", "crypto_snow3g", "crypto_uadk", "crypto_virtio_user", "crypto_zuc"}

// cpuDrivers are those whose work a worker can do itself, without a queue.
var cpuDrivers = []string{"crypto_aesni_gcm", "crypto_aesni_mb"}

// cryptoDevices checks the names of crypto devices, and that one can do what dataplane.offload leaves to it.
func (b *builder) cryptoDevices() {
	raw := &b.raw.Dataplane
	of := func(device string, drivers []string) bool {
		return slices.ContainsFunc(drivers, func(driver string) bool { return strings.HasPrefix(device, driver) })
	}
	var taken []string
	for i, device := range raw.CryptoDevices {
		key := fmt.Sprintf("dataplane.crypto_devices[%d]", i)
		switch {
		case pciForm.MatchString(device):
		case !cryptoForm.MatchString(device):
			b.add(key, "expected a virtual device (crypto_aesni_gcm0) or a PCI address, found %q", device)
		case !of(device, cryptoDrivers):
			b.add(key, "expected a device of one of DPDK's drivers (%s), found %q", strings.Join(cryptoDrivers, ", "), device)
		case of(device, []string{schedulerDriver}):
			b.scheduler(key, device)
		}
		for _, name := range names(device) {
			if slices.Contains(taken, name) {
				b.add(key, "expected each device once, by itself or as one worker of a scheduler, found %s twice", name)
			}
			taken = append(taken, name)
		}
	}
	if len(raw.CryptoDevices) > 0 && len(raw.Offload) > 0 && !slices.Contains(raw.Offload, "lookaside") && !slices.ContainsFunc(raw.CryptoDevices, func(device string) bool { return of(device, cpuDrivers) }) {
		b.warn("dataplane.offload leaves ESP to the CPU, and none of dataplane.crypto_devices has a part that runs there: no SA with encryption can be made; expected crypto_aesni_gcm0 and crypto_aesni_mb0 among them, no such key, or lookaside in dataplane.offload")
	}
}

// narrowDrivers are those of few ciphers of ESP, or of none. What other devices do they say themselves at the start.
var narrowDrivers = []struct {
	driver, does string
	ciphers      []crypto.EncrID
}{
	{"crypto_aesni_gcm", "AES-GCM and AES-GMAC alone", []crypto.EncrID{crypto.EncrAESGCM8, crypto.EncrAESGCM12, crypto.EncrAESGCM16, crypto.EncrNullAESGMAC}},
	{"crypto_chacha20_poly1305", "ChaCha20-Poly1305 alone", []crypto.EncrID{crypto.EncrChaCha20Poly1305}},
	{"crypto_kasumi", "KASUMI alone, which ESP does not have", nil},
	{"crypto_null", "no encryption", nil},
	{"crypto_snow3g", "SNOW 3G alone, which ESP does not have", nil},
	{"crypto_zuc", "ZUC alone, which ESP does not have", nil},
}

// uselessDevices warns of crypto devices that can do none of what SAs of ESP may have.
func (b *builder) uselessDevices() {
	ciphers := b.config.ciphers()
	if len(ciphers) == 0 {
		return
	}
	for i, device := range b.raw.Dataplane.CryptoDevices {
		for _, d := range narrowDrivers {
			if strings.HasPrefix(device, d.driver) && !slices.ContainsFunc(d.ciphers, func(c crypto.EncrID) bool { return slices.Contains(ciphers, c) }) {
				b.warn("dataplane.crypto_devices[%d]: %s does %s, and no SA here may have that: expected a device for one of %v, or none", i, device, d.does, ciphers)
			}
		}
	}
}

// ciphers are those that SAs of ESP may have.
func (c *Config) ciphers() (list []crypto.EncrID) {
	for _, peer := range slices.Concat(c.Peers, c.DefaultResponse) {
		for _, child := range peer.Children {
			for _, proposal := range child.Proposals {
				for _, cipher := range proposal.Ciphers {
					list = append(list, cipher.Encr)
				}
			}
		}
	}
	for _, tunnel := range c.Manual {
		if !tunnel.SA.Suite.AH() {
			list = append(list, tunnel.SA.Suite.Encr)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// schedulerDriver is that of devices that stand for several others, their workers.
const schedulerDriver = "crypto_scheduler"

// schedulerModes are those that a gateway can use, with the fewest workers of each. There is multi-core too: it wants cores of its own, and takes nothing without.
var schedulerModes = map[string]int{"round-robin": 1, "packet-size-distr": 2, "fail-over": 2}

// names are the device's, as DPDK writes it, and those of its workers.
func names(device string) []string {
	name, arguments, _ := strings.Cut(device, ",")
	if pciForm.MatchString(name) {
		if name = strings.ToLower(name); strings.Count(name, ":") == 1 {
			name = "0000:" + name
		}
	}
	return append([]string{name}, valuesOf(arguments, "worker")...)
}

// valuesOf are those of one argument of a device, in the order in which they stand there.
func valuesOf(arguments, key string) (values []string) {
	for argument := range strings.SplitSeq(arguments, ",") {
		if value, found := strings.CutPrefix(argument, key+"="); found {
			values = append(values, value)
		}
	}
	return values
}

// scheduler checks the arguments of one: DPDK 22.11 does not survive the end of a scheduler that it could not start.
func (b *builder) scheduler(key, device string) {
	_, arguments, _ := strings.Cut(device, ",")
	mode, workers := valuesOf(arguments, "mode"), valuesOf(arguments, "worker")
	if len(mode) != 1 || schedulerModes[mode[0]] == 0 {
		b.add(key, "expected one of mode=round-robin, mode=packet-size-distr and mode=fail-over in a scheduler, found %q", device)
		return
	}
	if least := schedulerModes[mode[0]]; len(workers) < least || len(workers) > maxSchedulerWorkers {
		b.add(key, "expected %d to %d workers of a scheduler with mode=%s (worker=crypto_openssl1), found %d", least, maxSchedulerWorkers, mode[0], len(workers))
	}
	for _, worker := range workers {
		if !cryptoForm.MatchString(worker) || strings.HasPrefix(worker, schedulerDriver) {
			b.add(key, "expected virtual devices (crypto_openssl1) as workers of a scheduler, and no scheduler, found %q", worker)
		}
	}
	if ordering := valuesOf(arguments, "ordering"); len(ordering) > 1 || len(ordering) == 1 && ordering[0] != "enable" && ordering[0] != "disable" {
		b.add(key, "expected ordering=enable or ordering=disable in a scheduler, found %q", strings.Join(ordering, ", "))
	}
}
