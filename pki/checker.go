package pki

import (
	"context"
	std "crypto"
	"crypto/x509"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/ike"
)

// maxChecks bounds the checks under way, as package ike does (ike.Limits.Checks): peers that are not authenticated yet cause them.
const maxChecks = 128

// Checker checks certificates. Its methods may be called by several goroutines at once.
type Checker struct {
	now      func() time.Time
	log      *slog.Logger
	settings atomic.Pointer[Settings]

	room    chan struct{} // for checks under way, those that wait for servers among them
	turns   chan struct{} // for those that keep a core busy
	fetcher *fetcher
	cache   *cache
	unknown atomic.Uint64

	mu      sync.Mutex
	bad     map[cacheKey]silence  // CRLs that came and were not good
	answers map[cacheKey]answer   // of OCSP, by issuer and certificate
	local   map[localKey]localCRL // read of Settings.Lists
}

// maxAnswers bounds what is remembered of OCSP, and of CRLs that were not good.
const maxAnswers = 4096

// NewChecker keeps CRLs in a folder, which need not be there yet.
func NewChecker(folder string, settings Settings, now func() time.Time, log *slog.Logger) *Checker {
	c := &Checker{
		now: now, log: log, room: make(chan struct{}, maxChecks), turns: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		bad: map[cacheKey]silence{}, answers: map[cacheKey]answer{}, local: map[localKey]localCRL{},
	}
	c.settings.Store(&settings)
	c.fetcher = newFetcher(now, c.settings.Load)
	c.cache = openCache(folder, func() int { return c.settings.Load().CacheSize }, log)
	return c
}

// Configure replaces the settings. Checks under way end by those that they began with.
func (c *Checker) Configure(settings Settings) {
	c.settings.Store(&settings)
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.local)
}

// Check is the public key of a peer that calls itself so, if the certificates that it sent, its own first, are to be trusted. It returns
// within CheckLimit. Its error is a *Refusal.
func (c *Checker) Check(ctx context.Context, trust *Trust, identity ike.Identity, sent [][]byte) (std.PublicKey, error) {
	select {
	case c.room <- struct{}{}:
		defer func() { <-c.room }()
	default:
		return nil, refuse(CertBusy, "%d other checks are under way", maxChecks)
	}
	ctx, cancel := context.WithTimeout(ctx, CheckLimit)
	defer cancel()
	p, err := c.validate(ctx, trust, identity, sent)
	if err != nil {
		return nil, err
	}
	// Servers are asked about a path that holds, and about no other: their addresses are those that a listed CA has signed.
	if err := c.checkRevocation(ctx, p); err != nil {
		return nil, err
	}
	return p[0].PublicKey, nil
}

// validate waits for its turn on a core.
func (c *Checker) validate(ctx context.Context, trust *Trust, identity ike.Identity, sent [][]byte) (path, error) {
	select {
	case c.turns <- struct{}{}:
		defer func() { <-c.turns }()
	case <-ctx.Done():
		return nil, refuse(CertBusy, "other checks have taken all the time there was")
	}
	return trust.validate(sent, identity, c.now())
}

// Flush forgets all CRLs and OCSP answers, on disk too, and all servers that did not answer: the next check asks anew (S-075). It says how
// many CRLs there were.
func (c *Checker) Flush() (int, error) {
	c.fetcher.forget()
	c.mu.Lock()
	clear(c.bad)
	clear(c.answers)
	c.mu.Unlock()
	return c.cache.flush()
}

// Counters are numbers since start.
type Counters struct {
	Fetches map[string]uint64 // questions to servers, by result: ok or a Reason
	Unknown uint64            // certificates that passed though it could not be told whether they are revoked (crl_mode 1)
}

// Counters reads the counters.
func (c *Checker) Counters() Counters {
	return Counters{Fetches: c.fetcher.results(), Unknown: c.unknown.Load()}
}

// List is a CRL that is known.
type List struct {
	Source     string // an address, or a file
	Local      bool   // a file of the operator's
	Issuer     string
	ThisUpdate time.Time
	NextUpdate time.Time
	Revoked    int // certificates in it
	Bytes      int
}

// describe fills in what a CRL says of itself. Who signed it does not matter to a display.
func (l *List) describe(raw []byte) {
	if list, err := x509.ParseRevocationList(raw); err == nil {
		l.Issuer, l.ThisUpdate, l.NextUpdate, l.Revoked = printable(list.Issuer.String()), list.ThisUpdate, list.NextUpdate, len(list.RevokedCertificateEntries)
	}
	l.Bytes = len(raw)
}

// Silent is a server that did not answer, or not well, and is left alone for a while.
type Silent struct {
	Server string
	Until  time.Time
	Error  string
}

// Lists shows the CRLs of files and of the cache.
func (c *Checker) Lists() []List {
	var lists []List
	for _, local := range c.settings.Load().Lists {
		l := List{Source: local.File, Local: true}
		l.describe(local.raw)
		lists = append(lists, l)
	}
	return append(lists, c.cache.lists()...)
}
