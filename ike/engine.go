package ike

import "time"

// Engine holds every IKE SA of the gateway. It is not safe for concurrent use: one goroutine steps it.
type Engine struct{}

// NewEngine takes a configuration that ValidatePeers has passed.
func NewEngine(cfg Config) *Engine { return &Engine{} }

// Step takes one event at a time and returns what is to be done about it.
func (e *Engine) Step(now time.Time, ev Event) []Effect { return nil }

// Snapshot describes every peer and IKE SA.
func (e *Engine) Snapshot() []SAInfo { return nil }

const maxSelectors = 128
