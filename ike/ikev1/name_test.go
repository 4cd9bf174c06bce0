package ikev1

import (
	"encoding/binary"
	"testing"
	"time"

	"sallyport/ike"
)

// Every cookie that a gateway gives has its name from ike.Config.NameSPI, those too that stand for a main mode of which nothing is kept: the peer gets in by one.
func TestCookiesAreNamed(t *testing.T) {
	const mark = 0x5a5a
	name := func(cfg *ike.Config) {
		cfg.NameSPI = func(random uint64) uint64 { return random&^0xffff | mark }
	}
	l := join(t, name, name)
	messages, unkept := 0, 0
	l.twist = func(from *end, payload []byte) []byte {
		initiator, responder := binary.BigEndian.Uint64(payload), binary.BigEndian.Uint64(payload[8:])
		if from == l.b && responder&0xffff != mark || from == l.a && initiator&0xffff != mark {
			t.Errorf("%s has given one of %x and %x", from.name, initiator, responder)
		}
		messages++
		if from == l.b && l.b.engine.besiegedNow() {
			unkept++
		}
		return payload
	}
	for i := range uint64(100) {
		l.toB(opening(t, i+1))
	}
	l.wire = nil
	if took := l.besiege(50, func(cookie uint64) []byte { return opening(t, cookie) }); took > 5*time.Second {
		t.Errorf("the peer is there after %v", took)
	}
	l.wire = nil
	l.advance(2 * time.Minute)
	l.established()
	if unkept == 0 || messages == unkept {
		t.Errorf("%d messages, %d of them in the siege", messages, unkept)
	}
}
