// Does it work at all? Every service, sizes, a stream, and what must be refused.
// A minute-long test says nothing when this one fails.

import http from 'k6/http';
import { check } from 'k6';
import { ask, checkAnswer, correlation, gateway, promised, statistics, summarize } from './lib.js';

export const options = {
  scenarios: { smoke: { executor: 'per-vu-iterations', vus: 2, iterations: 5, maxDuration: '30s' } },
  // The stream takes its time between two events; that is no latency.
  tags: { kind: 'plain' },
  thresholds: {
    'http_req_duration{kind:plain}': promised.http_req_duration,
    http_req_failed: ['rate==0'],
    checks: ['rate==1'],
  },
  summaryTrendStats: statistics,
};

export default function () {
  for (let turn = 0; turn < 6; turn++) {
    ask(turn);
  }
  sizes();
  events();
  identifiers();
  refused('/payments/..%2fadmin', 400, 'bad_request');
  refused('/nowhere', 404, 'no_route');
}

function sizes() {
  for (const n of [0, 1, 2048, 65536, 65537, 1 << 20]) {
    const answer = http.get(`${gateway}/content/bytes/${n}`, { tags: { name: 'sizes' } });
    checkAnswer(answer, 200);
    check(answer, { 'the size that was asked for': (r) => (r.body || '').length === n });
  }
}

function events() {
  const answer = http.get(`${gateway}/live-classes/sse?n=3`, { tags: { name: 'events', kind: 'stream' }, timeout: '10s' });
  checkAnswer(answer, 200);
  check(answer, { 'three events': (r) => (r.body || '').split('\n\n').filter((e) => e.includes('data:')).length === 3 });
}

function identifiers() {
  const mine = `k6-${__VU}-${__ITER}`;
  const answer = http.get(`${gateway}/identity/me`, { tags: { name: 'identifiers' }, headers: { 'X-Correlation-ID': mine } });
  check(answer, { 'my own id comes back': (r) => correlation(r) === mine });
}

function refused(path, status, code) {
  const answer = http.get(gateway + path, { tags: { name: code }, responseCallback: http.expectedStatuses(status) });
  checkAnswer(answer, status);
  check(answer, {
    'a fault in its one shape': (r) => r.headers['Content-Type'] === 'application/problem+json' && r.json('code') === code,
  });
}

export function handleSummary(data) {
  return summarize('smoke', data);
}
