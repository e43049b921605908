package token

import (
	"encoding/json"
	"unsafe"
)

// The sizes by which entries of the cache are weighed: what Go's allocator and maps
// take on a 64-bit machine, rounded up. A test compares the sum with the heap.
const (
	boxed      = 16 // a string, number or slice header in an interface
	mapHead    = 48
	mapGroup   = 8 + 8*(16+16) // eight members
	mapTable   = 64
	groupShare = 7 // members that a group of eight is filled with
	sliceSlot  = 16
)

// weigh returns about how many bytes an entry holds on to.
func weigh(token string, v *Verified) int64 {
	n := int64(unsafe.Sizeof(entry{})) + int64(unsafe.Sizeof(*v)) + int64(len(token)) + rounding
	n += weighPrincipal(v)
	for _, k := range v.Foreign {
		n += boxed + int64(len(k)) + rounding
	}
	// Strings of the claims share the payload's bytes, which are three quarters of the token's.
	return n + int64(len(token)) + weighValue(v.Claims)
}

// rounding is what the allocator adds to an object of about a kilobyte.
const rounding = 64

// weighPrincipal counts what the principal holds beside the payload's bytes.
func weighPrincipal(v *Verified) int64 {
	p := &v.Principal
	list := p.Scopes.List()
	n := int64(2*sliceSlot*len(list)) + int64(len(p.Scopes.String())) + rounding/2
	if p.Issuer != "" {
		n += int64(len(p.User) + len(p.Client) + rounding)
	}
	return n
}

func weighValue(v any) int64 {
	switch v := v.(type) {
	case map[string]any:
		n := int64(mapHead)
		switch groups := int64(1); {
		case len(v) > 8:
			for groups*groupShare < int64(len(v)) {
				groups *= 2
			}
			n += groups*mapGroup + mapTable
		case len(v) > 0:
			n += mapGroup
		}
		for _, one := range v {
			n += weighValue(one)
		}
		return n
	case []any:
		n := int64(2*boxed + 2*sliceSlot*len(v)) // append leaves up to as much again
		for _, one := range v {
			n += weighValue(one)
		}
		return n
	case string, json.Number:
		return boxed
	default:
		return 0
	}
}
