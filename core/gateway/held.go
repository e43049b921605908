package gateway

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/certificate"
	"github.com/suuupra/gateway/core/setting"
)

// heldCertificate is one certificate in force, and the files that it came from.
type heldCertificate struct {
	name                     string // as metrics have it
	certificateFile, keyFile string // "": it stands in the configuration itself
	certificateText, keyText string
	pair                     *certificate.Pair // of these texts; renewed since it was declared, maybe
	trouble                  string            // why the files can't be read again; "" if they can
	looks                    int               // how many looks in a row found that trouble
}

// hold is a certificate as the configuration declares it; unnamed is its name where no
// file has it.
func hold(c setting.Content, key setting.Secret, pair *certificate.Pair, unnamed string) heldCertificate {
	name := c.File()
	if name == "" {
		name = unnamed
	}
	return heldCertificate{name: name, certificateFile: c.File(), keyFile: key.File(), certificateText: c.Text(), keyText: key.Reveal(), pair: pair}
}

// well says whether c is valid now and its files can be read.
func (c *heldCertificate) well(now time.Time) bool { return c.trouble == "" && c.pair.Valid(now) }

// ail notes a trouble, and logs it when it lasts.
func (c *heldCertificate) ail(log zerolog.Logger, err error) {
	if c.looks++; c.looks < renewPatience {
		return
	}
	if c.trouble != err.Error() {
		log.Error().Str("certificate", c.name).Err(err).Msg("the files of a certificate can't be read again; the last good ones are shown")
	}
	c.trouble = err.Error()
}

// look reads the files again. It returns what has become of the certificate, or nil
// if nothing has.
func (c *heldCertificate) look(now time.Time) (*heldCertificate, error) {
	certificateText, err := again(c.certificateFile, c.certificateText)
	if err != nil {
		return nil, err
	}
	keyText, err := again(c.keyFile, c.keyText)
	if err != nil {
		return nil, err
	}
	if certificateText == c.certificateText && keyText == c.keyText {
		return nil, nil
	}
	pair, err := certificate.Parse(certificateText, keyText)
	if err != nil {
		return nil, err
	}
	if !pair.Valid(now) && c.pair.Valid(now) {
		return nil, errors.New("the new certificate is not valid now, and the one before is")
	}
	fresh := *c
	fresh.pair, fresh.certificateText, fresh.keyText = pair, certificateText, keyText
	fresh.trouble, fresh.looks = "", 0
	return &fresh, nil
}

// again reads file as package setting does; what stands in the configuration itself
// stays as it is.
func again(file, text string) (string, error) {
	if file == "" {
		return text, nil
	}
	b, err := os.ReadFile(file)
	var reason *fs.PathError
	if errors.As(err, &reason) {
		return "", errors.New(file + ": " + reason.Err.Error())
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), err
}
