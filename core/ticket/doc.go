// Package ticket lets callers in that can't set a header: <video>, EventSource,
// WebSocket of a browser. A ticket stands for the access token that asked for it, is
// good once, within seconds, for one path (SPEC ID10), so that a URL which leaks into
// a history or a log opens nothing.
package ticket
