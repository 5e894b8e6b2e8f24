/*
 * Loaded before a program (`NODE_OPTIONS=--require`). Records the arguments of every process that the program starts,
 * by any function of Node, and the body of every request that it sends: one line of JSON each, in
 * HOLDFAST_TEST_JOURNAL.
 */
const { appendFileSync } = require('node:fs');
const childProcess = require('node:child_process');
const http = require('node:http');

const note = (line) => appendFileSync(process.env.HOLDFAST_TEST_JOURNAL, `${JSON.stringify(line)}\n`);

const { spawn } = childProcess.ChildProcess.prototype;
childProcess.ChildProcess.prototype.spawn = function (options) {
  note({ by: process.pid, args: options.args });
  return spawn.call(this, options);
};
for (const name of ['spawnSync', 'execFileSync', 'execSync']) {
  const original = childProcess[name];
  childProcess[name] = (...given) => {
    note({ by: process.pid, args: given.flat().filter((word) => typeof word === 'string') });
    return original(...given);
  };
}
require('node:module').syncBuiltinESMExports();

for (const name of ['write', 'end']) {
  const original = http.OutgoingMessage.prototype[name];
  http.OutgoingMessage.prototype[name] = function (body, ...more) {
    const isRequest = this instanceof http.ClientRequest;
    if (isRequest && (typeof body === 'string' || Buffer.isBuffer(body))) note({ sent: String(body) });
    return original.call(this, body, ...more);
  };
}
