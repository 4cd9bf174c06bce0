package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"sallyport/appliance/api"
)

var update = flag.Bool("update", false, "write what is printed into testdata, instead of comparing it")

// fakeGateway answers the control API from memory and remembers what was asked.
type fakeGateway struct {
	socket  string
	answers map[string]any // by method and path; an *api.Refused is HTTP 422, an error HTTP 400

	mu    sync.Mutex
	asked []asked
}

// requests is what was asked so far.
func (g *fakeGateway) requests() []asked {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.asked)
}

// asked is one request, its body as JSON.
type asked struct{ what, query, body string }

func newFakeGateway(t *testing.T, answers map[string]any) *fakeGateway {
	t.Helper()
	g := &fakeGateway{socket: filepath.Join(t.TempDir(), "control.sock"), answers: answers}
	listener, err := net.Listen("unix", g.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: g}
	go server.Serve(listener) //nolint:errcheck // it ends with Close
	t.Cleanup(func() { server.Close() })
	return g
}

func (g *fakeGateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	what := r.Method + " " + r.URL.Path
	g.mu.Lock()
	g.asked = append(g.asked, asked{what, r.URL.Query().Encode(), string(body)})
	g.mu.Unlock()
	answer, known := g.answers[what]
	switch answered := answer.(type) {
	case *api.Refused:
		w.WriteHeader(http.StatusUnprocessableEntity)
		answer = api.Change{Errors: answered.Errors}
	case error:
		w.WriteHeader(http.StatusBadRequest)
		answer = api.Error{Message: answered.Error()}
	}
	if !known {
		w.WriteHeader(http.StatusNotFound)
		answer = api.Error{Message: "the test has no answer to " + what}
	}
	_ = json.NewEncoder(w).Encode(answer) // the client may be gone
}

// printed is what a command line left behind.
type printed struct {
	out, err string
	code     int
}

// sallyport runs a command line.
func sallyport(t *testing.T, args ...string) printed {
	t.Helper()
	var out, errOut bytes.Buffer
	code := execute(context.Background(), args, &out, &errOut)
	return printed{out.String(), errOut.String(), code}
}

// ask runs a command line against the fake gateway.
func (g *fakeGateway) ask(t *testing.T, args ...string) printed {
	t.Helper()
	t.Setenv(socketEnv, g.socket)
	return sallyport(t, args...)
}

// golden compares a text with the file of that name.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	expected, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(expected) {
		t.Errorf("expected\n%s\nfound\n%s\nwrite it with -update if it is right", expected, text)
	}
}
