package appliance

import (
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/appliance/config"
)

// S-003: a changed file is picked up by the machine's clock, TestChangedFileIsInForceWithinOneInterval says how soon;
// one that is half written or wrong is logged with all its errors, and changes nothing.
func TestChangedFileIsPickedUp(t *testing.T) {
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
	write(after)
	eventually(t, "the changed file to be in force", func() bool { return active() == "more" })
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

// clock ticks when the test says so. Every tick stands for the time that watch asked for.
type clock struct {
	ticks  chan time.Time
	period chan time.Duration // asked for, the latest
}

func newClock() *clock { return &clock{make(chan time.Time), make(chan time.Duration, 16)} }

func (c *clock) every(d time.Duration) (<-chan time.Time, func()) {
	c.period <- d
	return c.ticks, func() {}
}

// pass lets looks happen; all but the last are over when it returns.
func (c *clock) pass(looks int) {
	for range looks {
		c.ticks <- time.Time{}
	}
}

// watchedRig is a gateway whose file is looked at by a clock, every interval.
func watchedRig(t *testing.T, resolver config.Resolver) (r *rig, c *clock, looks int) {
	t.Helper()
	const interval = 3600 * time.Second
	c = newClock()
	r = startRig(t, resolver, c.every, strings.NewReplacer("- name: whole\n", "- name: whole\n    refresh_seconds: 3600\n",
		"- name: more # than whole\n", "- name: more\n    refresh_seconds: 3600\n").Replace(siteA()))
	period := <-c.period
	return r, c, int((interval - 1) / period) // that are sure to fall within an interval
}

// S-003: a change of the file is in force within one interval, whenever in it the change comes.
func TestChangedFileIsInForceWithinOneInterval(t *testing.T) {
	r, clock, looks := watchedRig(t, net.DefaultResolver)
	g := r.gateways[0]
	clock.pass(2) // one look is over
	after := strings.Replace(string(g.running().text), "active_policy: whole", "active_policy: more", 1)
	if err := os.WriteFile(g.path, []byte(after), 0o600); err != nil {
		t.Fatal(err)
	}
	clock.pass(looks)
	eventually(t, "the changed file to be in force", func() bool { return g.running().spd.Policy == "more" })
}

// fullDisk is a file system without room while it is full.
type fullDisk struct {
	disk
	full atomic.Bool
}

func (f *fullDisk) Write(path string, text []byte, like attributes) error {
	if f.full.Load() {
		return syscall.ENOSPC
	}
	return f.disk.Write(path, text, like)
}

// What failed for a reason that may pass is tried again at the next interval; what
// is wrong with the text, not before the text changes.
func TestOnlyTransientFailuresAreTriedAgain(t *testing.T) {
	resolver := &fakeResolver{}
	r, clock, _ := watchedRig(t, resolver)
	g := r.gateways[0]
	storage := &fullDisk{}
	g.manager.store.on = storage // before the first look
	before := string(g.running().text)
	write := func(old, new string) {
		t.Helper()
		if err := os.WriteFile(g.path, []byte(strings.Replace(before, old, new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	said := func(result string) int {
		return strings.Count(g.logs.String(), `msg="policy change `+result) // once for each and once more for each mistake
	}
	tries := func(result string, first, second int) {
		t.Helper()
		clock.pass(4) // the text has stood, and the look that tries it is over
		if got := said(result); got != first {
			t.Errorf("the first try: said %d times %q, expected %d", got, result, first)
		}
		clock.pass(looksPerInterval)
		if got := said(result); got != second {
			t.Errorf("an interval later: said %d times %q, expected %d", got, result, second)
		}
	}
	write("action: permit", "action: permitt")
	tries("refused", 2, 2)
	write("destination: 198.51.100.0/24", "destination: dns:www.example")
	tries("refused", 4, 6)
	storage.full.Store(true)
	write("active_policy: whole", "active_policy: more")
	tries("failed", 1, 2)
	storage.full.Store(false)
	clock.pass(looksPerInterval + 1)
	if got := g.running().spd.Policy; got != "more" {
		t.Errorf("policy %s is in force once the disk has room", got)
	}
}
