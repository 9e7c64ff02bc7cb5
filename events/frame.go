package events

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"
)

// Every message of every stream is a frame:
//
//	byte  0     format version, 1
//	byte  1     codec: 0 plain, 1 zstd
//	bytes 2-5   CRC-32C of bytes 0, 1 and 6-, little endian
//	bytes 6-    the protobuf message, perhaps compressed
const (
	FormatVersion = 1

	codecPlain = 0
	codecZstd  = 1

	frameHeaderBytes = 6
	// Below this many bytes compression costs more than it saves.
	compressFromBytes = 512
	// MaxUnpackedBytes bounds what a frame may unpack to, so that a bomb stops
	// here. A gateway packs records of a quarter of it.
	MaxUnpackedBytes = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// The coders are costly to make and safe for concurrent use.
var zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2))
	if err != nil {
		panic("not reached: fixed zstd options: " + err.Error())
	}
	return e
})

var zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(MaxUnpackedBytes), zstd.WithDecoderConcurrency(0))
	if err != nil {
		panic("not reached: fixed zstd options: " + err.Error())
	}
	return d
})

// Seal packs a message into a frame.
func Seal(m proto.Message) ([]byte, error) {
	plain, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, frameHeaderBytes, frameHeaderBytes+proto.Size(m)), m)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	if n := len(plain) - frameHeaderBytes; n > MaxUnpackedBytes {
		return nil, fmt.Errorf("seal %s: %d bytes, limit %d", m.ProtoReflect().Descriptor().Name(), n, MaxUnpackedBytes)
	}
	frame := plain
	frame[1] = codecPlain
	if len(plain) >= compressFromBytes {
		packed := zstdEncoder().EncodeAll(plain[frameHeaderBytes:], make([]byte, frameHeaderBytes, len(plain)/2))
		if len(packed) < len(plain) {
			frame = packed
			frame[1] = codecZstd
		}
	}
	frame[0] = FormatVersion
	binary.LittleEndian.PutUint32(frame[2:], checksum(frame))
	return frame, nil
}

// checksum covers the version and the codec as well: zstd bytes taken for
// plain ones could pass for a message of unknown fields.
func checksum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:2], castagnoli), castagnoli, frame[frameHeaderBytes:])
}

// Open unpacks a frame into m. Every error is ErrCorrupt.
func Open(frame []byte, m proto.Message) error {
	name := m.ProtoReflect().Descriptor().Name()
	if len(frame) < frameHeaderBytes {
		return fmt.Errorf("open %s: frame of %d bytes, at least %d wanted: %w", name, len(frame), frameHeaderBytes, ErrCorrupt)
	}
	if frame[0] != FormatVersion {
		return fmt.Errorf("open %s: format version %d, this program reads %d: %w", name, frame[0], FormatVersion, ErrCorrupt)
	}
	payload := frame[frameHeaderBytes:]
	if want, got := binary.LittleEndian.Uint32(frame[2:]), checksum(frame); want != got {
		return fmt.Errorf("open %s: checksum %08x, frame says %08x: %w", name, got, want, ErrCorrupt)
	}
	switch frame[1] {
	case codecPlain:
	case codecZstd:
		var err error
		if payload, err = zstdDecoder().DecodeAll(payload, nil); err != nil {
			return fmt.Errorf("open %s: %w: %w", name, err, ErrCorrupt)
		}
	default:
		return fmt.Errorf("open %s: unknown codec %d: %w", name, frame[1], ErrCorrupt)
	}
	if len(payload) > MaxUnpackedBytes {
		return fmt.Errorf("open %s: %d bytes, limit %d: %w", name, len(payload), MaxUnpackedBytes, ErrCorrupt)
	}
	if err := proto.Unmarshal(payload, m); err != nil {
		return fmt.Errorf("open %s: %w: %w", name, err, ErrCorrupt)
	}
	return nil
}
