// Package meter has a comment.
package meter
