package natslog

// For tests of the package from outside.
var (
	ServerOptions = serverOptions
	Translate     = translate
	TranslateRead = translateRead
)
