package appliance

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/appliance/api"
	"sallyport/appliance/config"
	"sallyport/pki"
)

// routeCertificates routes what shows certificates and CRLs, and the flush of the latter.
func (g *Gateway) routeCertificates(mux *http.ServeMux, get func(path string, view func(*http.Request) (any, error))) {
	get(api.PathCertificates, func(*http.Request) (any, error) {
		now := g.running()
		return certificatesView(now.cfg.Auth, time.Now()), nil
	})
	get(api.PathCRL, func(*http.Request) (any, error) {
		return revocationView(g.running().cfg.Auth.Checks, g.certificates.checker), nil
	})
	mux.HandleFunc("POST "+api.PathCRLFlush, func(w http.ResponseWriter, r *http.Request) {
		count, err := g.certificates.checker.Flush()
		if by := caller(r.Context()); err != nil {
			g.log.Error("CRL cache not flushed whole", "by", by, "crls", count, "error", err)
		} else {
			g.log.Info("CRL cache flushed", "by", by, "crls", count)
		}
		respond(w, api.Flushed{CRLs: count}, err)
	})
}

// certificatesView lists our certificates before those of CAs, each in the order of the configuration.
func certificatesView(auth config.Authentication, now time.Time) []api.Certificate {
	list := make([]api.Certificate, 0, len(auth.Certificates))
	for _, use := range []string{config.UseOwn, config.UseChain, config.UseCA} {
		for _, u := range auth.Certificates {
			if u.Use == use {
				list = append(list, certificateView(u, auth, now))
			}
		}
	}
	return list
}

func certificateView(u config.CertificateUse, auth config.Authentication, now time.Time) api.Certificate {
	c := u.Certificate
	digest := sha256.Sum256(c.Raw)
	view := api.Certificate{
		Use: u.Use, Subject: pki.Subject(c), Names: pki.Names(c), Issuer: pki.Issuer(c), Serial: pki.Serial(c), NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		DaysLeft: int(math.Floor(c.NotAfter.Sub(now).Hours() / 24)), Key: pki.KeyText(c.PublicKey), Fingerprint: hex.EncodeToString(digest[:]),
		File: u.File, Peers: append([]string{}, u.Peers...),
	}
	if u.Use == config.UseCA {
		for peer, trust := range auth.Trust {
			if slices.ContainsFunc(trust.Authorities.Certificates(), c.Equal) {
				view.Peers = append(view.Peers, peer)
			}
		}
		slices.Sort(view.Peers)
	}
	if err := pki.Expiry(c, now); err != nil {
		view.Warning = pki.Detail(err)
	}
	return view
}

// revocationView shows the CRLs that serve, and the servers that do not.
func revocationView(settings pki.Settings, checker *pki.Checker) api.Revocation {
	view := api.Revocation{Mode: int(settings.Mode), OCSP: settings.OCSP, CRLs: []api.CRL{}, Servers: []api.DeadServer{}}
	for _, l := range checker.Lists() {
		view.CRLs = append(view.CRLs, api.CRL{
			Source: l.Source, File: l.Local, Issuer: l.Issuer, ThisUpdate: l.ThisUpdate, NextUpdate: l.NextUpdate, Revoked: l.Revoked, Bytes: l.Bytes,
		})
	}
	for _, s := range checker.Silent() {
		view.Servers = append(view.Servers, api.DeadServer{Server: s.Server, Until: s.Until, Error: s.Error})
	}
	return view
}

// collectCertificates are the metrics of certificates, beside the counter of checks.
func (g *Gateway) collectCertificates(counter, gauge func(d *prometheus.Desc, n uint64, labels ...string)) {
	counts := g.certificates.checker.Counters()
	for result, n := range counts.Fetches {
		counter(descFetches, n, result)
	}
	counter(descUnknown, counts.Unknown)
	seen := map[[4]string]bool{}
	for _, u := range g.running().cfg.Auth.Certificates {
		labels := [4]string{u.Use, pki.Subject(u.Certificate), pki.Serial(u.Certificate), u.File}
		if !seen[labels] {
			seen[labels] = true
			gauge(descExpiry, uint64(max(0, u.Certificate.NotAfter.Unix())), labels[:]...)
		}
	}
}
