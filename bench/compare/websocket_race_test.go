//go:build race

package main

// testSockets are few: what each of them costs is measured in the other pass.
const testSockets = 300
