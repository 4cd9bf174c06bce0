package wire

import "testing"

func BenchmarkParseInitRequest(b *testing.B) {
	request := captured(b)[0].message
	b.SetBytes(int64(len(request)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(request); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMarshalInitRequest(b *testing.B) {
	m := mustParse(b, captured(b)[0].message)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Marshal(); err != nil {
			b.Fatal(err)
		}
	}
}
