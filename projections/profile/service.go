package profile

import statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"

func foldService(f *statev1.Facts, a *application) error { return nil }

func encodeService(e *encoder, f *statev1.Facts) {}

func renderService(f *statev1.Facts, r *rendering) {}
