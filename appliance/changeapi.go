package appliance

import (
	"net/http"
	"time"

	"sallyport/appliance/api"
)

// routeChanges routes what changes the policy in force.
func (g *Gateway) routeChanges(mux *http.ServeMux) {
	handleChange(g, mux, api.PathApply, configBody, (*manager).apply)
	handleChange(g, mux, api.PathRollback, controlBody, (*manager).rollback)
	handleChange(g, mux, api.PathReload, controlBody, (*manager).reload)
	handleChange(g, mux, api.PathActivate, controlBody, (*manager).activate)
	handleChange(g, mux, api.PathPurge, controlBody, (*manager).purge)
	handleChange(g, mux, api.PathResolve, controlBody, (*manager).resolve)
	handleChange(g, mux, api.PathLevel, controlBody, (*manager).setLevel)
	handleChange(g, mux, api.PathAddresses, controlBody, (*manager).changeAddress)
}

// handleChange routes one order, whose body is an O of at most limit bytes.
func handleChange[O any](g *Gateway, mux *http.ServeMux, path string, limit int64, order func(*manager, O) request) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		// A large policy takes its time, and so do changes that came before.
		deadline := time.Now().Add(changeTimeout)
		connection := http.NewResponseController(w)
		_ = connection.SetReadDeadline(deadline) // not on a test's recorder
		_ = connection.SetWriteDeadline(deadline)
		var wanted O
		if err := decode(w, r, limit, &wanted); err != nil {
			respond(w, nil, err)
			return
		}
		wish := order(g.manager, wanted)
		wish.by = caller(r.Context())
		change, err := g.manager.change(r.Context(), wish)
		respond(w, change, err)
	})
}
