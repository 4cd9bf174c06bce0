package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A change that the gateway is still at when the client gives up may come into
// force: the message says so, and how to see. So do those of other commands.
func TestChangeThatTakesTooLong(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "control.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })}
	go server.Serve(listener) //nolint:errcheck // it ends with Close
	t.Cleanup(func() { close(release); server.Close() })

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // for the client's own limit
	defer cancel()
	var out, errOut bytes.Buffer
	code := execute(ctx, []string{"policy", "activate", "x", "--socket", socket}, &out, &errOut)
	if code != exitFailed || strings.Contains(errOut.String(), "context") || !strings.Contains(errOut.String(), "may yet come into force") || !strings.Contains(errOut.String(), "`sallyport policy show`") {
		t.Errorf("exit code %d: %s%s", code, &out, &errOut)
	}
	for args, want := range map[string]string{"sa flush --soft": "whether it has done so is not known", "show ports": "try again, and look at its log"} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var out, errOut bytes.Buffer
		if code := execute(ctx, append(strings.Fields(args), "--socket", socket), &out, &errOut); code != exitFailed || strings.Contains(errOut.String(), "context") || !strings.Contains(errOut.String(), want) {
			t.Errorf("%s: exit code %d: %s%s", args, code, &out, &errOut)
		}
	}
}
