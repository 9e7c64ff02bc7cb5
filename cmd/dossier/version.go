package main

import (
	"encoding/json"
	"fmt"
	"runtime/debug"

	"github.com/dossier360/dossier/events"
)

// versions is what `dossier version` tells.
type versions struct {
	Version  string `json:"version"`  // module version, or "(devel)"
	Revision string `json:"revision"` // commit, "" outside a repository
	Modified bool   `json:"modified"` // built from a changed tree
	Time     string `json:"time"`     // of the commit
	Go       string `json:"go"`
	Formats  struct {
		Record int `json:"record"` // version byte of the log's frames
	} `json:"formats"`
}

// version prints build information and format versions.
func version(std stdio, args []string) error {
	fs := newFlags(std, "version", "version [flags]", "Prints build information and the versions of the stored formats.")
	var (
		lang   string
		asJSON bool
	)
	fs.form(std, &lang, &asJSON)
	if _, err := fs.parse(args); err != nil {
		return err
	}
	if err := checkLanguage(lang); err != nil {
		return err
	}
	v := readVersions()
	if asJSON {
		out := json.NewEncoder(std.out)
		out.SetIndent("", "  ")
		return out.Encode(v)
	}
	w, t := words[lang], &table{}
	t.add("dossier", v.Version)
	if v.Revision != "" {
		revision := v.Revision
		if v.Modified {
			revision += w.modified
		}
		t.add(w.revision, revision)
		t.add(w.committed, v.Time)
	}
	t.add("go", v.Go)
	t.add(w.recordFormat, fmt.Sprint(v.Formats.Record))
	return t.write(std.out)
}

func readVersions() versions {
	v := versions{Version: "(devel)"}
	v.Formats.Record = events.FormatVersion
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Go = info.GoVersion
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}
