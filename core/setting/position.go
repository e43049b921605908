package setting

import "strconv"

// Position says where something was written. Source is a file name, or the name
// of another source such as a database row; Line and Column count from 1, and
// columns count characters. The zero Position means nowhere.
type Position struct {
	Source string
	Line   int
	Column int
}

// String returns "file:line:column", or the source alone when there is no line.
func (p Position) String() string {
	if p.Line == 0 {
		return p.Source
	}
	return p.Source + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column)
}

// IsZero says that the position is unknown.
func (p Position) IsZero() bool { return p == Position{} }

// before orders positions by source, line and column.
func (p Position) before(q Position) bool {
	if p.Source != q.Source {
		return p.Source < q.Source
	}
	if p.Line != q.Line {
		return p.Line < q.Line
	}
	return p.Column < q.Column
}
