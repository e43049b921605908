// Does anything pile up? A moderate RATE for a long DURATION, while the gateway's memory,
// goroutines and descriptors are looked at. They are compared with what they were after
// a fifth of the time, when pools and caches are full.

import http from 'k6/http';
import { Trend } from 'k6/metrics';
import { admin, ask, duration, number, onSchedule, seconds, statistics, summarize, users } from './lib.js';

const rate = number('RATE', 500);
const length = seconds('DURATION', '10m');
const looks = 50;

const growth = {
  process_resident_memory_bytes: new Trend('growth_of_memory'),
  go_goroutines: new Trend('growth_of_goroutines'),
  process_open_fds: new Trend('growth_of_descriptors'),
};

export const options = {
  scenarios: {
    soak: Object.assign({ executor: 'constant-arrival-rate', rate, timeUnit: '1s', duration: duration(length) }, users(rate)),
    look: {
      executor: 'constant-arrival-rate',
      exec: 'look',
      rate: 1,
      timeUnit: duration(length * 0.8 / looks),
      startTime: duration(length / 5),
      duration: duration(length * 0.8),
      preAllocatedVUs: 1,
      maxVUs: 1, // it remembers the first look
    },
  },
  thresholds: Object.assign(onSchedule(rate * length), {
    growth_of_memory: ['p(95)<1.3'],
    growth_of_goroutines: ['p(95)<1.3'],
    growth_of_descriptors: ['p(95)<1.3'],
  }),
  summaryTrendStats: statistics,
};

export default function () {
  ask(__ITER + __VU);
}

let first = null;

export function look() {
  const text = http.get(`${admin}/metrics`, { tags: { name: 'metrics' } }).body;
  const now = {};
  for (const name of Object.keys(growth)) {
    const match = new RegExp(`^${name} ([0-9.e+]+)$`, 'm').exec(text);
    if (!match) {
      throw new Error(`${admin}/metrics has no ${name}`);
    }
    now[name] = Number(match[1]);
  }
  first = first || now;
  for (const name of Object.keys(growth)) {
    growth[name].add(now[name] / first[name]);
  }
}

export function handleSummary(data) {
  return summarize('soak', data);
}
