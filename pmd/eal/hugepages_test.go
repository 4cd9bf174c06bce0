package eal

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
)

// pagesFS is the kernel's directory of huge pages in memory: free and reserved counts by page size.
func pagesFS(counts map[string][2]string) fstest.MapFS {
	tree := fstest.MapFS{}
	for size, count := range counts {
		tree["hugepages-"+size+"/free_hugepages"] = &fstest.MapFile{Data: []byte(count[0] + "\n")}
		tree["hugepages-"+size+"/resv_hugepages"] = &fstest.MapFile{Data: []byte(count[1] + "\n")}
	}
	return tree
}

func TestChooseHugePages(t *testing.T) {
	for _, c := range []struct {
		name     string
		mode     string
		memoryMB int
		pages    fs.FS
		want     bool
		says     string // part of the reason or of the error
		fails    bool
	}{
		{"none reserved", "auto", 512, pagesFS(map[string][2]string{"2048kB": {"0", "0"}}), false,
			"0 MB of huge pages are free, 512 MB are wanted; to have them, add 256 to " +
				"/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", false},
		{"enough", "auto", 512, pagesFS(map[string][2]string{"2048kB": {"256", "0"}}), true, "512 MB of huge pages are free", false},
		{"one page short", "auto", 512, pagesFS(map[string][2]string{"2048kB": {"255", "0"}}), false, "add 1 to", false},
		{"promised to others", "auto", 512, pagesFS(map[string][2]string{"2048kB": {"256", "1"}}), false, "510 MB", false},
		{"sizes add up", "auto", 1536, pagesFS(map[string][2]string{"2048kB": {"256", "0"}, "1048576kB": {"1", "0"}}), true,
			"1536 MB of huge pages are free", false},
		{"advice is for the small pages", "auto", 3000, pagesFS(map[string][2]string{"1048576kB": {"0", "0"}, "2048kB": {"0", "0"}}),
			false, "add 1500 to /sys/kernel/mm/hugepages/hugepages-2048kB/", false},
		{"kernel without", "auto", 512, fstest.MapFS{}, false, "this kernel has no huge pages", false},
		{"turned off", "off", 512, pagesFS(map[string][2]string{"2048kB": {"9999", "0"}}), false, "turned off", false},
		{"required and there", "on", 512, pagesFS(map[string][2]string{"2048kB": {"256", "0"}}), true, "512 MB", false},
		{"required and missing", "on", 512, pagesFS(map[string][2]string{"2048kB": {"0", "0"}}), false, "or set huge_pages to auto", true},
		{"unknown mode", "yes", 512, pagesFS(nil), false, `"yes", expected auto, on or off`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			pools, err := readHugePages(c.pages)
			if err != nil {
				t.Fatal(err)
			}
			use, why, err := chooseHugePages(c.mode, c.memoryMB, pools)
			if err != nil {
				why = err.Error()
			}
			if use != c.want || (err != nil) != c.fails || !strings.Contains(why, c.says) {
				t.Errorf("use=%v error=%v %q, want use=%v error=%v and %q", use, err != nil, why, c.want, c.fails, c.says)
			}
		})
	}
}

func TestReadHugePagesBadInput(t *testing.T) {
	if _, err := readHugePages(pagesFS(map[string][2]string{"2048kB": {"many", "0"}})); err == nil ||
		!strings.Contains(err.Error(), "hugepages-2048kB/free_hugepages") {
		t.Errorf("got %v, want an error that names the file", err)
	}
	if _, err := readHugePages(fstest.MapFS{"hugepages-2048kB/free_hugepages": &fstest.MapFile{Data: []byte("1")}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want a missing file", err)
	}
	pools, err := readHugePages(fstest.MapFS{"other/file": &fstest.MapFile{}})
	if err != nil || len(pools) != 0 {
		t.Errorf("a strange directory gave %v, %v; want nothing", pools, err)
	}
}

// Who finds that free huge pages were taken a moment later is told what to do.
func TestTakenMeanwhile(t *testing.T) {
	env := &Environment{Args: []string{"sallyport", "-m", "64"}, HugePages: true, Reason: "512 MB of huge pages are free, 64 MB are wanted"}
	for code, advised := range map[syscall.Errno]bool{syscall.ENOMEM: true, syscall.EACCES: false} {
		err := env.failed(code)
		if !errors.Is(err, code) || strings.Contains(err.Error(), "another process may have taken meanwhile: start again, or do without huge pages (off)") != advised {
			t.Errorf("%v, expected advice: %v", err, advised)
		}
	}
	env.HugePages = false
	if err := env.failed(syscall.ENOMEM); strings.Contains(err.Error(), "meanwhile") {
		t.Errorf("without huge pages: %v", err)
	}
}
