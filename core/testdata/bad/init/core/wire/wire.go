// Package wire starts behind one's back.
package wire

func init() { // want init "behind the reader's back"
}

type table struct{}

func (table) init() {}
