package limit

import "hash/maphash"

// fingerprint stands for a key in this process. It is 128 bits under two seeds that no
// caller knows or sees the work of: nobody can make two keys that share one, and by
// chance 2^32 keys do with a probability of 2^-65.
type fingerprint struct{ hi, lo uint64 }

type seeds [2]maphash.Seed

func newSeeds() seeds { return seeds{maphash.MakeSeed(), maphash.MakeSeed()} }

func (s *seeds) of(key []byte) fingerprint {
	return fingerprint{maphash.Bytes(s[0], key), maphash.Bytes(s[1], key)}
}
