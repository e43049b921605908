package main

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/admin"
	"github.com/suuupra/gateway/core/config"
)

// logLevel is the least severe level that is written. It stands behind every
// logger as zerolog's sampler, which is asked before an event is made: a change
// reaches loggers that were handed out long ago, and costs a line that is not
// written one atomic load.
type logLevel struct{ least atomic.Int32 }

var (
	_ zerolog.Sampler = (*logLevel)(nil)
	_ admin.LogLevel  = (*logLevel)(nil)
)

// Sample implements zerolog.Sampler.
func (l *logLevel) Sample(of zerolog.Level) bool { return of >= zerolog.Level(l.least.Load()) }

// Level implements admin.LogLevel.
func (l *logLevel) Level() string { return zerolog.Level(l.least.Load()).String() }

// SetLevel implements admin.LogLevel.
func (l *logLevel) SetLevel(name string) error {
	level, err := zerolog.ParseLevel(name)
	if err != nil || level < zerolog.TraceLevel || level > zerolog.ErrorLevel || level.String() != name {
		return errors.New("want a level of trace, debug, info, warn or error")
	}
	l.least.Store(int32(level))
	return nil
}

// newLog returns the gateway's own log and its level.
func newLog(o config.Log, w io.Writer) (zerolog.Logger, *logLevel) {
	if o.Format == "text" {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.RFC3339, NoColor: true}
	}
	level := &logLevel{}
	level.least.Store(int32(zerolog.InfoLevel))
	_ = level.SetLevel(o.Level) // config knows only levels that there are
	return zerolog.New(w).Level(zerolog.TraceLevel).Sample(level).With().Timestamp().Logger(), level
}
