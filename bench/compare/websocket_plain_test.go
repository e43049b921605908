//go:build !race

package main

// testSockets are as many as the gateway's promise is about.
const testSockets = enoughSockets
