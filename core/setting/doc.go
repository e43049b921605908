// Package setting holds the words that every configuration is written in: the
// YAML tree with its places, the values with units, the strict decoder, and the
// report of what is wrong.
//
// # From text to values
//
// [Parse] turns one YAML document into a tree of [Node]. Each node knows where
// it was written ([Position]) and its path in that file; both survive [Merge],
// so a problem is always reported where its cause stands, even if the value
// reached a route through an anchor, a profile or a default. [Decode] reads a
// tree into Go structs by their tags, strictly, and collects every problem in a
// [Report]. [Schema] describes the same structs as JSON Schema 2020-12, and
// [Show] prints a tree with the defaults that Decode would fill in.
//
// # Tags
//
//	yaml:"name"        the key. `yaml:"-"` is not decoded.
//	yaml:",inline"     the fields of an embedded struct are keys of the outer one.
//	yaml:"name,named"  a map from names to structs, decoded into a slice of
//	                   *struct that is sorted by name.
//	yaml:"@key"        receives the name under which the struct stands (string).
//	yaml:"@at"         receives where it stands (Position).
//	yaml:"@node"       receives the node itself (*Node).
//	default:"text"     taken when the key is absent; lists are comma-separated.
//	min:"…" max:"…"    bounds, written in the syntax of the field's own type.
//	enum:"a|b"         the only values taken.
//	off:"true"         plain `off` is a value: the zero of the field's type.
//	unlimited:"true"   a Size also takes the word `unlimited` (Unlimited, -1).
//	empty:"true"       a string may be empty.
//	names:"any"        the names of a named map may hold any character.
//	sparse:"true"      what stands here is merged into other values, so Show prints
//	                   none of its defaults.
//	doc:"…"            one sentence, for the schema.
//
// A type with UnmarshalText reads its own scalar; its error says what it wants
// ("want …"). A type with DecodeSetting reads its own node. Either describes
// itself to Schema by JSONSchema.
//
// # Rules
//
// Nothing is converted silently: 1.5 is no integer, "5" in quotes is no number,
// 5 without quotes is no string, null and empty strings are errors. The plain
// words off and false remove a key that was set beneath, and set booleans to
// false; off in quotes is a string. A scalar that holds an expanded ${NAME} is
// exempt from the rules about quotes, since YAML often forces them.
//
// All functions are safe for concurrent use on trees that are no longer changed.
package setting
