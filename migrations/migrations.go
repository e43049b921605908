// Package migrations holds the steps that make and change the tables in PostgreSQL,
// one file each, in the order of their numbers. The gateway carries them with it:
// `gateway migrate`.
package migrations

import "embed"

// Files are the steps, in the form that goose reads.
//
//go:embed *.sql
var Files embed.FS
