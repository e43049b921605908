package discovery

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/suuupra/gateway/core/upstream"
	"github.com/suuupra/gateway/core/wire"
)

const (
	mostEndpoints = 4096 // of one service: what a wrong answer can cost is bounded
	largestWeight = 1000
)

// clean returns what may be called of in, sorted by address and each address once, and
// why something else may not ("" if everything may). in is not changed.
func clean(in []upstream.EndpointSpec, barred func(netip.AddrPort) bool) (out []upstream.EndpointSpec, refused string) {
	heaviest := largestWeight
	for _, e := range in {
		heaviest = max(heaviest, e.Weight)
	}
	for _, e := range in {
		address, err := callable(e.Address, barred)
		if err == nil && e.HostHeader != "" {
			_, _, err = wire.CanonicalHost(nil, []byte(e.HostHeader))
		}
		if err != nil {
			refused = fmt.Sprintf("%.300q: %v", e.Address, err)
			continue
		}
		// Weights keep their proportions where they must be brought down: those of SRV
		// records go to 65,535.
		weight := int(float64(max(e.Weight, 1)) * largestWeight / float64(heaviest))
		out = append(out, upstream.EndpointSpec{Address: address, HostHeader: cmp.Or(e.HostHeader, address), Weight: max(weight, 1)})
	}
	slices.SortFunc(out, func(a, b upstream.EndpointSpec) int {
		return cmp.Or(strings.Compare(a.Address, b.Address), cmp.Compare(b.Weight, a.Weight), strings.Compare(a.HostHeader, b.HostHeader))
	})
	out = slices.CompactFunc(out, func(a, b upstream.EndpointSpec) bool { return a.Address == b.Address })
	if len(out) > mostEndpoints {
		refused = fmt.Sprintf("%d endpoints are too many: %d are used", len(out), mostEndpoints)
		out = slices.Clip(out[:mostEndpoints])
	}
	return out, refused
}

// callable returns the one way to write address, or says why nobody may call it. A
// server that finds endpoints must not make the gateway call what only this machine may
// reach: its link-local services know credentials of the cloud (SECURITY C8, L).
func callable(address string, barred func(netip.AddrPort) bool) (string, error) {
	colon := strings.LastIndexByte(address, ':')
	if colon < 0 {
		return "", fmt.Errorf("no port")
	}
	host := address[:colon]
	port, err := strconv.ParseUint(address[colon+1:], 10, 16)
	if err != nil || port == 0 {
		return "", fmt.Errorf("no port from 1 to 65535")
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	if err != nil {
		return named(host, uint16(port))
	}
	to := netip.AddrPortFrom(ip.Unmap(), uint16(port))
	switch ip = to.Addr(); {
	case ip.Zone() != "":
		return "", fmt.Errorf("an address with a zone")
	case ip.IsUnspecified(), ip.IsMulticast(), ip.IsLinkLocalUnicast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "", fmt.Errorf("an address that belongs to no single machine of the network")
	case barred != nil && barred(to):
		return "", fmt.Errorf("the gateway's own listener for operators")
	}
	return to.String(), nil
}

// named is callable for a name, which the system resolves when it is called.
func named(host string, port uint16) (string, error) {
	name, rest, err := wire.CanonicalHost(nil, []byte(host))
	if err != nil || len(name) == 0 || len(rest) > 0 || name[0] == '[' {
		return "", fmt.Errorf("neither an IP address nor the name of a host")
	}
	for _, c := range name {
		if c != '.' && c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return "", fmt.Errorf("not the name of a host")
		}
	}
	if last := name[len(name)-1]; last >= '0' && last <= '9' && strings.Trim(string(name[strings.LastIndexByte(string(name), '.')+1:]), "0123456789") == "" {
		return "", fmt.Errorf("neither an IP address nor the name of a host")
	}
	return string(name) + ":" + strconv.Itoa(int(port)), nil
}
