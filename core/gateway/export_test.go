package gateway

// Held is how many services, endpoints and plugin values are held by snapshots.
func (g *Gateway) Held() (services, endpoints, kept int) {
	services, endpoints = g.services.Len()
	return services, endpoints, g.keeper.Len()
}

// Renew looks after renewed certificates now, as it is done every 10 s.
func (g *Gateway) Renew() { g.renewAll() }
