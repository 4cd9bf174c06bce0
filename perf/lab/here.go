package lab

// Here is the network namespace that this process is in: its interfaces are used as they are, and left as they are. It can open sockets and nothing else.
func (l *Lab) Here() *Namespace {
	n := &Namespace{Name: "this host", lab: l, calls: make(chan func())}
	go func() {
		for call := range n.calls {
			call()
		}
	}()
	l.Defer(func() error { close(n.calls); return nil })
	return n
}
