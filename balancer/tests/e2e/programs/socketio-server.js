// A Socket.IO server as its users write it. It says which worker it is, and has a page
// for browsers.
'use strict';
const http = require('node:http');
const { Server } = require('socket.io');

const PAGE = `<!doctype html><title>Socket.IO</title>
<script src="/socket.io/socket.io.js"></script>
<script>
  // Connects \`count\` clients, each with a session of its own; asks each \`rounds\` times.
  window.connect = async (count, options) => Promise.all(Array.from({ length: count }, () =>
    new Promise((resolve) => {
      const socket = io({ ...options, forceNew: true, reconnection: false, timeout: 10000 });
      socket.on('connect_error', (error) => resolve({ error: String(error) }));
      socket.on('disconnect', (reason) => resolve({ error: reason }));
      socket.on('connect', async () => {
        const answers = [];
        for (let round = 0; round < 5; round += 1) answers.push(await socket.emitWithAck('who'));
        resolve({ answers, transport: socket.io.engine.transport.name });
        socket.disconnect();
      });
    })));
</script>`;

const server = http.createServer((request, answer) => {
  answer.setHeader('content-type', 'text/html');
  answer.end(PAGE);
});
new Server(server).on('connection', (socket) => {
  socket.on('who', (answer) => answer(process.env.WORKER_ID));
});
server.listen(process.env.PORT, process.env.HOST);
