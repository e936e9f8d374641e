// A page that stays in touch in every way a browser has: events on /events, a WebSocket on
// /socket, and requests for /pid one after the other. All of them tell which process answers.
const crypto = require('crypto');
const http = require('http');

const PAGE = `<!doctype html><meta charset="utf-8"><title>live</title><link rel="icon" href="data:,"><script>
const seen = { events: new Set(), socket: new Set(), pid: new Set(), wrong: [], answered: 0, closed: 0 };
const events = new EventSource('/events');
events.onmessage = (event) => seen.events.add(event.data);
(function connect() {
  const socket = new WebSocket(location.origin.replace('http', 'ws') + '/socket');
  socket.onmessage = (event) => seen.socket.add(event.data);
  socket.onclose = () => { seen.closed += 1; setTimeout(connect, 20); };
})();
(async () => {
  for (;;) {
    try {
      const answer = await fetch('/pid');
      if (answer.status !== 200) throw new Error(answer.status);
      seen.pid.add(await answer.text());
      seen.answered += 1;
    } catch (err) {
      seen.wrong.push(String(err));
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
})();
const state = () => ({
  events: [...seen.events], socket: [...seen.socket], pid: [...seen.pid],
  wrong: seen.wrong, answered: seen.answered, closed: seen.closed,
  protocols: [...new Set(performance.getEntriesByType('resource').map((entry) => entry.nextHopProtocol))],
});
</script>`;

const pid = String(process.pid);
const open = new Set();
const server = http.createServer((request, response) => {
  if (request.url === '/events') {
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    response.write(`retry: 20\ndata: ${pid}\n\n`);
    open.add(response);
    response.on('close', () => open.delete(response));
    return;
  }
  response.setHeader('Cache-Control', 'no-store');
  response.setHeader('Content-Type', request.url === '/' ? 'text/html' : 'text/plain');
  response.end(request.url === '/' ? PAGE : pid);
});
server.on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = crypto.createHash('sha1').update(key).digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n'
    + `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  // One text frame (RFC 6455, section 5.2).
  socket.write(Buffer.concat([Buffer.from([0x81, pid.length]), Buffer.from(pid)]));
  open.add(socket);
  socket.on('data', () => {});
  socket.on('error', () => {});
  socket.on('end', () => socket.end());
  socket.on('close', () => open.delete(socket));
});
server.listen(process.env.PORT, process.env.HOST);

process.on('SIGTERM', () => {
  server.close();
  for (const connection of open) {
    if (connection instanceof http.ServerResponse) connection.end();
    else connection.end(Buffer.from([0x88, 0])); // a WebSocket's end
  }
});
