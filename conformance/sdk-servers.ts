/**
 * Runs the tests' SDK servers as a process: stateless (SDK v2), stateful and HTTP+SSE (SDK v1). It ends with its
 * parent. The first line of output is JSON: each server's URL, by name.
 */
import { sseServer, statefulServer } from '../test/proxy/sdk1-servers.ts';
import { statelessServer } from '../test/proxy/sdk2-servers.ts';

void Promise.all([statelessServer(), statefulServer(), sseServer()]).then(([stateless, stateful, sse]) => {
  const urls = { stateless: stateless.url, stateful: stateful.url, sse: sse.url };
  process.stdout.write(`${JSON.stringify(urls)}\n`);
});
process.stdin.on('end', () => process.exit()).resume();
