// Answers with the fields that the query names, as JSON, and says who it is.
'use strict';
const http = require('node:http');

http.createServer((request, answer) => {
  const fields = new URL(request.url, 'http://a').searchParams.get('fields');
  for (const [name, value] of Object.entries(JSON.parse(fields ?? '{}'))) answer.setHeader(name, value);
  answer.end(process.env.WORKER_ID);
}).on('upgrade', (request, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n');
  socket.on('error', () => {}).on('end', () => socket.end()).resume();
}).listen(process.env.PORT, process.env.HOST);
