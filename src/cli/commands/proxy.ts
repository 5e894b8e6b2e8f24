import { canonicalResource, isLoopback } from '../../credential.ts';
import { InvalidArgumentError } from '../../errors.ts';
import { serve } from '../../proxy/serve.ts';
import { ownHeaders } from '../../proxy/upstream/own-headers.ts';
import { TRANSPORTS, type Transport } from '../../proxy/upstream/upstream.ts';
import { quote } from '../../quote.ts';
import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { withVault } from '../open-vault.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { ui, environment, signal } = invocation;
  const headers = ownHeaders(invocation.texts('header'), environment.variables);
  const { url, mayLogIn } = serverOf(invocation);
  checkHost(invocation);
  const isDebug = invocation.flag('debug');
  if (process.stdin.isTTY) {
    ui.note(
      'This is an MCP server on standard input and output, for a client to start: see holdfast configure.',
    );
  }
  const settings = {
    url,
    headers,
    account: invocation.text('account'),
    transport: transportOf(invocation),
    callbackPort: portOf(invocation),
    environment,
    signal,
    input: process.stdin,
    output: invocation.output(),
    warn: (message: string) => ui.warn(message),
    note: (message: string) => ui.showUrl(message),
    debug: (message: string) => isDebug && ui.note(`debug: ${message}`),
  };
  // The user's own Authorization header replaces Holdfast's login.
  const isOwn = Object.keys(headers).some((name) => name.toLowerCase() === 'authorization');
  if (!mayLogIn || isOwn) await serve(settings);
  else await withVault(invocation, (vault) => serve({ ...settings, vault }));
  return EXIT.done;
}

function serverOf(invocation: Invocation): { url: string; mayLogIn: boolean } {
  const { argument = '', ui } = invocation;
  const url = URL.canParse(argument) ? new URL(argument) : undefined;
  if (invocation.flag('allow-http') && url?.protocol === 'http:' && !isLoopback(url)) {
    // All other rules for a URL still apply.
    canonicalResource(argument.replace(/^http:/i, 'https:'));
    ui.warn(
      `What goes to ${url.host} and back crosses the network in the clear, so no login is made or sent.`,
      'Use https where the server has it.',
    );
    return { url: url.href, mayLogIn: false };
  }
  try {
    return { url: canonicalResource(argument), mayLogIn: true };
  } catch (error) {
    if (url?.protocol !== 'http:' || !(error instanceof InvalidArgumentError)) throw error;
    throw new InvalidArgumentError(error.message, {
      hint: `${error.hint ?? ''}\n  A server without a login can be used with --allow-http.`.trim(),
      cause: error,
    });
  }
}

function transportOf(invocation: Invocation): Transport {
  const given = invocation.text('transport') ?? 'http-first';
  const transport = TRANSPORTS.find((one) => one === given);
  if (transport !== undefined) return transport;
  throw new InvalidArgumentError(`--transport knows no ${quote(given, 40)}.`, {
    hint: `It takes: ${TRANSPORTS.join(', ')}`,
  });
}

function portOf({ second }: Invocation): number | undefined {
  if (second === undefined) return undefined;
  const port = /^\d{1,5}$/.test(second) ? Number(second) : 0;
  if (port >= 1 && port <= 65_535) return port;
  throw new InvalidArgumentError(`${quote(second, 40)} is not a port for the callback of a login.`, {
    hint: 'It is a whole number from 1 to 65535, after the URL; leave it out for any free port.',
  });
}

/** Redirects come only to 127.0.0.1 (RFC 8252 section 8.3). */
function checkHost(invocation: Invocation): void {
  const host = invocation.text('host');
  if (host === undefined || host === '127.0.0.1' || host === 'localhost') return;
  throw new InvalidArgumentError(`--host ${quote(host, 40)} is not this machine.`, {
    hint: 'A login comes back to 127.0.0.1 only. On another machine, log in first: holdfast login URL',
  });
}
