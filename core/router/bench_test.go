package router

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// mixedRoutes returns n routes as a large installation has them: most of them
// literal, many with parameters, some by host, method, regex or priority; and one
// request for each.
func mixedRoutes(n int) ([]Entry[int], []Query) {
	entries := make([]Entry[int], n)
	queries := make([]Query, n)
	for i := range n {
		service, kind := i/50, i%10
		m := Match{Paths: []string{fmt.Sprintf("/service-%d/resource-%d", service, i)}}
		q := Query{Host: []byte("api.example.org"), Path: []byte(m.Paths[0]), Method: []byte("GET")}
		switch kind {
		case 3:
			m.Paths = []string{fmt.Sprintf("/service-%d/items/{id}/parts-%d/{part}", service, i)}
			q.Path = fmt.Appendf(nil, "/service-%d/items/4711/parts-%d/cover", service, i)
		case 4:
			m.Paths = []string{fmt.Sprintf("/service-%d/files-%d/{rest...}", service, i)}
			q.Path = fmt.Appendf(nil, "/service-%d/files-%d/a/b/c.txt", service, i)
		case 5:
			m.Hosts = []string{fmt.Sprintf("host-%d.example.com", service)}
			q.Host = []byte(m.Hosts[0])
		case 6:
			m.Hosts = []string{fmt.Sprintf("{tenant}.zone-%d.example.net", service)}
			q.Host = fmt.Appendf(nil, "acme.zone-%d.example.net", service)
		case 7:
			m.Methods = []string{"POST", "PUT"}
			q.Method = []byte("PUT")
		case 8:
			m.Methods, m.Priority = []string{"GET"}, 1
		case 9:
			m.Paths = []string{fmt.Sprintf("/service-%d/orders/{n:[0-9]+}/lines-%d", service, i)}
			q.Path = fmt.Appendf(nil, "/service-%d/orders/123456/lines-%d", service, i)
		}
		entries[i] = Entry[int]{Name: fmt.Sprintf("route-%d", i), At: fmt.Sprintf("gw.yaml:%d:3", i+1), Match: m, Value: i}
		queries[i] = q
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) {
		entries[i], entries[j] = entries[j], entries[i]
		queries[i], queries[j] = queries[j], queries[i]
	})
	pack(queries)
	return entries, queries
}

// pack lays the bytes of all queries out one after the other. A gateway has just
// read the request that it looks up, so that only the table may be cold.
func pack(queries []Query) {
	var all []byte
	for _, q := range queries {
		all = append(append(append(all, q.Host...), q.Path...), q.Method...)
	}
	take := func(b []byte) []byte {
		piece := all[:len(b):len(b)]
		all = all[len(b):]
		return piece
	}
	for i := range queries {
		q := &queries[i]
		q.Host, q.Path, q.Method = take(q.Host), take(q.Path), take(q.Method)
	}
}

func mustCompile[T any](t testing.TB, entries []Entry[T]) *Table[T] {
	t.Helper()
	table, problems := Compile(entries)
	for _, p := range problems {
		t.Errorf("entry %d: %s", p.Entry, p.Text)
	}
	if table == nil {
		t.FailNow()
	}
	return table
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			entries, queries := mixedRoutes(n)
			table := mustCompile(b, entries)
			var f Found[int]
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i == n {
					i = 0
				}
				if table.Lookup(&queries[i], &f) != Matched || f.Entry != i {
					b.Fatal(i, f.Entry)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	entries, _ := mixedRoutes(10_000)
	for b.Loop() {
		mustCompile(b, entries)
	}
}
