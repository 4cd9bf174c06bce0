package importer

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// seed gives a fuzz target the files of testdata.
func seed(f *testing.F, pattern string) {
	f.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		f.Fatalf("%s: %v, %v", pattern, files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

// Whatever a file holds, it becomes a configuration that a gateway takes, or mistakes with their lines; never a panic.
func FuzzNetsh(f *testing.F) {
	seed(f, "testdata/*.netsh")
	f.Add([]byte("add policy p\nadd filter l me any\nadd filteraction a action=n\nadd rule r p l a"))
	f.Add([]byte("pushd ipsec static\nadd policy name = x assign = y\nadd filter filterlist=l srcaddr=any dstaddr=1.2.3.0 dstmask=24 proto=6 dstport=80\nadd filteraction name=b action=block\nadd rule name=r policy=x filterl=l filtera=b\npopd\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		check(t, data, func() (*Result, error) { return Netsh("file", data) })
	})
}

func FuzzSwanctl(f *testing.F) {
	seed(f, "testdata/*.swanctl.conf")
	f.Add([]byte("connections { a : b { children { c { remote_ts = 10.0.0.0/8[tcp/80] } } } }\nb { remote_addrs = 192.0.2.1 }"))
	f.Add([]byte("connections { a { remote_addrs=1.2.3.4\nchildren { c { local_ts=dynamic,fd00::/8\n remote_ts=::/0,0.0.0.0/0\nmode=drop } } } }"))
	f.Fuzz(func(t *testing.T, data []byte) {
		check(t, data, func() (*Result, error) { return Swanctl("file", data) })
	})
}

// check holds a result against what every result promises.
func check(t *testing.T, data []byte, run func() (*Result, error)) {
	t.Helper()
	if len(data) > 1<<16 {
		return
	}
	result, err := run()
	if (result == nil) == (err == nil) {
		t.Fatalf("result %v and error %v, expected one of them", result, err)
	}
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if !strings.HasPrefix(line, "file:") {
				t.Errorf("a mistake without the file: %q", line)
			}
		}
		return
	}
	mustParse(t, result)
	lines := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r")) + 1
	for _, n := range result.Notes {
		if n.Line < 0 || n.Line > lines || n.Text == "" || n.Severity != SeverityLost && n.Severity != SeverityChanged && n.Severity != SeverityInfo {
			t.Errorf("note %+v of a file of %d lines", n, lines)
		}
	}
}

// A file is the same in every code page that Windows saves it in.
func TestCodePages(t *testing.T) {
	data, err := os.ReadFile("testdata/site-to-site.netsh")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := Netsh("f", data)
	if err != nil {
		t.Fatal(err)
	}
	utf16 := func(e unicode.Endianness, bom unicode.BOMPolicy) []byte {
		out, err := unicode.UTF16(e, bom).NewEncoder().Bytes(data)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	single := func(page *charmap.Charmap) []byte {
		out, err := page.NewEncoder().Bytes(data)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for name, each := range map[string]struct {
		data    []byte
		assumed string
	}{
		"UTF-8 with a mark":          {append([]byte("\xEF\xBB\xBF"), data...), ""},
		"lines of Windows":           {bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")), ""},
		"UTF-16LE with a mark":       {utf16(unicode.LittleEndian, unicode.UseBOM), ""},
		"UTF-16BE with a mark":       {utf16(unicode.BigEndian, unicode.UseBOM), ""},
		"UTF-16LE without":           {utf16(unicode.LittleEndian, unicode.IgnoreBOM), "UTF-16, low octet first"},
		"UTF-16BE without":           {utf16(unicode.BigEndian, unicode.IgnoreBOM), "UTF-16, high octet first"},
		"Windows-1252, of an editor": {single(charmap.Windows1252), "Windows-1252"},
		"850, of a command prompt":   {single(charmap.CodePage850), "code page 850"},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := Netsh("f", each.data)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(result.YAML, plain.YAML) {
				t.Errorf("differs from UTF-8:\n%s", result.YAML)
			}
			said := strings.Contains(result.Notes[0].Text, each.assumed+" is assumed")
			if said != (each.assumed != "") {
				t.Errorf("notes begin with %q, want it to say that %q is assumed", result.Notes[0].Text, each.assumed)
			}
		})
	}
}
