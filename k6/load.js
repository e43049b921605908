// Does it keep its promise at a rate? RATE requests a second for DURATION, due when they
// are due, however long the answers take.

import { ask, duration, number, onSchedule, seconds, statistics, summarize, users } from './lib.js';

const rate = number('RATE', 50000);
const length = seconds('DURATION', '1m');

export const options = {
  scenarios: {
    load: Object.assign({ executor: 'constant-arrival-rate', rate, timeUnit: '1s', duration: duration(length) }, users(rate)),
  },
  thresholds: onSchedule(rate * length),
  discardResponseBodies: true,
  summaryTrendStats: statistics,
};

export default function () {
  ask(__ITER + __VU);
}

export function handleSummary(data) {
  return summarize('load', data);
}
