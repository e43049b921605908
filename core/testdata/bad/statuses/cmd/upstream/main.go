// Command upstream fails on purpose.
package main

func write(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(503) }
