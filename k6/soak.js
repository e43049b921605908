// Does anything pile up? A moderate RATE for a long DURATION, from as many connections all
// the while, and looks at the gateway's heap, goroutines and descriptors. They are compared
// with what they were after a fifth of the time, when pools and caches are full.

import http from 'k6/http';
import { Rate, Trend } from 'k6/metrics';
import { admin, ask, duration, number, onSchedule, seconds, statistics, summarize, users } from './lib.js';

const rate = number('RATE', 500);
const length = seconds('DURATION', '10m');
const looks = 20;
const full = looks / 5; // the look that all later ones are compared with

const looked = {
  go_memstats_heap_alloc_bytes: { now: new Trend('soak_heap'), growth: new Trend('growth_of_heap') },
  go_goroutines: { now: new Trend('soak_goroutines'), growth: new Trend('growth_of_goroutines') },
  process_open_fds: { now: new Trend('soak_descriptors'), growth: new Trend('growth_of_descriptors') },
  process_resident_memory_bytes: { now: new Trend('soak_resident'), growth: new Trend('growth_of_resident') },
};

// A threshold on what has no values is kept: a look that came to nothing must be one.
const sights = new Rate('soak_looks');

// Each look is a metric of its own in the summary, which is what a threshold makes of it.
const rows = {};
for (let i = 0; i < looks; i++) {
  for (const name of ['soak_heap', 'soak_goroutines', 'soak_descriptors', 'soak_resident']) {
    rows[`${name}{look:${i}}`] = ['max>0'];
  }
}

const many = users(rate).maxVUs;

export const options = {
  scenarios: {
    soak: { executor: 'constant-arrival-rate', rate, timeUnit: '1s', duration: duration(length), preAllocatedVUs: many, maxVUs: many },
    look: {
      executor: 'constant-arrival-rate',
      exec: 'look',
      rate: 1,
      timeUnit: duration(length / looks),
      duration: duration(length),
      preAllocatedVUs: 1,
      maxVUs: 1, // it remembers the look that others are compared with
    },
  },
  thresholds: Object.assign(onSchedule(rate * length), rows, {
    soak_looks: ['rate==1'],
    growth_of_heap: ['p(95)<1.3'],
    growth_of_goroutines: ['p(95)<1.1'],
    growth_of_descriptors: ['p(95)<1.1'],
    growth_of_resident: ['p(95)<1.3'],
  }),
  summaryTrendStats: statistics,
};

export default function () {
  ask(__ITER + __VU);
}

let first = null;

export function look() {
  let now = null;
  try {
    now = sight();
  } finally {
    sights.add(now !== null);
  }
  for (const name of Object.keys(looked)) {
    looked[name].now.add(now[name], { look: String(__ITER) });
  }
  if (__ITER < full) {
    return;
  }
  first = first || now;
  for (const name of Object.keys(looked)) {
    looked[name].growth.add(now[name] / first[name]);
  }
}

// sight is what the gateway says of itself just after a collection, which a profile makes.
function sight() {
  if (!__ENV.ADMIN_TOKEN) {
    throw new Error('ADMIN_TOKEN: want a token of the admin listener that may write');
  }
  const profile = http.get(`${admin}/debug/pprof/heap`, { headers: { Authorization: `Bearer ${__ENV.ADMIN_TOKEN}` }, tags: { name: 'heap' } });
  if (profile.status !== 200) {
    throw new Error(`${admin}/debug/pprof/heap: got ${profile.status}`);
  }
  const text = http.get(`${admin}/metrics`, { tags: { name: 'metrics' } }).body;
  const now = {};
  for (const name of Object.keys(looked)) {
    now[name] = shown(text, name);
  }
  // How many connections to endpoints wait for work is up to the busiest moment of the last minute.
  now.process_open_fds -= shown(text, 'gateway_upstream_connections{state="idle"}');
  return now;
}

// shown is the value of one series in the text of /metrics.
function shown(text, series) {
  const line = text.split('\n').find((l) => l.startsWith(`${series} `));
  if (!line) {
    throw new Error(`${admin}/metrics has no ${series}`);
  }
  return Number(line.slice(series.length + 1));
}

// table is the looks as a page of Markdown.
function table(metrics) {
  const lines = ['| after | heap after a collection | goroutines | descriptors but of idle connections to endpoints | resident memory |', '| ---: | ---: | ---: | ---: | ---: |'];
  for (let i = 0; i < looks; i++) {
    const seen = (name) => (metrics[`${name}{look:${i}}`] || { values: { max: NaN } }).values.max;
    const mebibytes = (name) => `${(seen(name) / 1048576).toFixed(1)} MiB`;
    lines.push(`| ${Math.round((i * length) / looks)} s | ${mebibytes('soak_heap')} | ${seen('soak_goroutines')} | ${seen('soak_descriptors')} | ${mebibytes('soak_resident')} |`);
  }
  return lines.join('\n') + '\n';
}

export function handleSummary(data) {
  const looks = table(data.metrics);
  for (const name of Object.keys(rows)) {
    delete data.metrics[name]; // they are in the table
  }
  return Object.assign(summarize('soak', data), { [`${__ENV.SUMMARY || 'bin/k6'}/soak.md`]: looks });
}
