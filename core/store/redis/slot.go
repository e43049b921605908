package redis

import "bytes"

// slotCount is how many slots a cluster has.
const slotCount = 16384

// slotOf is the slot of a key: of what stands in its first braces, if there is anything.
func slotOf(key []byte) uint16 {
	if open := bytes.IndexByte(key, '{'); open >= 0 {
		if n := bytes.IndexByte(key[open+1:], '}'); n > 0 {
			key = key[open+1 : open+1+n]
		}
	}
	var crc uint16 // CRC-16/XMODEM
	for _, b := range key {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc % slotCount
}

// slotTags returns for each slot a text that lies in it.
func slotTags() []string {
	tags := make([]string, slotCount)
	name := make([]byte, 4)
	for n, missing := 0, slotCount; missing > 0; n++ {
		for i, rest := len(name)-1, n; i >= 0; i, rest = i-1, rest/26 {
			name[i] = 'a' + byte(rest%26)
		}
		if s := slotOf(name); tags[s] == "" {
			tags[s] = string(name)
			missing--
		}
	}
	return tags
}
