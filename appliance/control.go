package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"sallyport/appliance/api"
	"sallyport/appliance/config"
	"sallyport/ike"
	"sallyport/pipeline"
)

// Bounds of the control API: it serves one box's operators, not a crowd.
const (
	controlBody    = 64 << 10
	configBody     = 2 * config.MaxFile // of a request that holds a configuration, with what JSON adds
	controlTimeout = 10 * time.Second
	changeTimeout  = 2 * time.Minute // of a request that compiles a policy, with others before it
	flowLimit      = 1000            // flows shown when the client names no number
	maxFlowLimit   = 1 << 20         // and the most it may name
)

// control serves the control API on a Unix socket with mode 0600.
type control struct {
	server   http.Server
	listener net.Listener
	log      *slog.Logger
}

// listenControl binds the socket. A socket file that a dead gateway left is
// replaced; one that somebody listens on is an error.
func listenControl(path string, handler http.Handler, log *slog.Logger) (*control, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("control socket: %w%s", err, permissionAdvice(err))
	}
	if err := removeStaleSocket(path); err != nil {
		return nil, err
	}
	// The mask makes the socket private from its first moment on.
	mask := syscall.Umask(0o177)
	listener, err := net.Listen("unix", path)
	syscall.Umask(mask)
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w%s", path, err, permissionAdvice(err))
	}
	return &control{
		listener: listener,
		log:      log,
		server: http.Server{
			Handler:           handler,
			ConnContext:       withCaller,
			ReadHeaderTimeout: controlTimeout, ReadTimeout: controlTimeout, WriteTimeout: controlTimeout,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		},
	}, nil
}

// permissionAdvice ends an error about the socket, the first that a gateway
// without root's powers meets.
func permissionAdvice(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return "; run the gateway as root"
	}
	return ""
}

func removeStaleSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("control socket %s: the path is taken by something that is not a socket; move it away or set control.socket", path)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return fmt.Errorf("control socket %s: another gateway listens there; stop it or set control.socket", path)
	}
	return os.Remove(path)
}

// serve answers until close.
func (c *control) serve() {
	if err := c.server.Serve(c.listener); !errors.Is(err, http.ErrServerClosed) {
		c.log.Error("control API ended", "error", err)
	}
}

// close ends the API, also one that has not served yet; it also removes the
// socket file. Closing twice is harmless.
func (c *control) close() error {
	err := c.server.Close()
	if closing := c.listener.Close(); !errors.Is(closing, net.ErrClosed) {
		err = errors.Join(err, closing)
	}
	return err
}

// controlHandler routes the control API.
func (g *Gateway) controlHandler() http.Handler {
	mux := http.NewServeMux()
	get := func(path string, view func(*http.Request) (any, error)) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			answer, err := view(r)
			respond(w, answer, err)
		})
	}
	get(api.PathVersion, func(*http.Request) (any, error) { return g.versionView(), nil })
	get(api.PathPorts, func(*http.Request) (any, error) { return g.portsView() })
	get(api.PathSAs, func(r *http.Request) (any, error) {
		negotiated, err := g.negotiator.snapshot(r.Context())
		return sasView(g.plane.SACounters(), negotiated, g.manualNames(), g.offloadOf), err
	})
	get(api.PathIKE, func(r *http.Request) (any, error) {
		negotiated, err := g.negotiator.snapshot(r.Context())
		if err != nil {
			return nil, err
		}
		down, err := g.portsWithoutLink()
		return ikeView(negotiated, down), err
	})
	get(api.PathIKELimits, func(r *http.Request) (any, error) {
		peer := r.URL.Query().Get("peer")
		if err := g.negotiator.known(peer, ""); peer != "" && !ike.IsDynamic(peer) && err != nil {
			return nil, badRequest{err}
		}
		uses, err := g.negotiator.limitUses(r.Context())
		return limitsView(uses, peer), err
	})
	get(api.PathWhy, func(r *http.Request) (any, error) { return g.why(r.Context(), r.URL.Query()) })
	get(api.PathFilters, func(*http.Request) (any, error) { return filtersView(g.running().spd, g.plane.Counters().Filters), nil })
	get(api.PathDoctor, func(r *http.Request) (any, error) { return g.examination(r.Context(), r.URL.Query().Get("peer")) })
	g.routeCertificates(mux, get)
	g.routePolicy(mux, get)
	g.routeIKELog(mux, get)
	get(api.PathFlows, func(r *http.Request) (any, error) {
		limit, err := limitOf(r)
		if err != nil {
			return nil, err
		}
		return flowsView(g.plane.Flows(limit)), nil
	})
	get(api.PathCounters, func(*http.Request) (any, error) {
		view := countersView(g.settledCounters())
		view.IKEQueueFull = g.negotiator.inbox.overflow()
		return view, nil
	})
	get(api.PathDrops, func(*http.Request) (any, error) { return dropsView(g.plane.Counters()), nil })

	mux.HandleFunc("GET "+api.PathEvents, g.serveEvents)

	g.routeChanges(mux)
	g.routeOrders(mux)
	g.routeOffload(mux, get)
	return g.keyLog.warned(g.warnedOfSoft(mux))
}

func (g *Gateway) settledCounters() pipeline.Counters { return settled(g.plane.Counters, time.Sleep) }

// decode reads the body of a request, of at most so many bytes.
func decode(w http.ResponseWriter, r *http.Request, limit int64, body any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(body)
	if err == nil && decoder.Decode(&struct{}{}) != io.EOF {
		err = errors.New("there is more than one value")
	}
	if err != nil {
		return badRequest{fmt.Errorf("expected JSON of at most %d bytes with the fields of this request: %w", limit, err)}
	}
	return nil
}

func limitOf(r *http.Request) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return flowLimit, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > maxFlowLimit {
		return 0, badRequest{fmt.Errorf("limit %q: expected a number from 1 to %d", text, maxFlowLimit)}
	}
	return limit, nil
}

// badRequest is an error of the client's making.
type badRequest struct{ error }

func respond(w http.ResponseWriter, answer any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		status := http.StatusInternalServerError
		answer = api.Error{Message: err.Error()}
		switch refusal := (*refused)(nil); {
		case errors.As(err, new(badRequest)):
			status = http.StatusBadRequest
		case errors.As(err, &refusal):
			status, answer = http.StatusUnprocessableEntity, api.Change{Errors: refusal.errs}
		case errors.Is(err, context.Canceled):
			status = http.StatusServiceUnavailable
		}
		w.WriteHeader(status)
	}
	// The client may be gone; there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(answer)
}
