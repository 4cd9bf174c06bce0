// Package policy is the IP security policy model of RFC 4301, section 4.4: selectors, filters and filter lists, filter
// actions, rules and policies as an operator writes them, and the security policy database (SPD) that they compile to.
//
// A filter list says which traffic, a filter action says what happens to it, a rule joins one of each, and a policy is
// a set of rules. Compile turns the active policy into specific filters: "my addresses" becomes one filter per local
// address, a mirrored filter becomes one per direction, a filter that negotiates becomes an outbound entry that
// protects and an inbound entry that requires protection. Every entry carries a weight computed from its address,
// protocol and port specificity; the heaviest entry that matches a packet decides, and the order in which an operator
// wrote things decides nothing.
//
// The package is pure: it knows no clocks, files, sockets or keys. The fast path holds the same entries in a compiled
// classifier; SPD.Match is the naive form that tests compare it with.
package policy
