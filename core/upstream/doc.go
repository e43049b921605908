// Package upstream knows the services behind the gateway: their endpoints, how
// requests are spread over them, and how often they may be tried again.
//
// # What outlives what
//
// A [Registry] lives as long as the process. Snapshots take services from it and
// give them back; a service whose declaration did not change is the same one, with
// its cursor and its retry budget, and an endpoint keeps its connections and its
// counts as long as any declaration of its service holds it. The key of an endpoint
// is its service, and all that changes how its connections behave, the certificates of
// its TLS included: two services at one address don't use up each other's connections,
// and a renewed certificate is another endpoint, whose connections show it.
//
// What is known of an endpoint — its health, whether an operator drained it — is kept under
// its service and its address alone: a renewed certificate makes no machine healthy.
//
// # Rotation
//
// The members of a service change while it lives ([Service.SetEndpoints]), and so does what
// is known of them. Requests pick from an immutable rotation behind an atomic pointer:
// the endpoints in service, their weights, the sequence of turns. Whoever changes what it is made
// of makes the next one under the registry's lock. An endpoint is in service unless it is
// unhealthy, ejected or drained. When a smaller share of those that nobody drained is in
// service than the panic threshold says, all of these are in rotation. What an operator drained
// never is. Nobody in rotation: [Service.Pick] returns nil.
//
// # Ejection
//
// [Service.Report] hears how each try ended. An endpoint is ejected that fails so many times
// in a row, or fails so large a share of at least 20 tries within 10 s. The share is looked
// at when something fails, against the count of requests that there is anyway: while all goes well
// nothing is written. It comes back by itself after the base time. Until it has answered once,
// its first failure sends it away again; each relapse doubles the time, up to ten times
// the base. An endpoint that has been back for as long as it was away, and answered most
// tries since, begins with the base time again.
//
// One endpoint in service always stays, and no more than the maximum share are out at
// once (of any number of endpoints one may be): where everything fails, it is not
// the endpoints. The panic threshold looks at all that keeps endpoints out, the maximum share at
// ejections alone: at a share of at most 1 minus the threshold, these bring no panic about.
//
// # Slow start
//
// An endpoint that comes into service while others are in it, back or anew, gets a tenth of its
// weight, and further tenths over the time of slow start. Endpoints that a service
// begins with have all of theirs at once. One goroutine of the registry, which the first need for
// it starts, takes these steps and ends ejections.
//
// # Balancing
//
// Weighted round robin walks a sequence that is made once: endpoint i stands in it
// weight(i)/gcd times, spread so that it is never a whole turn ahead of its share
// (of the turns that may have begun, the one that must end first: I. Stoica and H.
// Abdel-Wahab, "Earliest Eligible Virtual Deadline First", 1995). One atomic cursor
// walks it, so that any run of as many picks as the sequence is long is exact,
// whatever the number of callers.
// Random picks from the same sequence. Least requests compares two endpoints
// picked at random (M. Mitzenmacher, "The Power of Two Choices in Randomized Load
// Balancing", 2001) by requests in flight per weight.
//
// Consistent hashing places endpoints on a ring by their addresses, so that all gateways
// agree, and whoever comes or goes moves no keys but its own: of N endpoints of one weight,
// at most 2/N of all. An endpoint has no room that has 1.25 times its share
// of what is under way (V. Mirrokni, M. Thorup and M. Zadimoghaddam, "Consistent Hashing with
// Bounded Loads", 2018); then the request goes to a place made of its hash (J. Chen, B.
// Coleman and A. Shrivastava, "Revisiting Consistent Hashing with Bounded Loads", 2021).
// Those who pick in the same moment don't see each other: the bound may be passed by as
// many as there are of them.
//
// # Health checks
//
// A service may have its endpoints checked ([HealthCheck]); the [Prober] asks, one
// scheduler says when. An endpoint is unknown until its first check, and gets requests
// meanwhile; fall failed checks in a row make it unhealthy, and it gets none, until rise
// passed ones in a row make it healthy again. Each failed check of an unhealthy endpoint
// doubles the pause to the next, up to a bound. Checks are kept under the endpoint and the
// way it is checked, so they and what they know outlive reloads; where a reload changes
// the way, the newest check has the word once it has one.
package upstream
