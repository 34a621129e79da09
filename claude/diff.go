package claude

import (
	"bytes"
	"fmt"
	"strings"
)

// diff shows what becomes of a file, in the lines that change with two lines around them. It is for people to read, not for patch(1).
func diff(path string, before, after []byte) string {
	if bytes.Equal(before, after) {
		return ""
	}
	var b strings.Builder
	switch {
	case before == nil:
		fmt.Fprintf(&b, "%s (new file)\n", path)
	case after == nil:
		fmt.Fprintf(&b, "%s (removed)\n", path)
	default:
		fmt.Fprintf(&b, "%s\n", path)
	}
	old, new := lines(before), lines(after)
	edits := compare(old, new)
	const around = 2
	printed := -1
	for i, e := range edits {
		near := false
		for j := max(0, i-around); j <= min(len(edits)-1, i+around); j++ {
			near = near || edits[j].op != ' '
		}
		if !near {
			continue
		}
		if printed >= 0 && printed != i-1 {
			b.WriteString("  …\n")
		}
		fmt.Fprintf(&b, "%c %s\n", e.op, e.line)
		printed = i
	}
	return b.String()
}

type edit struct {
	op   byte // ' ', '-' or '+'
	line string
}

// compare finds a longest common subsequence of what lies between the common head and tail.
func compare(old, new []string) []edit {
	head := 0
	for head < len(old) && head < len(new) && old[head] == new[head] {
		head++
	}
	tail := 0
	for tail < len(old)-head && tail < len(new)-head && old[len(old)-1-tail] == new[len(new)-1-tail] {
		tail++
	}
	var out []edit
	for _, l := range old[:head] {
		out = append(out, edit{' ', l})
	}
	out = append(out, middle(old[head:len(old)-tail], new[head:len(new)-tail])...)
	for _, l := range old[len(old)-tail:] {
		out = append(out, edit{' ', l})
	}
	return out
}

func middle(old, new []string) (out []edit) {
	if len(old)*len(new) > 4<<20 { // a file that another program wrote anew: no table of that size
		for _, l := range old {
			out = append(out, edit{'-', l})
		}
		for _, l := range new {
			out = append(out, edit{'+', l})
		}
		return out
	}
	length := make([][]int, len(old)+1)
	for i := range length {
		length[i] = make([]int, len(new)+1)
	}
	for i := len(old) - 1; i >= 0; i-- {
		for j := len(new) - 1; j >= 0; j-- {
			if old[i] == new[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(old) || j < len(new) {
		switch {
		case i < len(old) && j < len(new) && old[i] == new[j]:
			out = append(out, edit{' ', old[i]})
			i, j = i+1, j+1
		case j == len(new) || i < len(old) && length[i+1][j] >= length[i][j+1]:
			out = append(out, edit{'-', old[i]})
			i++
		default:
			out = append(out, edit{'+', new[j]})
			j++
		}
	}
	return out
}

func lines(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n"), "\n")
}
