// Package router decides which route takes a request: it parses path and host
// patterns, compiles routes into one immutable [Table], and looks requests up in
// it without allocating (SPEC RT1, RT3, RT4).
//
// # What a route matches
//
// A [Match] holds when all its parts hold. An empty part asks nothing.
//
//   - Listeners: the request came in by one of them.
//   - Hosts: "a.example" is that host; "*.example" has one or more labels before
//     the suffix; "{tenant}.example" has exactly one, kept as parameter
//     "host.tenant". Hosts are compared without port, in lower case, without a
//     final dot. A request without a host matches only routes without hosts.
//   - Paths: at least one [Pattern]. "/a/{id}" takes one non-empty segment;
//     "/a/{n:[0-9]+}" one whose whole text matches the regular expression (RE2,
//     anchored at both ends, never empty); "/a/{rest...}" takes "/a", "/a/" and all
//     below. Elsewhere a trailing slash is significant. Patterns are compared with
//     the canonical path, and parameters are pieces of it: still percent-encoded.
//   - Methods: upper-case tokens. A route that lists GET serves HEAD as well.
//   - Headers, Query: a field or key is present, has exactly a value, or has a
//     value that a regular expression matches (not anchored). Query keys and values
//     are compared decoded: %XX and '+' as space; an escape that is none stands
//     for itself. What stands more than once in one request is present, but it has
//     no one value: next hops differ in which one they believe.
//
// # Precedence
//
// A route with several hosts and paths stands once for each pair of them. All
// these stand in one order, and the first whose whole match holds takes the
// request. Whether one that stands earlier fails by its path, its method or a
// header makes no difference: the next is tried.
//
//  1. Higher priority first.
//  2. Host: an exact name; then the longest suffix, "{x}.s" before "*.s"; then none.
//  3. Path, segment by segment from the left: its end, a literal, a regular
//     expression, {x}, {x...}. "/a" and "/a/" so come before "/a/{x...}".
//  4. Methods before none. For HEAD, routes that list HEAD come before those that
//     only list GET, these before routes without methods.
//  5. More header and query conditions first, counted together.
//
// What is equal in all five is a tie, and refused unless no request can match
// both: other listeners, other methods, two exact values of one header or query
// key, an exact value beside a regular expression that it does not match, or
// regular expressions that share no text. Ties are looked for only among routes
// that agree on host and path, so that thousands of routes compile quickly.
//
// # How it is found
//
// Each host pattern has a trie of segments. The hosts that fit are walked in
// order of precedence; a walk goes depth first, literal before regular expression
// before parameter before rest, and goes on when a leaf refuses. A found route
// ends the search at once, but for parts of a trie that hold a higher priority:
// every node knows the highest one below it.
//
// There is no exponential backtracking: the way to a node is unique, so that a
// lookup visits each node of the few tries at most once. It visits at most three
// nodes for each one above it, and only those that the configuration has; what a
// client sends can't add work beyond that. Regular expressions run in linear time.
// Routes that differ only in methods and conditions share a leaf, and are tried
// one after another.
package router
