package cryptodev_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"sallyport/crypto/cryptodev"
	"sallyport/crypto/cryptodev/internal/devicetest"
)

// gcmLongest is the longest text that is tried: more than a jumbo frame holds.
const gcmLongest = 9216

// between returns whole pages between two that nobody may touch. The library, where it does the work, may read further than it is told.
func between(t testing.TB, octets int) []byte {
	t.Helper()
	page := syscall.Getpagesize()
	size := (octets + page - 1) / page * page
	memory, err := syscall.Mmap(-1, 0, size+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(memory); err != nil {
			t.Error(err)
		}
	})
	for _, forbidden := range [][]byte{memory[:page], memory[page+size:]} {
		if !cryptodev.Vectors() {
			break
		}
		if err := syscall.Mprotect(forbidden, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	return memory[page : page+size]
}

// gcmPlaces are where the function finds what it is given.
type gcmPlaces struct{ packet, nonce, aad, key []byte }

func newGCMPlaces(t testing.TB) gcmPlaces {
	return gcmPlaces{between(t, gcmLongest+16), between(t, 12), between(t, 12), between(t, devicetest.GCMKeyLen)}
}

// put places octets where the pages end, or where they begin.
func put(pages, octets []byte, atEnd bool) []byte {
	if atEnd {
		pages = pages[len(pages)-len(octets):]
	}
	copy(pages, octets)
	return pages[:len(octets):len(octets)]
}

// run has the session's function work in place on a text, with the tag behind it, and all that it reads flush with pages that nobody may touch.
func (p gcmPlaces) run(s *cryptodev.Session, text, nonce, aad []byte, tag int, atEnd bool) []byte {
	const behind = 0x5a
	octets := append(append(make([]byte, 0, len(text)+tag), text...), make([]byte, tag)...)
	for i := range p.packet[:min(len(octets)+64, len(p.packet))] {
		p.packet[i] = behind
	}
	packet := put(p.packet, octets, atEnd)
	key := put(p.key, unsafe.Slice((*byte)(s.Handle), devicetest.GCMKeyLen), atEnd)
	devicetest.GCM(s, unsafe.Pointer(unsafe.SliceData(key)), packet, packet[:len(text)], put(p.nonce, nonce, atEnd), put(p.aad, aad, atEnd), packet[len(text):])
	if !atEnd && len(packet)+64 <= len(p.packet) && !bytes.Equal(p.packet[len(packet):len(packet)+64], bytes.Repeat([]byte{behind}, 64)) {
		return nil // it wrote behind the tag
	}
	return packet
}

// compare reports whether both functions make what Go's cipher makes.
func (p gcmPlaces) compare(keys gcmSessions, text, nonce, aad, sealed []byte, tag int, atEnd bool) bool {
	tagged := sealed[:len(text)+tag]
	return bytes.Equal(p.run(keys.seal, text, nonce, aad, tag, atEnd), tagged) &&
		bytes.Equal(p.run(keys.open, tagged[:len(text)], nonce, aad, tag, atEnd), append(append(make([]byte, 0, len(tagged)), text...), tagged[len(text):]...))
}

func goGCM(t testing.TB, key []byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return gcm
}

// S-103: texts of every length to that of a jumbo frame, with each length of key, associated data and tag, are what Go makes of them, and nothing is
// touched that lies before or behind what the function is given.
func TestGCMOfEveryLengthMatchesGo(t *testing.T) {
	pool, places := open(t, cryptodev.DefaultDevices()...), newGCMPlaces(t)
	random := rand.NewChaCha8([32]byte{3})
	text, nonce, aad, sealed := make([]byte, gcmLongest), make([]byte, 12), make([]byte, 12), make([]byte, 0, gcmLongest+16)
	for _, bits := range []int{128, 192, 256} {
		key := make([]byte, bits/8)
		_, _ = random.Read(key)
		_, _ = random.Read(text)
		gcm := goGCM(t, key)
		withGCM(t, pool, key, func(keys gcmSessions) {
			for length := range gcmLongest + 1 {
				_, _ = random.Read(nonce)
				_, _ = random.Read(aad)
				for i := range 4 { // each length meets each tag
					text, aad, tag := text[:length], aad[:8+i%2*4], 8+(length+i)%3*4
					if !places.compare(keys, text, nonce, aad, gcm.Seal(sealed, nonce, text, aad), tag, i < 2) {
						t.Fatalf("key of %d bits, text of %d octets, associated data of %d, tag of %d, at the end of a page %t: expected what Go makes of it", bits, length, len(aad), tag, i < 2)
					}
				}
			}
		})
	}
}

// FuzzGCM compares the function with Go's: of any text, with keys, nonces and associated data that one number stands for.
func FuzzGCM(f *testing.F) {
	for i, length := range []int{0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 735, 736, 737, 1439, 1440, 1441, 4032, 4033, gcmLongest} {
		f.Add(uint64(i), byte(i), make([]byte, length))
	}
	pool, places := open(f, cryptodev.DefaultDevices()...), newGCMPlaces(f)
	f.Fuzz(func(t *testing.T, seed uint64, form byte, text []byte) {
		text = text[:min(len(text), gcmLongest)]
		random := rand.New(rand.NewPCG(seed, 0))
		octets := make([]byte, 32+12+12)
		for i := range octets {
			octets[i] = byte(random.Uint32())
		}
		key, nonce, aad, tag := octets[:16+form%3*8], octets[32:44], octets[44:52+form/3%2*4], 8+int(form/6%3)*4
		withGCM(t, pool, key, func(keys gcmSessions) {
			if !places.compare(keys, text, nonce, aad, goGCM(t, key).Seal(nil, nonce, text, aad), tag, form/18%2 == 0) {
				t.Fatalf("key %x, nonce %x, associated data %x, tag of %d octets: expected of %x what Go makes of it", key, nonce, aad, tag, text)
			}
		})
	})
}

// A library that lays out its keys for other instructions than gcm.c has is found out at start: it would encrypt with what is not there.
func TestOtherKeysAreFoundOut(t *testing.T) {
	if !cryptodev.Vectors() { // nothing stands in for the library
		return
	}
	for name, manager := range devicetest.Managers() {
		if cryptodev.SelfTest(manager) {
			t.Errorf("the self-test is content with keys of libIPSec_MB for %s", name)
		}
		devicetest.FreeManager(manager)
	}
}

// Where gcm.c makes other octets than the library, sessions have the library's functions, and Describe says so.
func TestFailedSelfTestIsToldOf(t *testing.T) {
	vectors := cryptodev.Vectors() // as the processor has them
	defer cryptodev.WithoutAgreement()()
	pool := open(t, cryptodev.DefaultDevices()...)
	if cryptodev.Vectors() {
		t.Fatal("gcm.c is used though it has failed its test")
	}
	for _, d := range pool.Describe() {
		if is := strings.Contains(d.Wrong, "makes other octets than libIPSec_MB"); is != (d.Name == "ipsec_mb" && vectors) {
			t.Errorf("%s: found %q", d.Name, d.Wrong)
		}
	}
	key, nonce, aad := make([]byte, 16), make([]byte, 12), make([]byte, 8)
	withGCM(t, pool, key, func(keys gcmSessions) {
		if !newGCMPlaces(t).compare(keys, make([]byte, 68), nonce, aad, goGCM(t, key).Seal(nil, nonce, make([]byte, 68), aad), 16, false) {
			t.Error("expected what Go makes")
		}
	})
}
