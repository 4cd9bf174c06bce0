package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// browserLimit is for a machine that is busy with everything else.
const browserLimit = 5 * time.Minute

// browser is a Chromium that is told what to do by a pipe (the Chrome DevTools Protocol), in a network namespace without any link: what its page or it itself would fetch
// goes nowhere.
type browser struct {
	t       *testing.T
	to      *os.File
	answers chan answer
	session string
	next    int
	events  []answer // that came while an answer was waited for
}

type answer struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	folder, err := os.MkdirTemp("", "sallyport-browser-")
	if err != nil {
		t.Fatal(err)
	}
	hears, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, says, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	process := exec.Command("unshare", "--net", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-default-apps", "--user-data-dir="+folder, "--remote-debugging-pipe", "about:blank")
	process.ExtraFiles = []*os.File{hears, says} // 3 and 4, as the protocol has it
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	process.Env = append(os.Environ(), "HOME="+folder, "DBUS_SESSION_BUS_ADDRESS=disabled:")
	if err := process.Start(); err != nil {
		t.Fatalf("starting chromium, which make deps installs: %v", err)
	}
	b := &browser{t: t, to: to, answers: make(chan answer, 1024)}
	t.Cleanup(func() {
		to.Close()
		syscall.Kill(-process.Process.Pid, syscall.SIGKILL)
		process.Wait()
		from.Close()
		// Its children write to the folder until the last is gone.
		for deadline := time.Now().Add(browserLimit); !errors.Is(syscall.Kill(-process.Process.Pid, 0), syscall.ESRCH); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Error("the browser does not end")
				break
			}
		}
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	hears.Close()
	says.Close()
	go b.listen(from)
	var target struct {
		ID string `json:"targetId"`
	}
	b.ask("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct {
		ID string `json:"sessionId"`
	}
	b.ask("Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &attached)
	b.session = attached.ID
	for _, domain := range []string{"Page", "Network", "Runtime", "Log"} {
		b.ask(domain+".enable", nil, nil)
	}
	return b
}

// listen takes messages, each of which ends with a zero octet.
func (b *browser) listen(from *os.File) {
	defer close(b.answers)
	in := bufio.NewReader(from)
	for {
		text, err := in.ReadBytes(0)
		if err != nil {
			return
		}
		var a answer
		if err := json.Unmarshal(text[:len(text)-1], &a); err == nil {
			b.answers <- a
		}
	}
}

// ask sends a command and waits for what comes of it.
func (b *browser) ask(method string, params, result any) {
	b.t.Helper()
	b.next++
	text, err := json.Marshal(map[string]any{"id": b.next, "method": method, "params": params, "sessionId": b.session})
	if params == nil {
		text, err = json.Marshal(map[string]any{"id": b.next, "method": method, "sessionId": b.session})
	}
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.to.Write(append(text, 0)); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	a := b.wait(method, func(a answer) bool { return a.ID == b.next })
	if a.Error != nil {
		b.t.Fatalf("%s: %s", method, a.Error.Message)
	}
	if result != nil {
		if err := json.Unmarshal(a.Result, result); err != nil {
			b.t.Fatalf("%s: %v in %s", method, err, a.Result)
		}
	}
}

// wait takes what comes until it is what is waited for.
func (b *browser) wait(what string, is func(answer) bool) answer {
	b.t.Helper()
	for i, event := range b.events {
		if is(event) {
			b.events = append(b.events[:i:i], b.events[i+1:]...)
			return event
		}
	}
	limit := time.After(browserLimit)
	for {
		select {
		case a, more := <-b.answers:
			switch {
			case !more:
				b.t.Fatalf("%s: the browser has ended", what)
			case is(a):
				return a
			default:
				b.events = append(b.events, a)
			}
		case <-limit:
			b.t.Fatalf("%s: nothing for %v", what, browserLimit)
		}
	}
}

// open loads a page and waits for all of it.
func (b *browser) open(url string) {
	b.t.Helper()
	b.ask("Page.navigate", map[string]any{"url": url}, nil)
	b.wait("loading "+url, func(a answer) bool { return a.Method == "Page.loadEventFired" })
}

// look evaluates an expression in the page.
func (b *browser) look(expression string, value any) {
	b.t.Helper()
	var result struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception any `json:"exceptionDetails"`
	}
	b.ask("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &result)
	if result.Exception != nil {
		b.t.Fatalf("%s: %v", expression, result.Exception)
	}
	if err := json.Unmarshal(result.Result.Value, value); err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
}

// view sets the width of the window, in which colours the user wants pages, and whether it draws as for a printer.
func (b *browser) view(width int, scheme string) {
	b.t.Helper()
	b.ask("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false}, nil)
	b.ask("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// picture is the whole page as PNG.
func (b *browser) picture() []byte {
	b.t.Helper()
	var shot struct {
		Data []byte `json:"data"`
	}
	b.ask("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}, &shot)
	return shot.Data
}

// complaints are what the page has fetched beside itself, and what it has to say on the console.
func (b *browser) complaints(page string) (list []string) {
	for _, event := range b.events {
		switch event.Method {
		case "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded":
			list = append(list, fmt.Sprintf("%s: %s", event.Method, event.Params))
		case "Network.requestWillBeSent":
			var sent struct {
				Request struct {
					URL string `json:"url"`
				} `json:"request"`
			}
			if err := json.Unmarshal(event.Params, &sent); err != nil || sent.Request.URL != page {
				list = append(list, fmt.Sprintf("it fetches %s %v", sent.Request.URL, err))
			}
		}
	}
	return list
}
