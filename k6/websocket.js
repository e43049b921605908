// Do WebSockets hold? VUS of them for DURATION; each sends a message every PAUSE,
// which must come back as it was.

import ws from 'k6/ws';
import { check } from 'k6';
import { Rate, Trend } from 'k6/metrics';
import { correlation, duration, gateway, number, seconds, statistics, summarize } from './lib.js';

const sockets = number('VUS', 100);
const length = seconds('DURATION', '1m');
const pause = seconds('PAUSE', '1s');

const roundTrip = new Trend('ws_round_trip', true);
const failed = new Rate('ws_failed');

export const options = {
  scenarios: { websocket: { executor: 'per-vu-iterations', vus: sockets, iterations: 1, maxDuration: duration(length + 30) } },
  thresholds: {
    ws_connecting: ['p(99)<150'],
    ws_round_trip: ['p(99)<150'],
    ws_failed: ['rate<0.001'],
    checks: ['rate>0.999'],
  },
  summaryTrendStats: statistics,
};

export default function () {
  const url = `${gateway.replace(/^http/, 'ws')}/live-classes/ws`;
  let opened = false;
  const answer = ws.connect(url, {}, (socket) => {
    opened = true;
    converse(socket);
  });
  failed.add(!opened);
  check(answer, {
    'status': (r) => r && r.status === 101,
    'X-Correlation-ID': (r) => r && correlation(r) !== '',
  });
}

// converse sends one message after the other; one that has not come back when the next is
// due is lost.
function converse(socket) {
  let sent = 0;
  let waiting = null;
  let at = 0;
  socket.on('open', () => {
    socket.setInterval(() => {
      if (waiting !== null) {
        failed.add(true);
      }
      waiting = `${__VU}/${++sent} ${'m'.repeat(100)}`;
      at = Date.now();
      socket.send(waiting);
    }, pause * 1000);
    socket.setTimeout(() => socket.close(), length * 1000);
  });
  socket.on('message', (message) => {
    roundTrip.add(Date.now() - at);
    failed.add(message !== waiting);
    waiting = null;
  });
  socket.on('error', () => failed.add(true));
}

export function handleSummary(data) {
  return summarize('websocket', data);
}
