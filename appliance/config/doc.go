// Package config reads the configuration file of a gateway and turns it into values that the rest of the program uses
// as they are: addresses, durations, a policy that compiles, IKE peers with their keys.
//
// A file is read in three passes, and the mistakes of all of them come back together, each with file, line, key, what
// was expected and what was found:
//
//	keys.go     the YAML tree is held against the structure in file.go: unknown, repeated and missing keys
//	decode.go   viper and mapstructure fill the structure; a value of the wrong kind is found here
//	build*.go   the values are checked against each other and against the machine
//
// What a gateway needs while it runs: compile.go compiles the active policy for other own addresses, names.go knows what
// DNS names stand for, edit.go changes a few words of the text and leaves the rest, restart.go says what cannot change.
//
// The keys, their units and defaults are listed in configs/REFERENCE.md, which a test holds against file.go.
package config
