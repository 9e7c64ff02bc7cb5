package profile

import statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"

func foldReferrals(f *statev1.Facts, a *application) error { return nil }

func encodeReferrals(e *encoder, f *statev1.Facts) {}

func renderReferrals(f *statev1.Facts, r *rendering) {}
