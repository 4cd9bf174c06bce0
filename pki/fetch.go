package pki

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Bounds of what is asked of servers. Their addresses come from certificates that a listed CA has signed, and from nowhere else.
const (
	maxRedirects   = 3
	maxAtOnce      = 8               // questions under way
	retryAfter     = time.Minute     // a server that did not answer is left alone for so long
	maxSilent      = 1024            // servers that are remembered for that
	maxWaiting     = 256             // different questions that wait for a slot or an answer
	connectTimeout = 3 * time.Second // of TCP; the whole question has Settings.FetchTimeout
	maxOCSP        = 64 << 10        // bytes of an OCSP answer
	maxURL         = 2048            // bytes
)

// fetcher asks servers over HTTP, through the network of the machine and not through the data plane.
type fetcher struct {
	now      func() time.Time
	settings func() *Settings
	client   *http.Client
	slots    chan struct{}

	mu      sync.Mutex
	waiting map[cacheKey]*question
	silent  map[string]silence
	counts  map[string]uint64 // by result: ok, or the reason
}

// question is one that is under way; whoever has the same one waits for its answer.
type question struct {
	done chan struct{}
	err  error
}

// silence is a failure that stands for the next questions too.
type silence struct {
	server string
	until  time.Time
	err    error
}

func newFetcher(now func() time.Time, settings func() *Settings) *fetcher {
	f := &fetcher{
		now: now, settings: settings, slots: make(chan struct{}, maxAtOnce),
		waiting: map[cacheKey]*question{}, silent: map[string]silence{}, counts: map[string]uint64{},
	}
	dialer := &net.Dialer{Timeout: connectTimeout, Control: f.allow}
	f.client = &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10,
			TLSHandshakeTimeout: connectTimeout, DisableCompression: true, // a small body must not become a large one
		},
		CheckRedirect: func(r *http.Request, before []*http.Request) error {
			if len(before) > maxRedirects {
				return refuse(CRLRefused, "%s redirects more than %d times", before[0].URL, maxRedirects)
			}
			return checkURL(r.URL)
		},
	}
	return f
}

// checkURL lets HTTP be asked and nothing else: a certificate may name files and LDAP servers too.
func checkURL(u *url.URL) error {
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || len(u.String()) > maxURL {
		return refuse(CRLRefused, "%s: expected the address of an HTTP server", u.Redacted())
	}
	return nil
}

// allow looks at the address that a name has led to, so that no name leads where the gateway must not ask: to itself, to the services of
// a cloud's link, or beyond the networks that the configuration has.
func (f *fetcher) allow(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	addr, networks := to.Addr().Unmap().WithZone(""), f.settings().FetchNetworks
	if len(networks) > 0 {
		if slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(addr) }) {
			return nil
		}
		return refuse(CRLRefused, "%s is in none of the networks of auth.fetch_networks", addr)
	}
	if !addr.IsGlobalUnicast() || addr.IsLinkLocalUnicast() || addr.IsLoopback() {
		return refuse(CRLRefused, "%s is no server's address: auth.fetch_networks lets it be asked", addr)
	}
	return nil
}

// get asks for a CRL; post asks a question in OCSP. Their errors are *Refusals.
func (f *fetcher) get(ctx context.Context, from string) ([]byte, error) {
	return f.exchange(ctx, http.MethodGet, from, nil, f.settings().MaxCRL)
}

func (f *fetcher) post(ctx context.Context, to string, body []byte) ([]byte, error) {
	return f.exchange(ctx, http.MethodPost, to, body, maxOCSP)
}

// once has a question under way once, however many wait for its answer: carryOut asks it and keeps what came. It goes on when those
// who wait give up: the next ones find its answer. A server that did not answer is not asked again for a while.
func (f *fetcher) once(ctx context.Context, server string, key cacheKey, carryOut func(context.Context) error) error {
	f.mu.Lock()
	if s, known := f.silent[server]; known && f.now().Before(s.until) {
		f.mu.Unlock()
		return s.err
	}
	q := f.waiting[key]
	if q == nil {
		if len(f.waiting) >= maxWaiting {
			f.mu.Unlock()
			return refuse(CRLUnreachable, "%s: too many questions wait for their answers", server)
		}
		q = &question{done: make(chan struct{})}
		f.waiting[key] = q
		go f.run(q, key, carryOut)
	}
	f.mu.Unlock()
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return refuse(CRLUnreachable, "%s: no answer in time", server)
	}
}

// run carries out one question.
func (f *fetcher) run(q *question, key cacheKey, carryOut func(context.Context) error) {
	f.slots <- struct{}{}
	ctx, cancel := context.WithTimeout(context.Background(), f.settings().FetchTimeout)
	q.err = carryOut(ctx)
	cancel()
	<-f.slots
	f.mu.Lock()
	delete(f.waiting, key)
	f.mu.Unlock()
	close(q.done)
}

// count notes what came of a question, and leaves a server that did not answer alone.
func (f *fetcher) count(server string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[resultOf(err)]++
	if err != nil {
		f.remember(server, err)
	}
}

// remember leaves a server alone for a while; f.mu is held.
func (f *fetcher) remember(server string, err error) {
	now := f.now()
	maps.DeleteFunc(f.silent, func(_ string, s silence) bool { return !now.Before(s.until) })
	if len(f.silent) < maxSilent {
		f.silent[server] = silence{server, now.Add(retryAfter), err}
	}
}

// forget lets every server be asked again.
func (f *fetcher) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.silent)
}

// failures is the servers that are left alone for now, each with why.
func (f *fetcher) failures() []silence {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.silent))
}

// results counts the questions since start by what came of them.
func (f *fetcher) results() map[string]uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.counts)
}

// resultOf is the word of a metric.
func resultOf(err error) string {
	if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
		return string(refusal.Reason)
	}
	return "ok"
}

// exchange is one HTTP request, counted.
func (f *fetcher) exchange(ctx context.Context, method, address string, body []byte, limit int) ([]byte, error) {
	answer, err := f.request(ctx, method, address, body, limit)
	f.count(address, err)
	return answer, err
}

// request gets an answer of which every octet counts against the limit.
func (f *fetcher) request(ctx context.Context, method, address string, body []byte, limit int) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, refuse(CRLRefused, "%q: expected the address of an HTTP server", address)
	}
	if err := checkURL(request.URL); err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/ocsp-request") // RFC 6960 A.1
	}
	response, err := f.client.Do(request)
	if err != nil {
		return nil, unreachable(address, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, refuse(CRLUnreachable, "%s: HTTP status %d, expected 200", address, response.StatusCode)
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, int64(limit)+1))
	if err != nil {
		return nil, unreachable(address, err)
	}
	if len(answer) > limit {
		return nil, refuse(CRLTooLarge, "%s: expected at most %d bytes, found more", address, limit)
	}
	return answer, nil
}

// unreachable is a failure to get an answer, or the refusal to ask.
func unreachable(address string, err error) error {
	if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
		return refuse(refusal.Reason, "%s: %s", address, refusal.Detail)
	}
	if at := (*url.Error)(nil); errors.As(err, &at) {
		err = at.Err // the address is there already
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer in time")
	}
	return refuse(CRLUnreachable, "%s: %v", address, err)
}
