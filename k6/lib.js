// What all tests share: the requests, what is checked of each answer, the
// thresholds, and the summary. Nothing is fetched from anywhere but the gateway.

import http from 'k6/http';
import { check } from 'k6';

// gateway is where the gateway listens, admin where its operators look.
export const gateway = __ENV.GATEWAY || 'http://127.0.0.1:8080';
export const admin = __ENV.ADMIN || 'http://127.0.0.1:9901';

// number reads a number from the environment.
export function number(name, fallback) {
  const value = Number(__ENV[name] || fallback);
  if (!(value > 0)) {
    throw new Error(`${name}=${__ENV[name]}: want a number above 0`);
  }
  return value;
}

// seconds reads a duration such as 90s, 10m or 1h from the environment.
export function seconds(name, fallback) {
  const text = __ENV[name] || fallback;
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text);
  if (!match || Number(match[1]) === 0) {
    throw new Error(`${name}=${text}: want a duration such as 30s or 10m`);
  }
  return Number(match[1]) * { ms: 0.001, s: 1, m: 60, h: 3600 }[match[2]];
}

// duration writes seconds as k6 reads them.
export function duration(s) {
  return `${Math.max(1, Math.round(s * 1000))}ms`;
}

// The promise: 99 of 100 requests within 150 ms, fewer than one in a thousand failed,
// and every answer is what was asked for.
export const promised = {
  http_req_duration: ['p(99)<150'],
  http_req_failed: ['rate<0.001'],
  checks: ['rate>0.999'],
};

// onSchedule is the promise of a test that sends at a rate: k6 drops what it can't send
// in time, and a rate that was not reached proves nothing. A hundredth may go: where k6
// shares its cores with the gateway, its own pauses drop a few in a thousand.
export function onSchedule(requests) {
  return Object.assign({ dropped_iterations: [`count<${Math.ceil(1 + requests / 100)}`] }, promised);
}

// users is how many virtual users a rate needs. One is busy for as long as an answer takes:
// when all that 150 ms allow are busy, the promise is broken; twice as many are the end.
export function users(rate) {
  const some = number('VUS', Math.max(10, Math.ceil(rate * 0.15)));
  return { preAllocatedVUs: some, maxVUs: Math.max(some, number('MAX_VUS', some * 2)) };
}

const form = JSON.stringify({ course: 'go-101', amount: 4900, currency: 'EUR', note: 'x'.repeat(200) });
const json = { 'Content-Type': 'application/json' };

// requests is the mix: small and larger answers, reads and writes, all services.
const requests = [
  { name: 'identity', method: 'GET', path: '/identity/users/42' },
  { name: 'content', method: 'GET', path: '/content/bytes/2048' },
  { name: 'commerce', method: 'GET', path: '/commerce/courses?page=2' },
  { name: 'vod', method: 'GET', path: '/vod/bytes/16384' },
  { name: 'live-classes', method: 'GET', path: '/live-classes/today' },
  { name: 'payments', method: 'POST', path: '/payments/echo', body: form, headers: json },
];

// ask sends the request of that turn and checks the answer.
export function ask(turn) {
  const r = requests[turn % requests.length];
  const answer = http.request(r.method, gateway + r.path, r.body, { headers: r.headers, tags: { name: r.name } });
  checkAnswer(answer, 200);
  return answer;
}

// correlation is the id of an answer, by the name that Go gives the field.
export function correlation(answer) {
  return answer.headers['X-Correlation-Id'] || '';
}

// checkAnswer wants the status, and the correlation id that every answer carries.
export function checkAnswer(answer, status) {
  return check(answer, {
    'status': (r) => r.status === status,
    'X-Correlation-ID': (r) => /^[A-Za-z0-9._-]{1,128}$/.test(correlation(r)),
  });
}

// statistics are those that a summary shows of each time.
export const statistics = ['min', 'avg', 'med', 'p(95)', 'p(99)', 'max'];

// summarize returns what a test's handleSummary writes: the numbers as JSON, and a page
// for people that also goes to the terminal.
export function summarize(test, data) {
  const page = text(test, data);
  const folder = __ENV.SUMMARY || 'bin/k6';
  return {
    stdout: page,
    [`${folder}/${test}.txt`]: page,
    [`${folder}/${test}.json`]: JSON.stringify(data, null, 2),
  };
}

const columns = statistics.concat(['count', 'rate', 'passes', 'fails', 'value']);

function text(test, data) {
  const lines = ['', `k6 ${test}, ${(data.state.testRunDurationMs / 1000).toFixed(1)} s`, ''];
  for (const name of Object.keys(data.metrics).sort()) {
    const metric = data.metrics[name];
    const values = columns.filter((key) => key in metric.values).map((key) => `${key} ${shown(metric, key)}`);
    lines.push(`  ${name.padEnd(28)} ${values.join('  ')}`);
  }
  lines.push('');
  let kept = true;
  for (const name of Object.keys(data.metrics).sort()) {
    const thresholds = data.metrics[name].thresholds || {};
    for (const threshold of Object.keys(thresholds)) {
      kept = kept && thresholds[threshold].ok;
      lines.push(`  ${thresholds[threshold].ok ? 'kept  ' : 'BROKEN'} ${name}: ${threshold}`);
    }
  }
  lines.push('', kept ? 'All thresholds are kept.' : 'Not all thresholds are kept.', '');
  return lines.join('\n');
}

function shown(metric, key) {
  const value = metric.values[key];
  if (key === 'passes' || key === 'fails' || key === 'count') {
    return String(value);
  }
  const unit = metric.contains === 'time' ? ' ms' : '';
  return Number(value).toFixed(metric.type === 'rate' ? 5 : 2) + unit;
}
