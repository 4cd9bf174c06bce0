// Package atstart gives ports software NICs as they start, so that a whole gateway runs with them: cmd/sallyport imports it in a build with the
// tag softnic, and nothing else does. The gateway knows nothing of it.
//
// SALLYPORT_SOFTNIC names ports by their device ("net_af_packet1") or by the kernel interface below it ("wan0"), separated by commas. Behind the name
// "=crypto" or "=protocol" says that a NIC offers that alone. A port that is not named is as it was.
//
//	SALLYPORT_SOFTNIC=wan0=crypto sallyport run -c gw-a.yaml
//
// When a port is closed what its NIC has done is written to the standard error, as one line of JSON.
package atstart
