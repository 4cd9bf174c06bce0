package isakmp

import (
	"errors"
	"fmt"
	"math"
)

// Lifetime is how long an SA lives: until the first of its limits. 0: no limit.
type Lifetime struct {
	Seconds   uint32
	Kilobytes uint32 // of 1024 octets, RFC 2407 4.5
}

// Kinds of a lifetime, RFC 2407 4.5 and RFC 2409 appendix A alike.
const (
	lifeSeconds   = 1
	lifeKilobytes = 2
)

// attributes spells the limits out as pairs of a type and a duration.
func (l Lifetime) attributes(lifeType, lifeDuration uint16) []Attribute {
	var attributes []Attribute
	if l.Seconds != 0 {
		attributes = append(attributes, Basic(lifeType, lifeSeconds), Number(lifeDuration, l.Seconds))
	}
	if l.Kilobytes != 0 {
		attributes = append(attributes, Basic(lifeType, lifeKilobytes), Number(lifeDuration, l.Kilobytes))
	}
	return attributes
}

// lifetimeReader reads such pairs out of a list of attributes: a duration is about the type right before it (RFC 2407 4.5). What is longer
// than four octets can say counts as the longest that they can. A duration of zero is no limit: strongSwan says so of an ISAKMP SA that it never renews.
type lifetimeReader struct {
	lifeType, lifeDuration uint16

	life    Lifetime
	pending *uint32 // what the duration that comes next is for
}

// take reads an attribute when it is about the lifetime.
func (r *lifetimeReader) take(a Attribute) (taken bool, err error) {
	switch {
	case a.Type == r.lifeType:
		return true, r.takeType(a)
	case a.Type == r.lifeDuration:
		return true, r.takeDuration(a)
	case r.pending != nil:
		return false, errLifeTypeAlone
	}
	return false, nil
}

var errLifeTypeAlone = errors.New("a life type without a duration behind it")

func (r *lifetimeReader) takeType(a Attribute) error {
	if r.pending != nil {
		return errLifeTypeAlone
	}
	kind, err := a.basic()
	switch {
	case err != nil:
		return fmt.Errorf("life type: %w", err)
	case kind == lifeSeconds:
		r.pending = &r.life.Seconds
	case kind == lifeKilobytes:
		r.pending = &r.life.Kilobytes
	default:
		return fmt.Errorf("life type %d, expected %d (seconds) or %d (kilobytes)", kind, lifeSeconds, lifeKilobytes)
	}
	if *r.pending != 0 {
		return fmt.Errorf("life type %d twice", kind)
	}
	return nil
}

func (r *lifetimeReader) takeDuration(a Attribute) error {
	if r.pending == nil {
		return errors.New("a life duration without a type before it")
	}
	duration, err := a.Number()
	if err != nil {
		return fmt.Errorf("life duration: %w", err)
	}
	*r.pending = uint32(min(duration, math.MaxUint32))
	r.pending = nil
	return nil
}

func (r *lifetimeReader) end() (Lifetime, error) {
	if r.pending != nil {
		return Lifetime{}, errLifeTypeAlone
	}
	return r.life, nil
}
