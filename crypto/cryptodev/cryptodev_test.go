package cryptodev_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/crypto/cryptodev/internal/devicetest"
	"sallyport/pmd/eal/ealtest"
)

const queuePairs = 2

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if _, err := cryptodev.Open(cryptodev.Options{QueuePairs: 1, Sessions: 1}); err == nil || !strings.Contains(err.Error(), "EAL") {
		fmt.Println("Open before the EAL runs: expected an error that says so, found", err)
		return 1
	}
	return ealtest.Run(m, 512)
}

func open(t testing.TB, devices ...string) *cryptodev.Pool {
	t.Helper()
	pool, err := cryptodev.Open(cryptodev.Options{Devices: devices, QueuePairs: queuePairs, Sessions: 8, Socket: cryptodev.SocketAny})
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

// described is what the pool says of one of its devices.
func described(t *testing.T, pool *cryptodev.Pool, name string) cryptodev.DeviceInfo {
	t.Helper()
	list := pool.Describe()
	i := slices.IndexFunc(list, func(d cryptodev.DeviceInfo) bool { return d.Name == name })
	if i < 0 {
		t.Fatalf("no %s among %+v", name, list)
	}
	return list[i]
}

func session(t *testing.T, pool *cryptodev.Pool, s crypto.Suite, keymat crypto.Secret, encrypt bool, options ...cryptodev.SessionOption) *cryptodev.Session {
	t.Helper()
	made, err := pool.NewSession(s, keymat, encrypt, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Free(made); err != nil {
			t.Error(err)
		}
	})
	return made
}

func keymatFor(s crypto.Suite, random *rand.ChaCha8) crypto.Secret {
	keymat := make([]byte, s.KeymatLen())
	_, _ = random.Read(keymat)
	return crypto.NewSecret(keymat)
}

// TestDeviceChoice checks which device each suite falls to with the default order.
func TestDeviceChoice(t *testing.T) {
	pool := open(t, cryptodev.DefaultDevices()...)
	random := rand.NewChaCha8([32]byte{2})
	for _, s := range append(crypto.Suites(), crypto.AHSuites()...) {
		t.Run(s.String(), func(t *testing.T) { deviceChoice(t, pool, s, keymatFor(s, random)) })
	}
}

func deviceChoice(t *testing.T, pool *cryptodev.Pool, s crypto.Suite, keymat crypto.Secret) {
	gcm := slices.Contains([]crypto.EncrID{crypto.EncrAESGCM8, crypto.EncrAESGCM12, crypto.EncrAESGCM16}, s.Encr)
	want, wantVia := "ipsec_mb", "crypto_aesni_mb0"
	switch {
	case gcm || s.Encr == crypto.EncrNullAESGMAC:
		wantVia = "crypto_aesni_gcm0"
	case s.KeyBits == 192 && slices.Contains([]crypto.EncrID{crypto.EncrAESCCM8, crypto.EncrAESCCM12, crypto.EncrAESCCM16}, s.Encr):
		want, wantVia = "crypto_openssl0", "crypto_openssl0"
	case s.AH():
		wantVia = want // no device knows AH
	}
	made := session(t, pool, s, keymat, true)
	if made.DeviceName() != want || made.Direct != gcm || made.Job != (want == "ipsec_mb" && !gcm) || made.CPU {
		t.Errorf("%s is on %s (direct %t, jobs %t, cpu-crypto %t), expected %s", s, made.DeviceName(), made.Direct, made.Job, made.CPU, want)
	}
	via := session(t, pool, s, keymat, true, cryptodev.ViaDevice())
	if via.DeviceName() != wantVia || via.Direct || via.Job != s.AH() || via.CPU != gcm {
		t.Errorf("%s via a device is on %s (direct %t, jobs %t, cpu-crypto %t), expected %s", s, via.DeviceName(), via.Direct, via.Job, via.CPU, wantVia)
	}
}

// TestAHNeedsNoDevice makes sessions of AH where the operator has named a device that leaves nothing of ESP to the library.
func TestAHNeedsNoDevice(t *testing.T) {
	pool := open(t, "crypto_openssl0")
	for _, s := range crypto.AHSuites() {
		t.Run(s.String(), func(t *testing.T) {
			if made := session(t, pool, s, keymatFor(s, rand.NewChaCha8([32]byte{9})), false); made.DeviceName() != "ipsec_mb" || !made.Job {
				t.Errorf("on %s (jobs %t)", made.DeviceName(), made.Job)
			}
		})
	}
	if info := described(t, pool, "ipsec_mb"); len(info.Suites) != 0 {
		t.Errorf("the library takes %v of ESP, expected nothing", info.Suites)
	}
}

// TestLibraryServesForItsDevices: each device that the operator names brings the library in for what that device does.
func TestLibraryServesForItsDevices(t *testing.T) {
	for device, suites := range map[string]int{"crypto_aesni_gcm0": 9 + 3, "crypto_aesni_mb0": len(crypto.Suites()) - 9 - 3} {
		info := described(t, open(t, device), "ipsec_mb")
		if !info.Direct || len(info.Suites) != suites {
			t.Errorf("with %s the library has %d suites, expected %d: %+v", device, len(info.Suites), suites, info)
		}
	}
}

// TestMissingDevices opens the pool without the preferred devices: each suite goes to the next
// device that can do it, never nowhere without a word.
func TestMissingDevices(t *testing.T) {
	cases := []struct {
		devices []string
		suite   string
		device  string
		cpu     bool
	}{
		{[]string{"crypto_aesni_mb0", "crypto_openssl0"}, "aes128gcm16", "crypto_aesni_mb0", true},
		{[]string{"crypto_openssl0"}, "aes256gcm16", "crypto_openssl0", false},
		{[]string{"crypto_openssl0", "crypto_aesni_gcm0"}, "aes128gcm16", "crypto_openssl0", false},
		{[]string{"crypto_aesni_gcm0", "crypto_openssl0"}, "aes256gcm12", "ipsec_mb", false},
		{[]string{"crypto_aesni_gcm0", "crypto_openssl0"}, "aes256-sha256", "crypto_openssl0", false},
		{[]string{"crypto_openssl0", "crypto_aesni_mb0"}, "aes128-sha1", "crypto_openssl0", false},
		{[]string{"crypto_aesni_mb0"}, "aes128-sha1", "ipsec_mb", false},
	}
	for _, c := range cases {
		t.Run(strings.Join(c.devices, "+")+"/"+c.suite, func(t *testing.T) {
			s, err := crypto.ParseSuite(c.suite)
			if err != nil {
				t.Fatal(err)
			}
			made := session(t, open(t, c.devices...), s, keymatFor(s, rand.NewChaCha8([32]byte{3})), true)
			if made.DeviceName() != c.device || made.CPU != c.cpu {
				t.Errorf("on %s (cpu-crypto %t), expected %s (%t)", made.DeviceName(), made.CPU, c.device, c.cpu)
			}
		})
	}
}

// TestDefaultDeviceMissing opens the default devices while one of them is taken: the others
// serve, and Describe says what happened to it.
func TestDefaultDeviceMissing(t *testing.T) {
	taken := open(t, "crypto_openssl0")
	pool := open(t)
	list := pool.Describe()
	if len(list) != 4 || list[0].Missing != "" || list[1].Missing != "" || list[2].Missing != "" {
		t.Fatalf("devices %+v", list)
	}
	if last := list[3]; last.Name != "crypto_openssl0" || !strings.Contains(last.Missing, "busy") {
		t.Errorf("the taken device is described as %+v", last)
	}
	if info := described(t, taken, "crypto_openssl0"); info.Driver != "crypto_openssl" {
		t.Errorf("the pool that has it describes it as %+v", info)
	}
}

func TestNoDeviceSaysWhoRefused(t *testing.T) {
	pool := open(t, "crypto_aesni_gcm0")
	s := crypto.Suite{Encr: crypto.EncrAESCBC, KeyBits: 128, Integ: crypto.IntegHMACSHA1}
	_, err := pool.NewSession(s, keymatFor(s, rand.NewChaCha8([32]byte{4})), true)
	if !errors.Is(err, cryptodev.ErrNoDevice) {
		t.Fatalf("found %v, expected ErrNoDevice", err)
	}
	for _, part := range []string{"aes128-sha1", "crypto_aesni_gcm0"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error does not name %s: %v", part, err)
		}
	}
	for _, refusal := range pool.Describe()[0].Refused {
		if refusal.Reason == "" {
			t.Errorf("%s is refused without a reason", refusal.Suite)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	cases := map[string]struct {
		options cryptodev.Options
		says    string
	}{
		"no such driver":       {cryptodev.Options{Devices: []string{"crypto_nosuch0"}, QueuePairs: 1, Sessions: 1}, "crypto_nosuch0"},
		"second name is wrong": {cryptodev.Options{Devices: []string{"crypto_openssl0", "crypto_nosuch0"}, QueuePairs: 1, Sessions: 1}, "crypto_nosuch0"},
		"not a crypto device":  {cryptodev.Options{Devices: []string{"net_null0"}, QueuePairs: 1, Sessions: 1}, "net_null0"},
		"no queue pair":        {cryptodev.Options{QueuePairs: 0, Sessions: 1}, "queue pairs"},
		"odd queues":           {cryptodev.Options{QueuePairs: 1, Sessions: 1, Descriptors: 100}, "power of two"},
		"too much memory":      {cryptodev.Options{QueuePairs: 1, Sessions: 1 << 22}, "memory for 4194304 sessions"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			c.options.Socket = cryptodev.SocketAny
			if _, err := cryptodev.Open(c.options); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("found %v, expected an error about %q", err, c.says)
			}
		})
	}
	open(t) // the failures left nothing behind that stands in the way
}

func TestSessionErrors(t *testing.T) {
	pool := open(t, "crypto_openssl0")
	s := crypto.Suite{Encr: crypto.EncrAESGCM16, KeyBits: 128}
	keymat := keymatFor(s, rand.NewChaCha8([32]byte{5}))
	if _, err := pool.NewSession(s, crypto.NewSecret(make([]byte, 16)), true); err == nil || !strings.Contains(err.Error(), "20 octets") {
		t.Errorf("key material without salt: found %v, expected an error about 20 octets", err)
	}
	if _, err := pool.NewSession(crypto.Suite{Encr: 99, KeyBits: 128}, keymat, true); err == nil {
		t.Error("a suite that does not exist has a session")
	}
	var all []*cryptodev.Session
	for range 8 {
		made, err := pool.NewSession(s, keymat, true)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, made)
	}
	if _, err := pool.NewSession(s, keymat, true); !errors.Is(err, cryptodev.ErrSessions) {
		t.Errorf("session 9 of 8: found %v, expected ErrSessions", err)
	}
	if err := pool.Close(); err == nil {
		t.Fatal("the pool closed under 8 sessions")
	}
	for _, made := range all {
		if err := pool.Free(made); err != nil {
			t.Error(err)
		}
		if err := pool.Free(made); err == nil {
			t.Error("a session was freed twice")
		}
	}
}

// TestFreeClearsKeys looks for the key in the session's memory before and after Free.
func TestFreeClearsKeys(t *testing.T) {
	t.Run("call", func(t *testing.T) { freeClearsKeys(t, "aes128gcm16") })
	t.Run("job", func(t *testing.T) { freeClearsKeys(t, "aes128-sha256") })
	t.Run("device", func(t *testing.T) { freeClearsKeys(t, "aes128gcm16", cryptodev.ViaDevice()) })
}

func freeClearsKeys(t *testing.T, suite string, options ...cryptodev.SessionOption) {
	pool := open(t, "crypto_aesni_gcm0", "crypto_aesni_mb0")
	s, err := crypto.ParseSuite(suite)
	if err != nil {
		t.Fatal(err)
	}
	keymat := keymatFor(s, rand.NewChaCha8([32]byte{6}))
	made, err := pool.NewSession(s, keymat, true, options...)
	if err != nil {
		t.Fatal(err)
	}
	// The first round key of AES is the key itself.
	key := keymat.Bytes()[:s.KeyLen()]
	memory := devicetest.SessionMemory(made)
	if !bytes.Contains(memory, key) {
		t.Error("the session's memory does not hold the key: this test looks in the wrong place")
	}
	if err := pool.Free(made); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(memory, key) {
		t.Error("the key is in memory after Free")
	}
}

// A device that has stopped answering may still use the sessions that it was given: their memory is nobody else's until it is
// stopped, and then it has no key. It gets no more sessions meanwhile: the next device has them (S-102).
func TestLostDevice(t *testing.T) {
	pool := open(t, "crypto_aesni_mb_lost", "crypto_openssl_next")
	s, err := crypto.ParseSuite("aes128-sha256")
	if err != nil {
		t.Fatal(err)
	}
	keymat := keymatFor(s, rand.NewChaCha8([32]byte{10}))
	key := keymat.Bytes()[:s.KeyLen()] // as in TestFreeClearsKeys
	made, err := pool.NewSession(s, keymat, true, cryptodev.ViaDevice())
	if err != nil {
		t.Fatal(err)
	}
	memory := devicetest.SessionMemory(made)
	if made.DeviceName() != "crypto_aesni_mb_lost" || !bytes.Contains(memory, key) {
		t.Fatalf("on %s; its memory has the key: %t", made.DeviceName(), bytes.Contains(memory, key))
	}
	pool.Lose(made.Device, "has stopped answering")
	device := made.Device
	if err := pool.Free(made); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(memory, key) {
		t.Error("a session is cleared while its device may be using it")
	}
	others := map[*byte]bool{}
	for range 7 { // all that are left
		other := session(t, pool, s, keymat, true, cryptodev.ViaDevice())
		if other.DeviceName() != "crypto_openssl_next" {
			t.Fatalf("a session on %s", other.DeviceName())
		}
		others[&devicetest.SessionMemory(other)[0]] = true
	}
	if others[&memory[0]] {
		t.Error("the memory of a session went to another while its device may be using it")
	}
	if _, err := pool.NewSession(s, keymat, true, cryptodev.ViaDevice()); !errors.Is(err, cryptodev.ErrSessions) {
		t.Errorf("found %v, expected ErrSessions: one waits for its device to be stopped", err)
	}
	if info := described(t, pool, "crypto_aesni_mb_lost"); info.Lost == "" || len(info.Suites) != 0 {
		t.Errorf("described as %+v", info)
	}
	if err := errors.Join(pool.Stop(device), pool.Stop(device)); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(memory, key) {
		t.Error("the key is in memory after the device was stopped")
	}
	session(t, pool, s, keymat, true, cryptodev.ViaDevice())
}

func TestIVRoomHoldsTheIV(t *testing.T) {
	for _, s := range crypto.Suites() {
		if need := s.SaltLen() + s.IVLen(); need > cryptodev.IVRoom {
			t.Errorf("%s has an IV of %d octets, room is %d", s, need, cryptodev.IVRoom)
		}
	}
	if cryptodev.IVOffset%binary.Size(uint64(0)) != 0 {
		t.Errorf("IV offset %d is not aligned", cryptodev.IVOffset)
	}
}

// plugged counts devices that stay.
var plugged atomic.Int32

// A driver may name what it makes of a device as it likes, as that of QAT does: it is found by the device, as by a PCI address.
func TestDeviceOfAnotherName(t *testing.T) {
	name := fmt.Sprintf("crypto_openssl_named%d", plugged.Add(1))
	if err := devicetest.Plug(name, "name=else_"+name); err != nil {
		t.Fatal(err)
	}
	pool := open(t, name)
	devices := pool.Describe()
	if last := devices[len(devices)-1]; last.Name != name || len(last.Suites) == 0 || devicetest.NameOf(last.ID) != "else_"+name {
		t.Errorf("%+v", devices)
	}
	for _, address := range []string{"0000:99:00.0", "99:00.0"} {
		_, err := cryptodev.Open(cryptodev.Options{Devices: []string{address}, QueuePairs: 1, Sessions: 1, Socket: cryptodev.SocketAny})
		if err == nil || !strings.Contains(err.Error(), address+": no driver has made a crypto device of it") || !strings.Contains(err.Error(), "else_"+name) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestDeviceByTwoNames(t *testing.T) {
	name := fmt.Sprintf("crypto_openssl_named%d", plugged.Add(1))
	if err := devicetest.Plug(name, "name=else_"+name); err != nil {
		t.Fatal(err)
	}
	_, err := cryptodev.Open(cryptodev.Options{Devices: []string{name, "else_" + name}, QueuePairs: 1, Sessions: 1, Socket: cryptodev.SocketAny})
	if want := "else_" + name + ": expected each device once, it is " + name; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}
