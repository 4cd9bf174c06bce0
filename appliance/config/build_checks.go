package config

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"sallyport/pki"
)

// Bounds of what certificates and CRLs may take.
const (
	maxCertificateFile = 1 << 20 // bytes
	maxPrivateKeyFile  = 64 << 10
	maxPassphraseFile  = 4096
	maxCRLFiles        = 1000
	minFetch           = 500 * time.Millisecond
	maxFetch           = 10 * time.Second // several questions have to fit into pki.CheckLimit
	maxCRLMB           = 64
	maxCacheMB         = 1024
	maxNetworks        = 64
)

// CertificateUse is a certificate that the configuration names: ours, one that is sent with it, or a CA's.
type CertificateUse struct {
	File        string // as the configuration has it
	Peers       []string
	Use         string // own, chain or ca
	Certificate *x509.Certificate
}

// What a certificate is for.
const (
	UseOwn   = "own"
	UseChain = "chain"
	UseCA    = "ca"
)

// credentialFiles are the files of a credential; peers share those that they have in common.
type credentialFiles struct{ certificate, key, passphrase string }

// checks reads how certificates are checked, whoever the peer is.
func (b *builder) checks() {
	raw := &b.raw.Auth
	b.credentials, b.authorities = map[credentialFiles]*pki.Credential{}, map[string][]*x509.Certificate{}
	settings := pki.DefaultSettings()
	settings.Mode = pki.Mode(b.within("auth.crl_mode", raw.CRLMode, 0, int(pki.CRLStrict), "(0 asks nobody, 1 lets pass what cannot be found out, 2 refuses it)"))
	settings.OCSP = raw.OCSP == "on"
	settings.MaxCRL = b.within("auth.crl_max_mb", raw.CRLMaxMB, 1, maxCRLMB, "MiB") << 20
	settings.CacheSize = b.within("auth.crl_cache_mb", raw.CRLCacheMB, raw.CRLMaxMB, maxCacheMB, "MiB, from crl_max_mb on") << 20
	if settings.FetchTimeout = raw.FetchTimeout; raw.FetchTimeout < minFetch || raw.FetchTimeout > maxFetch {
		b.add("auth.fetch_timeout", "expected a time from %s to %s, because a peer waits for it, found %s", minFetch, maxFetch, raw.FetchTimeout)
	}
	if raw.FetchNetworks != nil && (len(raw.FetchNetworks) == 0 || len(raw.FetchNetworks) > maxNetworks) {
		b.add("auth.fetch_networks", "expected 1 to %d networks, found %d: without the key servers may be everywhere but on this machine and its links", maxNetworks, len(raw.FetchNetworks))
	}
	for _, n := range raw.FetchNetworks {
		settings.FetchNetworks = append(settings.FetchNetworks, netip.Prefix(n))
	}
	settings.Lists = b.crlFiles(raw.CRLFiles, settings.MaxCRL)
	b.config.Auth = Authentication{Checks: settings, Trust: map[string]*pki.Trust{}}
	if raw.CAFiles != nil {
		b.caFiles("auth.ca_files", raw.CAFiles)
	}
}

// warnOfChecks says what is let pass, if a peer may authenticate by certificate at all.
func (b *builder) warnOfChecks() {
	if len(b.config.Auth.Trust) > 0 && b.config.Auth.Checks.Mode == pki.CRLOff { // S-073
		b.warn("auth.crl_mode is 0: nobody is asked whether a certificate is revoked, and one that is passes")
	}
}

// crlFiles reads the CRLs of files, and of the files of folders.
func (b *builder) crlFiles(names []string, most int) []pki.LocalList {
	var lists []pki.LocalList
	for i, name := range names {
		key := fmt.Sprintf("auth.crl_files[%d]", i)
		for _, file := range b.crlsAt(key, name) {
			text, err := b.readPublic(file, "a CRL", most)
			if err != nil {
				b.add(key, "%s", oneLine(err))
				continue
			}
			found, err := pki.ParseLocalLists(file, text)
			if err != nil {
				b.add(key, "%s: %s", file, oneLine(err))
			}
			lists = append(lists, found...)
		}
		if len(lists) > maxCRLFiles {
			b.add(key, "expected at most %d CRLs in files, found more", maxCRLFiles)
			return nil
		}
	}
	return lists
}

// crlsAt are the files of a folder that may be CRLs, or the file that has the name.
func (b *builder) crlsAt(key, name string) (files []string) {
	if info, err := os.Stat(besides(b.path, name)); err != nil || !info.IsDir() {
		return []string{name}
	}
	entries, err := os.ReadDir(besides(b.path, name))
	if err != nil {
		b.add(key, "expected a folder with CRLs: %s", oneLine(err))
		return nil
	}
	for _, e := range entries {
		if ending := filepath.Ext(e.Name()); ending == ".crl" || ending == ".pem" {
			files = append(files, filepath.Join(name, e.Name()))
		}
	}
	if len(files) == 0 {
		b.warn("%s: folder %q has no file that ends in .crl or .pem, so no CRL comes from it", key, name)
	}
	return files
}

// caFiles reads the CAs of files. Those that are not good are reported at the key, and left out.
func (b *builder) caFiles(key string, names []string) *pki.Authorities {
	var all []*x509.Certificate
	for i, name := range names {
		certificates, known := b.authorities[name]
		if !known {
			text, err := b.readPublic(name, "the certificates of CAs", maxCertificateFile)
			if err == nil {
				if certificates, err = pki.ParseAuthorities(text); err != nil {
					err = fmt.Errorf("%s: %w", name, err)
				}
			}
			if err != nil {
				b.add(fmt.Sprintf("%s[%d]", key, i), "%s", oneLine(err))
			}
			b.authorities[name] = certificates
		}
		for _, c := range certificates {
			b.use("", name, UseCA, c)
		}
		all = append(all, certificates...)
	}
	return pki.NewAuthorities(all...)
}

func (b *builder) credentialFiles(auth *fileAuth) credentialFiles {
	return credentialFiles{auth.CertificateFile, auth.PrivateKeyFile, auth.PassphraseFile}
}

// credential reads our certificate and key toward a peer, nil if there are none. A key that is locked and has nothing to unlock it with
// fails here and not when it is needed (S-072).
func (b *builder) credential(key string, auth *fileAuth) *pki.Credential {
	files := b.credentialFiles(auth)
	switch {
	case files == credentialFiles{}:
		return nil
	case b.anyWithin(key+".certificate_file") || b.anyWithin(key+".private_key_file"):
		return nil
	case files.certificate == "":
		b.add(key, "expected certificate_file, the certificate of private_key_file and passphrase_file, found none")
		return nil
	case files.key == "":
		b.add(key+".certificate_file", "expected private_key_file beside it, the private key of the certificate, found none")
		return nil
	}
	if known, has := b.credentials[files]; has {
		return known
	}
	credential, faulty, err := b.readCredential(files)
	if err != nil {
		b.add(key+"."+faulty, "%s", oneLine(err))
	}
	b.credentials[files] = credential
	return credential
}

// readCredential reads the files of a credential, and says which of them is not good.
func (b *builder) readCredential(files credentialFiles) (credential *pki.Credential, faulty string, err error) {
	chain, err := b.readPublic(files.certificate, "our certificate", maxCertificateFile)
	if err != nil {
		return nil, "certificate_file", err
	}
	private, err := readSecretFile(b.path, files.key, "the private key", maxPrivateKeyFile, b.options.Machine.UID)
	if err != nil {
		return nil, "private_key_file", err
	}
	defer clear(private)
	var passphrase []byte
	if files.passphrase != "" {
		secret, err := readLine(b.path, files.passphrase, "the passphrase", maxPassphraseFile, b.options.Machine.UID)
		if err != nil {
			return nil, "passphrase_file", err
		}
		defer secret.Wipe()
		passphrase = secret.Bytes()
	}
	if credential, err = pki.ParseCredential(chain, private, passphrase); err == nil {
		return credential, "", nil
	}
	faulty = "certificate_file"
	if refusal := (*pki.Refusal)(nil); errors.As(err, &refusal) {
		switch refusal.Reason {
		case pki.KeyPassphrase:
			faulty = cmp.Or(map[bool]string{true: "passphrase_file"}[files.passphrase != ""], "private_key_file")
		case pki.KeyLocked, pki.KeyMalformed, pki.KeyMissing, pki.KeyMismatch:
			faulty = "private_key_file"
		}
	}
	return nil, faulty, err
}

// useOwn notes our certificates toward a peer.
func (b *builder) useOwn(peer string, files credentialFiles, credential *pki.Credential) {
	for i, c := range credential.Certificates {
		use := UseChain
		if i == 0 {
			use = UseOwn
		}
		b.use(peer, files.certificate, use, c)
	}
}

// use notes a certificate once, with every peer that it is for.
func (b *builder) use(peer, file, use string, certificate *x509.Certificate) {
	list := &b.config.Auth.Certificates
	i := slices.IndexFunc(*list, func(u CertificateUse) bool {
		return u.File == file && u.Use == use && u.Certificate.Equal(certificate)
	})
	if i < 0 {
		i = len(*list)
		*list = append(*list, CertificateUse{File: file, Use: use, Certificate: certificate})
	}
	if u := &(*list)[i]; peer != "" && !slices.Contains(u.Peers, peer) {
		u.Peers = append(u.Peers, peer)
	}
}

// readPublic reads a file that is no secret, relative to the folder of the configuration.
func (b *builder) readPublic(name, what string, most int) ([]byte, error) {
	if name == "" {
		return nil, fmt.Errorf("expected the name of a file with %s, found nothing", what)
	}
	// Not blocking: a named pipe in place of the file must not stop the program.
	file, err := os.OpenFile(besides(b.path, name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("expected a file with %s: %w", what, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("expected a file with %s: %w", what, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: expected a file with %s, found %s", name, what, kindOf(info.Mode()))
	}
	text, err := io.ReadAll(io.LimitReader(file, int64(most)+1))
	if err == nil && len(text) > most {
		err = fmt.Errorf("%s: expected %s in at most %d bytes, found more", name, what, most)
	}
	return text, err
}
