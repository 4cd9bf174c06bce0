package policy

import (
	"fmt"
	"slices"
	"strings"
)

// ExemptionLevel says how much traffic passes whatever the filters say. Its zero value is the most closed one.
type ExemptionLevel uint8

// The levels by the numbers of the source, where 0 exempts the most (S-028 to S-031).
const (
	Level3 ExemptionLevel = iota // IKE
	Level2                       // IKE, Kerberos and RSVP
	Level1                       // IKE, multicast and broadcast
	Level0                       // all of them, and IPv6 of the gateway's own addresses
)

// ExemptionKind is a kind of exempt traffic.
type ExemptionKind uint8

// The kinds in the order in which they are shown.
const (
	ExemptIKE ExemptionKind = iota
	ExemptKerberos
	ExemptRSVP
	ExemptMulticast
	ExemptBroadcast
	ExemptIPv6
)

var kindNames = [...]string{"IKE", "Kerberos", "RSVP", "multicast", "broadcast", "IPv6"}

// String is the kind's name.
func (k ExemptionKind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("ExemptionKind(%d)", uint8(k))
}

// levels is every level, by the number that operators know it by, with the kinds it exempts.
var levels = [...]struct {
	level ExemptionLevel
	kinds []ExemptionKind
}{
	{Level0, []ExemptionKind{ExemptIKE, ExemptKerberos, ExemptRSVP, ExemptMulticast, ExemptBroadcast, ExemptIPv6}},
	{Level1, []ExemptionKind{ExemptIKE, ExemptMulticast, ExemptBroadcast}},
	{Level2, []ExemptionKind{ExemptIKE, ExemptKerberos, ExemptRSVP}},
	{Level3, []ExemptionKind{ExemptIKE}},
}

// number is the level as operators know it.
func (l ExemptionLevel) number() int { return len(levels) - 1 - int(l) }

// isKnown reports whether there is such a level.
func (l ExemptionLevel) isKnown() bool { return l <= Level0 }

// exempts reports whether traffic of the kind passes at this level.
func (l ExemptionLevel) exempts(kind ExemptionKind) bool {
	return l.isKnown() && slices.Contains(levels[l.number()].kinds, kind)
}

// String is the number, "3" to "0".
func (l ExemptionLevel) String() string {
	if !l.isKnown() {
		return fmt.Sprintf("ExemptionLevel(%d)", uint8(l))
	}
	return fmt.Sprint(l.number())
}

// ParseExemptionLevel reads "0" to "3".
func ParseExemptionLevel(text string) (ExemptionLevel, error) {
	for _, known := range levels {
		if text == known.level.String() {
			return known.level, nil
		}
	}
	return Level3, fmt.Errorf("expected an exemption level 0 to 3, found %q", text)
}

// MarshalText is the number as text: encoders must not show the constant's own value, which counts the other way.
func (l ExemptionLevel) MarshalText() ([]byte, error) {
	if !l.isKnown() {
		return nil, fmt.Errorf("policy: %s is not an exemption level", l)
	}
	return []byte(l.String()), nil
}

// UnmarshalText reads what MarshalText writes.
func (l *ExemptionLevel) UnmarshalText(text []byte) (err error) {
	*l, err = ParseExemptionLevel(string(text))
	return err
}

// levelsOf is the numbers of the levels that exempt the kind, for a message.
func levelsOf(kind ExemptionKind) string {
	var numbers []string
	for _, known := range levels {
		if known.level.exempts(kind) {
			numbers = append(numbers, known.level.String())
		}
	}
	return strings.Join(numbers, ", ")
}
