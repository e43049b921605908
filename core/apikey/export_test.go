package apikey

// Owed is how many tombstones the shared tier has not taken.
func Owed(k *Keys) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.burials)
}
