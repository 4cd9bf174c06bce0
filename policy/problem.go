package policy

import "fmt"

// Part is a kind of thing in a Set.
type Part int

// The parts of a Set.
const (
	PartSet          Part = iota // the set as a whole: its active policy, the environment
	PartPolicy                   // Policies[Index]
	PartRule                     // Policies[Index].Rules[Item]
	PartFilterList               // FilterLists[Index]
	PartFilter                   // FilterLists[Index].Filters[Item]
	PartFilterAction             // FilterActions[Index]
)

// Problem is one mistake in a Set. Compile joins all that it finds. Part, Index, Item and Field, a field's name in its Go
// structure, lead a caller to the place where its user wrote it; Where says the place in words.
type Problem struct {
	Part        Part
	Index, Item int
	Field       string // empty where the part as a whole is meant
	Where       string
	Text        string // what was expected and what was found
}

// Error is "where: text".
func (p *Problem) Error() string { return p.Where + ": " + p.Text }

// at is a place in a Set.
func at(part Part, index, item int, whereFormat string, args ...any) Problem {
	return Problem{Part: part, Index: index, Item: item, Where: fmt.Sprintf(whereFormat, args...)}
}
