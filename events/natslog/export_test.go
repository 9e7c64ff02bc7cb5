package natslog

// For tests of the package from outside.
var (
	ServerOptions = serverOptions
	Translate     = translate
	TranslateRead = translateRead
	ServeWith     = serve // with the password of InnerUser
	Answerable    = answerable
)

const InnerUser = innerUser
