package natslog

import "time"

// For tests of the package from outside.
var (
	ServerOptions = serverOptions
	Translate     = translate
	TranslateRead = translateRead
	ServeWith     = serve // with the password of InnerUser
	Answerable    = answerable
)

const InnerUser = innerUser

// Within sets how long the answers to a publisher may take.
func (p *Publisher) Within(d time.Duration) { p.timeout = d }
