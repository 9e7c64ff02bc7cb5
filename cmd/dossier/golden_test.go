package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The datadriven package brings a -rewrite flag too; whichever comes first is
// the one that both read.
var _ = func() bool {
	if flag.Lookup("rewrite") == nil {
		flag.Bool("rewrite", false, "write golden files and generated documents anew")
	}
	return true
}()

func rewriting() bool { return flag.Lookup("rewrite").Value.String() == "true" }

// golden compares got with a file, or writes it under -rewrite.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if rewriting() {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test -rewrite writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got; go test -rewrite accepts):\n%s", file, diff)
	}
}
