package main

import (
	"strings"
	"testing"

	"sallyport/appliance/api"
)

// A word too many, or a wrong one, is answered with what was meant.
func TestWordsTooMany(t *testing.T) {
	for args, want := range map[string]string{
		"check gw-a.yaml":            "name the file with -c",
		"policy check gw-a.yaml":     "name the file with -c",
		"run gw-a.yaml":              "name the file with -c",
		"show ike limit":             "did you mean limits?",
		"show ike site-b":            "expected one of limits",
		"show prts":                  "did you mean ports?",
		"show soft":                  "that is sallyport sa show --type soft",
		"show nothing":               "expected one of certificates, counters, crl, drops,",
		"sa flsh":                    "did you mean flush?",
		"config reload":              "expected one of apply, backups, rollback",
		"version now":                "expected no argument",
		"up --all site-b":            "expected no argument",
		"lab negotiate --peers 1 to": "expected no argument",
	} {
		if got := sallyport(t, strings.Fields(args)...); got.code != exitFailed || !strings.Contains(got.err, "unknown command") || !strings.Contains(got.err, want) {
			t.Errorf("%s: %+v, expected %q", args, got, want)
		}
	}
}

// Of two views that exclude each other neither is taken silently.
func TestOneViewAtATime(t *testing.T) {
	if got := sallyport(t, "show", "sas", "--offload", "--why", "site-b"); got.code != exitFailed || !strings.Contains(got.err, "expected --offload or --why, found both") {
		t.Errorf("found %+v", got)
	}
}

// What ends in clear is told before the state that is there now.
func TestDownTellsOfSoftSAs(t *testing.T) {
	g := newFakeGateway(t, map[string]any{"POST " + api.PathDown: []api.Outcome{
		{Peer: "legacy", Child: "smb", Result: api.ResultClosed, Soft: 2}, {Peer: "legacy", Child: "web", Result: api.ResultWasDown}}})
	if got := g.ask(t, "down", "legacy"); got.out != "legacy/smb: 2 soft SAs ended; closed until up\nlegacy/web: down already\n" {
		t.Errorf("found %+v", got)
	}
}
