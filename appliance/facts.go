package appliance

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"

	"sallyport/appliance/api"
	"sallyport/ike"
	"sallyport/policy"
)

// spiText is an SPI as every view and log line shows it.
func spiText(spi uint32) string { return fmt.Sprintf("0x%08x", spi) }

// ikeSPIText is an IKE SPI as every view and log line shows it.
func ikeSPIText(spi uint64) string { return fmt.Sprintf("%016x", spi) }

// factKinds says of every kind of fact how loud its log line is, and whether strangers can cause it at will. Those are never louder than debug, and
// are kept apart, so that a flood of them takes neither the log nor the place of what matters.
var factKinds = map[ike.FactKind]struct {
	level     slog.Level
	strangers bool
}{
	ike.NegotiationStarted: {level: slog.LevelInfo},
	ike.Retransmitted:      {level: slog.LevelDebug},
	ike.IKEEstablished:     {level: slog.LevelInfo},
	ike.IKERekeyed:         {level: slog.LevelInfo},
	ike.IKEReplaced:        {level: slog.LevelInfo},
	ike.IKEDeleted:         {level: slog.LevelInfo},
	ike.ChildEstablished:   {level: slog.LevelInfo},
	ike.ChildRekeyed:       {level: slog.LevelInfo},
	ike.ChildDeleted:       {level: slog.LevelInfo},
	ike.Failed:             {level: slog.LevelWarn},
	ike.Refused:            {level: slog.LevelDebug, strangers: true},
	ike.Dropped:            {level: slog.LevelDebug, strangers: true},
	ike.AddressChanged:     {level: slog.LevelInfo},
	ike.Silent:             {level: slog.LevelWarn},
}

// byStrangers reports whether strangers can cause a fact at will: those whom the default response rule has not let in yet, too.
func byStrangers(f ike.Fact) bool { return factKinds[f.Kind].strangers || f.Peer == policy.DynamicList }

func levelOf(f ike.Fact) slog.Level {
	if byStrangers(f) {
		return slog.LevelDebug
	}
	return factKinds[f.Kind].level
}

// eventOf is a fact as the API, and under the same names the log, has it.
func eventOf(f ike.Fact) api.Event {
	e := api.Event{Time: f.Time, Kind: f.Kind.String(), Version: f.Version.Number(), Peer: f.Peer, Child: f.Child, Reason: string(f.Reason), Detail: f.Detail, Role: f.Role.String(),
		Suite: f.Suite, Tries: f.Tries, NextAttempt: f.NextAttempt, Selectors: texts(f.Selectors)}
	if f.Local.IsValid() {
		e.Local = f.Local.String()
	}
	if f.Remote.IsValid() {
		e.Remote = f.Remote.String()
	}
	if f.SPIi != 0 {
		e.IKESPI = ikeSPIText(f.SPIi) + "/" + ikeSPIText(f.SPIr)
	}
	if f.SPIIn != 0 {
		e.SPIIn = spiText(f.SPIIn)
	}
	if f.SPIOut != 0 {
		e.SPIOut = spiText(f.SPIOut)
	}
	if f.AHSPIOut != 0 {
		e.AHSPIIn, e.AHSPIOut = spiText(f.AHSPIIn), spiText(f.AHSPIOut)
	}
	return e
}

// eventFields are the fields of an event that its log line has as attributes, by name and place.
var eventFields = func() (fields []struct {
	name string
	at   int
}) {
	shape := reflect.TypeFor[api.Event]()
	for i := range shape.NumField() {
		name, _, _ := strings.Cut(shape.Field(i).Tag.Get("json"), ",")
		switch name {
		case "number", "lost", "time", "kind": // the line's own time and message
			continue
		}
		fields = append(fields, struct {
			name string
			at   int
		}{name, i})
	}
	return fields
}()

// logFact writes a fact as one log line with the attributes that apply to it.
func logFact(log *slog.Logger, f ike.Fact) {
	level := levelOf(f)
	if !log.Enabled(context.Background(), level) {
		return // before any text is made: strangers cause facts at will
	}
	event := eventOf(f)
	values := reflect.ValueOf(event)
	var attrs []any
	for _, field := range eventFields {
		if value := values.Field(field.at); !value.IsZero() && (value.Kind() != reflect.Slice || value.Len() > 0) {
			attrs = append(attrs, field.name, value.Interface())
		}
	}
	log.Log(context.Background(), level, event.Kind, attrs...)
}
