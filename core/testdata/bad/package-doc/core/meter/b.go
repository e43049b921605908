// Package meter has another one.
package meter // want package-doc "second package comment (the first is in core/meter/a.go)"
