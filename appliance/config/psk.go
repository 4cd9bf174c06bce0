package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"syscall"

	"sallyport/crypto"
)

const (
	minPSKLength  = 25   // characters, S-067
	maxPSKFile    = 4096 // bytes
	minPSKEntropy = 60.0 // bits by the estimate of entropy: 25 random decimal digits stay above it, patterns below
)

// readPSK reads a preshared key, which is all of its file.
func readPSK(configPath, name string, uid int) (crypto.Secret, error) {
	return readLine(configPath, name, "the preshared key", maxPSKFile, uid)
}

// readLine reads a secret that is the only line of its file.
func readLine(configPath, name, what string, most, uid int) (crypto.Secret, error) {
	text, err := readSecretFile(configPath, name, what, most, uid)
	if err != nil {
		return crypto.Secret{}, err
	}
	defer clear(text)
	content := bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	switch {
	case len(content) == 0:
		return crypto.Secret{}, fmt.Errorf("%s: expected %s, found an empty file", name, what)
	case bytes.ContainsAny(content, "\r\n\x00"):
		return crypto.Secret{}, fmt.Errorf("%s: expected one line of text with %s, found several or NUL", name, what)
	}
	return crypto.NewSecret(bytes.Clone(content)), nil
}

// readSecretFile reads a file with secrets, which only its owner may read. Its path is relative to the folder of the
// configuration file, and it holds at most so many bytes. Whoever gets the text clears it.
func readSecretFile(configPath, name, what string, most, uid int) ([]byte, error) {
	name = besides(configPath, name)
	// Not blocking: a named pipe in place of the file must not stop the program.
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if at := (*fs.PathError)(nil); errors.As(err, &at) {
			err = at.Err
		}
		return nil, fmt.Errorf("expected the name of a file with %s: %w (a relative name starts at the configuration's folder; it is not shown because it may be the key itself)", what, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("expected a file with %s: %w", what, err)
	}
	if err := checkKeyFile(name, info, uid); err != nil {
		return nil, err
	}
	text := make([]byte, most+1)
	n, err := io.ReadFull(file, text)
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("cannot read %s: %w", what, err)
	case n > most:
		err = fmt.Errorf("%s: expected %s in at most %d bytes, found more", name, what, most)
	default:
		return text[:n], nil
	}
	clear(text)
	return nil, err
}

// besides is the path of a file that the configuration names.
func besides(configPath, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(configPath), name)
}

// checkKeyFile refuses a file that others can read or change.
func checkKeyFile(name string, info os.FileInfo, uid int) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: expected a regular file, found %s", name, kindOf(info.Mode()))
	}
	if others := info.Mode().Perm() & 0o077; others != 0 {
		return fmt.Errorf("%s: expected a file for its owner only, found mode %04o: chmod 600 it, and choose a new key if others may have read it", name, info.Mode().Perm())
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != uid {
		return fmt.Errorf("%s: expected a file of root or of user %d, who runs this, found user %d", name, uid, stat.Uid)
	}
	return nil
}

// pskWeakness says why a key is too easy to guess, or "" (S-067). It never quotes the key.
func pskWeakness(key []byte) string {
	if len(key) < minPSKLength {
		return fmt.Sprintf("expected %d or more random characters, found %d", minPSKLength, len(key))
	}
	if entropy(key) < minPSKEntropy {
		return fmt.Sprintf("expected %d or more random characters, found a pattern or too few different characters", minPSKLength)
	}
	return ""
}

// entropy is a rough upper estimate of the bits of chance in the key, from how often each character occurs. A pattern
// that repeats counts once, and a sequence such as abcdef is caught by the differences of its neighbours.
func entropy(key []byte) float64 {
	key = key[:period(key)]
	differences := make([]byte, max(len(key)-1, 0))
	defer clear(differences)
	for i := range differences {
		differences[i] = key[i+1] - key[i]
	}
	return min(shannon(key), shannon(differences))
}

// period is the length of the part that the key repeats, or the length of the key.
func period(key []byte) int {
	for p := 1; p <= len(key)/2; p++ {
		if bytes.Equal(key[p:], key[:len(key)-p]) {
			return p
		}
	}
	return len(key)
}

// shannon is the entropy of the octets' own distribution, in bits for all of them.
func shannon(octets []byte) float64 {
	var counts [256]int
	for _, o := range octets {
		counts[o]++
	}
	bits := 0.0
	for _, n := range counts {
		if n > 0 {
			bits -= float64(n) * math.Log2(float64(n)/float64(len(octets)))
		}
	}
	return bits
}
