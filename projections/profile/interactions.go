package profile

import statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"

func foldInteractions(f *statev1.Facts, a *application) error { return nil }

func encodeInteractions(e *encoder, f *statev1.Facts) {}

func renderInteractions(f *statev1.Facts, r *rendering) {}
