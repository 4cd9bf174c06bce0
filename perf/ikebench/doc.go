// Package ikebench measures what IKE costs: SAs a second, memory of SAs that are up, and the work that keeps them up.
//
// Two engines are joined in memory (pair.go): what one sends the other takes in the same turn, on one thread, with a clock of their own. The
// time of the process's CPU is shared out by the time that each engine takes, so that garbage collection counts. rate.go negotiates, hold.go
// weighs, upkeep.go lets an hour pass.
package ikebench
