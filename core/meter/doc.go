// Package meter counts what the gateway does and shows it in Prometheus' text
// format.
//
// # Stripes
//
// What each request updates is striped: every exchange carries an index of its
// own, and two exchanges that run on two cores mostly write two cache lines. The
// stripes are summed when somebody asks. One update costs a few nanoseconds and
// allocates nothing. A histogram has one stripe until it has been used often, so
// that ten thousand routes that are hardly ever asked for cost little on a machine
// with many cores.
//
// # Labels
//
// No caller can make a series: labels come from the configuration and from the
// tables of this package, unknown methods are "other", unregistered statuses
// stand together as "2xx" and so on. The series of a route stay for ten minutes
// after the last snapshot that named it, so that a scrape still sees their last
// values, and are the same ones when the route comes back: a reload never makes a
// counter go backwards.
//
// # Names
//
// A name is lower-case words joined by "_"; counters, and nothing else, end in
// _total, histograms in _seconds. What breaks that panics where it is made.
package meter
