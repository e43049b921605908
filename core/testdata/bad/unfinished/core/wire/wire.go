// Package wire is half done.
package wire

// TODO: the rest // want unfinished "TODO"
func half() {
	// FIXME later // want unfinished "FIXME"
	/* XXX // want unfinished "XXX" */
	// HACK(me) // want unfinished "HACK"
	// methodology is no mark, nor is todo
	s := "TODO"
}
