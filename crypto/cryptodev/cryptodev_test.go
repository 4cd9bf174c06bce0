package cryptodev_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/crypto/cryptodev/internal/devicetest"
	"sallyport/pmd/eal"
)

const (
	testSPI    = 0x10203040
	queuePairs = 2
	ipv4       = 4 // next header
)

var runner *devicetest.Runner

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

// run starts the EAL, which a process can do once.
func run(m *testing.M) int {
	if _, err := cryptodev.Open(cryptodev.Options{QueuePairs: 1, Sessions: 1}); err == nil || !strings.Contains(err.Error(), "EAL") {
		fmt.Println("Open before the EAL runs: expected an error that says so, found", err)
		return 1
	}
	environment, err := eal.Start(eal.Config{HugePages: eal.HugePagesOff, MemoryMB: 512, LogLevel: "error"}, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if runner, err = devicetest.NewRunner(); err != nil {
		fmt.Println(err)
		return 1
	}
	code := m.Run()
	if err := environment.Stop(); err != nil {
		fmt.Println(err)
		return 1
	}
	return code
}

func open(t *testing.T, devices ...string) *cryptodev.Pool {
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

// sizes are the payload lengths of the comparison: all small ones, where every padding
// occurs, and a sample up to a jumbo frame.
func sizes() []int {
	var list []int
	for size := 1; size <= 70; size++ {
		list = append(list, size)
	}
	for size := 97; size <= 2000; size += 89 {
		list = append(list, size)
	}
	return append(list, 1400, 1500, 4096, 8191, 9000)
}

// TestEveryDeviceMakesTheReferencePackets compares each device with the reference, byte for
// byte in both directions, for every suite it says it can do.
func TestEveryDeviceMakesTheReferencePackets(t *testing.T) {
	for _, name := range cryptodev.DefaultDevices() {
		t.Run(name, func(t *testing.T) {
			pool := open(t, name)
			info := described(t, pool, name)
			if len(info.Suites) == 0 {
				t.Fatalf("%s can do nothing: %v", name, info.Refused)
			}
			for _, s := range info.Suites {
				for _, esn := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/esn=%t", s, esn), func(t *testing.T) {
						compare(t, pool, s, name, cryptodev.WithESN(esn), cryptodev.ViaDevice())
					})
				}
			}
		})
	}
}

// TestLibraryMakesTheReferencePackets is the same for libIPSec_MB without a device.
func TestLibraryMakesTheReferencePackets(t *testing.T) {
	pool := open(t, "crypto_aesni_gcm0")
	info := described(t, pool, "ipsec_mb")
	if !info.Direct || len(info.Suites) != 9 {
		t.Fatalf("described as %+v, expected AES-GCM with 3 keys and 3 ICVs", info)
	}
	for _, s := range info.Suites {
		for _, esn := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/esn=%t", s, esn), func(t *testing.T) {
				compare(t, pool, s, "ipsec_mb", cryptodev.WithESN(esn))
			})
		}
	}
}

func compare(t *testing.T, pool *cryptodev.Pool, s crypto.Suite, device string, options ...cryptodev.SessionOption) {
	random := rand.NewChaCha8([32]byte{1})
	keymat := keymatFor(s, random)
	sealing := session(t, pool, s, keymat, true, options...)
	opening := session(t, pool, s, keymat, false, options...)
	if sealing.DeviceName() != device || opening.DeviceName() != device {
		t.Fatalf("sessions on %s and %s, expected %s", sealing.DeviceName(), opening.DeviceName(), device)
	}
	compareSessions(t, keymat, sealing, opening)
	if sealing.CPU {
		// The same sessions serve operations as well.
		queuedSealing, queuedOpening := *sealing, *opening
		queuedSealing.CPU, queuedOpening.CPU = false, false
		compareSessions(t, keymat, &queuedSealing, &queuedOpening)
	}
}

func compareSessions(t *testing.T, keymat crypto.Secret, sealing, opening *cryptodev.Session) {
	t.Helper()
	s, random := sealing.Suite, rand.NewChaCha8([32]byte{7})
	reference, err := crypto.NewESP(s, testSPI, keymat, crypto.WithESN(sealing.ESN))
	if err != nil {
		t.Fatal(err)
	}
	first := uint64(1)
	if sealing.ESN {
		first = 1<<32 - 20 // the sizes cross into a new upper half
	}
	var texts, wanted [][]byte
	var toSeal, toOpen []*devicetest.Packet
	for i, size := range sizes() {
		seq := first + uint64(i)
		payload := make([]byte, size)
		_, _ = random.Read(payload)
		want, err := reference.Seal(seq, nil, payload, ipv4)
		if err != nil {
			t.Fatal(err)
		}
		layout := devicetest.Layout(s, testSPI, seq, payload, ipv4)
		texts, wanted = append(texts, bytes.Clone(text(s, layout))), append(wanted, want)
		toSeal = append(toSeal, &devicetest.Packet{Octets: layout, SeqHigh: uint32(seq >> 32)})
		toOpen = append(toOpen, &devicetest.Packet{Octets: bytes.Clone(want), SeqHigh: uint32(seq >> 32)})
	}
	salt := keymat.Bytes()[s.KeyLen() : s.KeyLen()+s.SaltLen()]
	mustRun(t, sealing, 0, salt, toSeal)
	mustRun(t, opening, queuePairs-1, salt, toOpen)
	for i, size := range sizes() {
		if !toSeal[i].OK || !bytes.Equal(toSeal[i].Octets, wanted[i]) {
			t.Fatalf("payload of %d octets sealed (ok %t):\n%x\nreference:\n%x", size, toSeal[i].OK, toSeal[i].Octets, wanted[i])
		}
		if opened := text(s, toOpen[i].Octets); !toOpen[i].OK || !bytes.Equal(opened, texts[i]) {
			t.Fatalf("payload of %d octets opened (ok %t):\n%x\nexpected:\n%x", size, toOpen[i].OK, opened, texts[i])
		}
	}
	const middle = 40
	refuseChanged(t, opening, salt, wanted[middle], toOpen[middle].SeqHigh)
}

// text is the part of a packet between IV and ICV.
func text(s crypto.Suite, packet []byte) []byte {
	return packet[8+s.IVLen() : len(packet)-s.ICVLen()]
}

// refuseChanged flips a bit in each part of a good packet, and in the sequence number that
// is not sent: the device must report every one.
func refuseChanged(t *testing.T, opening *cryptodev.Session, salt, packet []byte, seqHigh uint32) {
	t.Helper()
	var changed []*devicetest.Packet
	last := len(packet) - 1
	for _, at := range []int{0, 4, 8, 8 + opening.Suite.IVLen(), last - opening.Suite.ICVLen(), last - opening.Suite.ICVLen() + 1, last} {
		octets := bytes.Clone(packet)
		octets[at] ^= 0x10
		changed = append(changed, &devicetest.Packet{Octets: octets, SeqHigh: seqHigh})
	}
	if opening.ESN {
		changed = append(changed, &devicetest.Packet{Octets: bytes.Clone(packet), SeqHigh: seqHigh + 1})
	}
	whole := &devicetest.Packet{Octets: bytes.Clone(packet), SeqHigh: seqHigh}
	mustRun(t, opening, 0, salt, append(changed, whole))
	for i, p := range changed {
		if p.OK {
			t.Errorf("change %d of packet %x passed", i, packet)
		}
	}
	if !whole.OK {
		t.Error("the packet without a change was refused beside changed ones")
	}
}

func mustRun(t *testing.T, s *cryptodev.Session, queuePair int, salt []byte, packets []*devicetest.Packet) {
	t.Helper()
	if err := runner.Run(s, queuePair, salt, packets); err != nil {
		t.Fatal(err)
	}
}

// TestDeviceChoice checks which device each suite falls to with the default order.
func TestDeviceChoice(t *testing.T) {
	pool := open(t, cryptodev.DefaultDevices()...)
	random := rand.NewChaCha8([32]byte{2})
	for _, s := range crypto.IKESuites() {
		t.Run(s.String(), func(t *testing.T) { deviceChoice(t, pool, s, keymatFor(s, random)) })
	}
}

func deviceChoice(t *testing.T, pool *cryptodev.Pool, s crypto.Suite, keymat crypto.Secret) {
	want, wantVia := "crypto_aesni_mb0", "crypto_aesni_mb0"
	if s.AEAD() {
		want, wantVia = "ipsec_mb", "crypto_aesni_gcm0"
	}
	made := session(t, pool, s, keymat, true)
	if made.DeviceName() != want || made.Direct != s.AEAD() || made.CPU {
		t.Errorf("%s is on %s (direct %t, cpu-crypto %t), expected %s", s, made.DeviceName(), made.Direct, made.CPU, want)
	}
	via := session(t, pool, s, keymat, true, cryptodev.ViaDevice())
	if via.DeviceName() != wantVia || via.Direct || via.CPU != s.AEAD() {
		t.Errorf("%s via a device is on %s (direct %t, cpu-crypto %t), expected %s", s, via.DeviceName(), via.Direct, via.CPU, wantVia)
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
	if taken.Describe()[0].Driver != "crypto_openssl" {
		t.Errorf("the pool that has it describes it as %+v", taken.Describe()[0])
	}
}

// TestManyWorkers opens more queue pairs than the drivers make by themselves and uses the
// last one.
func TestManyWorkers(t *testing.T) {
	const workers = 20
	pool, err := cryptodev.Open(cryptodev.Options{QueuePairs: workers, Sessions: 2, Socket: cryptodev.SocketAny})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	s := crypto.Suite{Encr: crypto.EncrAESCBC, KeyBits: 256, Integ: crypto.IntegHMACSHA256}
	keymat := keymatFor(s, rand.NewChaCha8([32]byte{8}))
	reference, err := crypto.NewESP(s, testSPI, keymat)
	if err != nil {
		t.Fatal(err)
	}
	packet := &devicetest.Packet{Octets: devicetest.Layout(s, testSPI, 1, []byte("last worker"), ipv4)}
	mustRun(t, session(t, pool, s, keymat, true), workers-1, nil, []*devicetest.Packet{packet})
	if payload, _, _, err := reference.Open(packet.Octets, 0); err != nil || string(payload) != "last worker" {
		t.Errorf("queue pair %d: %q, error %v", workers-1, payload, err)
	}
	if info := described(t, pool, "crypto_aesni_mb0"); info.QueuePairs != workers || info.Sessions != 1 {
		t.Errorf("described as %+v", info)
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
	t.Run("ipsec_mb", func(t *testing.T) { freeClearsKeys(t) })
	t.Run("crypto_aesni_gcm0", func(t *testing.T) { freeClearsKeys(t, cryptodev.ViaDevice()) })
}

func freeClearsKeys(t *testing.T, options ...cryptodev.SessionOption) {
	pool := open(t, "crypto_aesni_gcm0")
	s := crypto.Suite{Encr: crypto.EncrAESGCM16, KeyBits: 128}
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

func TestIVRoomHoldsTheIV(t *testing.T) {
	for _, s := range crypto.IKESuites() {
		if need := s.SaltLen() + s.IVLen(); need > cryptodev.IVRoom {
			t.Errorf("%s has an IV of %d octets, room is %d", s, need, cryptodev.IVRoom)
		}
	}
	if cryptodev.IVOffset%binary.Size(uint64(0)) != 0 {
		t.Errorf("IV offset %d is not aligned", cryptodev.IVOffset)
	}
}
