package config

import (
	"slices"

	"github.com/suuupra/gateway/core/setting"
)

// Balance is how requests are spread over the endpoints of a service.
type Balance struct {
	Word string // weighted_round_robin, least_requests, random or consistent_hash
	By   By     // of consistent_hash: which requests go to one endpoint
}

// balanceForm is the long form of a Balance.
type balanceForm struct {
	Hash *hashForm `yaml:"consistent_hash" doc:"Requests that belong together go to one endpoint, while it has no more than 1.25 times its share under way."`
}

type hashForm struct {
	By By `yaml:"by" doc:"Which requests belong together."`
}

// balanceWords are the balancers that need nothing said; consistentHash is the one that does.
var balanceWords = []string{"weighted_round_robin", "least_requests", "random"}

const (
	consistentHash = "consistent_hash"
	wantBalance    = "want weighted_round_robin, least_requests, random or {consistent_hash: {by: user}}, got "
)

// DecodeSetting reads either form.
func (b *Balance) DecodeSetting(n *setting.Node, r *setting.Report) {
	switch {
	case n.Kind == setting.Map:
		var form balanceForm
		setting.Decode(n, &form, r)
		hash := n.Get(consistentHash)
		switch {
		case hash == nil && len(n.Entries) == 0:
			r.AddNode(n, wantBalance+"an empty map", "")
		case hash == nil: // an unknown key, which was reported
		case hash.IsOff(), hash.Kind == setting.Map && !hash.Unset && missing(hash, "by"):
			r.AddNode(hash, "want what requests are told apart by, such as {by: user}", "")
		}
		if b.Word = consistentHash; form.Hash != nil {
			b.By = form.Hash.By
		}
	case n.Kind == setting.Scalar && slices.Contains(balanceWords, n.Text):
		b.Word = n.Text
	default:
		r.AddNode(n, wantBalance+n.Describe(), nearest(n, balanceWords))
	}
}

// JSONSchema describes both forms.
func (Balance) JSONSchema() map[string]any {
	words := make([]any, len(balanceWords))
	for i, word := range balanceWords {
		words[i] = word
	}
	return map[string]any{"anyOf": []any{
		map[string]any{"enum": words},
		map[string]any{"$ref": "#/$defs/expression"},
		setting.SchemaOf[balanceForm](),
	}}
}
