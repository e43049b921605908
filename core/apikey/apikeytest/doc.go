// Package apikeytest holds what every store of API keys must do, for the drivers'
// tests.
package apikeytest
