package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/appliance/config"
	"sallyport/ike"
	"sallyport/pki"
)

// certificates carries out what IKE wants to know of certificates. A check may wait for a server, so each has a goroutine of its own; package
// ike bounds how many there are.
type certificates struct {
	checker *pki.Checker
	trust   atomic.Pointer[map[string]*pki.Trust] // by peer
	results *prometheus.CounterVec
	log     *slog.Logger

	ctx    context.Context
	cancel context.CancelFunc
	checks sync.WaitGroup
}

// newCertificates trusts nobody until configure. CRLs are kept in the gateway's state folder (S-075).
func newCertificates(state string, log *slog.Logger) *certificates {
	c := &certificates{
		checker: pki.NewChecker(filepath.Join(state, "crl"), pki.DefaultSettings(), time.Now, log), log: log,
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_certificate_checks_total",
			Help: "Checks of peers' certificates by peer and result: ok, or why a certificate was refused.",
		}, []string{"peer", "result"}),
	}
	c.trust.Store(&map[string]*pki.Trust{})
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// configure takes over what a configuration says. Checks under way end by what held when they began.
func (c *certificates) configure(auth config.Authentication) {
	trust := auth.Trust
	c.trust.Store(&trust)
	c.checker.Configure(auth.Checks)
}

// check answers a question of the engine's, at once or later.
func (c *certificates) check(question ike.CheckCertificates, answer func(ike.CertificatesChecked)) {
	trust := (*c.trust.Load())[question.Peer]
	c.checks.Go(func() {
		checked := ike.CertificatesChecked{Ticket: question.Ticket}
		result := "ok"
		if trust == nil {
			checked.Reason, checked.Detail = pki.CertUntrusted, "no CA is listed for the peer (ca_files)"
		} else {
			var err error
			if checked.Key, err = c.checker.Check(c.ctx, trust, question.Identity, question.Certificates); err != nil {
				checked.Reason, checked.Detail = ike.CertUnanswered, err.Error()
				if refusal := (*pki.Refusal)(nil); errors.As(err, &refusal) {
					checked.Reason, checked.Detail = refusal.Reason, refusal.Detail
				}
			}
		}
		if checked.Reason != "" {
			result = string(checked.Reason)
		}
		c.results.WithLabelValues(question.Peer, result).Inc() // peers and reasons are closed lists
		answer(checked)
	})
}

// close ends the checks under way.
func (c *certificates) close() {
	c.cancel()
	c.checks.Wait()
}

// watchExpiry warns of certificates that end soon, now and each day until ctx ends.
func (g *Gateway) watchExpiry(ctx context.Context) {
	const day = 24 * time.Hour
	ticks, stop := tickEvery(day)
	defer stop()
	for now := time.Now(); ; {
		warnOfExpiry(g.log, g.running().cfg.Auth.Certificates, now)
		select {
		case <-ctx.Done():
			return
		case now = <-ticks:
		}
	}
}

// ExpiryWarnings are what a check of a configuration and a change of it say of certificates that have ended, end soon or have not begun. They depend on
// the clock and are not among the configuration's own.
func ExpiryWarnings(uses []config.CertificateUse, now time.Time) (warnings []string) {
	for _, u := range uses {
		if err := pki.Expiry(u.Certificate, now); err != nil {
			warnings = append(warnings, fmt.Sprintf("certificate in %s (%s): %s", u.File, u.Use, pki.Detail(err)))
		}
	}
	return warnings
}

// warnOfExpiry names every certificate that has ended, ends soon or has not begun.
func warnOfExpiry(log *slog.Logger, uses []config.CertificateUse, now time.Time) {
	for _, u := range uses {
		if err := pki.Expiry(u.Certificate, now); err != nil {
			log.Warn("certificate", "use", u.Use, "file", u.File, "peers", u.Peers, "warning", pki.Detail(err))
		}
	}
}
