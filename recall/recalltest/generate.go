// Package recalltest makes transcripts of realistic shape and size for tests and benchmarks.
package recalltest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Corpus is what Generate made.
type Corpus struct {
	Bytes    int64
	Episodes int
	Known    []Item // some episodes with a question that only they answer
}

// Item is an episode that can be looked for.
type Item struct{ Question, Session, Unique string }

// Generate writes transcripts below dir until they have about size bytes. As in real ones, a
// twentieth of the bytes is text, the rest is tool results and copies of files. The same seed gives
// the same corpus.
func Generate(dir string, size int64, seed uint64) (Corpus, error) {
	g := &generator{r: rand.New(rand.NewPCG(seed, 7)), words: vocabulary(seed), at: time.Date(2026, 1, 1, 9, 0, 0, 0, time.UTC)}
	var c Corpus
	for n := 0; c.Bytes < size; n++ {
		project := fmt.Sprintf("/home/alice/project%d", n%40)
		path := filepath.Join(dir, strings.ReplaceAll(project, "/", "-"), fmt.Sprintf("session-%06d.jsonl", n))
		written, err := g.session(path, project, fmt.Sprintf("session-%06d", n), &c)
		if err != nil {
			return c, err
		}
		c.Bytes += written
	}
	return c, nil
}

type generator struct {
	r     *rand.Rand
	words []string
	at    time.Time
	n     int
	w     *bufio.Writer
	bytes int64
}

// vocabulary makes words whose frequencies fall as those of a language do.
func vocabulary(seed uint64) []string {
	r := rand.New(rand.NewPCG(seed, 3))
	syllables := strings.Fields("ba ko re ti mu sel tor vin gra pol dex ner fal qui zor lam pes hin wod yar chi blo stra tek nim rou")
	out := make([]string, 40_000)
	for i := range out {
		for range 2 + r.IntN(3) {
			out[i] += syllables[r.IntN(len(syllables))]
		}
		if i%17 == 0 {
			out[i] += "_" + syllables[r.IntN(len(syllables))] + fmt.Sprint(i)
		}
	}
	return out
}

func (g *generator) word() string {
	f := g.r.Float64()
	return g.words[int(f*f*f*f*float64(len(g.words)))]
}

func (g *generator) text(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(" \n"[min(1, i%14/13)])
		}
		b.WriteString(g.word())
	}
	return b.String()
}

func (g *generator) session(path, project, id string, c *Corpus) (int64, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return 0, err
	}
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	g.w, g.bytes = bufio.NewWriterSize(f, 1<<20), 0
	for range 5 + g.r.IntN(20) {
		g.turn(project, id, c)
	}
	return g.bytes, g.w.Flush()
}

func (g *generator) turn(project, id string, c *Corpus) {
	unique := fmt.Sprintf("Err%s%d", g.words[g.r.IntN(len(g.words))][:4], c.Episodes)
	prompt := g.text(12 + g.r.IntN(30))
	g.record(project, id, "user", map[string]any{"origin": map[string]any{"kind": "human"}, "message": map[string]any{"content": prompt + " " + unique}})
	for i := range 1 + g.r.IntN(4) {
		tool := fmt.Sprintf("toolu_%d", g.n)
		g.record(project, id, "assistant", map[string]any{"message": map[string]any{"content": []any{
			map[string]any{"type": "text", "text": g.text(20 + g.r.IntN(40))},
			map[string]any{"type": "tool_use", "id": tool, "name": "Bash", "input": map[string]any{"command": "go test ./" + g.word()}}}}})
		result := g.text(200 + g.r.IntN(2000))
		g.record(project, id, "user", map[string]any{"message": map[string]any{"content": []any{
			map[string]any{"type": "tool_result", "tool_use_id": tool, "content": result}}}, "toolUseResult": map[string]any{"originalFile": g.text(1500), "i": i}})
		g.record(project, id, "progress", map[string]any{"data": g.text(300)})
	}
	g.record(project, id, "assistant", map[string]any{"message": map[string]any{"content": []any{map[string]any{"type": "text", "text": g.text(60 + g.r.IntN(120))}}}})
	if c.Episodes%97 == 0 {
		c.Known = append(c.Known, Item{Question: prompt, Session: id, Unique: unique})
	}
	c.Episodes++
}

func (g *generator) record(project, id, kind string, more map[string]any) {
	g.n++
	g.at = g.at.Add(time.Second)
	r := map[string]any{"type": kind, "uuid": fmt.Sprintf("%08d-0000-4000-8000-%012d", g.n, g.n), "parentUuid": nil, "sessionId": id, "cwd": project, "gitBranch": "main",
		"version": "2.1.332", "timestamp": g.at.Format(time.RFC3339Nano)}
	for k, v := range more {
		r[k] = v
	}
	b, _ := json.Marshal(r) // of strings and maps: never fails
	g.bytes += int64(len(b)) + 1
	g.w.Write(b)
	g.w.WriteByte('\n')
}
