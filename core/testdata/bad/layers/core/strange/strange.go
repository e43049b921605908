// Package strange is in no row.
package strange // want layers "stands in no row"
