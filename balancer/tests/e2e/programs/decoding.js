// A client of Node's own: what it gets compressed, and plain, is the same.
'use strict';
const assert = require('node:assert');

const get = async (path, accepts) => {
  const answer = await fetch(`http://${process.argv[2]}${path}`, { headers: { 'accept-encoding': accepts } });
  return [answer.headers.get('content-encoding'), Buffer.from(await answer.arrayBuffer())];
};

(async () => {
  for (const length of [1024, 5000, 70000, 1000000]) {
    for (const path of [`/whole?length=${length}`, `/parts?length=${length}&size=9999`]) {
      const [plainCoding, plain] = await get(path, 'identity');
      assert.deepStrictEqual([plainCoding, plain.length], [null, length]);
      for (const expected of ['br', 'gzip']) {
        const [coding, body] = await get(path, expected);
        assert.strictEqual(coding, expected);
        assert(body.equals(plain), `${path} ${expected}`);
      }
    }
  }
  console.log('equal');
})();
