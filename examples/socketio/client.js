// node client.js http://127.0.0.1:3100
// Without withCredentials a client in Node keeps no cookie, and finds another worker.
const { io } = require('socket.io-client');
const socket = io(process.argv[2], { withCredentials: true });

socket.on('connect_error', (err) => console.error(err.message));
socket.io.engine.on('upgrade', () => socket.emit('hello', (worker) => {
  console.log(`a WebSocket to worker ${worker}`);
  socket.close();
}));
