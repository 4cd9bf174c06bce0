package cryptodev_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/crypto/cryptodev/faulty"
	"sallyport/crypto/cryptodev/internal/devicetest"
)

// A device takes its time to stop: sessions of others are made and freed meanwhile, devices are shown, and its own sessions may end.
func TestSlowStopHoldsUpNobody(t *testing.T) {
	pool := open(t, "crypto_aesni_mb_slow", "crypto_openssl_quick")
	device, err := faulty.Attach("crypto_aesni_mb_slow", 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := device.Detach(); err != nil {
			t.Error(err)
		}
	})
	s, err := crypto.ParseSuite("aes128-sha256")
	if err != nil {
		t.Fatal(err)
	}
	keymat := keymatFor(s, rand.NewChaCha8([32]byte{11}))
	key := keymat.Bytes()[:s.KeyLen()]
	var made []*cryptodev.Session
	for range 2 {
		one, err := pool.NewSession(s, keymat, true, cryptodev.ViaDevice())
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, one)
	}
	memory := devicetest.SessionMemory(made[1])
	id := made[0].Device
	pool.Lose(id, "has stopped answering")
	if err := pool.Free(made[0]); err != nil {
		t.Fatal(err)
	}
	device.StopsSlowly(true)
	t.Cleanup(func() { device.StopsSlowly(false) })
	stopped := make(chan error)
	go func() { stopped <- pool.Stop(id) }()
	for !device.Stopping() {
		runtime.Gosched()
	}
	other, err := pool.NewSession(s, keymat, true, cryptodev.ViaDevice())
	if err != nil || other.DeviceName() != "crypto_openssl_quick" {
		t.Fatalf("a session on %+v: %v", other, err)
	}
	if err := errors.Join(pool.Free(other), pool.Free(made[1])); err != nil {
		t.Error(err)
	}
	if info := described(t, pool, "crypto_aesni_mb_slow"); info.Lost == "" {
		t.Errorf("described as %+v", info)
	}
	if ways := pool.Ways(&cryptodev.ESP{Suite: s}); len(ways) == 0 {
		t.Error("no ways")
	}
	if !bytes.Contains(memory, key) {
		t.Error("a session is cleared while its device may be using it")
	}
	device.StopsSlowly(false)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(memory, key) {
		t.Error("the key is in memory after the device was stopped")
	}
}
