package appliance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"log/slog"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/ike"
	"sallyport/policy"
)

// constantsOf are the names of the constants of a type of package ike.
func constantsOf(t *testing.T, typeName string) []string {
	t.Helper()
	text, err := os.ReadFile("../ike/fact.go")
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(gotoken.NewFileSet(), "fact.go", text, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, decl := range file.Decls {
		general, ok := decl.(*ast.GenDecl)
		if !ok || general.Tok != gotoken.CONST {
			continue
		}
		of := ""
		for _, spec := range general.Specs {
			value := spec.(*ast.ValueSpec)
			if name, ok := value.Type.(*ast.Ident); ok {
				of = name.Name
			} else if len(value.Values) > 0 {
				of = ""
			}
			if of == typeName {
				names = append(names, value.Names[0].Name)
			}
		}
	}
	return names
}

// Every kind of fact has a row, so that none is logged, kept or counted by chance.
func TestEveryFactKindHasARow(t *testing.T) {
	names := constantsOf(t, "FactKind")
	if len(names) < 12 {
		t.Fatalf("found only the kinds %v", names)
	}
	if len(factKinds) != len(names) {
		t.Errorf("%d rows for the kinds %v", len(factKinds), names)
	}
	for kind := ike.NegotiationStarted; int(kind) <= len(names); kind++ {
		row, known := factKinds[kind]
		if !known || kind.String() == "" {
			t.Errorf("kind %d (%s) has no row", kind, kind)
		}
		if row.strangers && row.level > slog.LevelDebug {
			t.Errorf("%s: a stranger could fill the log", kind)
		}
	}
}

// wholeFact has every field.
func wholeFact() ike.Fact {
	return ike.Fact{Time: time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC), Kind: ike.Failed, Peer: "far", Child: "nets", Reason: ike.FailProposal, Detail: "two words",
		Local: netip.MustParseAddrPort("192.0.2.1:500"), Remote: netip.MustParseAddrPort("192.0.2.2:4500"), Role: ike.RoleResponder, SPIi: 1, SPIr: 2, SPIIn: 3, SPIOut: 4, AHSPIIn: 5, AHSPIOut: 6,
		Suite: "aes128gcm16", Tries: 5, Message: 6, NextAttempt: time.Date(2026, 11, 22, 3, 0, 1, 0, time.UTC),
		Selectors: []policy.Selector{{Local: policy.HostRange(netip.MustParseAddr("10.1.0.1")), Remote: policy.HostRange(netip.MustParseAddr("10.2.0.1")),
			LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}}
}

// The log line of a fact and its event in the API have the same names and values.
func TestLogAndEventsSayTheSame(t *testing.T) {
	var line bytes.Buffer
	logFact(slog.New(slog.NewJSONHandler(&line, nil)), wholeFact())
	text, err := json.Marshal(eventOf(wholeFact()))
	if err != nil {
		t.Fatal(err)
	}
	var logged, shown map[string]any
	if err := json.Unmarshal(line.Bytes(), &logged); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &shown); err != nil {
		t.Fatal(err)
	}
	if logged["msg"] != shown["kind"] || logged["level"] != "WARN" {
		t.Errorf("logged as %v", logged)
	}
	for _, own := range []string{"msg", "level", "time"} {
		delete(logged, own)
	}
	for _, own := range []string{"kind", "number", "time"} {
		delete(shown, own)
	}
	if len(shown) != 17 || !maps.EqualFunc(logged, shown, func(a, b any) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
		t.Errorf("logged %v\nshown  %v", logged, shown)
	}
}

func numbers(facts []numberedFact) (list []uint64) {
	for _, f := range facts {
		list = append(list, f.number)
	}
	return list
}

// A flood of what strangers cause takes the place of their facts only, and a reader finds out how many it has missed.
func TestEventLogIsBounded(t *testing.T) {
	l := newEventLog()
	l.own.room, l.strangers.room = 4, 2
	own, stranger := ike.Fact{Kind: ike.Failed}, ike.Fact{Kind: ike.Dropped}
	l.add(own)
	for range 1000 {
		l.add(stranger)
	}
	l.add(own)
	facts, next, _ := l.read(0)
	if got := numbers(facts); !slices.Equal(got, []uint64{1, 1000, 1001, 1002}) || next != 1003 {
		t.Errorf("kept %v, next %d", got, next)
	}
	for range 9 {
		l.add(own)
	}
	if facts, _, _ = l.read(1003); !slices.Equal(numbers(facts), []uint64{1008, 1009, 1010, 1011}) {
		t.Errorf("kept %v", numbers(facts))
	}
	facts, next, more := l.read(1012)
	if len(facts) != 0 || next != 1012 {
		t.Errorf("read %v, next %d", numbers(facts), next)
	}
	l.add(own)
	select {
	case <-more:
	default:
		t.Error("the reader was not woken")
	}
}

// The stream over the control socket: what is kept, a peer's alone, and what comes, to the end of the client; a gap is counted.
func TestEventsAreFollowed(t *testing.T) {
	r := newRig(t, siteA(), siteB())
	g := r.gateways[0]
	r.awaitChildren("nets")
	var kinds []string
	if err := g.api.Follow(t.Context(), api.PathEvents, nil, func(e api.Event) error { kinds = append(kinds, e.Kind); return nil }); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"negotiation_started", "ike_established", "child_established"} {
		if !slices.Contains(kinds, kind) {
			t.Errorf("no %s among %v", kind, kinds)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	started := g.events.now()
	query := url.Values{"follow": {"true"}, "peer": {"far"}, "from": {fmt.Sprint(started)}}
	var followed []api.Event
	ended := make(chan error, 1)
	go func() {
		ended <- g.api.Follow(ctx, api.PathEvents, query, func(e api.Event) error {
			if followed = append(followed, e); e.Kind == "ike_deleted" {
				stop()
			}
			return nil
		})
	}()
	g.observe(ike.Fact{Kind: ike.Dropped, Reason: ike.DropShort}) // of no peer
	if err := g.api.Post(t.Context(), api.PathDown, api.Action{Peer: "far"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil && ctx.Err() == nil {
		t.Fatal(err)
	}
	for _, e := range followed {
		if e.Peer != "far" || e.Lost != 0 || e.Number < started {
			t.Errorf("unexpected %+v", e)
		}
	}
	if n := len(followed); n < 2 || followed[n-1].Reason != "deleted_by_operator" {
		t.Errorf("followed %+v", followed)
	}
	for range ownFacts + 10 {
		g.events.add(ike.Fact{Kind: ike.AddressChanged, Peer: "far"})
	}
	lost := uint64(0)
	query = url.Values{"from": {fmt.Sprint(started)}}
	err := g.api.Follow(t.Context(), api.PathEvents, query, func(e api.Event) error {
		lost += e.Lost
		return nil
	})
	if err != nil || lost == 0 {
		t.Errorf("expected a gap, found %d lost, %v", lost, err)
	}
	for query, want := range map[string]string{"peer=nobody": "expected one of far", "from=x": "number", "follow=1": "true or false"} {
		if answer := string(raw(g, "GET", api.PathEvents+"?"+query, nil)); !strings.Contains(answer, want) {
			t.Errorf("%s: %s", query, answer)
		}
	}
}
