package properties

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// isMicros reports whether a field of the vocabulary is a fixed-point number.
func isMicros(fd protoreflect.FieldDescriptor) bool {
	return strings.HasSuffix(string(fd.Name()), "_micros")
}

func index(i int) string { return "[" + strconv.Itoa(i) + "]" }

// flagControl raises the flag of control characters other than tabs and ends
// of lines.
func flagControl(s string, flags *Flags) {
	for i := range len(s) {
		c := s[i]
		c1 := c == 0xc2 && i+1 < len(s) && s[i+1] < 0xa0 // U+0080 to U+009F
		if c < 0x20 && c != '\t' && c != '\n' && c != '\r' || c == 0x7f || c1 {
			flags.Set(logv1.Flag_FLAG_CONTROL_CHARACTERS)
			return
		}
	}
}

// formatMicros writes a fixed-point number for a message.
func formatMicros(micros int64) string {
	sign, m := "", magnitude(micros)
	if micros < 0 {
		sign = "-"
	}
	s := sign + strconv.FormatUint(m/1_000_000, 10)
	if f := m % 1_000_000; f != 0 {
		s += "." + strings.TrimRight(strconv.FormatUint(1_000_000+f, 10)[1:], "0")
	}
	return s
}
