// One row for each worker; one more for a second process of a slot, on its way in or out.

import { lately } from '/figures.js';
import { byId, duration, isNothing, make, millis, say, whole } from '/text.js';

/** Name and heading of each cell; on a narrow screen the heading stands in the cell. */
const CELLS = [
  ['state', 'State', ''], ['share', 'Share of requests', ''], ['rate', 'Requests/s', 'number'],
  ['flight', 'In flight', 'number'], ['p99', 'p99', 'number'], ['memory', 'Memory', 'number'],
  ['cpu', 'CPU', 'number'], ['restarts', 'Restarts', ''], ['pid', 'Pid', 'number'], ['port', 'Port', 'number'],
];
/** For how long a change stays marked. */
const MARKED_MS = 4000;

const rows = new Map();
const used = new Map();

function newRow(worker, extra) {
  const row = make('tr', extra ? 'extra' : '');
  row.setAttribute('role', 'row');
  row.dataset.worker = worker.id;
  const head = make('th');
  head.scope = 'row';
  head.setAttribute('role', 'rowheader');
  row.append(head);
  row.parts = { id: head };
  for (const [name, heading, className] of CELLS) {
    const cell = make('td', className);
    cell.setAttribute('role', 'cell');
    cell.dataset.label = heading;
    row.append(cell);
    row.parts[name] = cell;
  }
  row.badge = make('span', 'badge');
  row.since = make('span', 'quiet since');
  row.why = make('span', 'why');
  row.parts.state.append(row.badge, ' ', row.since, row.why);
  const bar = make('span', 'bar');
  row.bar = make('span');
  bar.append(row.bar);
  row.percent = make('span', 'percent');
  row.parts.share.append(bar, ' ', row.percent);
  return row;
}

/** Marks a row whose process or state is another one than before. */
function mark(row, worker) {
  const is = `${worker.state} ${worker.pid} ${worker.restarts}`;
  if (row.was !== undefined && row.was !== is) {
    row.classList.add('changed');
    clearTimeout(row.marked);
    row.marked = setTimeout(() => row.classList.remove('changed'), MARKED_MS);
  }
  row.was = is;
}

/** The share that fills a bar: all requests, but with many workers, whose bars could not be told
 * from nothing, four times a fair share. */
const wholeBar = (workers) => (workers <= 8 ? 1 : 4 / workers);

export function drawWorkers(now) {
  const { workers, joining = [], leaving = [] } = now;
  const served = lately();
  const total = workers.reduce((sum, worker) => sum + served(worker.id), 0);
  const cpu = shares([...workers, ...joining, ...leaving]);
  const wanted = [
    ...workers.map((worker) => [worker, String(worker.id), false]),
    ...[...joining, ...leaving].map((worker) => [worker, `${worker.id}/${worker.pid}`, true]),
  ].sort(([a], [b]) => a.id - b.id);
  const isMixed = new Set(workers.map((worker) => worker.release)).size > 1;
  const body = byId('workers');
  const kept = new Set();
  wanted.forEach(([worker, key, extra], index) => {
    const row = rows.get(key) ?? newRow(worker, extra);
    rows.set(key, row);
    kept.add(key);
    mark(row, worker);
    fill(row, worker, extra, {
      isMixed,
      share: total && !extra ? served(worker.id) / total : null,
      full: wholeBar(workers.length),
      rates: extra ? null : now.sample?.workers?.[worker.id] ?? { requests: 0 },
      cpu: cpu.get(worker.pid),
    });
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
  });
  for (const [key, row] of rows) {
    if (!kept.has(key)) {
      row.remove();
      rows.delete(key);
    }
  }
}

function fill(row, worker, extra, { isMixed, share, full, rates, cpu }) {
  const cells = row.parts;
  const orDash = (value) => (isNothing(value) ? '–' : String(value));
  say(cells.id, String(worker.id));
  say(row.badge, worker.state);
  row.badge.className = `badge ${worker.state}`;
  say(row.since, `for ${duration(worker.stateSeconds)}${isMixed ? `, release ${worker.release}` : ''}`);
  say(row.why, worker.state === 'online' ? '' : [worker.reason, ...(worker.lastLines ?? [])].filter(Boolean).join('\n'));
  row.bar.style.width = `${Math.min(100, ((share ?? 0) * 100) / full).toFixed(1)}%`;
  row.bar.parentElement.title = full < 1 ? `a whole bar is ${(full * 100).toFixed(0)} % of all requests` : '';
  say(row.percent, isNothing(share) ? '–' : `${(share * 100).toFixed(full < 0.1 ? 1 : 0)} %`);
  say(cells.rate, rates ? whole(rates.requests) : '–');
  say(cells.flight, whole(worker.inFlight));
  say(cells.p99, millis(rates?.p99));
  say(cells.memory, orDash(worker.rss));
  say(cells.cpu, isNothing(cpu) ? '–' : `${(100 * cpu).toFixed(0)} %`);
  say(cells.restarts, worker.lastRestart ? `${worker.restarts}, last: ${worker.lastRestart}` : String(worker.restarts));
  say(cells.pid, orDash(worker.pid));
  say(cells.port, orDash(worker.port));
}

/** Processor time since the last look as a share of one core, by pid. */
function shares(workers) {
  const at = performance.now() / 1000;
  const found = new Map();
  for (const { pid, cpuSeconds } of workers) {
    if (isNothing(pid) || isNothing(cpuSeconds)) continue;
    const before = used.get(pid);
    // Two looks within a moment say little: the older one is kept.
    if (before && at - before.at < 0.7) {
      if (!isNothing(before.share)) found.set(pid, before.share);
      continue;
    }
    const share = before ? Math.max(0, (cpuSeconds - before.seconds) / (at - before.at)) : null;
    used.set(pid, { seconds: cpuSeconds, at, share });
    if (share !== null) found.set(pid, share);
  }
  for (const pid of used.keys()) {
    if (!workers.some((worker) => worker.pid === pid)) used.delete(pid);
  }
  return found;
}
