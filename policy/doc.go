// Package policy is the IP security policy model of RFC 4301, section 4.4: selectors, filters and filter lists, filter
// actions, rules and policies as an operator writes them, and the security policy database (SPD) that they compile to.
//
// A filter list says which traffic, a filter action says what happens to it, a rule joins one of each, and a policy is
// a set of rules. Compile turns the active policy into specific filters: "my addresses" becomes one filter per local
// address, a DNS name one per address that it was resolved to, a mirrored filter one per direction, and a filter that
// negotiates an outbound entry that protects and an inbound entry that requires protection. Every entry carries a weight
// computed from its address, protocol and port specificity; the heaviest entry that matches a packet decides, and the
// order in which an operator wrote things decides nothing. Where two say something of the same traffic, the more
// restrictive holds, and a warning names both.
//
// A packet meets the exemptions in force first, then the entries, then the default action. SPD.Decide is that order in
// its naive form, which tests compare the compiled classifier of the fast path with; SPD.Explain adds all that was
// considered, and Diff says what changes between two SPDs.
//
// What is not there is closed: without a policy nothing passes, an own address that vanished and a tunnel that lost its
// own end block what they had, and what peers propose to the default response rule comes after all rules.
//
// The package is pure: it knows no clocks, files, sockets or keys.
package policy
