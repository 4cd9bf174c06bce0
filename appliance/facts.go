package appliance

import (
	"context"
	"fmt"
	"log/slog"

	"sallyport/ike"
)

// spiText is an SPI as every view and log line shows it.
func spiText(spi uint32) string { return fmt.Sprintf("0x%08x", spi) }

// ikeSPIText is an IKE SPI as every view and log line shows it.
func ikeSPIText(spi uint64) string { return fmt.Sprintf("%016x", spi) }

// factLevel says how loud a fact is. What a stranger can cause at will is never
// louder than debug: it is counted instead.
func factLevel(kind ike.FactKind) slog.Level {
	switch kind {
	case ike.Dropped, ike.Refused, ike.Retransmitted:
		return slog.LevelDebug
	case ike.Failed:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// logFact writes a fact as one log line with the attributes that apply to it.
func logFact(log *slog.Logger, f ike.Fact) {
	level := factLevel(f.Kind)
	if !log.Enabled(context.Background(), level) {
		return // before any text is made: strangers cause facts at will
	}
	var attrs []any
	add := func(key string, value any, present bool) {
		if present {
			attrs = append(attrs, key, value)
		}
	}
	add("peer", f.Peer, f.Peer != "")
	add("child", f.Child, f.Child != "")
	add("reason", string(f.Reason), f.Reason != "")
	add("detail", f.Detail, f.Detail != "")
	add("local", f.Local, f.Local.IsValid())
	add("remote", f.Remote, f.Remote.IsValid())
	add("role", f.Role.String(), f.Role != ike.RoleNone)
	add("ike_spi", ikeSPIText(f.SPIi)+"/"+ikeSPIText(f.SPIr), f.SPIi != 0)
	add("spi_in", spiText(f.SPIIn), f.SPIIn != 0)
	add("spi_out", spiText(f.SPIOut), f.SPIOut != 0)
	add("suite", f.Suite, f.Suite != "")
	add("tries", f.Tries, f.Tries != 0)
	add("next_attempt", f.NextAttempt, !f.NextAttempt.IsZero())
	add("selectors", f.Selectors, len(f.Selectors) > 0)
	log.Log(context.Background(), level, f.Kind.String(), attrs...)
}
