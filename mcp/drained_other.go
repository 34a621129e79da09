//go:build !linux

package mcp

// unread knows nothing here: neither macOS nor Windows tells a writer how much of a pipe was read.
func unread(uintptr) (left int, gone bool) { return 0, false }
