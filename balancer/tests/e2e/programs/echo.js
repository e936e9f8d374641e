// Sends back what comes through an upgraded connection, and ends when the client does.
'use strict';
const server = require('node:http').createServer((_, answer) => answer.end('ok'));
server.on('upgrade', (request, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n');
  socket.on('error', () => {});
  socket.pipe(socket);
});
server.listen(Number(process.env.PORT), process.env.HOST);
