// Answers with the header fields of the request, as JSON.
'use strict';
require('node:http')
  .createServer((request, answer) => answer.end(JSON.stringify(request.headers)))
  .listen(process.env.PORT, process.env.HOST);
