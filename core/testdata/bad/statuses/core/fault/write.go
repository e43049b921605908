// Package fault is the one writer.
package fault

func write(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(400) }
