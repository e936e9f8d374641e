// Draws what the server sends; asks for nothing but its stream.
'use strict';

const byId = (id) => document.getElementById(id);
const SVG = 'http://www.w3.org/2000/svg';
const KEPT = 300;
const STALE_MS = 4000;

const samples = [];
const cpu = new Map();
const rows = new Map();
let lastHeard = 0;
let lastNow = null;

/** An element with text, in a class. */
function make(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Changes text only when it differs, so that nothing flickers and readers stay quiet. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const whole = new Intl.NumberFormat('en');
const millis = (value) => (value === null || value === undefined ? '–' : value < 10 ? value.toFixed(1) : value.toFixed(0));

function duration(seconds) {
  const parts = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
  const first = parts.findIndex(([size]) => seconds >= size);
  if (first < 0) return '0 s';
  return parts.slice(first, first + 2)
    .map(([size, name], index) => `${Math.floor(index ? (seconds % parts[first][0]) / size : seconds / size)} ${name}`)
    .join(' ');
}

const figures = [
  ['requests', 'Requests per second', (sample) => sample.requests, (value) => whole.format(value)],
  ['p50', 'p50 ms', (sample) => sample.p50, millis],
  ['p95', 'p95 ms', (sample) => sample.p95, millis],
  ['p99', 'p99 ms', (sample) => sample.p99, millis],
  ['errors', 'Errors per second', (sample) => sample.errors, (value) => whole.format(value)],
  ['flight', 'In flight', (sample) => sample.inFlight, (value) => whole.format(value)],
].map(([key, label, read, write]) => {
  const box = make('div');
  const value = make('dd', '', '–');
  value.id = `figure-${key}`;
  const picture = document.createElementNS(SVG, 'svg');
  picture.setAttribute('class', 'spark');
  picture.setAttribute('viewBox', `0 0 ${KEPT - 1} 30`);
  picture.setAttribute('preserveAspectRatio', 'none');
  picture.setAttribute('aria-hidden', 'true');
  const line = document.createElementNS(SVG, 'polyline');
  picture.append(line);
  const holder = make('dd');
  holder.append(picture);
  box.append(make('dt', '', label), value, holder);
  byId('figures').append(box);
  return { read, write, value, line };
});

function drawFigures() {
  const last = samples.at(-1);
  if (!last) return;
  for (const { read, write, value, line } of figures) {
    say(value, write(read(last)));
    const values = samples.map((sample) => read(sample) ?? 0);
    const most = Math.max(...values, 1e-9);
    const from = KEPT - values.length;
    line.setAttribute('points', values.map((v, i) => `${from + i},${(29 - (28 * v) / most).toFixed(1)}`).join(' '));
  }
}

/** The row of one process; a second process of a slot has its own. */
function rowOf(worker) {
  const key = `${worker.id}/${worker.pid ?? 'none'}`;
  let row = rows.get(key);
  if (!row) {
    row = make('tr');
    row.dataset.worker = worker.id;
    row.cellOf = {};
    const head = make('th');
    head.scope = 'row';
    row.append(head);
    row.cellOf.id = head;
    for (const name of ['state', 'share', 'rate', 'flight', 'p99', 'memory', 'cpu', 'restarts', 'pid', 'port']) {
      const cell = make('td', ['state', 'share'].includes(name) ? '' : 'number');
      row.append(cell);
      row.cellOf[name] = cell;
    }
    row.badge = make('span', 'badge');
    row.since = make('span', 'quiet');
    row.cellOf.state.append(row.badge, ' ', row.since);
    const bar = make('span', 'bar');
    row.bar = make('span');
    bar.append(row.bar);
    row.percent = make('span', 'quiet');
    row.cellOf.share.append(bar, ' ', row.percent);
    row.changedAt = Date.now();
    rows.set(key, row);
  }
  return row;
}

function drawWorkers(now) {
  const all = [...now.workers, ...(now.joining ?? []), ...(now.leaving ?? [])];
  const recent = samples.slice(-10);
  const sum = (id) => recent.reduce((total, sample) => total + (sample.workers[id]?.requests ?? 0), 0);
  const total = now.workers.reduce((count, worker) => count + sum(worker.id), 0);
  const seen = new Set();
  const body = byId('workers');
  all.sort((a, b) => a.id - b.id);
  all.forEach((worker, index) => {
    const row = rowOf(worker);
    seen.add(row);
    // A second process of the slot, on its way in or out.
    const extra = !now.workers.includes(worker);
    const rates = now.sample.workers[worker.id];
    if (row.badge.textContent !== worker.state) {
      row.badge.textContent = worker.state;
      row.badge.className = `badge ${worker.state}`;
      row.changedAt = Date.now();
      row.classList.remove('changed');
      requestAnimationFrame(() => row.classList.add('changed'));
    }
    const online = worker.state === 'online' && worker.uptime;
    say(row.since, duration(online ? parseFloat(worker.uptime) : (Date.now() - row.changedAt) / 1000));
    say(row.cellOf.id, String(worker.id));
    const share = total && !extra ? sum(worker.id) / total : 0;
    row.bar.style.width = `${(share * 100).toFixed(1)}%`;
    say(row.percent, `${(share * 100).toFixed(1).padStart(5, '\u2007')} %`);
    say(row.cellOf.rate, extra ? '–' : whole.format(rates?.requests ?? 0));
    say(row.cellOf.flight, whole.format(worker.inFlight));
    say(row.cellOf.p99, extra ? '–' : millis(rates?.p99));
    say(row.cellOf.memory, worker.rss ?? '–');
    say(row.cellOf.cpu, cpuShare(worker));
    say(row.cellOf.restarts, worker.restarts + (worker.lastRestart ? ` (${worker.lastRestart})` : ''));
    say(row.cellOf.pid, worker.pid === null ? '–' : String(worker.pid));
    say(row.cellOf.port, worker.port === null ? '–' : String(worker.port));
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
  });
  for (const [key, row] of rows) {
    if (!seen.has(row)) {
      row.remove();
      rows.delete(key);
    }
  }
}

/** Processor time since the last look, as a share of one core. */
function cpuShare(worker) {
  const before = cpu.get(worker.pid);
  const at = performance.now() / 1000;
  if (worker.cpuSeconds === undefined || worker.cpuSeconds === null) return '–';
  cpu.set(worker.pid, { seconds: worker.cpuSeconds, at });
  if (!before || at <= before.at) return '–';
  return `${Math.max(0, (100 * (worker.cpuSeconds - before.seconds)) / (at - before.at)).toFixed(0)} %`;
}

const WORDS = {
  ok: 'all is well',
  degraded: 'degraded: it serves, but not with everything',
  unavailable: 'unavailable: no request is served',
};

function drawState(now) {
  const { status, workers } = now.health;
  const state = byId('state');
  state.className = `state ${status}`;
  say(state, `${WORDS[status] ?? status} · ${workers.online} of ${workers.desired} workers online`);
  say(byId('about'), `http://${now.address} · up ${duration(now.uptimeSeconds)} · pid ${now.primary.pid} · version ${now.version}`);
}

function drawEvent(event) {
  const item = make('li');
  const time = make('time', 'quiet', new Date(event.atMs).toLocaleTimeString([], { hour12: false }));
  time.dateTime = new Date(event.atMs).toISOString();
  item.append(time, make('span', '', event.worker === undefined ? 'cluster' : `worker ${event.worker}`),
    make('span', 'quiet', event.kind), make('span', '', event.detail + (event.pid ? ` (pid ${event.pid})` : '')));
  const list = byId('events');
  list.prepend(item);
  while (list.children.length > 100) list.lastChild.remove();
}

function drawTry(now) {
  if (!now.bundled || !byId('try').hidden) return;
  const url = `http://${now.address}`;
  const json = "-H 'content-type: application/json'";
  const lines = [
    `curl ${url}/cluster/info`,
    `curl ${url}/cluster/workers`,
    `curl ${url}/cluster/local-state`,
    `curl ${url}/cluster/memory`,
    `curl ${url}/cluster/cpu-intensive ${json} -d '{"n": 35}'`,
    `curl ${url}/cluster/shared-state ${json} -d '{"key": "greeting", "value": "hello"}'`,
    `curl ${url}/cluster/shared-state/greeting`,
    `curl -X POST ${url}/cluster/shared-state/hits/increment ${json} -d '{"by": 1}'`,
    `curl -X POST ${url}/cluster/crash`,
  ];
  for (const line of lines) {
    const item = make('li');
    const button = make('button', '', 'Copy');
    button.type = 'button';
    button.setAttribute('aria-label', `Copy: ${line}`);
    button.addEventListener('click', async () => {
      await navigator.clipboard?.writeText(line);
      button.textContent = 'Copied';
      setTimeout(() => { button.textContent = 'Copy'; }, 1500);
    });
    const code = make('code', '', line);
    code.tabIndex = 0;
    item.append(code, button);
    byId('lines').append(item);
  }
  byId('try').hidden = false;
}

function gone(text) {
  const state = byId('state');
  state.className = 'state gone';
  say(state, text);
}

function listen() {
  const stream = new EventSource('/events/stream');
  stream.addEventListener('history', ({ data }) => {
    samples.splice(0, samples.length, ...JSON.parse(data));
    byId('events').replaceChildren();
    drawFigures();
  });
  stream.addEventListener('event', ({ data }) => drawEvent(JSON.parse(data)));
  stream.addEventListener('now', ({ data }) => {
    lastHeard = Date.now();
    lastNow = JSON.parse(data);
    samples.push(lastNow.sample);
    if (samples.length > KEPT) samples.shift();
    drawState(lastNow);
    drawFigures();
    drawWorkers(lastNow);
    drawTry(lastNow);
  });
  stream.addEventListener('error', () => {
    gone('the balancer does not answer: what you see is old');
    // The browser gives up on some errors; this page does not.
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 1000);
  });
}

setInterval(() => {
  if (lastHeard && Date.now() - lastHeard > STALE_MS) {
    gone(`nothing heard for ${duration((Date.now() - lastHeard) / 1000)}: what you see is old`);
  }
}, 1000);
listen();
