package profile

import statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"

func foldMemberships(f *statev1.Facts, a *application) error { return nil }

func encodeMemberships(e *encoder, f *statev1.Facts) {}

func renderMemberships(f *statev1.Facts, r *rendering) {}
