package pipeline

import "time"

// tokenBucket limits how many messages the gateway makes on behalf of strangers. Time is an argument, so a test
// needs no clock. The zero value refuses everything.
type tokenBucket struct {
	perSecond float64
	burst     float64
	tokens    float64
	last      time.Time
}

func newTokenBucket(perSecond, burst int) tokenBucket {
	return tokenBucket{perSecond: float64(perSecond), burst: float64(burst), tokens: float64(burst)}
}

// take spends one token, and reports false when there is none.
func (b *tokenBucket) take(now time.Time) bool {
	if !b.last.IsZero() && now.After(b.last) {
		b.tokens = min(b.burst, b.tokens+now.Sub(b.last).Seconds()*b.perSecond)
	}
	if b.last.IsZero() || now.After(b.last) {
		b.last = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
