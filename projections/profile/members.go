package profile

import statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"

func foldMembers(f *statev1.Facts, a *application) error { return nil }

func encodeMembers(e *encoder, f *statev1.Facts) {}

func renderMembers(f *statev1.Facts, r *rendering) {}
