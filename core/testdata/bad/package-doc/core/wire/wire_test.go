// Package wire's test does not count.
package wire
