// Opens a WebSocket within HTTP/2 (RFC 8441) to something that echoes, says "ping" on it,
// and prints what comes back and how the stream ended.
const http2 = require('http2');

const session = http2.connect(process.argv[2]);
session.on('error', (error) => { console.log(`connection: ${error.message}`); process.exit(1); });
session.on('remoteSettings', (settings) => {
  if (!settings.enableConnectProtocol) {
    console.log('not offered');
    process.exit(1);
  }
  const stream = session.request({
    ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/up', 'sec-websocket-version': '13',
  }, { endStream: false });
  let text = '';
  stream.on('response', (headers) => { text += `${headers[':status']} `; });
  stream.on('data', (data) => {
    text += data;
    if (text.endsWith('hello')) stream.write('ping');
    if (text.endsWith('ping')) stream.end();
  });
  stream.on('error', (error) => { text += ` ${error.message}`; });
  stream.on('close', () => { console.log(`${text} ${stream.rstCode}`); session.close(); });
});
