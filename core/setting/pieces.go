package setting

import (
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// pieceKeys is how many keys of one block map are parsed in one go. The parser
// calls itself for every further key and copies all that follow it: 10,000 routes
// cost it 400 MB, and a stack as deep (parseMap of goccy/go-yaml v1.19.2).
const pieceKeys = 64

// parseInPieces parses text with the parser's own outcome, but long block maps in
// pieces of so many keys, whose trees it joins. What it can't join, faulty documents
// among it, is parsed as a whole: the parser alone says what is wrong.
func parseInPieces(text string, keys int) (*ast.File, error) {
	tokens := lexer.Tokenize(text)
	if cuts := cutsOf(tokens, keys); len(cuts) > 0 && tokens.InvalidToken() == nil {
		if file := parseCut(tokens, cuts); file != nil {
			return file, nil
		}
		tokens = lexer.Tokenize(text) // the parser has changed them
	}
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

// cutter finds where a document may be cut.
type cutter struct {
	keys     int       // of one map between two cuts
	open     []openMap // the block maps around the token that is looked at
	piece    int       // the column of the first key since the last cut
	cuts     []int
	brackets int
	// The last two tokens that are no comments.
	before, earlier *token.Token
}

// openMap is a block map.
type openMap struct {
	column int
	keys   int // since it began, or was cut last
}

// cutsOf returns the indexes of the tokens before which the document may be cut:
// each begins a further key of a block map. Several documents are not cut, nor is
// what a Node can't hold.
func cutsOf(tokens token.Tokens, keys int) []int {
	c := cutter{keys: keys}
	for i, t := range tokens {
		switch t.Type {
		case token.CommentType:
			continue
		case token.DocumentHeaderType, token.DocumentEndType, token.DirectiveType, token.TagType, token.MappingKeyType:
			return nil
		case token.MappingStartType, token.SequenceStartType:
			c.brackets++
		case token.MappingEndType, token.SequenceEndType:
			c.brackets--
		}
		if c.brackets == 0 && c.beginsLine(t) && !c.look(tokens, i) {
			return nil
		}
		c.earlier, c.before = c.before, t
	}
	return c.cuts
}

func (c *cutter) beginsLine(t *token.Token) bool {
	return c.before == nil || c.before.Position.Line < t.Position.Line
}

// look cuts before the i-th token, if it may and is to. It returns false if it must and
// can't: the piece before would hold keys further out than its first.
func (c *cutter) look(tokens token.Tokens, i int) bool {
	column := tokens[i].Position.Column
	for len(c.open) > 0 && c.open[len(c.open)-1].column > column {
		c.open = c.open[:len(c.open)-1]
	}
	if !isPlainKey(tokens, i) {
		return true
	}
	if c.before != nil && c.before.Type == token.SequenceEntryType {
		return false // the parser takes it for the item's, wherever it stands
	}
	if len(c.open) == 0 || c.open[len(c.open)-1].column < column {
		c.open = append(c.open, openMap{column: column})
	}
	m := &c.open[len(c.open)-1]
	m.keys++
	switch {
	case c.before == nil:
		c.piece = column
	case c.valueEnds() && (m.keys > c.keys || column < c.piece):
		m.keys, c.piece = 1, column
		c.cuts = append(c.cuts, i)
	default:
		return column >= c.piece
	}
	return true
}

// valueEnds says that what stands before is a whole value. The parser gives one that
// is missing another place at the end of a document than before a key.
func (c *cutter) valueEnds() bool {
	switch c.before.Type {
	case token.MappingValueType, token.AnchorType, token.AliasType, token.LiteralType, token.FoldedType:
		return false
	}
	return c.earlier == nil || c.earlier.Type != token.AnchorType
}

// isPlainKey says that the i-th token is a key without anchor, tag or question mark.
func isPlainKey(tokens token.Tokens, i int) bool {
	switch tokens[i].Type {
	case token.StringType, token.SingleQuoteType, token.DoubleQuoteType, token.IntegerType, token.MergeKeyType:
		return i+1 < len(tokens) && tokens[i+1].Type == token.MappingValueType && tokens[i+1].Position.Line == tokens[i].Position.Line
	}
	return false
}

// parseCut parses each piece as a document and lays its keys to those of the map
// that it was cut from. It returns nil if one has a fault, or the map isn't found.
func parseCut(tokens token.Tokens, cuts []int) *ast.File {
	var whole *ast.File
	var root *ast.MappingNode
	for i := -1; i < len(cuts); i++ {
		from, to := 0, len(tokens)
		if i >= 0 {
			from = cuts[i]
		}
		if i+1 < len(cuts) {
			to = cuts[i+1]
		}
		file, err := parser.Parse(tokens[from:to:to], 0, parser.AllowDuplicateMapKey())
		if err != nil || len(file.Docs) != 1 {
			return nil
		}
		piece, ok := file.Docs[0].Body.(*ast.MappingNode)
		if !ok || piece.IsFlowStyle || len(piece.Values) == 0 {
			return nil
		}
		if root == nil {
			whole, root = file, piece
			continue
		}
		into := lastMap(root, columnOf(piece))
		if into == nil {
			return nil
		}
		into.Values = append(into.Values, piece.Values...)
	}
	return whole
}

// columnOf is where the keys of a block map stand.
func columnOf(m *ast.MappingNode) int { return m.Values[0].Key.GetToken().Position.Column }

// lastMap returns the block map that is open at the end of m, m itself perhaps,
// whose keys stand in column, or nil.
func lastMap(m *ast.MappingNode, column int) *ast.MappingNode {
	for !m.IsFlowStyle && len(m.Values) > 0 && columnOf(m) < column {
		value := m.Values[len(m.Values)-1].Value
		if anchor, ok := value.(*ast.AnchorNode); ok {
			value = anchor.Value
		}
		inner, ok := value.(*ast.MappingNode)
		if !ok {
			return nil
		}
		m = inner
	}
	if m.IsFlowStyle || len(m.Values) == 0 || columnOf(m) != column {
		return nil
	}
	return m
}
