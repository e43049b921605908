// Package limittest holds every store of counters to the behaviour that core/limit
// promises.
package limittest
