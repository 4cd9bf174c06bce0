package appliance

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"log/slog"

	"sallyport/appliance/api"
	"sallyport/ike"
	"sallyport/policy"
)

// spiText is an SPI as every view and log line shows it.
func spiText(spi uint32) string {
	var octets [4]byte
	binary.BigEndian.PutUint32(octets[:], spi)
	return "0x" + hex.EncodeToString(octets[:])
}

// ikeSPIText is an IKE SPI as every view and log line shows it.
func ikeSPIText(spi uint64) string {
	var octets [8]byte
	binary.BigEndian.PutUint64(octets[:], spi)
	return hex.EncodeToString(octets[:])
}

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

// logAttributes are the fields of an event that apply, as its log line has them.
func logAttributes(e *api.Event) []slog.Attr {
	attrs := make([]slog.Attr, 0, 18)
	text := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	number := func(name string, value int) {
		if value != 0 {
			attrs = append(attrs, slog.Int(name, value))
		}
	}
	number("version", e.Version)
	text("peer", e.Peer)
	text("child", e.Child)
	text("reason", e.Reason)
	text("detail", e.Detail)
	text("local", e.Local)
	text("remote", e.Remote)
	text("role", e.Role)
	text("ike_spi", e.IKESPI)
	text("spi_in", e.SPIIn)
	text("spi_out", e.SPIOut)
	text("ah_spi_in", e.AHSPIIn)
	text("ah_spi_out", e.AHSPIOut)
	text("suite", e.Suite)
	number("tries", e.Tries)
	if !e.NextAttempt.IsZero() {
		attrs = append(attrs, slog.Time("next_attempt", e.NextAttempt))
	}
	if len(e.Selectors) > 0 {
		attrs = append(attrs, slog.Any("selectors", e.Selectors))
	}
	return attrs
}

// logFact writes a fact as one log line with the attributes that apply to it.
func logFact(log *slog.Logger, f ike.Fact) {
	level := levelOf(f)
	if !log.Enabled(context.Background(), level) {
		return // before any text is made: strangers cause facts at will
	}
	event := eventOf(f)
	log.LogAttrs(context.Background(), level, event.Kind, logAttributes(&event)...)
}
