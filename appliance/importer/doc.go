// Package importer turns the IPsec configuration of other systems into a configuration of this gateway, and says for
// every line that has no equivalent what was done instead.
//
// An import goes through one model, whatever it was read from:
//
//	text.go       octets become numbered lines of text, whichever code page they were saved in
//	netsh*.go     a script of "netsh ipsec static" becomes a draft
//	swanctl*.go   a swanctl.conf becomes a draft
//	draft.go      the draft: peers, filter lists, actions, rules, each with the line that it comes from
//	finish.go     names take our form, what is unknown gets a placeholder, and package policy compiles the result
//	yaml.go       the draft is written as a configuration file
//
// Where a thing can be read in two ways the closed one is taken: what was to be protected is never passed in clear, and
// traffic that no filter matches is dropped. Preshared keys are only ever in Result.Keys.
package importer
