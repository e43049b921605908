// Package plugin says how a plugin is declared: [Of] joins the type of its
// options with the two functions that read them.
//
//	var Plugin = plugin.Of("security_headers", check, build)
//
// # Check, then build
//
// Check is all that `gateway check` runs: it decodes the options strictly and
// reports every problem with its place. It starts nothing, opens nothing, and
// needs nothing but the configuration. Build compiles the options of one route
// into one [pipeline.Instance]: templates, regular expressions, metric handles
// and the bytes of headers are made here, once, and looked up never again. It
// runs while a snapshot is compiled, which may still be refused: what it opened
// is closed by Instance.Close then.
//
// # What outlives a snapshot
//
// An instance dies with its snapshot. What must not (a log sink, a cache) is
// held by [Keep], counted by its holders.
package plugin
