// Lines for a shell that try each route of the bundled worker. The page itself sends none of them.

import { byId, make } from '/text.js';

const JSON_TYPE = "-H 'content-type: application/json'";

const LINES = [
  ['Who served me?', (url) => `curl ${url}/cluster/info`],
  ['All workers', (url) => `curl ${url}/cluster/workers`],
  ['Shared state: store', (url) => `curl ${url}/cluster/shared-state ${JSON_TYPE} -d '{"key": "greeting", "value": "hello"}'`],
  ['… read', (url) => `curl ${url}/cluster/shared-state/greeting`],
  ['… count', (url) => `curl -X POST ${url}/cluster/shared-state/hits/increment ${JSON_TYPE} -d '{"by": 1}'`],
  ['… remove', (url) => `curl -X DELETE ${url}/cluster/shared-state/greeting`],
  ['Local state', (url) => `curl ${url}/cluster/local-state`],
  ['Computation', (url) => `curl ${url}/cluster/cpu-intensive ${JSON_TYPE} -d '{"n": 35}'`],
  ['Memory', (url) => `curl ${url}/cluster/memory`],
  ['Health', (url) => `curl ${url}/health`],
  ['Crash a worker', (url) => `curl -X POST ${url}/cluster/crash`],
  ['All routes', (url) => `curl ${url}/openapi.json`],
];

/** Where clients connect; an address that stands for all is the one this page came from. */
function base(address) {
  const port = address.slice(address.lastIndexOf(':'));
  return `http://${/^(0\.0\.0\.0|\[::\]):/.test(address) ? location.hostname + port : address}`;
}

/** Only the bundled worker has these routes. */
export function drawTour({ bundled, address }) {
  const section = byId('try');
  const wanted = bundled ? address : '';
  if (section.dataset.for === wanted) return;
  section.dataset.for = wanted;
  section.hidden = !bundled;
  byId('lines').replaceChildren(...(bundled ? LINES.map(([what, line]) => item(what, line(base(address)))) : []));
}

function item(what, line) {
  const entry = make('li');
  const code = make('code', '', line);
  code.tabIndex = 0;
  const button = make('button', '', 'Copy');
  button.type = 'button';
  button.setAttribute('aria-label', `Copy: ${what}`);
  button.addEventListener('click', async () => {
    button.textContent = (await copy(line, code)) ? 'Copied' : 'Ctrl-C';
    setTimeout(() => { button.textContent = 'Copy'; }, 1500);
  });
  entry.append(make('span', 'quiet what', what), code, button);
  return entry;
}

/** Did it work? If not, the line is at least selected. */
async function copy(line, code) {
  try {
    // Absent unless the page came from this machine or over TLS.
    await navigator.clipboard.writeText(line);
    return true;
  } catch {
    getSelection().selectAllChildren(code);
    return document.execCommand('copy');
  }
}
