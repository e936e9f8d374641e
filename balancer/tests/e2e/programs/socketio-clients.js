// Socket.IO clients, as Node programs have them. The one argument, as JSON, says where they
// connect (`url`), how many they are (`count`), with which `options`, and in which of them
// (`keyed`) each one has a name of its own. Prints a line of JSON once all have had their
// answers; with `reconnect` another one once all have lost their connection and come back.
'use strict';
const { io } = require('socket.io-client');

const { url, count, options, keyed, reconnect } = JSON.parse(process.argv[2]);
const hasAll = !options.transports || options.transports.length === 2;

const own = (number) => ({
  header: { extraHeaders: { 'X-Client': `client-${number}` } },
  query: { query: { client: `client-${number}` } },
  address: { extraHeaders: { 'X-Forwarded-For': `198.51.100.${number}` } },
  cookie: { withCredentials: true },
}[keyed]);

const connect = (number) => {
  const socket = io(url, { ...options, ...own(number), forceNew: true, reconnection: reconnect, timeout: 10000 });
  return { socket, ready: ready(socket) };
};

// Waits for the connection, and for its upgrade where there is one to come.
const ready = (socket) => new Promise((resolve, reject) => {
  if (!reconnect) {
    socket.once('connect_error', reject);
    socket.once('disconnect', (reason) => reject(new Error(reason)));
  }
  socket.once('connect', () => {
    if (hasAll && socket.io.engine.transport.name === 'polling') socket.io.engine.once('upgrade', resolve);
    else resolve();
  });
});

const ask = async (socket) => {
  const answers = [];
  for (let round = 0; round < 5; round += 1) answers.push(await socket.timeout(10000).emitWithAck('who'));
  return { answers, transport: socket.io.engine.transport.name };
};

const report = (results) => console.log(JSON.stringify(results));

(async () => {
  const clients = Array.from({ length: count }, (_, number) => connect(number + 1));
  const failed = (error) => ({ error: String(error.context?.responseText ?? error.message) });
  const lost = clients.map(({ socket }) => new Promise((resolve) => {
    if (reconnect) socket.once('disconnect', () => resolve(ready(socket)));
  }));
  report(await Promise.all(clients.map(({ socket, ready }) => ready.then(() => ask(socket)).catch(failed))));
  if (reconnect) {
    report(await Promise.all(clients.map(({ socket }, index) => lost[index].then(() => ask(socket)).catch(failed))));
  }
  process.exit(0);
})();
