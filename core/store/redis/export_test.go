package redis

// SlotOf is what the tests compare with a server's own answer.
func SlotOf(key []byte) uint16 { return slotOf(key) }

// SlotTags are texts that lie one in each slot.
func SlotTags() []string { return slotTags() }
