// A Socket.IO server as its users write it. It says which worker it is, and has a page
// for browsers.
'use strict';
const http = require('node:http');
const { Server } = require('socket.io');

const PAGE = `<!doctype html><title>Socket.IO</title>
<script src="/socket.io/socket.io.js"></script>
<script>
  // Connects \`count\` clients, one after the other as a browser has six connections at most,
  // each with a session of its own, and asks them all who is there.
  window.connect = async (count, options) => {
    const results = [];
    for (let number = 0; number < count; number += 1) results.push(await ask(options));
    return results;
  };
  const ask = (options) => new Promise((resolve) => {
    const socket = io({ ...options, forceNew: true, reconnection: false, timeout: 10000 });
    socket.on('connect_error', (error) => resolve({ error: String(error) }));
    socket.on('disconnect', (reason) => resolve({ error: reason }));
    socket.on('connect', async () => {
      const { engine } = socket.io;
      const isUpgraded = !options.transports[1] || engine.transport.name === options.transports[1];
      if (!isUpgraded) await new Promise((resolve) => engine.once('upgrade', resolve));
      const answers = [];
      for (let round = 0; round < 5; round += 1) answers.push(await socket.emitWithAck('who'));
      resolve({ answers, transport: engine.transport.name });
      socket.disconnect();
    });
  });
  // Connects one client that comes back, and notes who is there each time.
  window.stay = (options) => {
    window.seen = [];
    const socket = io({ ...options, timeout: 10000 });
    socket.on('connect', async () => window.seen.push(await socket.emitWithAck('who')));
  };
</script>`;

const server = http.createServer((request, answer) => {
  answer.setHeader('content-type', 'text/html');
  answer.end(PAGE);
});
new Server(server).on('connection', (socket) => {
  socket.on('who', (answer) => answer(process.env.WORKER_ID));
});
server.listen(process.env.PORT, process.env.HOST);
