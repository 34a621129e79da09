package cli

// writable: Windows tells only by trying, which doctor does not.
func writable(string) error { return nil }
