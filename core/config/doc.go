// Package config is the YAML language: it reads files into one checked [Config],
// and reports every problem with its place.
//
// # From files to a Config
//
// [Load] walks these steps; each keeps where every value was written.
//
//  1. Parse: each file becomes a tree of setting.Node. Anchors and << merges are
//     resolved; keys that begin with x- are dropped at the top.
//  2. Expand: ${NAME}, ${NAME:-default} and $${ are replaced in scalars.
//  3. Include: the files that `include` names are laid over the one that names
//     them, in their order.
//  4. Overlay: further files of the command line are laid over the first.
//  5. Derive: defaults and profiles are merged under services and routes, a
//     service's timeouts and retries under those of its routes.
//  6. Decode: the tree becomes a Config, strictly.
//  7. Check: what the types alone can't say: dangling names, addresses, patterns
//     that can't be told apart.
//
// A step runs even if one before it found problems, so that one run shows them all.
//
// # What it does not know
//
// The options of plugins: it merges them as trees, and hands each tree to the
// caller's function to be checked.
package config
