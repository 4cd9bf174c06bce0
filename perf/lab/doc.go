// Package lab builds small networks out of namespaces on one machine, runs gateways, hosts and
// peers in them, and watches what they put on the wire.
//
// Reading order: lab.go owns everything that must be cleaned up; namespace.go and process.go are
// what a lab is made of; sites.go and link.go are the topology of two sites and the wide-area
// network between them, routed.go the one with a router in it; capture.go, ring.go, pcap.go and tally.go watch that network; rawport.go
// sends what no stack would; gateway.go runs a Sallyport gateway and asks it for its state; traffic.go and echo.go
// send pings and streams; demo.go puts all of it together.
//
// Nothing of a lab outlives its process: children die with the thread that started them, and names
// left in /run/netns by a killed run are swept by the next one.
package lab
