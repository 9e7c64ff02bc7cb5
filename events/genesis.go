package events

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Bounds and defaults of a new log.
const (
	// MaxPartitions bounds the partitions of a log: stream and subject names
	// have two digits.
	MaxPartitions = 99

	// ClockWall takes log time from the server's clock, ClockEvents from the
	// events alone.
	ClockWall   = "wall"
	ClockEvents = "events"

	// StagesBuiltin names the stage table compiled into the program.
	StagesBuiltin = "builtin/1"

	// FeedRetention and RejectedRetention say how long announced changes and
	// refused input are kept.
	FeedRetention     = 30 * 24 * time.Hour
	RejectedRetention = 30 * 24 * time.Hour

	genesisFormat     = 1
	defaultPartitions = 4
	defaultZone       = "UTC"
	defaultCurrency   = "CNY"
	defaultNormaliser = 1

	genesisSeq = 1 // in IDENTITY, and of its copy in every partition
	readySeq   = 2 // in IDENTITY
)

// Settings are what a log is created with and can never change. The zero value
// of a field asks for nothing: an existing log keeps what it has, a new one
// gets the default given here.
type Settings struct {
	Partitions   int       // 1 to MaxPartitions; default 4
	Clock        string    // ClockWall or ClockEvents; default ClockWall
	ClockEnd     time.Time // of ClockEvents only: the latest event time taken; default: the instant of creation
	Timezone     string    // IANA name; default UTC
	BaseCurrency string    // ISO 4217; default CNY
	Normaliser   uint32    // version of the identifier normalisers; default 1
	Stages       string    // default StagesBuiltin
	// IdentityKeyCheck tells one identity key from another without giving it
	// away. A log created without one accepts none later.
	IdentityKeyCheck []byte
}

// SettingError tells that a log was created with another value of a setting
// than is asked for now.
type SettingError struct {
	Setting string // "partitions", "clock", …
	Log     string // the value that the log was created with
	Asked   string
}

// Error names the setting and both values.
func (e *SettingError) Error() string {
	return fmt.Sprintf("%s: this log was created with %s, asked for %s; it cannot be changed", e.Setting, e.Log, e.Asked)
}

// ErrIdentityKey tells that the identity key is none that the log was created
// with, or that it was changed to: under it no known identifier would be recognised.
var ErrIdentityKey = errors.New("identity key: it is not the key of this log; restore that key from the backup")

// Found brings a new log into being, or opens the one that exists, and returns
// its Genesis. Afterwards every stream exists, every partition starts with a
// copy of Genesis, and IDENTITY says Ready.
//
// The first Genesis in IDENTITY decides, by the condition that the stream is
// empty; all that follows is the same whoever does it. So a crash between any
// two steps, or several processes at once, end in the same log: an error that
// leaves a step undone (ErrUnknown, ErrOverload, …) is cured by calling Found
// again.
//
// Errors: *[SettingError] and [ErrIdentityKey] where the log was created
// otherwise; [ErrFormerKey] where the key was changed since, unless it is the
// one of Genesis, which the directory refuses; [ErrCorrupt], naming the stream,
// where something that was there once is missing or other than it was.
func Found(ctx context.Context, l Log, s Settings, now func() time.Time, rand io.Reader) (*logv1.Genesis, error) {
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("settings of the log: %w", err)
	}
	genesis, err := ReadGenesis(ctx, l)
	if errors.Is(err, ErrNotFound) {
		genesis, err = appendGenesis(ctx, l, s, now, rand)
	}
	if err != nil {
		return nil, err
	}
	err = s.compare(genesis)
	if errors.Is(err, ErrIdentityKey) {
		err = CheckIdentityKey(ctx, l, s.IdentityKeyCheck, readySeq+1)
	}
	if err != nil {
		return nil, err
	}
	ready, err := isReady(ctx, l)
	if err != nil {
		return nil, err
	}
	if ready {
		err = verifyStreams(ctx, l, genesis)
	} else if err = createStreams(ctx, l, genesis); err == nil {
		// A crash here leaves a whole log that does not say so yet.
		err = appendReady(ctx, l)
	}
	if err != nil {
		return nil, err
	}
	return genesis, nil
}

// ReadGenesis returns the Genesis of a log, or ErrNotFound if the log was not
// founded.
func ReadGenesis(ctx context.Context, l Log) (*logv1.Genesis, error) {
	m, err := l.Get(ctx, IdentityStream, genesisSeq)
	if err != nil {
		return nil, fmt.Errorf("read genesis: %w", err)
	}
	identity := &logv1.Identity{}
	if err := Open(m.Data, identity); err != nil {
		return nil, fmt.Errorf("read genesis: stream %s, message %d: %w", IdentityStream, m.Seq, err)
	}
	genesis := identity.GetRule().GetGenesis()
	if genesis == nil || m.Subject != SubjectRule {
		return nil, fmt.Errorf("read genesis: stream %s, message %d on %s is no genesis: %w", IdentityStream, m.Seq, m.Subject, ErrCorrupt)
	}
	if genesis.GetFormat() != genesisFormat {
		return nil, fmt.Errorf("read genesis: format %d, this program reads %d", genesis.GetFormat(), genesisFormat)
	}
	if p := genesis.GetPartitions(); p < 1 || p > MaxPartitions {
		return nil, fmt.Errorf("read genesis: %d partitions, 1 to %d allowed: %w", p, MaxPartitions, ErrCorrupt)
	}
	if _, err := NewZone(genesis.GetZone()); err != nil {
		return nil, fmt.Errorf("read genesis: %w: %w", err, ErrCorrupt)
	}
	return genesis, nil
}

// validate refuses what no log can be created with.
func (s Settings) validate() error {
	if s.Partitions < 0 || s.Partitions > MaxPartitions {
		return fmt.Errorf("partitions: %d, 1 to %d allowed", s.Partitions, MaxPartitions)
	}
	switch s.Clock {
	case "", ClockWall, ClockEvents:
	default:
		return fmt.Errorf("clock: %q, %q or %q wanted", s.Clock, ClockWall, ClockEvents)
	}
	if s.Clock == ClockWall && !s.ClockEnd.IsZero() {
		return fmt.Errorf("clock end: %s has no meaning with clock %s", s.ClockEnd.Format(time.RFC3339), ClockWall)
	}
	if s.Timezone != "" {
		if _, err := ZoneSpans(s.Timezone); err != nil {
			return err
		}
	}
	if s.BaseCurrency != "" && !isCurrency(s.BaseCurrency) {
		return fmt.Errorf("base currency: %q, three upper-case letters wanted, as CNY", s.BaseCurrency)
	}
	return nil
}

func isCurrency(code string) bool {
	if len(code) != 3 {
		return false
	}
	for _, c := range []byte(code) {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return true
}

// genesis is the Genesis that these settings ask for, defaults filled in.
func (s Settings) genesis(at time.Time, rand io.Reader) (*logv1.Genesis, error) {
	deployment, err := ulid.New(ulid.Timestamp(at), rand)
	if err != nil {
		return nil, fmt.Errorf("deployment id: %w", err)
	}
	g := &logv1.Genesis{
		Format:           genesisFormat,
		Partitions:       orDefault(uint32(s.Partitions), defaultPartitions),
		Clock:            orDefault(s.Clock, ClockWall),
		Timezone:         orDefault(s.Timezone, defaultZone),
		BaseCurrency:     orDefault(s.BaseCurrency, defaultCurrency),
		Normaliser:       orDefault(s.Normaliser, defaultNormaliser),
		Stages:           orDefault(s.Stages, StagesBuiltin),
		IdentityKeyCheck: s.IdentityKeyCheck,
		CreatedAt:        Micros(at),
		Deployment:       deployment[:],
	}
	switch {
	case g.Clock == ClockEvents && s.ClockEnd.IsZero():
		g.ClockEnd = Micros(at)
	case g.Clock == ClockEvents:
		g.ClockEnd = Micros(s.ClockEnd)
	case !s.ClockEnd.IsZero():
		return nil, fmt.Errorf("clock end: %s has no meaning with clock %s", s.ClockEnd.Format(time.RFC3339), g.Clock)
	}
	if g.Zone, err = ZoneSpans(g.GetTimezone()); err != nil {
		return nil, err
	}
	return g, nil
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// compare refuses settings other than those of the log.
func (s Settings) compare(g *logv1.Genesis) error {
	clockEnd := func(micros int64) string {
		if micros == 0 {
			return "none"
		}
		return FromMicros(micros).Format(time.RFC3339Nano)
	}
	asked := func(set bool, value any) string {
		if !set {
			return ""
		}
		return fmt.Sprint(value)
	}
	var askedEnd string
	if !s.ClockEnd.IsZero() {
		askedEnd = clockEnd(Micros(s.ClockEnd))
	}
	for _, e := range []SettingError{
		{"partitions", fmt.Sprint(g.GetPartitions()), asked(s.Partitions != 0, s.Partitions)},
		{"clock", g.GetClock(), s.Clock},
		{"clock end", clockEnd(g.GetClockEnd()), askedEnd},
		{"timezone", g.GetTimezone(), s.Timezone},
		{"base currency", g.GetBaseCurrency(), s.BaseCurrency},
		{"normaliser", fmt.Sprint(g.GetNormaliser()), asked(s.Normaliser != 0, s.Normaliser)},
		{"stages", g.GetStages(), s.Stages},
	} {
		if e.Asked != "" && e.Asked != e.Log {
			return &e
		}
	}
	if len(s.IdentityKeyCheck) > 0 && !hmac.Equal(s.IdentityKeyCheck, g.GetIdentityKeyCheck()) {
		return ErrIdentityKey
	}
	return nil
}

// appendGenesis creates IDENTITY and appends Genesis to it, unless another did
// so first; then that one counts.
func appendGenesis(ctx context.Context, l Log, s Settings, now func() time.Time, rand io.Reader) (*logv1.Genesis, error) {
	if err := refuseOrphans(ctx, l); err != nil {
		return nil, err
	}
	genesis, err := s.genesis(now(), rand)
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	if err := createStream(ctx, l, Streams(0)[0]); err != nil {
		return nil, err
	}
	// A crash here leaves an empty IDENTITY: the next call goes on from it.
	message := &logv1.Identity{Content: &logv1.Identity_Rule{Rule: &logv1.Rule{Rule: &logv1.Rule_Genesis{Genesis: genesis}}}}
	appendErr := appendFirst(ctx, l, IdentityStream, SubjectRule, message, 0)
	if appendErr != nil && !errors.Is(appendErr, ErrConflict) && !errors.Is(appendErr, ErrUnknown) {
		return nil, fmt.Errorf("append genesis: %w", appendErr)
	}
	genesis, err = ReadGenesis(ctx, l)
	switch {
	case errors.Is(err, ErrNotFound) && errors.Is(appendErr, ErrUnknown):
		return nil, fmt.Errorf("append genesis: %w", appendErr)
	case errors.Is(err, ErrNotFound):
		return nil, fmt.Errorf("stream %s is not empty and has no message %d: %w", IdentityStream, genesisSeq, ErrCorrupt)
	}
	return genesis, err
}

// refuseOrphans refuses to found a log over the remains of one: partitions
// with messages whose IDENTITY is gone.
func refuseOrphans(ctx context.Context, l Log) error {
	for p := range MaxPartitions {
		info, err := l.Info(ctx, PartitionStream(p))
		if errors.Is(err, ErrNotFound) {
			return nil // partitions are created in order
		}
		if err != nil {
			return fmt.Errorf("info of stream %s: %w", PartitionStream(p), err)
		}
		if info.Last == 0 {
			continue
		}
		// Perhaps another process is founding this very log.
		if _, err := l.Get(ctx, IdentityStream, genesisSeq); errors.Is(err, ErrNotFound) {
			return fmt.Errorf("stream %s has %d messages, but stream %s with their genesis is missing or empty: %w",
				PartitionStream(p), info.Last, IdentityStream, ErrCorrupt)
		}
		return nil
	}
	return nil
}

// isReady reports whether all streams were created once.
func isReady(ctx context.Context, l Log) (bool, error) {
	m, err := l.Get(ctx, IdentityStream, readySeq)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read ready: %w", err)
	}
	identity := &logv1.Identity{}
	if err := Open(m.Data, identity); err != nil {
		return false, fmt.Errorf("read ready: stream %s, message %d: %w", IdentityStream, m.Seq, err)
	}
	if identity.GetReady() == nil || m.Subject != SubjectBind {
		return false, fmt.Errorf("stream %s, message %d on %s is not ready: %w", IdentityStream, m.Seq, m.Subject, ErrCorrupt)
	}
	return true, nil
}

// Streams are all streams of a log with that many partitions, in the order in
// which they are created.
func Streams(partitions int) []StreamConfig {
	streams := []StreamConfig{{Name: IdentityStream, Subjects: []string{SubjectBind, SubjectRule}, Permanent: true}}
	for p := range partitions {
		streams = append(streams, partitionConfig(p))
	}
	return append(streams,
		StreamConfig{Name: FeedStream, Subjects: []string{"dossier.feed.>", "dossier.feedmark.*"}, Retention: FeedRetention},
		StreamConfig{Name: RejectedStream, Subjects: []string{SubjectRejected("*")}, Retention: RejectedRetention},
	)
}

func partitionConfig(p int) StreamConfig {
	return StreamConfig{
		Name:      PartitionStream(p),
		Subjects:  []string{SubjectEvents(p), SubjectNotices(p), SubjectMoves(p)},
		Permanent: true,
	}
}

// createStreams creates every stream beside IDENTITY, gives every partition
// its copy of Genesis, and verifies what it finds there already. A crash anywhere in it leaves some of them;
// the next call leaves those as they are.
func createStreams(ctx context.Context, l Log, genesis *logv1.Genesis) error {
	partitions := int(genesis.GetPartitions())
	for p := range partitions {
		if err := createStream(ctx, l, partitionConfig(p)); err != nil {
			return err
		}
		err := appendFirst(ctx, l, PartitionStream(p), SubjectNotices(p), genesisNotice(genesis), 0)
		switch {
		case errors.Is(err, ErrConflict):
			// Another one's copy, or one of ours of which we did not hear.
		case err != nil && !errors.Is(err, ErrUnknown):
			return fmt.Errorf("append genesis to stream %s: %w", PartitionStream(p), err)
		case err != nil:
			if _, getErr := l.Get(ctx, PartitionStream(p), genesisSeq); getErr != nil {
				return fmt.Errorf("append genesis to stream %s: %w", PartitionStream(p), err)
			}
		}
		// Ready may be said only when every copy is right.
		if err := verifyCopy(ctx, l, p, genesis); err != nil {
			return err
		}
	}
	for _, c := range Streams(partitions)[1+partitions:] {
		if err := createStream(ctx, l, c); err != nil {
			return err
		}
	}
	return nil
}

// createStream creates a stream; where the answer was lost, it looks.
func createStream(ctx context.Context, l Log, c StreamConfig) error {
	err := l.CreateStream(ctx, c)
	if errors.Is(err, ErrUnknown) {
		if _, infoErr := l.Info(ctx, c.Name); infoErr == nil {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("create stream %s: %w", c.Name, err)
	}
	return nil
}

// genesisNotice is the copy of Genesis that every partition starts with.
func genesisNotice(genesis *logv1.Genesis) *logv1.Notice {
	return &logv1.Notice{Notice: &logv1.Notice_Relay{Relay: &logv1.Relay{
		Seq:  genesisSeq,
		Rule: &logv1.Rule{Rule: &logv1.Rule_Genesis{Genesis: genesis}},
	}}}
}

// appendReady says Ready, unless it was said.
func appendReady(ctx context.Context, l Log) error {
	message := &logv1.Identity{Content: &logv1.Identity_Ready{Ready: &logv1.Ready{}}}
	err := appendFirst(ctx, l, IdentityStream, SubjectBind, message, genesisSeq)
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrConflict) || errors.Is(err, ErrUnknown) {
		ready, readErr := isReady(ctx, l)
		if readErr != nil {
			return readErr
		}
		if ready {
			return nil
		}
	}
	return fmt.Errorf("append ready: %w", err)
}

// appendFirst appends a message on the condition that the last one is `last`.
func appendFirst(ctx context.Context, l Log, s Stream, subject string, m proto.Message, last uint64) error {
	frame, err := Seal(m)
	if err != nil {
		return err
	}
	_, err = l.Append(ctx, s, subject, frame, ExpectLast(last))
	return err
}

// verifyStreams checks that all that Ready promised is there.
func verifyStreams(ctx context.Context, l Log, genesis *logv1.Genesis) error {
	for p := range int(genesis.GetPartitions()) {
		if err := verifyCopy(ctx, l, p, genesis); err != nil {
			return err
		}
	}
	for _, s := range []Stream{FeedStream, RejectedStream} {
		if err := verifyExists(ctx, l, s); err != nil {
			return err
		}
	}
	return nil
}

// verifyExists checks that a stream is there.
func verifyExists(ctx context.Context, l Log, s Stream) error {
	_, err := l.Info(ctx, s)
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("stream %s is missing: %w", s, ErrCorrupt)
	}
	if err != nil {
		return fmt.Errorf("info of stream %s: %w", s, err)
	}
	return nil
}

// verifyCopy checks that a partition starts with the copy of Genesis.
func verifyCopy(ctx context.Context, l Log, p int, genesis *logv1.Genesis) error {
	s := PartitionStream(p)
	m, err := l.Get(ctx, s, genesisSeq)
	if errors.Is(err, ErrNotFound) {
		if err := verifyExists(ctx, l, s); err != nil {
			return err
		}
		return fmt.Errorf("stream %s: message %d, the copy of genesis, is missing: %w", s, genesisSeq, ErrCorrupt)
	}
	if err != nil {
		return fmt.Errorf("read stream %s, message %d: %w", s, genesisSeq, err)
	}
	notice := &logv1.Notice{}
	if err := Open(m.Data, notice); err != nil {
		return fmt.Errorf("stream %s, message %d: %w", s, genesisSeq, err)
	}
	if m.Subject != SubjectNotices(p) || !proto.Equal(notice, genesisNotice(genesis)) {
		return fmt.Errorf("stream %s: message %d on %s is not the copy of genesis: %w", s, genesisSeq, m.Subject, ErrCorrupt)
	}
	return nil
}
