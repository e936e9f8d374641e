// Serves the two sockets that it inherits, and stops in order.
const http = require("node:http");
const { LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID } = process.env;
let stopping = false;
const answer = (request, response) => {
  if (stopping) response.setHeader("connection", "close");
  response.end(`fds ${LISTEN_FDS} ${LISTEN_FDNAMES} pid is own ${LISTEN_PID === String(process.pid)}`);
};
const servers = [3, 4].map((fd) => http.createServer({ keepAliveTimeout: 75_000 }, answer).listen({ fd }));
process.on("SIGTERM", () => {
  stopping = true;
  // Node's close() ends idle connections at once, and a request may be on its way on them.
  const idle = servers.map((server) => { const { closeIdleConnections } = server; server.closeIdleConnections = () => {}; return () => closeIdleConnections.call(server); });
  let open = servers.length;
  for (const server of servers) server.close(() => --open || process.exit(0));
  setTimeout(() => idle.forEach((close) => close()), 5_000);
});
