// Package accounttest holds every store of users and every throttle to the behaviour
// that core/account needs.
package accounttest
