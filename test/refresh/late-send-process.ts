/**
 * Asks for the token of the resource in the first argument, at the Redis in the second. Stops itself between the fence
 * and the first byte of its first request to a token endpoint. Prints the generation that it got.
 */

import { writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { openRedisStore } from '../../src/store/redis/open.ts';
import { openVault } from '../../src/vault/open.ts';

const [resource = '', url = '', leaseMs = ''] = process.argv.slice(2);
const write = Reflect.get(Socket.prototype, 'write') as (...given: unknown[]) => boolean;
let isFirst = true;
// Requests that passed the fence are written by the prototype's method.
Socket.prototype.write = function (this: Socket, ...given: unknown[]) {
  if (isFirst && String(given[0]).startsWith('POST ')) {
    isFirst = false;
    writeSync(1, 'stopping\n');
    process.kill(process.pid, 'SIGSTOP');
  }
  return Reflect.apply(write, this, given);
};

const vault = openVault({ keyring: 'key-file', store: openRedisStore({ url, leaseMs: Number(leaseMs) }) });
vault
  .token(resource)
  .then(async ({ generation }) => {
    writeSync(1, `generation ${generation}\n`);
    await vault.close();
  })
  .catch((error: unknown) => {
    writeSync(2, `${String(error)}\n`);
    process.exitCode = 1;
  });
