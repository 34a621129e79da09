package mesh

import (
	"time"

	"github.com/claudemesh/claudemesh/crypto"
)

// hourly counts by person what happens within an hour, and is empty again in the next.
type hourly struct {
	hour  int64
	count map[crypto.PublicKey]int
}

// add counts one more of a person, and returns how many that makes.
func (h *hourly) add(of crypto.PublicKey, now time.Time) int {
	if hour := now.Unix() / 3600; hour != h.hour || h.count == nil {
		h.hour, h.count = hour, make(map[crypto.PublicKey]int)
	}
	h.count[of]++
	return h.count[of]
}
