package ikebench

import (
	"runtime"
	"testing"
)

// BenchmarkConnections is a connection by preshared key, at both ends. end-ns/op is the share of one of them, the responder.
func BenchmarkConnections(b *testing.B) {
	for _, m := range []method{psk().byV1(), psk()} {
		b.Run(m.version.String(), func(b *testing.B) {
			p, err := newPair(b.N, m, Unlimited(), nil)
			if err != nil {
				b.Fatal(err)
			}
			runtime.GC() // the configuration is no part of it
			b.ReportAllocs()
			b.ResetTimer()
			if err := p.establish(0, b.N); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(p.responder.spent.Nanoseconds())/float64(b.N), "end-ns/op")
		})
	}
}
