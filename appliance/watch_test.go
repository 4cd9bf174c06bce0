package appliance

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/appliance/api"
)

// S-003: a changed file is picked up within the interval that the policy names;
// one that is half written or wrong is logged with all its errors, and changes nothing.
func TestChangedFileIsPickedUp(t *testing.T) {
	const interval = 2 * time.Second
	r := newRig(t, strings.Replace(siteA(), "- name: whole\n", "- name: whole\n    refresh_seconds: 2\n", 1))
	g := r.gateways[0]
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(g.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	active := func() string { return get[api.Policies](r, g, api.PathPolicy).Active }
	before := string(g.running().text)

	if err := os.Remove(g.path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the missing file to be logged", func() bool { return strings.Contains(g.logs.String(), "the watched file cannot be read") })
	write(before[:len(before)/2])
	eventually(t, "the half file to be refused", func() bool {
		return strings.Contains(g.logs.String(), `msg="policy change refused, nothing has changed" what=reload by="changed file"`)
	})
	write(strings.NewReplacer("action: permit", "action: permitt", "filter_list: web", "filter_list: wep").Replace(before))
	eventually(t, "both mistakes to be logged", func() bool {
		said := g.logs.String()
		return strings.Contains(said, "permitt") && strings.Contains(said, `\"wep\"`)
	})
	if got := active(); got != "whole" || string(g.running().text) != before {
		t.Errorf("a wrong file changed the policy to %s", got)
	}

	after := strings.Replace(before, "active_policy: whole", "active_policy: more", 1)
	written := time.Now()
	write(after)
	eventually(t, "the changed file to be in force", func() bool { return active() == "more" })
	if took := time.Since(written); took > 2*interval {
		t.Errorf("it took %v, expected about %v on a busy machine", took, interval)
	}
	if backups := get[[]api.Backup](r, g, api.PathBackups); len(backups) != 1 || backups[0].Policy != "whole" {
		t.Errorf("expected a backup of the text before, found %+v", backups)
	}
	if text, err := os.ReadFile(g.path); err != nil || string(text) != after {
		t.Errorf("the operator's file was rewritten, %v", err)
	}
}

// SIGHUP loads the file whatever the interval; wrong files change nothing.
func TestHangupReloads(t *testing.T) {
	r := newRig(t, siteA())
	g := r.gateways[0]
	before := string(g.running().text)
	for _, step := range []struct{ text, active, logged string }{
		{before + "colour: red\n", "whole", "colour"},
		{strings.Replace(before, "active_policy: whole", "active_policy: nothing", 1), "nothing", `what=reload by=SIGHUP policy=nothing`},
		{strings.Replace(before, "idle: sleep", "idle: poll", 1), "nothing", "dataplane.idle"},
		{before, "whole", `what=reload by=SIGHUP policy=whole`},
	} {
		if err := os.WriteFile(g.path, []byte(step.text), 0o600); err != nil {
			t.Fatal(err)
		}
		g.hangup <- syscall.SIGHUP
		eventually(t, "the log to say "+step.logged, func() bool { return strings.Contains(g.logs.String(), step.logged) })
		if got := get[api.Policies](r, g, api.PathPolicy).Active; got != step.active {
			t.Errorf("expected policy %s, found %s", step.active, got)
		}
	}
}

// A key file that has changed counts at the next reload: the peer is negotiated with anew.
func TestReloadReadsKeysAgain(t *testing.T) {
	r := newRig(t, siteA(), siteB())
	r.awaitChildren("nets")
	for i, g := range r.gateways {
		key := strings.TrimSuffix(g.path, "sallyport.yaml") + "peer.psk"
		if err := os.WriteFile(key, []byte("Nb5Kx9QwLz3Tc7VhRm2Fd8YpGj6Sa\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		change := r.change(g, api.PathReload, api.Reload{})
		if i == 0 && (len(change.Ended) != 1 || !strings.Contains(change.Ended[0].Why, "preshared key")) {
			t.Errorf("expected the tunnel to end for its key, found %+v", change.Ended)
		}
	}
	a := r.gateways[0]
	eventually(t, "the tunnel with the new key", func() bool {
		return strings.Count(a.logs.String(), "msg=child_established") >= 2 && len(r.children(a)) == 1
	})
}
