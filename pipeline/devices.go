package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"fmt"

	"sallyport/crypto/cryptodev"
)

// DeviceRoom is how many packets a worker may have with a crypto device of the default length of queues, and waiting for it.
const DeviceRoom = cryptodev.DefaultDescriptors + C.SP_QUEUE_WAITING

// queueDevice is a crypto device that workers use by enqueue and dequeue.
type queueDevice struct {
	id   C.uint8_t
	name string
	lost bool
}

// queueDevices lists the crypto devices that workers use by enqueue and dequeue.
func (cfg *Config) queueDevices() (list []queueDevice) {
	if cfg.Crypto == nil {
		return nil
	}
	for _, device := range cfg.Crypto.Describe() {
		if !device.Queued {
			continue
		}
		if len(list) < C.SP_MAX_CRYPTO_DEVICES {
			list = append(list, queueDevice{id: C.uint8_t(device.ID), name: device.Name})
		}
	}
	return list
}

// DeviceCounters counts what a crypto device does for the workers by enqueue and dequeue.
type DeviceCounters struct {
	Name       string
	Operations uint64 // that it ever took
	Unknown    uint64 // that it gave back and did not have
	Held       int    // packets that it has, at this moment
	Waiting    int    // packets that wait for room in it
	Lost       bool   // has stopped answering, or fails all: packets that it had are dropped, but their buffers stay in Held until it is stopped
}

// deviceCounters reads the counters of each device.
func (d *Dataplane) deviceCounters() (list []DeviceCounters) {
	for _, device := range d.devices {
		var c C.struct_sp_device_counters
		C.sp_device_read(d.c, device.id, &c)
		list = append(list, DeviceCounters{Name: device.name, Operations: uint64(c.operations), Unknown: uint64(c.unknown), Held: int(c.held), Waiting: int(c.waiting), Lost: c.lost != 0})
	}
	return list
}

// watchDevices looks for devices that have stopped working since. Their SAs go on elsewhere.
func (d *Dataplane) watchDevices() {
	for i := range d.devices {
		device := &d.devices[i]
		loss := C.sp_device_lost(d.c, device.id)
		if device.lost || loss == C.SP_DEVICE_WORKS {
			continue
		}
		device.lost = true
		d.cfg.Crypto.Lose(uint8(device.id), deviceLosses[loss])
		d.retire(func() error { d.stopDevice(device.id); return nil })
		d.leaveDevice(device, deviceLosses[loss])
	}
}

var deviceLosses = [...]string{
	C.SP_DEVICE_SILENT: "has stopped answering",
	C.SP_DEVICE_FAILS:  fmt.Sprintf("has failed %d outbound packets in sequence", C.SP_QUEUE_FAILURES),
}

// stopDevice ends a lost device, which no worker is using any more, while others have the lock, and then frees what it had.
func (d *Dataplane) stopDevice(id C.uint8_t) {
	d.giveBack(func() error { return d.cfg.Crypto.Stop(uint8(id)) }, func() { C.sp_device_release(d.c, id) })
}

// queued reports whether a session's operations go through queues.
func queued(s *cryptodev.Session) bool { return !s.Direct && !s.Job && !s.CPU }
