package profile

import statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"

func foldAcquisition(f *statev1.Facts, a *application) error { return nil }

func encodeAcquisition(e *encoder, f *statev1.Facts) {}

func renderAcquisition(f *statev1.Facts, r *rendering) {}
