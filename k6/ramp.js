// Does it grow with its users? 100 of them within 2 minutes, for 5; 200 within 2, for 5;
// and none within 2. Each asks, thinks for THINK, and asks again. SCALE shortens all
// stages: 0.01 makes 16 minutes ten seconds.

import { sleep } from 'k6';
import { ask, duration, number, promised, seconds, statistics, summarize } from './lib.js';

const scale = number('SCALE', 1);
const think = seconds('THINK', '1s');

function stage(minutes, target) {
  return { duration: duration(minutes * 60 * scale), target };
}

export const options = {
  scenarios: {
    ramp: {
      executor: 'ramping-vus',
      startVUs: 0,
      stages: [stage(2, 100), stage(5, 100), stage(2, 200), stage(5, 200), stage(2, 0)],
      gracefulRampDown: '5s',
    },
  },
  thresholds: promised,
  discardResponseBodies: true,
  summaryTrendStats: statistics,
};

export default function () {
  ask(__ITER + __VU);
  sleep(think * (0.5 + Math.random()));
}

export function handleSummary(data) {
  return summarize('ramp', data);
}
