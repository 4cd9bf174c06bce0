package crypto

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"math/rand/v2"
	"sync"
	"testing"
)

var hashesOfPRFs = map[PRFID]func() hash.Hash{
	PRFHMACMD5: md5.New, PRFHMACSHA1: sha1.New, PRFHMACSHA256: sha256.New, PRFHMACSHA384: sha512.New384, PRFHMACSHA512: sha512.New,
}

// The PRFs of HMAC and their hashes give what crypto/hmac and the hashes of the standard library give, for keys shorter and longer than a block and messages in any parts.
func TestHashesAgainstLibrary(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	octets := func(n int) []byte {
		b := make([]byte, n)
		random.Read(b)
		return b
	}
	for id, newHash := range hashesOfPRFs {
		for length := range 300 {
			key, first, second := octets(length), octets(int(random.Uint64()%200)), octets(length)
			wanted := hmac.New(newHash, key)
			wanted.Write(first)
			wanted.Write(second)
			if found := PRF(id, key, first, nil, second); !bytes.Equal(found, wanted.Sum(nil)) {
				t.Fatalf("%v with a key of %d octets: %x, expected %x", id, length, found, wanted.Sum(nil))
			}
			plain := newHash()
			plain.Write(first)
			plain.Write(second)
			if found := Hash(id, first, second); !bytes.Equal(found, plain.Sum(nil)) {
				t.Fatalf("hash of %v over %d octets: %x, expected %x", id, len(first)+len(second), found, plain.Sum(nil))
			}
		}
	}
}

// Goroutines share no hash.
func TestHashesAtOnce(t *testing.T) {
	key := []byte("a key")
	wanted := PRF(PRFHMACSHA256, key, []byte("a message"))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				if found := PRF(PRFHMACSHA256, key, []byte("a "), []byte("message")); !bytes.Equal(found, wanted) {
					t.Errorf("%x, expected %x", found, wanted)
					return
				}
			}
		})
	}
	all.Wait()
}

// What was hashed is gone from a hash that waits for its next use: neither key nor message nor value can be read there.
func TestHashesKeepNothing(t *testing.T) {
	for id, newHash := range hashesOfPRFs {
		h := hashesOf(newHash)
		p := h.pool.New().(*pooledHash)
		fresh := fmt.Sprint(p.Hash) // all its fields, the block that is filled up among them
		p.Write(bytes.Repeat([]byte{0xa5}, 1000))
		p.value = append(p.value, 1, 2, 3)[:0]
		copy(p.pad, "a key")
		p.wipe()
		if found := fmt.Sprint(p.Hash); found != fresh {
			t.Errorf("%v: %s after a use, expected that of a new one", id, found)
		}
		if !bytes.Equal(p.pad, make([]byte, len(p.pad))) || !bytes.Equal(p.value[:3], make([]byte, 3)) {
			t.Errorf("%v: pad %x and value %x, expected zeros", id, p.pad, p.value[:3])
		}
	}
}
