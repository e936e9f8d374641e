// Listens to the balancer and draws what it tells. Asks for nothing but that stream.

import { drawConditions } from '/conditions.js';
import { drawEvent, forget } from '/events.js';
import { add, remember } from '/figures.js';
import { byId, duration, say } from '/text.js';
import { drawTour } from '/tour.js';
import { drawWorkers } from '/workers.js';

/** The balancer tells something each second. */
const STALE_MS = 4000;
const AGAIN_MS = 1000;

const WORDS = {
  ok: 'all is well',
  degraded: 'degraded',
  unavailable: 'unavailable: no request is served',
};

let lastHeard = 0;
let version = null;

function drawState(now) {
  const { status, workers, store } = now.health;
  const range = now.range ? ` (${now.range.min} to ${now.range.max}, as the load asks for)` : '';
  let words = WORDS[status] ?? status;
  if (now.maintenance) words += `, maintenance: requests are answered 503`;
  if (now.shutdown) words = `shutting down: ${shutdownWords(now.shutdown)}`;
  if (store && !store.reachable) words += `, ${store.problem ?? `the ${store.backend} store does not answer`}`;
  show(status, `${words} · ${workers.online} of ${workers.desired} workers online${range}`);
  document.title = `${workers.online}/${workers.desired} ${now.shutdown ? 'stopping' : status} · Cluster`;
  const about = `${now.address} · up ${duration(now.uptimeSeconds)} · pid ${now.primary.pid} · version ${now.version}`;
  say(byId('about'), about);
}

function shutdownWords({ phase, secondsLeft }) {
  return phase === 'delay' ? `serves for ${Math.ceil(secondsLeft)} s more` : 'finishes what is in flight';
}

function show(className, text) {
  const state = byId('state');
  state.className = `state ${className}`;
  say(state, text);
}

/** What is seen from now on is old. */
function stale(text) {
  show('gone', text);
  document.title = 'no answer · Cluster';
  document.body.classList.add('stale');
  drawSilence();
}

function drawSilence() {
  const silence = byId('silence');
  silence.hidden = !document.body.classList.contains('stale');
  if (lastHeard) say(silence, `last heard ${duration((Date.now() - lastHeard) / 1000)} ago`);
}

function heard() {
  lastHeard = Date.now();
  document.body.classList.remove('stale');
  byId('silence').hidden = true;
}

function draw(now) {
  // After an upgrade of the balancer this page is another one.
  if (version !== null && version !== now.version) location.reload();
  version = now.version;
  heard();
  drawState(now);
  add(now.sample);
  drawWorkers(now);
  drawConditions(now.conditions);
  drawTour(now);
}

function listen() {
  const stream = new EventSource('/events/stream');
  const on = (name, take) => stream.addEventListener(name, ({ data }) => take(JSON.parse(data)));
  on('history', (history) => {
    remember(history);
    forget();
  });
  on('event', drawEvent);
  on('now', draw);
  stream.addEventListener('error', () => {
    stale('the balancer does not answer: what you see is old, trying again');
    // The browser gives up on some errors; this page does not.
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, AGAIN_MS);
  });
}

setInterval(() => {
  if (lastHeard && Date.now() - lastHeard > STALE_MS && !document.body.classList.contains('stale')) {
    stale('nothing heard from the balancer: what you see is old');
  }
  drawSilence();
}, 1000);
listen();
