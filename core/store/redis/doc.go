// Package redis keeps what is ephemeral in Redis or Valkey, for the domains that
// own the interfaces which it implements.
package redis
