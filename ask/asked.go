package ask

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/store"
)

// Asked returns a question of this machine's user by its id. It returns ErrNotFound.
func (e *Engine) Asked(id string) (a Asked, err error) {
	err = e.db.View(func(tx *store.Tx) error {
		var ok bool
		if a, ok = get[Asked](tx, named(rowAsked, id)); !ok {
			return ErrNotFound
		}
		return nil
	})
	return a, err
}

// FindAsked is Asked for the beginning of an id, of six characters or more.
func (e *Engine) FindAsked(id string) (a Asked, err error) {
	if len(id) < 6 {
		return a, ErrNotFound
	}
	n := 0
	err = e.db.View(func(tx *store.Tx) error {
		for _, b := range tx.Scan(Bucket, named(rowAsked, id), nil) {
			n++
			if err := json.Unmarshal(b, &a); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && n != 1 {
		err = ErrNotFound
	}
	return a, err
}

// History returns the newest questions, at most limit, newest first.
func (e *Engine) History(limit int) (out []Asked, err error) {
	err = e.db.View(func(tx *store.Tx) error { out = all[Asked](tx, rowAsked); return nil })
	slices.SortFunc(out, func(a, b Asked) int { return b.At.Compare(a.At) })
	return out[:min(len(out), limit)], err
}

func (e *Engine) changeAsked(id string, change func(*Asked)) error {
	return e.db.Update(func(tx *store.Tx) error {
		a, ok := get[Asked](tx, named(rowAsked, id))
		if !ok {
			return ErrNotFound
		}
		change(&a)
		return put(tx, named(rowAsked, id), a)
	})
}

func setStatus(a *Asked, offer, status string) {
	for i := range a.Offers {
		if a.Offers[i].ID == offer {
			a.Offers[i].Status = status
		}
	}
}

// offerOf finds an offer by its id or the beginning of it. It returns ErrNotFound.
func (e *Engine) offerOf(id string) (found Asked, o Offer, err error) {
	if len(id) < 4 {
		return found, o, ErrNotFound
	}
	err = e.db.View(func(tx *store.Tx) error {
		for _, a := range all[Asked](tx, rowAsked) {
			for _, x := range a.Offers {
				if strings.HasPrefix(x.ID, strings.ToUpper(id)) {
					found, o = a, x
					return nil
				}
			}
		}
		return ErrNotFound
	})
	return found, o, err
}

// Rate says what the user thinks of an answer. It stays on this machine and moves the rank of that person.
func (e *Engine) Rate(offer string, useful bool) error {
	a, o, err := e.offerOf(offer)
	if err != nil {
		return err
	}
	rated := map[bool]string{true: "useful", false: "wrong"}[useful]
	if o.Rated == rated {
		return nil
	}
	err = e.changeAsked(a.ID, func(a *Asked) {
		for i := range a.Offers {
			if a.Offers[i].ID == o.ID {
				a.Offers[i].Rated = rated
			}
		}
	})
	if err != nil {
		return err
	}
	return e.countSource(o.Member, func(s *sourceRow) {
		if useful {
			s.Useful++
		} else {
			s.Wrong++
		}
		if o.Rated == "useful" {
			s.Useful--
		} else if o.Rated == "wrong" {
			s.Wrong--
		}
	})
}
