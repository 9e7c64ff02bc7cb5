package front

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/dossier360/dossier/ingest"
)

// dryRun reports whether a call only asks what would become of its events. Who
// asks in a way that is not understood must not have told them.
func (f *front) dryRun(r *http.Request) (bool, error) {
	query := r.URL.Query()
	if !query.Has("dryRun") {
		return false, nil
	}
	asks, err := strconv.ParseBool(query.Get("dryRun"))
	switch {
	case err == nil && asks && f.Preview == nil:
		return false, errors.New("dryRun is true: not offered here")
	case err != nil:
		return false, fmt.Errorf("dryRun is %s: true or false wanted", ingest.Shown(query.Get("dryRun")))
	}
	return asks, nil
}

// previewAnswer is the answer to such a call.
type previewAnswer struct {
	Success bool             `json:"success"`
	DryRun  bool             `json:"dryRun"`
	Events  []ingest.Verdict `json:"events"`
	// Receipt, given back with the next call as ?receipt=, saves it from waiting
	// for what was taken in meanwhile.
	Receipt string `json:"receipt,omitempty"`
}

// preview answers a call that only asks. Nothing of it is kept.
func (f *front) preview(w http.ResponseWriter, r *http.Request, decoded ingest.Decoded, batch ingest.Batch) {
	if decoded.Refused != nil {
		replyResult(w, decoded, ingest.Result{})
		return
	}
	p, err := f.Preview(r.Context(), batch, r.URL.Query().Get("receipt"))
	switch {
	case errors.Is(err, ingest.ErrBadReceipt):
		reply(w, http.StatusBadRequest, plainAnswer{Code: "bad_receipt", Message: err.Error()})
		return
	case err != nil:
		f.replyError(w, err)
		return
	}
	for i := range p.Verdicts {
		v := &p.Verdicts[i]
		v.Index = decoded.Item(v.Index)
		if v.Rejection != nil {
			v.Rejection.Index = v.Index
		}
	}
	slices.SortStableFunc(p.Verdicts, func(a, b ingest.Verdict) int { return cmp.Compare(a.Index, b.Index) })
	reply(w, http.StatusOK, previewAnswer{Success: true, DryRun: true, Events: p.Verdicts, Receipt: p.Receipt})
}
