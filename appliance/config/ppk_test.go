package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goodPPK = "q0Yw5n1S2bqDkQm3v8RtXz7uLp4eHj6aGc9oFi0WsMA="

// A postquantum preshared key has the rules of key files, a name, and 256 bits; it never shows.
func TestPPK(t *testing.T) {
	parse := func(t *testing.T, keys, content string, mode os.FileMode) (*Config, error) {
		t.Helper()
		folder := t.TempDir()
		writeKey(t, folder, "site-b.psk", goodKey+"\n")
		writeKey(t, folder, "site-b.ppk", content)
		if err := os.Chmod(filepath.Join(folder, "site-b.ppk"), mode); err != nil {
			t.Fatal(err)
		}
		return parseIn(folder, strings.Replace(base, "remote: 192.0.2.2,", "remote: 192.0.2.2, "+keys+",", 1))
	}
	const all = "ppk_file: site-b.ppk, ppk_id: b-2026, ppk_required: true"
	c, err := parse(t, all, goodPPK+"\n", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ppk := c.plan.peers[0].PPK
	if ppk == nil || ppk.ID != "b-2026" || !ppk.Required || string(ppk.Key.Bytes()) != goodPPK {
		t.Error("the PPK is not that of the file")
	}
	if text := fmt.Sprintf("%+v %#v", c.plan.peers, c.plan.peers[0]); strings.Contains(text, goodPPK) {
		t.Error("the PPK shows")
	}
	for _, bad := range []struct {
		keys, content string
		mode          os.FileMode
		says          string
	}{
		{"ppk_file: site-b.ppk", goodPPK, 0o600, "peers[0].ppk_id: expected what names"},
		{"ppk_id: b-2026", goodPPK, 0o600, "peers[0].ppk_id: expected a postquantum preshared key, found no name"},
		{"ppk_required: true", goodPPK, 0o600, "peers[0].ppk_required: expected a postquantum"},
		{all, goodPPK, 0o644, "peers[0].ppk_file: "},
		{all, goodPPK[:42], 0o600, "found 42"},
		{all, strings.Repeat("a", 64), 0o600, "peers[0].ppk_file: "},
		{all, goodKey, 0o600, "found the preshared key of psk_file"},
		{all, "", 0o600, "found an empty file"},
		{strings.Replace(all, "site-b.ppk", "nowhere.ppk", 1), goodPPK, 0o600, "peers[0].ppk_file: expected the name of a file"},
	} {
		_, err := parse(t, bad.keys, bad.content, bad.mode)
		if err == nil || !strings.Contains(err.Error(), bad.says) || strings.Contains(err.Error(), goodPPK[:40]) {
			t.Errorf("%s: error %v, expected one that says %q", bad.keys, err, bad.says)
		}
	}
}
