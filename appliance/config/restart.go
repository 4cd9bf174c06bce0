package config

import (
	"fmt"
	"reflect"
)

// RestartKeys are the keys whose values differ and cannot change while the gateway runs. Without any, new can replace
// old at run time.
func RestartKeys(old, new *Config) []string {
	var keys []string
	compare := func(key string, was, is any) {
		if !reflect.DeepEqual(was, is) {
			keys = append(keys, key)
		}
	}
	compare("name", old.Name, new.Name)
	compare("dataplane.huge_pages", old.Dataplane.HugePages, new.Dataplane.HugePages)
	compare("dataplane.memory_mb", old.Dataplane.MemoryMB, new.Dataplane.MemoryMB)
	compare("dataplane.main_core", old.Dataplane.MainCore, new.Dataplane.MainCore)
	compare("dataplane.workers", old.Dataplane.Workers, new.Dataplane.Workers)
	compare("dataplane.idle", old.Dataplane.Idle, new.Dataplane.Idle)
	compare("dataplane.flow_entries", old.Dataplane.FlowEntries, new.Dataplane.FlowEntries)
	compare("dataplane.max_sas", old.Dataplane.MaxSAs, new.Dataplane.MaxSAs)
	compare("dataplane.max_tunnels", old.Dataplane.MaxTunnels, new.Dataplane.MaxTunnels)
	compare("dataplane.max_neighbours", old.Dataplane.MaxNeighbours, new.Dataplane.MaxNeighbours)
	compare("dataplane.punt_queue", old.Dataplane.PuntQueue, new.Dataplane.PuntQueue)
	compare("dataplane.crypto_devices", old.Dataplane.CryptoDevices, new.Dataplane.CryptoDevices)
	compare("dataplane.offload", old.Dataplane.Offload, new.Dataplane.Offload)
	compare("dataplane.log_level", old.Dataplane.LogLevel, new.Dataplane.LogLevel)
	compare("ports", len(old.Ports), len(new.Ports))
	for i := range min(len(old.Ports), len(new.Ports)) {
		was, is := &old.Ports[i], &new.Ports[i]
		compare(fmt.Sprintf("ports[%d].name", i), was.Name, is.Name)
		compare(fmt.Sprintf("ports[%d].device", i), was.Device, is.Device)
		compare(fmt.Sprintf("ports[%d].vlan", i), was.VLAN, is.VLAN)
		compare(fmt.Sprintf("ports[%d].role", i), was.Role, is.Role)
		compare(fmt.Sprintf("ports[%d].mtu", i), was.MTU, is.MTU)
	}
	compare("fragments.memory_mb", old.Fragments.MemoryMB, new.Fragments.MemoryMB)
	compare("fragments.timeout", old.Fragments.Timeout, new.Fragments.Timeout)
	compare("soft.max", old.Soft.Max, new.Soft.Max)
	compare("soft.queue_max", old.Soft.QueueMax, new.Soft.QueueMax)
	compare("state_dir", old.State, new.State)
	compare("control.socket", old.Control, new.Control)
	compare("metrics.listen", old.Metrics, new.Metrics)
	compare("log.level", old.Log.Level, new.Log.Level)
	compare("log.format", old.Log.Format, new.Log.Format)
	return keys
}
