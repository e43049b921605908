package config

import (
	"reflect"

	"github.com/suuupra/gateway/core/setting"
)

// atStart are the settings that listeners, buffers and files are made from once,
// at the start. All others are in force as soon as a reload is.
var atStart = []struct {
	path  string
	value func(*Config) any
}{
	{"admin.address", func(c *Config) any { return c.Admin.Address }},
	{"directory", func(c *Config) any { return c.Directory }},
	{"limits.connections_per_ip", func(c *Config) any { return c.Limits.ConnectionsPerIP }},
	{"limits.uri", func(c *Config) any { return c.Limits.URI }},
	{"limits.header", func(c *Config) any { return c.Limits.Header }},
	{"limits.headers", func(c *Config) any { return c.Limits.Headers }},
	{"limits.header_timeout", func(c *Config) any { return c.Limits.HeaderTimeout }},
	{"limits.body_timeout", func(c *Config) any { return c.Limits.BodyTimeout }},
	{"limits.idle_timeout", func(c *Config) any { return c.Limits.IdleTimeout }},
	{"stores", func(c *Config) any { return withoutPlaces(c.Stores) }},
	{"identity", func(c *Config) any { return withoutPlaces(c.Identity.withoutDeclared()) }},
	{"discovery", func(c *Config) any { return withoutPlaces(c.Discovery.withoutToken()) }},
	{"limiter", func(c *Config) any { return c.Limiter }},
	{"odd_header_names", func(c *Config) any { return c.OddHeaderNames }},
	{"telemetry.log.format", func(c *Config) any { return c.Telemetry.Log.Format }},
}

// WarnAtStart adds to r a warning for each setting in which next differs from
// started and that only a start puts in force: a reload must not pass over it in
// silence. started is what the process was started with, whatever was loaded
// since.
func WarnAtStart(started, next *Config, r *setting.Report) {
	for _, s := range atStart {
		if !reflect.DeepEqual(s.value(started), s.value(next)) {
			n, _ := next.tree.Find(s.path) // or the nearest around it, if the key was taken out
			r.Warn(n.At, s.path, waitsForStart, "")
		}
	}
	before := make(map[string]*Listener, len(started.Listeners))
	for _, l := range started.Listeners {
		before[l.Name] = l
	}
	for _, l := range next.Listeners {
		if old := before[l.Name]; old == nil {
			r.Warn(l.At, "listen."+l.Name, waitsForStart, "")
		} else {
			warnOfListener(old, l, r)
		}
		delete(before, l.Name)
	}
	for _, l := range started.Listeners {
		if before[l.Name] != nil {
			r.Warn(next.tree.KeyAt("listen"), "listen."+l.Name, "the listener goes away at the next start", "")
		}
	}
}

// warnOfListener looks at what a listener was opened with. Certificates, minimum
// versions and the authorities of clients change while it listens.
func warnOfListener(old, next *Listener, r *setting.Report) {
	announced := func(l *Listener) any {
		if l.ProxyProtocol == nil {
			return nil
		}
		return l.ProxyProtocol.Announcers()
	}
	for _, s := range []struct {
		key   string
		value func(*Listener) any
	}{
		{"address", func(l *Listener) any { return l.Address }},
		{"tls", func(l *Listener) any { return l.TLS != nil }},
		{"redirect_from", func(l *Listener) any { return l.RedirectFrom }},
		{"proxy_protocol", announced},
	} {
		if !reflect.DeepEqual(s.value(old), s.value(next)) {
			r.Warn(next.Node.KeyAt(s.key), "listen."+next.Name+"."+s.key, waitsForStart, "")
		}
	}
}

// waitsForStart is all that is said: a value may have come from the environment
// (SECURITY C11).
const waitsForStart = "takes effect at the next start"

// withoutPlaces is what v, a struct or a pointer to one, says, without where it says
// so: a line that moves changes nothing.
func withoutPlaces(v any) any { return plain(reflect.ValueOf(v)) }

func plain(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem())
	case reflect.Slice:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = plain(v.Index(i))
		}
		return out
	case reflect.Struct:
		out := make(map[string]any)
		for i := range v.NumField() {
			f := v.Type().Field(i)
			switch {
			case f.Type == reflect.TypeFor[*setting.Node](), f.Type == reflect.TypeFor[setting.Position]():
			case f.IsExported():
				out[f.Name] = plain(v.Field(i))
			default:
				return v.Interface() // a value of its own kind, such as a Secret
			}
		}
		return out
	default:
		return v.Interface()
	}
}
