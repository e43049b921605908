package wire

func TestNothing(t *testing.T) {
	if testing.Short() { // want skips "testing.Short"
		t.Skip("short") // want skips "t.Skip"
	}
	t.Skipf("%d", 1) // want skips "t.Skipf"
	scanner.Skip(4)
}

func BenchmarkNothing(b *testing.B) {
	b.SkipNow() // want skips "b.SkipNow"
}
