// Package limit decides how many requests may pass: the algorithms of SPEC RL1 as
// integer arithmetic, counters that levels of a route charge together, and the stores
// that hold them. A request is charged all or nothing: one that any level denies
// charges none.
package limit
