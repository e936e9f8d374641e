// What has happened, newest first.

import { byId, make } from '/text.js';

/** As many as the balancer keeps. */
const KEPT = 100;
/** Kinds of events that are bad news, and those that ask for patience. */
const BAD = new Set(['crashed', 'hung', 'not-ready', 'port-taken']);
const WAITING = new Set(['backoff', 'out-of-turn', 'draining', 'started', 'restarted', 'limit', 'maintenance', 'shutdown']);

/** Kinds of events that stand as lines over the curves, beside the bad ones. */
const CHANGES = new Set(['reload', 'scale', 'limit', 'maintenance', 'shutdown', 'upgrade']);

let newest = 0;
let marks = [];

/** When something has changed or gone wrong, newest last. */
export const markedEvents = () => marks;

/** The balancer is about to tell all it remembers. */
export function forget() {
  newest = 0;
  marks = [];
  byId('events').replaceChildren();
}

export function drawEvent(event) {
  if (event.sequence <= newest) return;
  newest = event.sequence;
  const at = new Date(event.atMs);
  const time = make('time', 'quiet', at.toLocaleTimeString([], { hour12: false }));
  time.dateTime = at.toISOString();
  time.title = at.toLocaleString();
  const tone = BAD.has(event.kind) ? 'bad' : WAITING.has(event.kind) ? 'wait' : 'fine';
  if (tone === 'bad' || CHANGES.has(event.kind)) marks = [...marks.slice(1 - KEPT), { atMs: event.atMs, tone }];
  const item = make('li');
  item.dataset.kind = event.kind;
  item.append(
    time,
    make('span', 'whom', event.worker === undefined ? 'cluster' : `worker ${event.worker}`),
    make('span', `kind ${tone}`, event.kind.replace('-', ' ')),
    make('span', 'detail', event.detail + (event.pid ? ` (pid ${event.pid})` : '')),
  );
  const list = byId('events');
  list.prepend(item);
  while (list.children.length > KEPT) list.lastChild.remove();
  byId('no-events').hidden = true;
}
