package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// Client talks to a running gateway over its control socket.
type Client struct {
	// Warn, unless nil, is told what an answer warns of.
	Warn func(string)

	socket string
	http   http.Client
}

// Bounds of a whole exchange with the gateway.
const (
	requestLimit = 10 * time.Second
	changeLimit  = 2 * time.Minute // of one that compiles a policy, with others before it
)

// NewClient returns a client of the gateway that listens on the Unix socket.
// It connects at the first call.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{
		socket: socket,
		http:   http.Client{Transport: &http.Transport{DialContext: dial}},
	}
}

// Get reads path into answer.
func (c *Client) Get(ctx context.Context, path string, query url.Values, answer any) error {
	target := url.URL{Scheme: "http", Host: "sallyport", Path: path, RawQuery: query.Encode()}
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	return c.do(request, answer)
}

// Follow reads a stream of lines, each an Event, until it ends, ctx does, or each returns an error, which is Follow's then.
func (c *Client) Follow(ctx context.Context, path string, query url.Values, each func(Event) error) error {
	target := url.URL{Scheme: "http", Host: "sallyport", Path: path, RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return c.explain(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return failure(response)
	}
	for lines := json.NewDecoder(response.Body); ; {
		var event Event
		if err := lines.Decode(&event); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("the gateway's stream of events has ended: %w", err)
		}
		if err := each(event); err != nil {
			return err
		}
	}
}

// Post acts on path with body and reads the answer, if one is wanted.
func (c *Client) Post(ctx context.Context, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	return c.post(ctx, path, body, answer)
}

// Change asks for a change of the policy in force. Where the gateway refuses
// the configuration, the error is a *Refused.
func (c *Client) Change(ctx context.Context, path string, body any) (*Change, error) {
	ctx, cancel := context.WithTimeout(ctx, changeLimit)
	defer cancel()
	var change Change
	err := c.post(ctx, path, body, &change)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, errors.New("the gateway has not answered in time, and is still at it: unless this is a dry run, the change may yet come into force; `sallyport policy show` says what is")
	}
	if err != nil {
		return nil, err
	}
	return &change, nil
}

// Act gives an order about tunnels and says what came of it.
func (c *Client) Act(ctx context.Context, path string, order Action) (outcomes []Outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit+time.Duration(order.Wait*float64(time.Second)))
	defer cancel()
	err = c.post(ctx, path, order, &outcomes)
	return outcomes, err
}

// MoveSAs moves SAs to another plan.
func (c *Client) MoveSAs(ctx context.Context, order MoveSAs) (moved []MovedSA, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	err = c.post(ctx, PathMove, order, &moved)
	return moved, err
}

func (c *Client) post(ctx context.Context, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://sallyport"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	return c.do(request, answer)
}

// do carries out a request. Who has waited in vain is told what that means: what is only read may be asked again, of an order
// nobody knows whether it has been carried out.
func (c *Client) do(request *http.Request, answer any) error {
	err := c.exchange(request, answer)
	switch {
	case !errors.Is(err, context.DeadlineExceeded):
		return err
	case request.Method == http.MethodGet:
		return unanswered("the gateway on " + c.socket + " has not answered in time: it hangs, or has more to do than it can; try again, and look at its log")
	}
	return unanswered("the gateway on " + c.socket + " has not answered in time: whether it has done so is not known, and it may yet; `sallyport sa show` and `sallyport show events` say what is; " +
		"if they get no answer either it hangs: look at its log")
}

// unanswered is a deadline that has passed, in words.
type unanswered string

func (u unanswered) Error() string { return string(u) }

func (unanswered) Unwrap() error { return context.DeadlineExceeded }

// exchange sends a request and reads the answer to it.
func (c *Client) exchange(request *http.Request, answer any) error {
	response, err := c.http.Do(request)
	if err != nil {
		return c.explain(err)
	}
	defer response.Body.Close()
	if warning := response.Header.Get(WarningHeader); warning != "" && c.Warn != nil {
		c.Warn(warning)
	}
	if response.StatusCode == http.StatusUnprocessableEntity {
		var change Change
		if err := json.NewDecoder(response.Body).Decode(&change); err != nil {
			return fmt.Errorf("the gateway refused the configuration; its reasons cannot be read: %w", err)
		}
		return &Refused{Errors: change.Errors}
	}
	if response.StatusCode != http.StatusOK {
		return failure(response)
	}
	if answer == nil {
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

// failure is the error in an answer that is not 200.
func failure(response *http.Response) error {
	var failure Error
	if err := json.NewDecoder(response.Body).Decode(&failure); err != nil || failure.Message == "" {
		return fmt.Errorf("the gateway answered %s to %s", response.Status, response.Request.URL.Path)
	}
	return errors.New(failure.Message)
}

// explain turns the usual reasons for a failed connection into what to do.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no gateway listens on %s: start one with `sallyport run -c FILE`, or name its socket with --socket", c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission to open %s: the control socket is its owner's alone (mode 0600); run as that user", c.socket)
	}
	return fmt.Errorf("control socket %s: %w", c.socket, err)
}
