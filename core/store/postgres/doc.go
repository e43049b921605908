// Package postgres keeps what is durable in PostgreSQL, for the domains that own
// the interfaces which it implements.
package postgres
