package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// cache keeps CRLs that their issuer has signed until they expire, in memory and in a folder that outlives the process (S-075). Without the
// folder it goes on in memory.
type cache struct {
	folder string
	log    *slog.Logger
	size   func() int // bytes of all that are kept

	mu      sync.Mutex
	entries map[cacheKey]*entry
}

// cacheKey is of an issuer's key and a server's address: what one CA's server says is nothing about another CA's certificates.
type cacheKey [sha256.Size]byte

type entry struct {
	url   string
	bytes int
	list  *crl // nil: in its file only
}

const (
	cacheHeader = "sallyport crl 1\n" // then the address in a line of its own, then the CRL in DER
	cacheSuffix = ".crl"
)

func keyOf(issuer *x509.Certificate, url string) cacheKey {
	id := issuerOf(issuer)
	return sha256.Sum256(append(id[:], url...))
}

// openCache finds what an earlier process has left.
func openCache(folder string, size func() int, log *slog.Logger) *cache {
	c := &cache{folder: folder, log: log, size: size, entries: map[cacheKey]*entry{}}
	files, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("the CRL cache cannot be read", "error", err)
	}
	for _, file := range files {
		name, isList := strings.CutSuffix(file.Name(), cacheSuffix)
		digest, err := hex.DecodeString(name)
		if !isList || err != nil || len(digest) != sha256.Size {
			continue
		}
		key := cacheKey(digest)
		if url, raw, err := c.read(key); err == nil {
			c.entries[key] = &entry{url: url, bytes: len(raw)}
		} else {
			c.remove(key)
		}
	}
	return c
}

func (c *cache) path(key cacheKey) string {
	return filepath.Join(c.folder, hex.EncodeToString(key[:])+cacheSuffix)
}

// read is the CRL in a file. Its signature is what says that it is whole.
func (c *cache) read(key cacheKey) (url string, raw []byte, err error) {
	file, err := os.OpenFile(c.path(key), os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return "", nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, int64(c.size()+maxURL+len(cacheHeader)+1)))
	if err != nil {
		return "", nil, err
	}
	text, ours := bytes.CutPrefix(text, []byte(cacheHeader))
	address, raw, found := bytes.Cut(text, []byte("\n"))
	if !ours || !found || len(raw) == 0 || len(raw) > c.size() {
		return "", nil, errors.New("expected a cached CRL, found something else")
	}
	return string(address), raw, nil
}

// get is the CRL of an issuer from an address, or nil.
func (c *cache) get(key cacheKey, issuer *x509.Certificate) *crl {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil {
		return nil
	}
	if e.list == nil {
		_, raw, err := c.read(key)
		if err == nil {
			e.list, err = parseCRL(raw, issuer)
		}
		if err != nil {
			c.log.Warn("a cached CRL is not good and will be fetched again", "url", e.url, "error", err)
			c.drop(key)
			return nil
		}
	}
	return e.list
}

// put keeps a CRL in the place of an older one.
func (c *cache) put(key cacheKey, url string, raw []byte, list *crl) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries[key] = &entry{url: url, bytes: len(raw), list: list}
	c.shrink(key)
	if err := c.write(key, url, raw); err != nil {
		c.log.Warn("a CRL cannot be written to the cache; it serves until this process ends", "url", url, "error", err)
	}
}

// write has the file whole or not at all under its name.
func (c *cache) write(key cacheKey, url string, raw []byte) error {
	if err := os.MkdirAll(c.folder, 0o700); err != nil {
		return err
	}
	fresh, err := os.CreateTemp(c.folder, "new-*")
	if err != nil {
		return err
	}
	_, err = fresh.Write(slices.Concat([]byte(cacheHeader), []byte(url), []byte("\n"), raw))
	if err = errors.Join(err, fresh.Close()); err == nil {
		err = os.Rename(fresh.Name(), c.path(key))
	}
	if err != nil {
		err = errors.Join(err, os.Remove(fresh.Name()))
	}
	return err
}

// shrink makes room; the CRLs that expire first go first, but not the newest one.
func (c *cache) shrink(newest cacheKey) {
	total := 0
	for _, e := range c.entries {
		total += e.bytes
	}
	for total > c.size() && len(c.entries) > 1 {
		var first cacheKey
		var ends time.Time
		for key, e := range c.entries {
			until := time.Time{} // one that nobody has asked for since start
			if e.list != nil {
				until = e.list.nextUpdate
			}
			if key != newest && (first == cacheKey{} || until.Before(ends)) {
				first, ends = key, until
			}
		}
		total -= c.entries[first].bytes
		c.drop(first)
	}
}

func (c *cache) drop(key cacheKey) {
	delete(c.entries, key)
	c.remove(key)
}

func (c *cache) remove(key cacheKey) {
	if err := os.Remove(c.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.log.Warn("a cached CRL cannot be removed", "error", err)
	}
}

// flush forgets all, and says how many there were.
func (c *cache) flush() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	count := len(c.entries)
	clear(c.entries)
	files, err := filepath.Glob(filepath.Join(c.folder, "*"))
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, file := range files { // what a crash left unfinished, too
		if base := filepath.Base(file); strings.HasSuffix(base, cacheSuffix) || strings.HasPrefix(base, "new-") {
			errs = append(errs, os.Remove(file))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return count, fmt.Errorf("CRL cache: %w", err)
	}
	return count, nil
}

// lists shows what is kept, in the order of addresses.
func (c *cache) lists() []List {
	c.mu.Lock()
	defer c.mu.Unlock()
	var lists []List
	for key, e := range c.entries {
		l := List{Source: e.url, Bytes: e.bytes}
		if e.list != nil {
			l.Issuer, l.ThisUpdate, l.NextUpdate, l.Revoked = printable(e.list.issuer), e.list.thisUpdate, e.list.nextUpdate, len(e.list.revoked)
		} else if _, raw, err := c.read(key); err == nil {
			l.describe(raw)
		}
		lists = append(lists, l)
	}
	slices.SortFunc(lists, func(a, b List) int { return strings.Compare(a.Source, b.Source) })
	return lists
}
