package setting

import (
	"errors"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
)

// Content is a text of which everybody may know, and that is too long for a line:
// a certificate, a schema. As with a Secret, a field of this type named x has a
// twin x_file that names a file holding the text. The zero Content is none.
type Content struct{ text, file string }

// NewContent returns the content text.
func NewContent(text string) Content { return Content{text: text} }

// Text returns the text itself.
func (c Content) Text() string { return c.text }

// File is the file that the text was read from, "" if it stands in the
// configuration itself.
func (c Content) File() string { return c.file }

// Renewed is the content that its file holds by now.
func (c Content) Renewed(text string) Content { return Content{text: text, file: c.file} }

// IsZero says that there is none.
func (c Content) IsZero() bool { return c.text == "" }

// UnmarshalText takes any text.
func (c *Content) UnmarshalText(text []byte) error {
	c.text = string(text)
	return nil
}

// JSONSchema describes the form of a content.
func (Content) JSONSchema() map[string]any {
	return map[string]any{"type": "string", "minLength": 1}
}

// twinned says that fields of type t have a twin that names a file.
func twinned(t reflect.Type) bool { return t == typeSecret || t == typeContent }

// file reads a secret or a content from the file that its twin names, relative
// to the file that says so.
func (d *decoder) file(n *Node, v reflect.Value, f *field) {
	file := n.Get(f.twin())
	if other := n.Get(f.name); other != nil && !other.IsOff() {
		if f.typ == typeSecret {
			d.r.markSecret(other)
		}
		d.r.AddNode(file, "want "+f.name+" or "+f.twin()+", got both", "")
		return
	}
	name := d.fileName(file)
	if name == "" {
		return
	}
	text, err := d.r.readFile(name)
	if err != nil {
		if d.r.shared().options.Tolerant {
			return
		}
		var pathError *fs.PathError
		if errors.As(err, &pathError) {
			err = pathError.Err
		}
		d.r.AddNode(file, "want a file that can be read, got "+file.Describe()+": "+err.Error(), "")
		return
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case value == "" && f.typ == typeSecret:
		d.r.AddNode(file, "want a file that holds the secret, got an empty one", "")
	case value == "":
		d.r.AddNode(file, "want a file that holds something, got an empty one", "")
	case f.typ == typeSecret:
		v.Set(reflect.ValueOf(Secret{value: value, file: name}))
	default:
		v.Set(reflect.ValueOf(Content{text: value, file: name}))
	}
}

// fileName returns the name that the node of a twin holds, "" if it is unknown or
// no name.
func (d *decoder) fileName(file *Node) string {
	if file.Unset {
		return ""
	}
	var name string
	d.scalar(file, reflect.ValueOf(&name).Elem(), &field{})
	if name != "" && !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(file.At.Source), name)
	}
	return name
}
