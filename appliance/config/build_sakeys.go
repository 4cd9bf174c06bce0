package config

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"sallyport/crypto"
)

// saKeys gives an SA its keys: those of the configuration, or those of the key file.
func (b *builder) saKeys(key string, raw *fileSA, sa *ManualSA, seen *seenSAs) {
	keys := map[string]crypto.Secret{"key_in": raw.KeyIn, "key_out": raw.KeyOut, "ah_key_in": raw.AHKeyIn, "ah_key_out": raw.AHKeyOut}
	given := slices.ContainsFunc(sortedKeys(keys), func(name string) bool { return b.has(key + "." + name) })
	from := func(name string) string { return key + "." + name }
	switch {
	case b.has(key+".key_file") && given:
		b.add(key+".key_file", "expected keys in this file or in a key file, found both: leave one")
		return
	case b.has(key + ".key_file"):
		keys = b.keyFile(key+".key_file", raw.KeyFile)
		from = func(string) string { return key + ".key_file" }
		if keys == nil {
			return
		}
	default:
		seen.inFile = seen.inFile || given
	}
	take := func(layer *Layer, in, out string) {
		layer.KeyIn, layer.KeyOut = keys[in], keys[out]
		b.keyLength(from(in), in, layer.Suite, layer.KeyIn)
		b.keyLength(from(out), out, layer.Suite, layer.KeyOut)
		b.ownKey(from(out), out, sa.Name, layer, seen)
	}
	take(&sa.Layer, "key_in", "key_out")
	if sa.AH != nil {
		take(sa.AH, "ah_key_in", "ah_key_out")
	} else if keys["ah_key_in"].Len()+keys["ah_key_out"].Len() > 0 {
		b.add(from("ah_key_in"), "expected a key of AH only with ah: ALGORITHM, which puts AH around ESP, found none")
	}
}

// ownKey refuses a key that another SA sends by: both would count from the same number, and in counter modes no number may come twice
// under one key (RFC 4106 section 3.1).
func (b *builder) ownKey(key, name, sa string, layer *Layer, seen *seenSAs) {
	if layer.KeyOut.Len() == 0 {
		return
	}
	digest := sha256.Sum256(layer.KeyOut.Bytes())
	if other, taken := seen.senders[digest]; taken {
		b.add(key, "expected a %s that no other SA has, found that of SA %q: two SAs that send by one key use its numbers twice", name, other)
		return
	}
	seen.senders[digest] = sa
}

// keyLength checks a key against what the algorithms need.
func (b *builder) keyLength(key, name string, suite crypto.Suite, secret crypto.Secret) {
	want := suite.KeymatLen()
	if suite == (crypto.Suite{}) || secret.Len() == want { // no algorithm is reported already
		return
	}
	type part struct {
		length int
		what   string
	}
	order := []part{{suite.KeyLen(), "of the cipher"}, {suite.SaltLen(), "of salt"}, {suite.IntegKeyLen(), "of the integrity algorithm"}}
	if suite.AH() {
		order = []part{order[2], order[1]}
	}
	var parts []string
	for _, p := range order {
		if p.length > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.length, p.what))
		}
	}
	b.add(key, "expected %s of %d bytes for %s (%s), found %d", name, want, suite, strings.Join(parts, ", then "), secret.Len())
}

// keyFile reads the keys of an SA from a file of its own, whose lines are those of the configuration: "key_in: HEX".
func (b *builder) keyFile(key, name string) map[string]crypto.Secret {
	text, err := readSecretFile(b.path, name, "keys", maxPSKFile, b.options.Machine.UID)
	if err != nil {
		b.add(key, "%s", err)
		return nil
	}
	defer clear(text)
	keys, known := map[string]crypto.Secret{}, []string{"key_in", "key_out", "ah_key_in", "ah_key_out"}
	for number, line := range slices.Collect(bytes.Lines(text)) {
		word, value, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
		if word == "" {
			continue
		}
		secret, err := parseHexKey(strings.TrimSpace(value))
		switch {
		case !slices.Contains(known, word):
			b.add(key, "line %d of the key file: expected a line such as \"key_in: HEX\", with one of %s, found something else", number+1, strings.Join(known, ", "))
			return nil
		case err != nil:
			b.add(key, "line %d of the key file: %s", number+1, err)
			return nil
		case keys[word].Len() > 0:
			b.add(key, "line %d of the key file: expected one %s, found a second", number+1, word)
			return nil
		}
		keys[word] = secret
	}
	return keys
}
