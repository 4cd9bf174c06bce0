package appliance

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"sallyport/appliance/api"
	"sallyport/ike"
)

// ikeLog is the IKE log (S-110): a readable line for each message that is sent or taken, and one for each of its payloads. It is off until an operator
// switches it on. Each start of the gateway begins a new file and keeps the former one as .sav.
type ikeLog struct {
	path string
	log  *slog.Logger

	mu    sync.Mutex
	on    bool
	file  *os.File // nil until it is switched on for the first time
	size  int      // octets in the file
	limit int
}

const (
	ikeLogName  = "ike.log"
	ikeLogSaved = ".sav"
	ikeLogLimit = 256 << 20 // octets of a file: at a kilobyte a message a day of one each 300 ms
)

// newIKELog puts the file of the former start aside.
func newIKELog(folder string, log *slog.Logger) *ikeLog {
	l := &ikeLog{path: filepath.Join(folder, ikeLogName), log: log, limit: ikeLogLimit}
	if err := os.Rename(l.path, l.path+ikeLogSaved); err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Error("IKE log: the former file cannot be kept", "error", err)
	}
	return l
}

// turn switches the log on or off. What is written before and after a pause stands in one file.
func (l *ikeLog) turn(on bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if on && l.file != nil && l.moved() {
		if err := l.file.Close(); err != nil {
			l.log.Error("IKE log: the file that was moved away", "error", err)
		}
		l.on, l.file, l.size = false, nil, 0
	}
	if on && l.file == nil {
		if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
			return fmt.Errorf("IKE log: %w", err)
		}
		file, err := openPrivate(l.path)
		if err != nil {
			return fmt.Errorf("IKE log: %w", err)
		}
		l.file = file
	}
	if on && l.size >= l.limit {
		return badRequest{fmt.Errorf("%s is full (%d octets): the next start of the gateway begins a new one", l.path, l.size)}
	}
	if on != l.on {
		l.on = on
		word := "off"
		if on {
			word = "on"
		}
		l.log.Info("IKE log switched", "to", word, "file", l.path)
		l.write(fmt.Sprintf("%s switched %s\n", stamp(time.Now()), word))
	}
	return nil
}

// moved reports whether somebody has moved the file away or deleted it, as a rotation of logs does.
func (l *ikeLog) moved() bool {
	open, err := l.file.Stat()
	there, errThere := os.Stat(l.path)
	return err == nil && (errThere != nil || !os.SameFile(open, there))
}

// observe is ike.Config.Observe.
func (l *ikeLog) observe(o ike.Observation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on {
		l.write(ikeLogText(o))
	}
}

// ikeLogText is a message: a line that says when, which way and of whom, and a line for each payload.
func ikeLogText(o ike.Observation) string {
	way, from, to := "received", o.Remote, o.Local
	if o.Sent {
		way, from, to = "sent", to, from
	}
	peer := o.Peer
	if peer == "" {
		peer = "(not known yet)"
	}
	var b strings.Builder
	for i, line := range o.Lines() {
		if i == 0 {
			fmt.Fprintf(&b, "%s %s %v > %v %s: %s\n", stamp(o.Time), way, from, to, peer, line)
		} else {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	return b.String()
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// write ends the log where the file is full, or the disk.
func (l *ikeLog) write(text string) {
	if l.file == nil {
		return
	}
	if l.size+len(text) > l.limit {
		text = stamp(time.Now()) + " full: switched off\n"
		l.on, l.size = false, l.limit
		l.log.Error("IKE log: the file is full, it is off until the next start", "file", l.path)
	}
	n, err := l.file.WriteString(text)
	l.size += n
	if err != nil {
		l.on = false
		l.log.Error("IKE log: switched off, the file cannot be written", "error", err)
	}
}

func (l *ikeLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on = false
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

func (l *ikeLog) view() api.IKELog {
	l.mu.Lock()
	defer l.mu.Unlock()
	return api.IKELog{On: l.on, File: l.path, Octets: l.size}
}

// routeIKELog routes what shows and switches the log.
func (g *Gateway) routeIKELog(mux *http.ServeMux, get func(string, func(*http.Request) (any, error))) {
	get(api.PathIKELog, func(*http.Request) (any, error) { return g.ikeLog.view(), nil })
	mux.HandleFunc("POST "+api.PathIKELog, func(w http.ResponseWriter, r *http.Request) {
		var order api.SwitchIKELog
		err := decode(w, r, controlBody, &order)
		if err == nil {
			err = g.ikeLog.turn(order.On)
		}
		respond(w, g.ikeLog.view(), err)
	})
}
