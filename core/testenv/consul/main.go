// Command consul is the agent of HashiCorp's Consul, which tests start as the gateway's
// registry; its arguments are those of `consul agent`. It is built here because
// Debian has no package of this version. It is a module of its own, so that
// nothing that Consul needs is needed by the gateway, or bends its versions.
package main

import (
	"os"

	"github.com/hashicorp/consul/command/agent"
	"github.com/hashicorp/consul/command/cli"
	mcli "github.com/mitchellh/cli"
)

func main() {
	ui := &cli.BasicUI{BasicUi: mcli.BasicUi{Writer: os.Stdout, ErrorWriter: os.Stderr}}
	os.Exit(agent.New(ui).Run(os.Args[1:]))
}
