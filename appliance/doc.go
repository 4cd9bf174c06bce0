// Package appliance puts the parts of a gateway together: it starts and stops
// them in order, carries out what IKE wants of the data plane, and answers the
// control API and the metrics.
//
// The configuration in force is the manager's, and a change of it is a
// transaction (manager.go, plan.go, orders.go): checked whole, then written
// (store.go, files.go, names.go), then taken over by IKE and data plane at once
// (negotiator.go, effects.go, cells.go). Peers that the default response rule lets
// in make such changes too, of filters alone (dynamic.go). Whatever fails before the file is written leaves
// file, filters and SAs as they were.
package appliance
