package intake

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest"
)

// Results, for metrics.
const (
	ResultOK       = "ok"
	ResultRefused  = "refused" // all of it, for ever
	ResultOverload = "overload"
	ResultDiskFull = "disk_full"
	ResultNotReady = "not_ready"
	ResultOther    = "other"
)

// Results are all of them.
func Results() []string {
	return []string{ResultOK, ResultRefused, ResultOverload, ResultDiskFull, ResultNotReady, ResultOther}
}

// Reply is what a publisher is answered.
type Reply struct {
	Header map[string][]string
	Data   []byte
	// Result names what became of the message.
	Result string
}

// answer is the JSON of a reply: a publish acknowledgement of JetStream, or its
// error form, and what we say beside.
type answer struct {
	Error     *apiError `json:"error,omitempty"`
	Stream    string    `json:"stream,omitempty"`
	Seq       *uint64   `json:"seq,omitempty"`
	Duplicate bool      `json:"duplicate,omitempty"`

	Receipt    string             `json:"receipt,omitempty"`
	Accepted   int                `json:"accepted"`
	Duplicates int                `json:"duplicates"`
	Rejected   []ingest.Rejection `json:"rejected"`
	// RejectedMore counts those behind Rejected that an answer has no room for.
	RejectedMore int `json:"rejected_more,omitempty"`
	// RetryAfter is in seconds.
	RetryAfter int `json:"retry_after,omitempty"`
}

type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

// maxRejectedBytes bounds the JSON of the rejections in an answer: one that is
// greater than a message may be does not arrive, and its publisher sends all of
// it again. Servers of another process take 1 MiB.
const maxRejectedBytes = 768 << 10

// badRequest is JetStream's error code for a request that makes no sense to it.
const badRequest = 10003

// failure is how an error of Accept is answered.
type failure struct {
	err        error
	code       int // of the class, as of HTTP
	errCode    int // JetStream's for the like
	retryAfter int // seconds
	result     string
}

// failures are all sent again, the later the longer the cause is likely to
// last. The first is overload.
var failures = [...]failure{
	{ingest.ErrOverload, 429, 10167, 1, ResultOverload},  // too many requests
	{ingest.ErrDiskFull, 507, 10047, 60, ResultDiskFull}, // insufficient storage resources available
	{ingest.ErrNotReady, 503, 10008, 5, ResultNotReady},  // system temporarily unavailable
	{context.Canceled, 503, 10008, 1, ResultNotReady},
	{context.DeadlineExceeded, 503, 10008, 5, ResultNotReady},
}

// unavailable is how all other errors are answered.
var unavailable = failure{code: 503, errCode: 10008, retryAfter: 5, result: ResultOther}

func (f failure) reply(description string) Reply {
	r := reply(answer{
		Error: &apiError{Code: f.code, ErrCode: f.errCode, Description: description}, RetryAfter: f.retryAfter,
	}, f.result)
	r.Header["Retry-After"] = []string{strconv.Itoa(f.retryAfter)}
	return r
}

// refuse replies to a message that is refused as it stands, and not kept: it is
// of no source, or asks for what there is not.
func refuse(description string) Reply {
	return reply(answer{Error: &apiError{400, badRequest, description}}, ResultRefused)
}

// accepted replies to a message whose events are durable or refused.
func accepted(decoded ingest.Decoded, result ingest.Result) Reply {
	a := answer{
		Accepted: result.Accepted, Duplicates: result.Duplicates, Receipt: result.Receipt,
	}
	a.Rejected, a.RejectedMore = shown(result.Rejected)
	if result.Accepted+result.Duplicates == 0 && len(result.Rejected) > 0 {
		first := result.Rejected[0]
		description := first.Message
		if decoded.Refused == nil && len(result.Rejected) > 1 {
			description = "all " + strconv.Itoa(len(result.Rejected)) + " events are refused, the first: " + description
		}
		a.Error = &apiError{400, badRequest, string(first.Code) + ": " + description}
		return reply(a, ResultRefused)
	}
	partition, seq := place(result.Receipt)
	a.Stream, a.Seq = string(events.PartitionStream(partition)), &seq
	a.Duplicate = result.Accepted == 0 && result.Duplicates > 0
	return reply(a, ResultOK)
}

// shown are the first rejections, as many as an answer has room for, and how
// many there are behind.
func shown(all []ingest.Rejection) (first []ingest.Rejection, more int) {
	size := 0
	for i, r := range all {
		data, err := json.Marshal(r)
		if err != nil {
			panic("not reached: rejections are plain data: " + err.Error())
		}
		if size += len(data) + len(","); size > maxRejectedBytes {
			return all[:i], len(all) - i
		}
	}
	return all, 0
}

// place is one partition of a receipt and the sequence there: an acknowledgement
// has room for one. A message without events was stored nowhere, at 0.
func place(receipt string) (partition int, seq uint64) {
	if receipt == "" {
		return 0, 0
	}
	seqs, err := ingest.ParseReceipt(receipt)
	if err != nil {
		panic("not reached: the gateway's own receipt: " + err.Error())
	}
	delete(seqs, ingest.ReceiptIdentity)
	partition = slices.Min(slices.Collect(maps.Keys(seqs)))
	return partition, seqs[partition]
}

func reply(a answer, result string) Reply {
	if a.Rejected == nil {
		a.Rejected = []ingest.Rejection{} // [] rather than null
	}
	data, err := json.Marshal(a)
	if err != nil {
		panic("not reached: answers are plain data: " + err.Error())
	}
	return Reply{Header: map[string][]string{"Content-Type": {"application/json"}}, Data: data, Result: result}
}
