package importer

// Netsh turns a script of "netsh ipsec static" into a configuration. name is the file's, for messages. The error joins
// an *Error for every mistake in the file, and with one there is no result.
func Netsh(name string, data []byte) (*Result, error) {
	r := &report{file: name}
	text, readable := r.readText(data)
	if !readable {
		return nil, r.err()
	}
	s := newNetshScript(r)
	for _, l := range joinLines(text) {
		s.run(l)
	}
	return r.finish(s.draft())
}
