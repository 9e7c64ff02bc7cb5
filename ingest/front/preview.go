package front

import (
	"errors"
	"net/http"

	"github.com/dossier360/dossier/ingest"
)

// dryRun reports whether a call only asks what would become of its events.
func dryRun(r *http.Request) bool { return r.URL.Query().Get("dryRun") == "true" }

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
	reply(w, http.StatusOK, previewAnswer{Success: true, DryRun: true, Events: p.Verdicts, Receipt: p.Receipt})
}
