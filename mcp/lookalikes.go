package mcp

// Signs that a reader takes for those of a tag.
var (
	openers = runes("<‹＜﹤〈〈❮❬❰⟨⟪«《≪˂ᐸ⧼⦑")
	closers = runes(">›＞﹥〉〉❯❭❱⟩⟫»》≫˃ᐳ⧽⦒")
	slashes = runes("/／⁄∕╱⧸")
	colons  = runes(":：﹕ː∶꞉")

	lookalikes = letters(map[byte]string{ // lower case, Cyrillic, Greek, Armenian and Latin; others fold to ASCII by themselves
		'a': "аαɑ", 'b': "вβьҍ", 'c': "сϲᴄ", 'd': "ԁɗ", 'e': "еεєҽ", 'g': "ɡց", 'h': "һнհ", 'i': "іιıɩ", 'j': "јϳ", 'k': "кκ", 'l': "ӏ",
		'm': "м", 'n': "пηո", 'o': "оοօσ", 'p': "рρ", 'q': "ԛգ", 'r': "гᴦ", 's': "ѕꜱ", 't': "тτ", 'u': "υսц", 'v': "ѵν", 'w': "ԝшω", 'x': "хχ", 'y': "уγү",
		'z': "ᴢ",
	})
)

func runes(s string) map[rune]bool {
	set := make(map[rune]bool)
	for _, r := range s {
		set[r] = true
	}
	return set
}

func letters(like map[byte]string) map[rune]byte {
	all := make(map[rune]byte)
	for c, alike := range like {
		for _, r := range alike {
			all[r] = c
		}
	}
	return all
}
