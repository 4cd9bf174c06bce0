package cryptodev_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
)

// openClasses opens a pool whose sessions go by an order of classes.
func openClasses(t *testing.T, classes []cryptodev.Class, devices ...string) *cryptodev.Pool {
	t.Helper()
	pool, err := cryptodev.Open(cryptodev.Options{Devices: devices, QueuePairs: queuePairs, Sessions: 8, Socket: cryptodev.SocketAny, Classes: classes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return pool
}

// S-102: each algorithm goes by the first way in the order of classes that has it, and what was passed over is said.
func TestOrderOfClasses(t *testing.T) {
	const cpu, hardware, software = cryptodev.ClassCPU, cryptodev.ClassHardware, cryptodev.ClassSoftware
	all := cryptodev.DefaultDevices()
	cases := []struct {
		classes []cryptodev.Class
		devices []string
		suite   string
		device  string
		class   cryptodev.Class
		passed  string
	}{
		{[]cryptodev.Class{hardware, cpu, software}, all, "aes128gcm16", "ipsec_mb", cpu, ""},
		{[]cryptodev.Class{hardware, cpu, software}, all, "aes128-sha256", "ipsec_mb", cpu, ""},
		{[]cryptodev.Class{hardware, cpu, software}, []string{"crypto_openssl0", "crypto_aesni_mb0"}, "aes128-sha256", "ipsec_mb", cpu, ""},
		{[]cryptodev.Class{hardware, cpu, software}, []string{"crypto_openssl0"}, "aes128gcm16", "crypto_openssl0", software, ""},
		{[]cryptodev.Class{hardware, software, cpu}, all, "aes128gcm16", "crypto_aesni_gcm0", software, ""},
		{[]cryptodev.Class{hardware, software, cpu}, all, "aes128-sha256", "crypto_aesni_mb0", software, "crypto_aesni_gcm0 (software): has no ENCR_AES_CBC"},
		{[]cryptodev.Class{software, cpu}, []string{"crypto_aesni_gcm0", "crypto_openssl0"}, "aes192ccm16", "crypto_openssl0", software, "crypto_aesni_gcm0 (software): has no"},
		{[]cryptodev.Class{software}, all, "aes128gcm16", "crypto_aesni_gcm0", software, ""},
		{[]cryptodev.Class{cpu}, all, "aes256gcm16", "ipsec_mb", cpu, ""},
	}
	for _, c := range cases {
		t.Run(c.suite, func(t *testing.T) {
			s, err := crypto.ParseSuite(c.suite)
			if err != nil {
				t.Fatal(err)
			}
			pool := openClasses(t, c.classes, c.devices...)
			made := session(t, pool, s, keymatFor(s, rand.NewChaCha8([32]byte{7})), true)
			if made.DeviceName() != c.device || made.Class != c.class || made.CPU && c.class != cpu {
				t.Errorf("%v: on %s (%s, cpu-crypto %t), expected %s (%s)", c.classes, made.DeviceName(), made.Class, made.CPU, c.device, c.class)
			}
			var passed []string
			for _, p := range made.PassedOver {
				passed = append(passed, p.Device+" ("+p.Class.String()+"): "+p.Reason)
			}
			if text := strings.Join(passed, "; "); !strings.HasPrefix(text, c.passed) || (text == "") != (c.passed == "") {
				t.Errorf("%v: passed over %q, expected %q", c.classes, text, c.passed)
			}
			if made.Class != cpu && !described(t, pool, made.DeviceName()).Queued {
				t.Errorf("%v: %s has a session and is not said to have queues in use", c.classes, made.DeviceName())
			}
		})
	}
}

// What no class may do has no session, rather than one elsewhere.
func TestClassLeftOut(t *testing.T) {
	gcm := crypto.Suite{Encr: crypto.EncrAESGCM16, KeyBits: 128}
	for _, c := range []struct {
		classes []cryptodev.Class
		suite   crypto.Suite
	}{
		{[]cryptodev.Class{cryptodev.ClassHardware}, gcm},
		{[]cryptodev.Class{cryptodev.ClassHardware, cryptodev.ClassSoftware}, crypto.AHSuites()[0]},
	} {
		t.Run(c.suite.String(), func(t *testing.T) {
			pool := openClasses(t, c.classes, cryptodev.DefaultDevices()...)
			if made, err := pool.NewSession(c.suite, keymatFor(c.suite, rand.NewChaCha8([32]byte{8})), true); !errors.Is(err, cryptodev.ErrNoDevice) || !strings.Contains(err.Error(), "[hardware") {
				t.Errorf("with %v: found %v, %v, expected ErrNoDevice that says so", c.classes, made, err)
			}
		})
	}
}

// The workers look at the queues of those devices only that can have sessions behind them.
func TestQueuedDevices(t *testing.T) {
	pool := openClasses(t, []cryptodev.Class{cryptodev.ClassHardware, cryptodev.ClassCPU, cryptodev.ClassSoftware}, cryptodev.DefaultDevices()...)
	for name, want := range map[string]bool{"crypto_aesni_gcm0": false, "crypto_aesni_mb0": false, "crypto_openssl0": true} {
		if info := described(t, pool, name); info.Queued != want || info.Hardware {
			t.Errorf("%s: queued %t, hardware %t, expected %t and false", name, info.Queued, info.Hardware, want)
		}
	}
}
