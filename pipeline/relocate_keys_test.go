package pipeline

import (
	"fmt"
	"slices"
	"testing"

	"sallyport/crypto/cryptodev/faulty"
)

// The key of an SA is in memory as long as the SA: for sessions that it may get elsewhere, in those that it has, and in those that it has left until no worker uses them. When the
// SA is gone so is its key, wherever it has been, and also while it is on its way (S-102).
func TestKeysGoWithTheirSA(t *testing.T) {
	places := map[bool][]Place{true: outboundPlaces, false: {PlaceCPU, PlaceLookasideCrypto, PlaceInlineCrypto}}
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		for outbound, way := range places {
			for _, half := range []bool{false, true} {
				t.Run(fmt.Sprint(suite, " outbound ", outbound, " on its way ", half), func(t *testing.T) {
					r, _ := everywhere(t, rigOptions{card: &card{protocol: true}})
					child := r.child("site", suite, !outbound)
					key := keyOf(child)
					if outbound {
						r.outbound(child)
					} else {
						if _, err := r.d.Relocate(child.Cell, false, PlaceCPU, true); err != nil { // by the order it would be where nobody can read its window
							t.Fatal(err)
						}
						r.inbound(child)
					}
					sa := r.d.sad.find(child.Cell, child.SPI, outbound)
					kept := sa.key.Bytes()
					if !slices.Equal(kept, child.Keymat.Bytes()) || &kept[0] == &child.Keymat.Bytes()[0] {
						t.Fatal("the SA has no key of its own to move with")
					}
					for _, place := range way {
						r.goTo(outbound, place)
						r.rest()
						if !place.lookaside() && faulty.Traces(key) == 0 {
							t.Errorf("%s: the key is in no session's memory: this test looks in the wrong place", place)
						}
					}
					if half {
						r.goTo(outbound, way[1])
						if len(r.d.sad.moving) == 0 {
							t.Error("the move is over at once")
						}
					}
					r.wantNoKeys(key)
					if slices.ContainsFunc(kept, func(b byte) bool { return b != 0 }) || sa.key.Len() != 0 {
						t.Error("the SA is gone and its key is not wiped")
					}
				})
			}
		}
	}
}
