package events

// Zone is a time zone as Genesis holds it.
type Zone struct{}
