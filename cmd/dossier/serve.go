package main

import (
	"context"
	"fmt"
)

func serve(_ context.Context, std stdio, _ []string) int {
	fmt.Fprintln(std.err, "dossier serve: not built yet")
	return exitFailed
}
