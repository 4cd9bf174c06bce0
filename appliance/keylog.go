package appliance

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"sallyport/appliance/api"
	"sallyport/crypto"
	"sallyport/ike"
)

// keyLog writes keys as the tables that Wireshark reads (User's Guide 11.22 "ISAKMP IKEv2 decryption table", the same of IKEv1, and the table esp_sa of its
// ESP preferences), as files of its profile directory: those of IKE SAs of IKEv2 to the file that is named, those of IKEv1, and of ESP and AH, to files
// beside it. The names of algorithms are Wireshark's own; of two lines with the same SPIs it takes the last; what it cannot decrypt becomes a comment. For
// a lab: whoever has the files reads all traffic.
type keyLog struct {
	path            string
	ike, ikev1, esp *os.File
	log             *slog.Logger
	broken          bool // said so
}

// The ends of the names of the files beside the first.
const (
	espTable   = ".esp_sa"
	ikev1Table = ".ikev1"
)

// openKeyLog opens the files to append to; nobody but their owner may read them.
func openKeyLog(path string, log *slog.Logger) (k *keyLog, err error) {
	k = &keyLog{path: path, log: log}
	for _, file := range []struct {
		end string
		at  **os.File
	}{{"", &k.ike}, {ikev1Table, &k.ikev1}, {espTable, &k.esp}} {
		if *file.at, err = openPrivate(path + file.end); err != nil {
			return nil, errors.Join(err, k.close())
		}
	}
	return k, nil
}

func openPrivate(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keylog: %w", err)
	}
	if err := errors.Join(ownAlone(f), f.Chmod(0o600)); err != nil {
		return nil, errors.Join(fmt.Errorf("keylog: %w", err), f.Close())
	}
	return f, nil
}

// ownAlone refuses a file that somebody else has laid where the keys are to go, and would read, whatever its mode.
func ownAlone(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if is, ok := info.Sys().(*syscall.Stat_t); !ok || !info.Mode().IsRegular() || int(is.Uid) != os.Geteuid() || is.Nlink != 1 {
		return fmt.Errorf("%s: expected a file of the gateway's own user, under one name, or none", f.Name())
	}
	return nil
}

func (k *keyLog) close() (failed error) {
	for _, file := range []*os.File{k.ike, k.ikev1, k.esp} {
		if file != nil {
			failed = errors.Join(failed, file.Close())
		}
	}
	return failed
}

// warning is what every view says while keys are written.
func (k *keyLog) warning() string {
	return fmt.Sprintf("all keys are written to %s, %s%s and %s%s: whoever reads them reads the traffic; for a lab only", k.path, k.path, ikev1Table, k.path, espTable)
}

// write is ike.Config.KeyLog.
func (k *keyLog) write(keys ike.KeyLog) {
	to, line := k.ike, ""
	switch {
	case keys.Child != nil:
		to, line = k.esp, childLines(keys)
	case keys.Version == ike.V1:
		to, line = k.ikev1, ikev1Line(keys)
	default:
		line = ikeLine(keys)
	}
	if _, err := to.WriteString(line + "\n"); err != nil && !k.broken {
		k.broken = true
		k.log.Error("keylog: keys are missing from here on", "error", err)
	}
}

// ikeLine is a line of ikev2_decryption_table: both SPIs, SK_ei, SK_er, encryption algorithm, SK_ai, SK_ar, integrity algorithm.
func ikeLine(keys ike.KeyLog) string {
	cipher, integrity := ikeCipherName(keys.Suite), ikeIntegrityNames[keys.Suite.Integ]
	spis := ikeSPIText(keys.SPIi) + "," + ikeSPIText(keys.SPIr)
	if cipher == "" || integrity == "" {
		return fmt.Sprintf("# %s: Wireshark does not decrypt %v", spis, keys.Suite)
	}
	return fmt.Sprintf("%s,%s,%s,%q,%s,%s,%q", spis, hexOf(keys.EI), hexOf(keys.ER), cipher, hexOf(keys.AI), hexOf(keys.AR), integrity)
}

// ikev1Line is a line of ikev1_decryption_table: the initiator's cookie and the key of the cipher.
func ikev1Line(keys ike.KeyLog) string { return ikeSPIText(keys.SPIi) + "," + hexOf(keys.EI) }

func hexOf(s crypto.Secret) string { return hex.EncodeToString(s.Bytes()) }

// ikeCipherName is empty for what the table has no name for.
func ikeCipherName(s crypto.Suite) string {
	bits := strconv.Itoa(s.KeyBits)
	if icv := aeadICVs[s.Encr]; icv != "" {
		mode := "GCM"
		if s.Encr <= crypto.EncrAESCCM16 {
			mode = "CCM"
		}
		return fmt.Sprintf("AES-%s-%s with %s octet ICV [RFC5282]", mode, bits, icv)
	}
	switch s.Encr {
	case crypto.EncrAESCBC:
		return "AES-CBC-" + bits + " [RFC3602]"
	case crypto.EncrAESCTR:
		return "AES-CTR-" + bits + " [RFC5930]"
	}
	return ""
}

var aeadICVs = map[crypto.EncrID]string{
	crypto.EncrAESCCM8: "8", crypto.EncrAESCCM12: "12", crypto.EncrAESCCM16: "16",
	crypto.EncrAESGCM8: "8", crypto.EncrAESGCM12: "12", crypto.EncrAESGCM16: "16",
}

var ikeIntegrityNames = map[crypto.IntegID]string{
	crypto.IntegNone: "NONE [RFC4306]", crypto.IntegHMACMD5: "HMAC_MD5_96 [RFC2403]", crypto.IntegHMACSHA1: "HMAC_SHA1_96 [RFC2404]",
	crypto.IntegHMACSHA256: "HMAC_SHA2_256_128 [RFC4868]", crypto.IntegHMACSHA384: "HMAC_SHA2_384_192 [RFC4868]",
	crypto.IntegHMACSHA512: "HMAC_SHA2_512_256 [RFC4868]",
}

// childLines are for esp_sa: a line for one direction of ESP, and a comment of the same form for AH, of which Wireshark checks nothing. A bundle has both.
func childLines(keys ike.KeyLog) string {
	sa := keys.Child
	source, destination := sa.Local.Addr(), sa.Remote.Addr()
	if keys.Inbound {
		source, destination = destination, source
	}
	switch {
	case sa.Protocol == crypto.ProtocolAH:
		return ahLine(source, destination, &ike.AHLayer{SPI: sa.SPI, Suite: sa.Suite, Keymat: sa.Keymat})
	case sa.AH != nil:
		return ahLine(source, destination, sa.AH) + "\n" + espLine(source, destination, sa)
	}
	return espLine(source, destination, sa)
}

// espLine is a line of esp_sa: IP version, source, destination, SPI, encryption, its key with the salt, authentication, its key.
func espLine(source, destination netip.Addr, sa *ike.ChildSA) string {
	cipher, integrity := espCipherName(sa.Suite), espIntegrityNames[sa.Suite.Integ]
	if cipher == "" || integrity == "" {
		return fmt.Sprintf("# %s > %s %s: Wireshark does not decrypt %v of %v", source, destination, spiText(sa.SPI), sa.Suite, sa.Protocol)
	}
	keymat := sa.Keymat.Bytes()
	n := sa.Suite.KeyLen() + sa.Suite.SaltLen()
	return saLine(source, destination, sa.SPI, cipher, keymat[:n], integrity, keymat[n:])
}

// ahLine is the same of AH, as a comment. Integrity algorithms without a name in Wireshark have that of the configuration.
func ahLine(source, destination netip.Addr, sa *ike.AHLayer) string {
	integrity := espIntegrityNames[sa.Suite.Integ]
	if integrity == "" {
		integrity = sa.Suite.String()
	}
	return "# AH: " + saLine(source, destination, sa.SPI, "NULL", nil, integrity, sa.Keymat.Bytes())
}

func saLine(source, destination netip.Addr, spi uint32, cipher string, key []byte, integrity string, integrityKey []byte) string {
	version := "IPv4"
	if source.Is6() {
		version = "IPv6"
	}
	fields := []string{version, source.String(), destination.String(), spiText(spi), cipher, espKey(key), integrity, espKey(integrityKey)}
	for i := range fields {
		fields[i] = strconv.Quote(fields[i])
	}
	return strings.Join(fields, ",")
}

func espKey(key []byte) string {
	if len(key) == 0 {
		return ""
	}
	return "0x" + hex.EncodeToString(key)
}

// espCipherName is empty for what the table has no name for. It has names for AES-GCM with shorter ICVs since Wireshark 4.0.
func espCipherName(s crypto.Suite) string {
	switch s.Encr {
	case crypto.EncrNull:
		return "NULL"
	case crypto.EncrAESCBC:
		return "AES-CBC [RFC3602]"
	case crypto.EncrAESCTR:
		return "AES-CTR [RFC3686]"
	case crypto.EncrAESGCM8, crypto.EncrAESGCM12, crypto.EncrAESGCM16:
		return fmt.Sprintf("AES-GCM with %s octet ICV [RFC4106]", aeadICVs[s.Encr])
	}
	return ""
}

var espIntegrityNames = map[crypto.IntegID]string{
	crypto.IntegNone: "NULL", crypto.IntegHMACMD5: "HMAC-MD5-96 [RFC2403]", crypto.IntegHMACSHA1: "HMAC-SHA-1-96 [RFC2404]",
	crypto.IntegHMACSHA256: "HMAC-SHA-256-128 [RFC4868]", crypto.IntegHMACSHA384: "HMAC-SHA-384-192 [RFC4868]",
	crypto.IntegHMACSHA512: "HMAC-SHA-512-256 [RFC4868]",
}

// warned has every answer of the API carry the warning.
func (k *keyLog) warned(next http.Handler) http.Handler {
	if k == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(api.WarningHeader, k.warning())
		next.ServeHTTP(w, r)
	})
}
