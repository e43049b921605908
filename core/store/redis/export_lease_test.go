package redis

import "strings"

// NewLeasesBehind plants a bug: a bucket gains what is out on lease.
func NewLeasesBehind(client *Client, o LeaseOptions) *Leases {
	return newLeases(client, o, strings.Replace(limitCounterScript, "return c.out\n", "return 0\n", 1)+limitLeaseScript)
}
