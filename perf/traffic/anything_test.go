package traffic

import (
	"math/rand/v2"
	"slices"
	"testing"

	"sallyport/crypto"
)

// Whatever arrives is counted once, as one thing: sound frames of both kinds that are cut off anywhere, changed anywhere, or made up.
func TestEveryFrameIsCountedOnce(t *testing.T) {
	for _, word := range []string{"aes128gcm16", "aes256-sha256", "null-sha1"} {
		t.Run(word, func(t *testing.T) {
			suite, err := crypto.ParseSuite(word)
			if err != nil {
				t.Fatal(err)
			}
			p := newPath(t)
			tunnel := testTunnel(suite, false, false, false)
			g := newReferenceGateway(t, &tunnel)
			source := rand.New(rand.NewPCG(4, 2))
			p.meddle = func(from int, frame []byte) [][]byte {
				clear, esp := slices.Clone(frame), g.forward(from, frame)[0]
				var all [][]byte
				for _, sound := range [][]byte{clear, esp} {
					all = append(all, sound, sound[:source.IntN(len(sound))+1])
					changed := slices.Clone(sound)
					for range 1 + source.IntN(3) {
						changed[source.IntN(len(changed))] = byte(source.Uint32())
					}
					all = append(all, changed)
					made := append(slices.Clone(sound[:min(len(sound), source.IntN(60))]), make([]byte, 1+source.IntN(100))...)
					for i := range 40 {
						made[len(made)-1-i%len(made)] = byte(source.Uint32())
					}
					all = append(all, made)
				}
				return all
			}
			p.start(t)
			config := p.config(both(Stream{Flows: 5, Sizes: Sizes{64, 100, 594}, Rate: Rate{Packets: 5000}})...)
			config.Tunnels = []Tunnel{tunnel}
			r := p.trial(t, config, Load{Packets: 600})
			p.stop()
			for i, port := range r.Ports {
				stream := r.Streams[1-i] // the one that arrives here
				sum := stream.Received + stream.Duplicates + stream.TooOld
				for _, c := range port.counters() {
					switch c.name {
					case "unread", "rivals", "usurped": // are counted by what they were, too
					default:
						sum += c.count
					}
				}
				want(t, port.Name+" port: frames by what they are", sum, port.Frames)
				if port.Frames < 8*600 {
					t.Errorf("%s port: %d frames, want all", port.Name, port.Frames)
				}
			}
			want(t, "outbound received", r.Streams[0].Received, 600)
			want(t, "inbound received", r.Streams[1].Received, 600)
		})
	}
}
