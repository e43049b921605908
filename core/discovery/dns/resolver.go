package dns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/suuupra/gateway/core/discovery"
)

const (
	perTry      = 2 * time.Second // for one server to answer
	tries       = 2               // of the whole list of servers
	payload     = 1232            // bytes of an answer over UDP that no path cuts to pieces
	mostAliases = 8               // CNAME records in a row
)

// resolver asks name servers.
type resolver struct {
	servers []string
	file    string // read for each question: it is short, and changes without a word
	port    string // of those that file names
}

// isNegative says that a name server has answered that there is nothing.
func isNegative(err error) bool {
	var e *discovery.Error
	return errors.As(err, &e) && (e.Kind == discovery.Absent || e.Kind == discovery.Empty)
}

func negative(kind discovery.Kind, text, name string) error {
	return discovery.Fail(kind, fmt.Errorf(text, name))
}

// resolve answers a question, by the first name of the search list that exists.
func (r *resolver) resolve(ctx context.Context, about question) ([]dns.RR, time.Duration, error) {
	servers, names := r.servers, []string{dns.Fqdn(about.name)}
	if len(servers) == 0 {
		system, err := dns.ClientConfigFromFile(r.file)
		if err != nil {
			return nil, 0, discovery.Fail(discovery.Broken, fmt.Errorf("reading the addresses of name servers: %w", err))
		}
		for _, s := range system.Servers {
			servers = append(servers, net.JoinHostPort(s, r.port))
		}
		if len(servers) == 0 {
			return nil, 0, discovery.Fail(discovery.Broken, fmt.Errorf("%s names no server", r.file))
		}
		names = system.NameList(about.name)
	}
	var first error
	for _, name := range names {
		records, ttl, err := r.follow(ctx, servers, question{name, about.kind})
		if err == nil || !isNegative(err) {
			return records, ttl, err
		}
		if first == nil || errorKind(err) == discovery.Empty { // the name is there
			first = err
		}
	}
	return nil, 0, first
}

func errorKind(err error) discovery.Kind {
	var e *discovery.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

// follow asks, and goes after the aliases that a server did not go after itself.
func (r *resolver) follow(ctx context.Context, servers []string, about question) ([]dns.RR, time.Duration, error) {
	ttl, aliases, first := longestTTL, 0, about.name
	for {
		answer, err := r.ask(ctx, servers, about)
		if err != nil {
			return nil, 0, err
		}
		records, end, good := collect(answer, about, &aliases)
		ttl = min(ttl, good)
		switch {
		case aliases > mostAliases:
			return nil, 0, discovery.Fail(discovery.Nonsense, fmt.Errorf("%s is an alias of itself, or behind more than %d", first, mostAliases))
		case answer.Rcode == dns.RcodeNameError:
			return nil, 0, negative(discovery.Absent, "there is no %s", end)
		case len(records) > 0:
			return records, ttl, nil
		case end == canonical(about.name):
			return nil, 0, negative(discovery.Empty, "%s has no "+dns.TypeToString[about.kind]+" record", end)
		}
		about.name = end
	}
}

// collect returns the records of an answer that belong to the question: those of its
// name, or of what that is an alias of. end is where the aliases lead; they are counted.
// Other records, which a server had no reason to send, are not looked at.
func collect(answer *dns.Msg, about question, aliases *int) (records []dns.RR, end string, ttl time.Duration) {
	ttl, end = longestTTL, canonical(about.name)
	for *aliases <= mostAliases {
		next := ""
		for _, rr := range answer.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || canonical(h.Name) != end {
				continue
			}
			alias, isAlias := rr.(*dns.CNAME)
			switch {
			case h.Rrtype == about.kind:
				records = append(records, rr)
			case isAlias:
				next = canonical(alias.Target)
			default:
				continue
			}
			ttl = min(ttl, time.Duration(h.Ttl)*time.Second)
		}
		if len(records) > 0 || next == "" {
			break
		}
		end = next
		*aliases++
	}
	return records, end, ttl
}

func canonical(name string) string { return strings.ToLower(dns.Fqdn(name)) }

// ask asks one server after the other until one answers.
func (r *resolver) ask(ctx context.Context, servers []string, about question) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(about.name), about.kind)
	m.SetEdns0(payload, false)
	var err error
	for range tries {
		for _, server := range servers {
			var answer *dns.Msg
			if answer, err = exchange(ctx, server, m); err == nil {
				return answer, nil
			}
			if ctx.Err() != nil {
				return nil, err
			}
		}
	}
	return nil, err
}

// exchange asks one server, over TCP if the answer does not fit in a datagram.
func exchange(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
	m = m.Copy()
	m.Id = dns.Id()
	var answer *dns.Msg
	for _, network := range []string{"udp", "tcp"} {
		var err error
		if answer, err = over(ctx, network, server, m); err != nil {
			var connection *net.OpError
			if errors.As(err, &connection) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) {
				return nil, discovery.Fail(discovery.Unreachable, fmt.Errorf("asking %s over %s: %w", server, network, err))
			}
			return nil, discovery.Fail(discovery.Nonsense, fmt.Errorf("what %s answers over %s can't be read: %w", server, network, err))
		}
		if !answer.Truncated {
			break
		}
	}
	return answer, judge(answer, m, server)
}

// over sends m and returns what comes back, or ends with ctx. The library draws ids and
// ports at random, takes datagrams from the server's address alone, and passes over
// those with another id.
func over(ctx context.Context, network, server string, m *dns.Msg) (*dns.Msg, error) {
	client := dns.Client{Net: network, Timeout: perTry, UDPSize: payload}
	connection, err := client.DialContext(ctx, server)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	defer context.AfterFunc(ctx, func() { _ = connection.Close() })() // ends the reading
	answer, _, err := client.ExchangeWithConnContext(ctx, m, connection)
	return answer, err
}

// judge says what is wrong with an answer; that a name does not exist is nothing wrong.
func judge(answer, m *dns.Msg, server string) error {
	asked := m.Question[0]
	switch {
	case !answer.Response || len(answer.Question) != 1 || answer.Question[0].Qtype != asked.Qtype ||
		answer.Question[0].Qclass != asked.Qclass || canonical(answer.Question[0].Name) != canonical(asked.Name):
		return discovery.Fail(discovery.Nonsense, fmt.Errorf("%s answers what was not asked", server))
	case answer.Truncated:
		return discovery.Fail(discovery.Nonsense, fmt.Errorf("%s cuts its answer short over TCP as well", server))
	case answer.Rcode == dns.RcodeSuccess, answer.Rcode == dns.RcodeNameError:
		return nil
	case answer.Rcode == dns.RcodeRefused, answer.Rcode == dns.RcodeNotAuth:
		return discovery.Fail(discovery.Denied, fmt.Errorf("%s does not answer us: %s", server, dns.RcodeToString[answer.Rcode]))
	default:
		return discovery.Fail(discovery.Broken, fmt.Errorf("%s has a problem: %s", server, dns.RcodeToString[answer.Rcode]))
	}
}
