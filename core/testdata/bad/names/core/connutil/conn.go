// Package conn_util is named after nothing.
package conn_util // want names "package conn_util" // want layers "stands in no row"

type connManager struct{} // want names "type connManager"

// Helpers help.
type Helpers []string // want names "type Helpers"

type uncommon struct{}

// HTTPMiddleware is in the middle.
type HTTPMiddleware func() // want names "type HTTPMiddleware"

func f() {
	type interceptor struct{} // want names "type interceptor"
}
