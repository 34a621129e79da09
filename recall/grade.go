package recall

// Grade says how well an episode fits a question, in steps that do not depend on how large the
// memory is.
type Grade int

// Grades. Poor is too little to tell anybody of.
const (
	Poor Grade = iota
	Fair
	Good
	Excellent
)

// What a grade takes: evidence times coverage. Measured on the pairs in testdata: of unrelated
// questions one in seven reaches fairEvidence, and of the right episodes nearly all do.
const (
	fairEvidence      = 0.36
	goodEvidence      = 0.8
	excellentEvidence = 1.5
)

// Grade returns how well h fits the query that found it.
func (h *Hit) Grade() Grade {
	switch fit := h.Evidence * h.Coverage; {
	case fit >= excellentEvidence:
		return Excellent
	case fit >= goodEvidence:
		return Good
	case fit >= fairEvidence:
		return Fair
	}
	return Poor
}
