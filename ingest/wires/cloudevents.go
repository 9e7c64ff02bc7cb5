package wires

import (
	"cmp"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/cloudevents"
)

// cloudEvents is the wire of CloudEvents over HTTP.
var cloudEvents = Wire{
	Name: "cloudevents",
	Decode: func(r Request) ingest.Decoded {
		// Whole, for it is the type of the data where the attributes are headers.
		contentType := cmp.Or(r.Header.Get("Content-Type"), r.MediaType)
		return cloudevents.Decode(contentType, r.Header, r.Body)
	},
	Item: func(r Request) ingest.Decoded { return cloudevents.DecodeItem(r.Body) },
}
