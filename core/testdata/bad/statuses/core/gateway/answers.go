// Package gateway answers by itself.
package gateway

func answer(ctx *fasthttp.RequestCtx) {
	ctx.SetStatusCode(200)
	ctx.SetStatusCode(404)                                // want statuses "SetStatusCode(404)"
	ctx.Response.SetStatusCode(fasthttp.StatusBadGateway) // want statuses "SetStatusCode(502)"
	ctx.Response.SetStatusCode(fasthttp.StatusNoContent)
	ctx.Error("no", http.StatusRequestEntityTooLarge) // want statuses "Error(413)"
	w.WriteHeader(http.StatusServiceUnavailable)      // want statuses "WriteHeader(503)"
	x.SetStatusCode(answer.Status)
}
