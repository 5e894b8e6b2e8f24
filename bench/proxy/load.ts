import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { openSite } from './site.ts';

/** The shortest life that oidc-provider gives in whole seconds and that is not over before a call is. */
const TTL_SECONDS = 2;

/**
 * So many tool calls through one proxy, so many at a time, over tokens that live for two seconds. Each call has a name that
 * the server counts, and says three times on its way how far it is. None may be lost, none may be done twice, and what
 * belongs to one call must come in its order.
 *
 * @returns whether all of that held
 */
export async function load(calls: number, inFlight: number): Promise<boolean> {
  const site = await openSite(TTL_SECONDS);
  const before = await site.authorization.counters();
  const child = spawn(process.execPath, [site.command, 'proxy', site.resource], {
    env: site.env,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  try {
    const heard = new Map<number, string[]>();
    const failures: string[] = [];
    let next = 1;
    let answered = 0;
    const begun = performance.now();
    await new Promise<void>((resolve, reject) => {
      const write = (message: object) =>
        child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
      const call = () => {
        if (next > calls) return;
        const id = next;
        next += 1;
        heard.set(id, []);
        const params = { name: 'work', arguments: { text: `call-${id}` }, _meta: { progressToken: id } };
        write({ id, method: 'tools/call', params });
      };
      createInterface({ input: child.stdout }).on('line', (line) => {
        const message = JSON.parse(line) as Message;
        if (message.id === 0) {
          write({ method: 'notifications/initialized' });
          for (let index = 0; index < inFlight; index += 1) call();
        } else if (message.method === 'notifications/progress') {
          heard.get(message.params?.progressToken ?? 0)?.push(String(message.params?.progress));
        } else if (message.id !== undefined) {
          const said = message.result?.content?.[0]?.text;
          if (said !== `call-${message.id}`) failures.push(line.slice(0, 300));
          heard.get(message.id)?.push('answer');
          answered += 1;
          call();
          if (answered === calls) resolve();
        }
      });
      child.once('exit', (code) => reject(new Error(`the proxy ended with ${code}`)));
      const clientInfo = { name: 'load', version: '1.0.0' };
      write({
        id: 0,
        method: 'initialize',
        params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo },
      });
    });
    const seconds = (performance.now() - begun) / 1000;
    child.removeAllListeners('exit');
    child.stdin.end();
    await once(child, 'exit');
    const out = [...heard.values()].filter((events) => events.join() !== '1,2,3,answer').length;
    const counted = await site.counters();
    const after = await site.authorization.counters();
    const refreshes = after.refreshGrants - before.refreshGrants;
    console.log(
      `${calls} tool calls, ${inFlight} in flight, ${seconds.toFixed(1)} s, tokens of ${TTL_SECONDS} s:`,
    );
    console.log(
      `  answered ${answered}, with an error ${failures.length}, out of order or doubled at the client ${out}`,
    );
    console.log(`  done by the server ${counted.calls}, more than once ${counted.doubled}`);
    console.log(
      `  tokens used ${counted.tokens}, refreshes ${refreshes}, requests refused with 401 ${counted.refused}`,
    );
    for (const failure of failures.slice(0, 5)) console.log(`  ${failure}`);
    return failures.length === 0 && out === 0 && counted.calls === calls && counted.doubled === 0;
  } finally {
    child.kill('SIGKILL');
    await site.end();
  }
}

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: { readonly progressToken?: number; readonly progress?: number };
  readonly result?: { readonly content?: readonly { readonly text?: string }[] };
}
