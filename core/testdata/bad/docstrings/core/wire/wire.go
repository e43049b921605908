// Package wire says little.
//
// want@9 docstrings "Naked is exported"
// want@11 docstrings "Head is exported"
// want@13 docstrings "Len is exported"
// want@15 docstrings "Read is exported"
package wire

var Naked = 1

type Head struct{}

func (Head) Len() int { return 0 }

func Read() {}

func (*hidden) Free() {}

type hidden struct{}

// Grouped types need a comment each.
//
// want@30 docstrings "B is exported"
type (
	// A has one.
	A struct{}

	// (this comment stands apart)

	B struct{}
)

// Range covers all of it.
const (
	Low  = 1
	High = 2
)

const Beside = 1 // Beside is documented at its line.

// Len is a method of a generic type.
func (g *generic[T]) Len() int { return 0 }

type generic[T any] struct{}
