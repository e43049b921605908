package admin

import "io/fs"

// Served lists what the router answers, as "GET /path".
func (s *Server) Served() []string {
	var out []string
	for method, paths := range s.router.List() {
		for _, path := range paths {
			out = append(out, method+" "+path)
		}
	}
	return out
}

// OpenAPI is the document that the listener shows.
func OpenAPI() []byte { return openAPI }

// Private says why what stands at path is not the gateway's alone.
func Private(path string, info fs.FileInfo) error { return private(path, info) }
