package pipeline

import (
	"fmt"
	"strings"

	"sallyport/crypto/cryptodev"
)

// Place is where an operator wants the work of SAs done, instead of where the order of plans would have it.
type Place uint8

const (
	PlaceAuto              Place = iota // by the order
	PlaceInline                         // in the port, by whichever way it has
	PlaceInlineProtocol                 // in the port: all of ESP
	PlaceInlineCrypto                   // in the port: the crypto
	PlaceLookaside                      // in a crypto device by its queue pairs, by whichever way it has
	PlaceLookasideProtocol              // in a crypto device: all of ESP
	PlaceLookasideCrypto                // in a crypto device: the crypto
	PlaceCPU                            // in the worker
)

var placeNames = [...]string{"auto", "inline", "inline_protocol", "inline_crypto", "lookaside", "lookaside_protocol", "lookaside_crypto", "cpu"}

// Places lists the names of all places.
func Places() []string { return placeNames[:] }

// ParsePlace reads a place by its name.
func ParsePlace(name string) (Place, error) {
	for i, n := range placeNames {
		if n == name {
			return Place(i), nil
		}
	}
	return 0, fmt.Errorf("expected %s, found %.64q", strings.Join(placeNames[:], ", "), name)
}

func (p Place) String() string { return placeNames[p] }

// why is the reason against all other places.
func (p Place) why() string { return "moved to " + p.String() + " by the operator" }

func (p Place) inline() bool {
	return p == PlaceInline || p == PlaceInlineProtocol || p == PlaceInlineCrypto
}

func (p Place) lookaside() bool {
	return p == PlaceLookaside || p == PlaceLookasideProtocol || p == PlaceLookasideCrypto
}

// protocol reports whether all of ESP is done there, numbers and replay window included.
func (p Place) protocol() bool { return p == PlaceInlineProtocol || p == PlaceLookasideProtocol }

func (p Place) mayInline() bool { return p == PlaceAuto || p.inline() }

// only keeps the crypto session to the place. Beside a session of a port it is the CPU's, so that nothing comes late.
func (p Place) only() []cryptodev.SessionOption {
	if p == PlaceAuto {
		return nil
	}
	return []cryptodev.SessionOption{cryptodev.Only(p.why(), func(class cryptodev.Class, whole bool) bool {
		if !p.lookaside() || class == cryptodev.ClassCPU {
			return !p.lookaside() && class == cryptodev.ClassCPU
		}
		return p == PlaceLookaside || whole == (p == PlaceLookasideProtocol)
	})}
}

// limit keeps the session of a port to the place.
func (p Place) limit(sa *InlineSA) {
	sa.Wanted = p.inline()
	switch {
	case p == PlaceInlineCrypto && sa.NoProtocol == "":
		sa.NoProtocol = p.why()
	case p == PlaceInlineProtocol && sa.NoCrypto == "":
		sa.NoCrypto = p.why()
	}
}

// at reports whether an SA that is at a place needs no move to p.
func (p Place) at(place Place) bool {
	return p == place || p == PlaceInline && place.inline() || p == PlaceLookaside && place.lookaside()
}

// placeOf is what operators have said of the SAs of a cell.
func (s *sad) placeOf(cell CellID, outbound bool) Place {
	if outbound {
		return s.places[cell][1]
	}
	return s.places[cell][0]
}

// place is where the work of an SA is done.
func (sa *association) place(stopped bool) Place {
	switch {
	case sa.inline.Handle != nil && !stopped && sa.inline.Protocol:
		return PlaceInlineProtocol
	case sa.inline.Handle != nil && !stopped:
		return PlaceInlineCrypto
	case sa.session.Whole:
		return PlaceLookasideProtocol
	case queued(sa.session):
		return PlaceLookasideCrypto
	}
	return PlaceCPU
}
