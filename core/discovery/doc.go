// Package discovery finds the endpoints of services, and goes on finding them for as
// long as somebody wants to know.
//
// A [Finder] holds one watch for each thing that is asked for, however many services ask;
// its goroutine asks a [Source] again and again: folder consul has one that asks Consul,
// folder dns one that asks name servers. What a source answers is judged before it is
// believed:
//
//   - Addresses that nobody may call are dropped: see [Options.Barred].
//   - No answer, and an answer that there are no endpoints, change nothing. Whoever asks
//     a sick server would rather call the endpoints of a minute ago than none.
//   - A source that has begun anew may not know yet what it knew before. For a while
//     ([settle]) what it names is added, and nothing is taken away.
//
// Whatever is believed is kept in a file as well, so that a gateway which starts while
// the source is away serves all the same.
package discovery
