package main

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/background"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/login"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/session"
	"github.com/suuupra/gateway/core/snapshot"
	"github.com/suuupra/gateway/core/store/postgres"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/ticket"
	"github.com/suuupra/gateway/core/token"
)

// ownClient is the client id of tokens that a login gives: the platform's own pages
// and apps (SECURITY I19).
const ownClient = "gateway"

// What is kept in memory where there are no stores.
const (
	mostSessions = 100_000
	mostTickets  = 100_000
)

// identity is all that says who calls, joined for a running gateway.
type identity struct {
	cfg    *config.Identity
	clock  clock.Clock
	meter  *meter.Set
	log    zerolog.Logger
	beside *background.Places

	*stores
	declared declared
	keys     *token.Keys
	mirror   *revocation.Mirror
	verifier *token.Verifier
	sessions *session.Sessions
	apiKeys  *apikey.Keys
	login    *login.Login
	// known is what plugins ask; empty where nobody can be known.
	known plugin.Identity

	stop    context.CancelFunc
	running sync.WaitGroup
}

// openIdentity joins what cfg names. The servers need not be there; a configuration
// that can't work is an error. Nothing runs before start.
func openIdentity(cfg *config.Config, set *meter.Set, log zerolog.Logger, beside *background.Places) (*identity, error) {
	i := &identity{cfg: cfg.Identity, clock: clock.Real(), meter: set, log: log, beside: beside}
	s, err := openStores(cfg, log)
	if err != nil {
		return nil, err
	}
	i.stores = s
	if i.cfg == nil {
		return i, nil
	}
	if i.db == nil {
		if i.declared, err = newDeclared(i.cfg); err != nil {
			s.close()
			return nil, err
		}
	}
	for _, join := range []func(*config.Config) error{i.joinTokens, i.joinAPIKeys, i.joinLogin} {
		if err := join(cfg); err != nil {
			s.close()
			return nil, err
		}
	}
	i.known.FingerprintHeader = i.cfg.FingerprintHeader
	i.known.Refused = i.cfg.Throttle.Refused
	for _, f := range i.cfg.Issuers {
		i.known.Issuers = append(i.known.Issuers, f.Name)
	}
	return i, nil
}

// joinTokens makes what issues and verifies tokens, and what revokes them.
func (i *identity) joinTokens(cfg *config.Config) (err error) {
	var store token.KeyStore
	if i.db != nil {
		store = postgres.NewSigningKeys(i.db)
	} else {
		if err := os.MkdirAll(cfg.Directory, 0o700); err != nil {
			return fmt.Errorf("%w: %w", errNoDirectory, err)
		}
		store = token.NewFileKeys(cfg.Directory)
	}
	ctx, cancel := context.WithTimeout(context.Background(), openWithin)
	defer cancel()
	i.keys, err = token.OpenKeys(ctx, token.KeysOptions{
		Store: store, EncryptionKey: i.cfg.SigningKeys.Key, RotateEvery: time.Duration(i.cfg.SigningKeys.RotateEvery),
		PublishAhead: time.Duration(i.cfg.SigningKeys.PublishAhead), Longest: time.Duration(max(i.cfg.AccessToken, i.cfg.RefreshToken)),
		Clock: i.clock, Meter: i.meter, Log: i.log,
	})
	if err != nil {
		return fmt.Errorf("opening the keys that sign tokens (`gateway migrate up` makes missing tables): %w", err)
	}
	foreign, err := foreignIssuers(i.cfg.Issuers)
	if err != nil {
		return err
	}
	i.verifier, err = token.NewVerifier(token.VerifierOptions{
		Keys: i.keys, Issuer: i.cfg.Issuer, Audiences: []string{i.cfg.Audience}, Leeway: time.Duration(i.cfg.Leeway),
		Foreign: foreign, Clock: i.clock, Meter: i.meter, Log: i.log,
	})
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	return i.joinRevocations(cfg)
}

// openWithin is how long a start waits for a store that does not answer.
const openWithin = 5 * time.Second

func (i *identity) joinRevocations(cfg *config.Config) (err error) {
	o := revocation.Options{
		Directory: cfg.Directory, ColdStartAllow: i.cfg.Revocation.ColdStart == "allow",
		Clock: i.clock, Meter: i.meter, Log: i.log,
	}
	if o.StaleLimit = time.Duration(i.cfg.Revocation.StaleLimit); i.cfg.Revocation.OnStoreError == "deny" {
		o.StaleLimit = strictLimit
	}
	if i.db != nil {
		o.Durable = postgres.NewRevocations(i.db)
	}
	if i.cold != nil {
		pushed := redis.NewRevocations(i.cold)
		ctx, cancel := context.WithTimeout(context.Background(), openWithin)
		defer cancel()
		if err := pushed.Check(ctx); errors.Is(err, redis.ErrEvicts) { // one that is away is no reason not to start
			return fmt.Errorf("stores.redis: %w", err)
		}
		o.Push = pushed
	}
	if i.mirror, err = revocation.New(o); err != nil {
		return err
	}
	i.known.Revocations = i.mirror
	return nil
}

// strictLimit is how old the mirror may be where tokens are refused without a store:
// two polls and a pause of the network.
const strictLimit = 5 * time.Second

func (i *identity) joinAPIKeys(*config.Config) error {
	o := apikey.Options{StaleLimit: time.Duration(i.cfg.Revocation.StaleLimit), KeepUsage: time.Duration(i.cfg.UsageRetention), Lasting: i.mirror.Stays(), Clock: i.clock, Meter: i.meter, Log: i.log}
	if i.db != nil {
		o.Store = postgres.NewAPIKeys(i.db)
		if i.cold != nil {
			shared, err := redis.NewAPIKeys(i.cold, i.cfg.SigningKeys.Key)
			if err != nil {
				return fmt.Errorf("keeping API keys in Redis: %w", err)
			}
			o.Shared = shared
		}
	} else {
		o.Store = i.declared.keys
	}
	i.apiKeys = apikey.New(o)
	i.mirror.Stays().AskKeys(i.apiKeys.Ended)
	i.known.Keys = i.apiKeys
	return nil
}

// joinLogin makes the accounts, sessions and answers of /auth/*.
func (i *identity) joinLogin(*config.Config) error {
	accounts, err := i.accounts()
	if err != nil {
		return err
	}
	signer := token.NewSigner(token.SignerOptions{
		Keys: i.keys, Issuer: i.cfg.Issuer, Audience: i.cfg.Audience,
		Access: time.Duration(i.cfg.AccessToken), Refresh: time.Duration(i.cfg.RefreshToken), Clock: i.clock,
	})
	kept := session.Store(session.NewMemory(mostSessions))
	if i.db != nil {
		kept = postgres.NewSessions(i.db)
	}
	i.sessions = session.New(session.Options{
		Store: kept, Signer: signer, Revocations: i.mirror,
		Lifetime: time.Duration(i.cfg.Session.Lifetime), Grace: time.Duration(i.cfg.RefreshGrace), Refresh: time.Duration(i.cfg.RefreshToken),
		Leeway: time.Duration(i.cfg.Leeway), PerUser: i.cfg.Session.PerUser, Clock: i.clock, Log: i.log,
	})
	tickets := ticket.Options{Store: ticket.NewMemory(mostTickets, i.clock), Clock: i.clock, Timeout: ticketWithin}
	if i.cold != nil {
		tickets.Store = redis.NewTickets(i.cold)
	}
	issued := ticket.New(tickets)
	i.known.Tokens, i.known.Tickets, i.known.Vouchers = i.sessions.Watching(i.verifier), issued, signer
	sealing, err := i.derived("the ticket of a login that waits for its second factor")
	if err != nil {
		return err
	}
	o := login.Options{
		Accounts: accounts, Factors: accounts, Devices: accounts, Tokens: i.verifier, Revocations: i.mirror,
		Sessions: i.sessions, Tickets: issued, Keys: i.keys, Key: sealing, Client: ownClient,
		FingerprintHeader: i.cfg.FingerprintHeader, Clock: i.clock, Log: i.log,
	}
	if w := i.cfg.Web; w != nil {
		o.Web = &login.Web{Cookie: w.Cookie, Origins: w.Origins}
	}
	i.login, err = login.New(o)
	return err
}

// ticketWithin is how long a request that shows a ticket waits for its store.
const ticketWithin = time.Second

// derived is a key of 32 bytes for one purpose: the same at all instances that share
// an encryption key, else of this process alone.
func (i *identity) derived(purpose string) ([]byte, error) {
	secret := i.cfg.SigningKeys.Key
	if secret == nil {
		secret = make([]byte, sha256.Size)
		_, _ = rand.Read(secret) // never fails; it ends the process instead
	}
	key, err := hkdf.Key(sha256.New, secret, nil, purpose, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("deriving the key for %s: %w", purpose, err)
	}
	return key, nil
}

func (i *identity) accounts() (*account.Accounts, error) {
	o := account.Options{
		EncryptionKey: i.cfg.SigningKeys.Key, Issuer: i.cfg.Issuer, Meter: i.meter, Clock: i.clock, Log: i.log,
		Limits: account.Limits{PerAccount: attempts(i.cfg.Throttle.PerAccount), PerIP: attempts(i.cfg.Throttle.PerIP)},
	}
	passwords := account.PasswordsOptions{Meter: i.meter, Beside: i.beside}
	if file := i.cfg.Passwords.Breached.File(); file != "" {
		breached, err := account.LoadBreached(file)
		if err != nil {
			return nil, fmt.Errorf("identity.passwords: %w", err)
		}
		passwords.Breached = breached
	}
	o.Passwords = account.NewPasswords(passwords)
	o.Throttle = account.NewMemoryThrottle(i.clock)
	if i.cold != nil {
		o.Throttle = redis.NewThrottle(i.cold, o.Throttle)
	}
	if i.db != nil {
		o.Store = postgres.NewUsers(i.db)
		return account.New(o), nil
	}
	o.Store = i.declared.users
	return account.New(o), nil
}

// start runs what keeps itself up to date, until close.
func (i *identity) start() {
	ctx, stop := context.WithCancel(context.Background())
	i.stop = stop
	if i.cfg == nil {
		return
	}
	for _, run := range []func(context.Context){i.keys.Run, i.verifier.Run, i.mirror.Run, i.apiKeys.Run, i.sessions.Run, i.listen} {
		i.running.Go(func() { run(ctx) })
	}
}

// listen hears at once of signing keys that another instance changed.
func (i *identity) listen(ctx context.Context) {
	if i.db != nil {
		i.db.Listen(ctx, postgres.SigningKeysChannel, func(string) { i.keys.Nudge() })
	}
}

// close ends it all; usage that was counted is written first.
func (i *identity) close() {
	if i.stop != nil {
		i.stop()
	}
	i.running.Wait()
	i.stores.close()
}

// stays is what lasts on behalf of callers; nil where nobody can be revoked.
func (i *identity) stays() *revocation.Stays {
	if i.mirror == nil {
		return nil
	}
	return i.mirror.Stays()
}

// internalKeys is what serves the keys of internal tokens; nil where nobody signs any.
func (i *identity) internalKeys() func() []byte {
	if i.keys == nil {
		return nil
	}
	return i.keys.InternalJWKS
}

// routes are the built-in routes of logins.
func (i *identity) routes() []snapshot.BuiltIn {
	if i.login == nil {
		return nil
	}
	return loginRoutes(i.login)
}

// loginRoutes are l's as the route table wants them.
func loginRoutes(l *login.Login) []snapshot.BuiltIn {
	var out []snapshot.BuiltIn
	for _, r := range l.Routes() {
		out = append(out, snapshot.BuiltIn{
			Name: r.Name, Match: router.Match{Paths: r.Paths, Methods: r.Methods},
			Answer: r.Answer, BodyLimit: r.BodyLimit, Response: r.Response,
		})
	}
	return out
}
