// Package hostile attacks a gateway, and measures what that does to it and to those who mean well.
//
// The gateway is a whole one, a process of its own whose worker has a CPU of its own. One link leads to it: attackers send by it as fast as it takes their
// messages, and so do the peers of the gateway, which are engines in this process. A tunnel to one of these carries as much as the gateway can encrypt.
//
// options.go says what can be done, scenario.go which attacks there are, run.go goes through them. bed.go is the gateway and its network, station.go its peers.
// flood.go are first messages in great number, attack.go the other attacks, insider.go those of a peer with keys, pace.go how fast they come. siege.go is an attack with peers that connect meanwhile,
// throughput.go what it does to a tunnel, account.go what the gateway says of it; row.go is what comes of all that and what is wanted, report.go shows it.
package hostile
