// Package gatewaytest serves tests.
package gatewaytest

import _ "testing"
