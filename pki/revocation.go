package pki

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"maps"
	"slices"
	"strings"
)

// maxPoints bounds the servers that are asked about one certificate.
const maxPoints = 4

// checkRevocation asks about every certificate of a path but the root, which is trusted because it is listed.
func (c *Checker) checkRevocation(ctx context.Context, p path) error {
	settings := c.settings.Load()
	if settings.Mode == CRLOff {
		return nil
	}
	for i, certificate := range p[:len(p)-1] {
		err := c.status(ctx, settings, certificate, p[i+1])
		refusal := (*Refusal)(nil)
		switch {
		case err == nil:
		case settings.Mode == CRLStrict, errors.As(err, &refusal) && refusal.Reason == CertRevoked:
			return err
		default:
			c.unknown.Add(1)
			c.log.Warn("a certificate passes though it cannot be told whether it is revoked (auth.crl_mode 1)", "subject", Subject(certificate), "error", err)
		}
	}
	return nil
}

// status is nil for a certificate that is not revoked: what the operator's files say, else a responder, else the issuer's list. The first
// that can tell decides.
func (c *Checker) status(ctx context.Context, settings *Settings, certificate, issuer *x509.Certificate) error {
	var faults []error
	list, err := c.localList(settings, certificate, issuer)
	if list != nil {
		return list.check(certificate)
	}
	faults = append(faults, err)
	if settings.OCSP {
		for _, server := range servers(certificate.OCSPServer) {
			a, err := c.respond(ctx, server, certificate, issuer)
			if err == nil {
				return a.refusal
			}
			faults = append(faults, err)
		}
	}
	for _, server := range servers(certificate.CRLDistributionPoints) {
		list, err := c.fetchedList(ctx, server, issuer)
		if err == nil {
			if err = list.covers(certificate); err == nil {
				return list.check(certificate)
			}
		}
		faults = append(faults, err)
	}
	return c.noAnswer(certificate, faults)
}

// noAnswer is the last fault of those there were, which is that of the source that is asked last.
func (c *Checker) noAnswer(certificate *x509.Certificate, faults []error) error {
	for _, fault := range slices.Backward(faults) {
		if fault != nil {
			return fault
		}
	}
	return refuse(CRLMissing, "the certificate of %s names no HTTP server that tells whether it is revoked, and auth.crl_files has no CRL of %s", Subject(certificate), certificate.Issuer.String())
}

// servers leaves out addresses that are none of HTTP, such as those of LDAP.
func servers(addresses []string) []string {
	var list []string
	for _, a := range addresses {
		if lower := strings.ToLower(a); len(list) < maxPoints && (strings.HasPrefix(lower, "http://") || strings.HasPrefix(lower, "https://")) {
			list = append(list, a)
		}
	}
	return list
}

// localKey is a list of the operator's that an issuer is held against.
type localKey struct {
	issuer issuerID
	index  int // in Settings.Lists
}

type localCRL struct {
	list *crl
	err  error
}

// localList is a list of the operator's that tells about the certificate, or nil and what is wrong with those that might.
func (c *Checker) localList(settings *Settings, certificate, issuer *x509.Certificate) (*crl, error) {
	var fault error
	for i := range settings.Lists {
		if !bytes.Equal(settings.Lists[i].list.RawIssuer, issuer.RawSubject) {
			continue
		}
		list, err := c.readLocal(settings, i, issuer)
		if err == nil {
			err = list.current(c.now())
		}
		if err == nil {
			err = list.covers(certificate)
		}
		if err == nil {
			return list, nil
		}
		fault = refuse(reasonOf(err), "%s: %s", settings.Lists[i].File, Detail(err))
	}
	return nil, fault
}

// readLocal reads a list of the operator's once for each issuer.
func (c *Checker) readLocal(settings *Settings, index int, issuer *x509.Certificate) (*crl, error) {
	key := localKey{issuerOf(issuer), index}
	c.mu.Lock()
	known, has := c.local[key]
	c.mu.Unlock()
	if has && c.settings.Load() == settings {
		return known.list, known.err
	}
	list, err := parseCRL(settings.Lists[index].raw, issuer)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.settings.Load() == settings { // else Configure has forgotten the others
		remember(c.local, key, localCRL{list, err})
	}
	return list, err
}

// respond asks a responder, or knows its answer still.
func (c *Checker) respond(ctx context.Context, server string, certificate, issuer *x509.Certificate) (answer, error) {
	key := keyOf(issuer, "ocsp "+serialKey(certificate.SerialNumber))
	if known, has := c.known(key); has {
		return known, nil
	}
	err := c.fetcher.once(ctx, server, key, func(ctx context.Context) error {
		if _, has := c.known(key); has {
			return nil // since a moment ago
		}
		request, err := ocspRequest(certificate, issuer)
		if err != nil {
			return err
		}
		raw, err := c.fetcher.post(ctx, server, request)
		if err != nil {
			return err
		}
		a, err := parseAnswer(raw, certificate, issuer, c.now())
		if err != nil {
			return refuse(reasonOf(err), "%s: %s", server, Detail(err))
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		remember(c.answers, key, a)
		return nil
	})
	if err != nil {
		return answer{}, err
	}
	known, has := c.known(key)
	if !has {
		return answer{}, refuse(OCSPAnswer, "%s: the answer no longer holds", server)
	}
	return known, nil
}

// known is an OCSP answer that holds still.
func (c *Checker) known(key cacheKey) (answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, has := c.answers[key]
	return a, has && !c.now().After(a.until)
}

// fetchedList is an issuer's list from a server: the one in the cache until it expires (S-075).
func (c *Checker) fetchedList(ctx context.Context, server string, issuer *x509.Certificate) (*crl, error) {
	key := keyOf(issuer, server)
	if list := c.cached(key, issuer); list != nil {
		return list, nil
	}
	c.mu.Lock()
	bad, known := c.bad[key]
	c.mu.Unlock()
	if known && c.now().Before(bad.until) {
		return nil, bad.err
	}
	if err := c.fetcher.once(ctx, server, key, func(ctx context.Context) error { return c.fetchList(ctx, server, key, issuer) }); err != nil {
		return nil, err
	}
	if list := c.cached(key, issuer); list != nil {
		return list, nil
	}
	return nil, refuse(CRLExpired, "%s: the CRL no longer holds", server)
}

// fetchList brings a list into the cache. One that is not good is not asked for again for a while.
func (c *Checker) fetchList(ctx context.Context, server string, key cacheKey, issuer *x509.Certificate) error {
	if c.cached(key, issuer) != nil {
		return nil // since a moment ago
	}
	raw, err := c.fetcher.get(ctx, server)
	if err != nil {
		return err
	}
	select {
	case c.turns <- struct{}{}:
		defer func() { <-c.turns }()
	case <-ctx.Done():
		return refuse(CertBusy, "other checks have taken all the time there was")
	}
	list, err := parseCRL(raw, issuer)
	if err == nil {
		err = list.current(c.now())
	}
	if err == nil {
		c.cache.put(key, server, derOf(raw), list)
		return nil
	}
	err = refuse(reasonOf(err), "%s: %s", server, Detail(err))
	c.mu.Lock()
	defer c.mu.Unlock()
	remember(c.bad, key, silence{server, c.now().Add(retryAfter), err})
	return err
}

// cached is a list of the cache that holds still, or nil.
func (c *Checker) cached(key cacheKey, issuer *x509.Certificate) *crl {
	list := c.cache.get(key, issuer)
	if list == nil || list.current(c.now()) != nil {
		return nil
	}
	return list
}

// remember keeps a value; a full memory is emptied, which costs some questions.
func remember[K comparable, V any](memory map[K]V, key K, value V) {
	if len(memory) >= maxAnswers {
		clear(memory)
	}
	memory[key] = value
}

// Silent shows the servers that are left alone for now.
func (c *Checker) Silent() []Silent {
	c.mu.Lock()
	all := slices.Collect(maps.Values(c.bad))
	c.mu.Unlock()
	var list []Silent
	for _, s := range append(all, c.fetcher.failures()...) {
		if c.now().Before(s.until) {
			list = append(list, Silent{s.server, s.until, s.err.Error()})
		}
	}
	slices.SortFunc(list, func(a, b Silent) int { return strings.Compare(a.Server, b.Server) })
	return list
}

// reasonOf is the reason of an error of this package.
func reasonOf(err error) Reason {
	if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
		return refusal.Reason
	}
	return CRLMalformed
}
