// Does it stand a rush? A tenth of RATE, then RATE within seconds, and back. SCALE
// shortens all stages.

import { ask, duration, number, onSchedule, statistics, summarize, users } from './lib.js';

const rate = number('RATE', 5000);
const scale = number('SCALE', 1);
const quiet = Math.max(1, Math.round(rate / 10));

const stages = [
  { seconds: 30, target: quiet },
  { seconds: 5, target: rate },
  { seconds: 30, target: rate },
  { seconds: 5, target: quiet },
  { seconds: 30, target: quiet },
];

// all is how many requests the stages hold: each goes evenly from one rate to the next.
function all() {
  let sum = 0;
  let from = quiet;
  for (const s of stages) {
    sum += s.seconds * scale * (from + s.target) / 2;
    from = s.target;
  }
  return sum;
}

export const options = {
  scenarios: {
    spike: Object.assign({
      executor: 'ramping-arrival-rate',
      startRate: quiet,
      timeUnit: '1s',
      stages: stages.map((s) => ({ duration: duration(s.seconds * scale), target: s.target })),
    }, users(rate)),
  },
  thresholds: onSchedule(all()),
  discardResponseBodies: true,
  summaryTrendStats: statistics,
};

export default function () {
  ask(__ITER + __VU);
}

export function handleSummary(data) {
  return summarize('spike', data);
}
