/**
 * The second client that the official MCP conformance suite tests. It knows no OAuth and no HTTP, only standard input
 * and output, and starts `holdfast proxy` as its server. It first applies the settings that a user would have. A client
 * registered at the server goes into `config.json`. `holdfast login` makes a login that needs no user. For other logins
 * the proxy opens the browser of a user who always agrees.
 *
 *     through-proxy.cjs --holdfast <command, as one file> --browser <program> [--lenient <name>]... <url>
 *
 * Exits with 0 if it could use the server, else with 1 and the reason on stderr.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { LOGIN_TOOL } from '../src/proxy/login/placeholder-answers.ts';
import { CLIENT_METADATA_URL, context, scenario, use } from './use.ts';

const { values, positionals } = parseArgs({
  options: {
    holdfast: { type: 'string' },
    browser: { type: 'string' },
    lenient: { type: 'string', multiple: true, default: [] },
  },
  allowPositionals: true,
});
const { holdfast, browser } = values;
const url = positionals[0];
if (url === undefined || holdfast === undefined || browser === undefined) {
  throw new Error('The URL of the MCP server, --holdfast or --browser is missing.');
}

run(url, holdfast, browser).catch((error: unknown) => {
  process.stderr.write(`Could not use the server: ${String(error)}\n`);
  process.exitCode = 1;
});

async function run(server: string, command: string, opener: string): Promise<void> {
  const home = await mkdtemp(join(tmpdir(), 'holdfast-conformance-'));
  try {
    const env = {
      PATH: process.env['PATH'] ?? '',
      HOME: home,
      TMPDIR: tmpdir(),
      HOLDFAST_HOME: home,
      HOLDFAST_KEYRING: 'file',
      BROWSER: opener,
    };
    await configure(home, server);
    const grant = await grantThatNeedsNobody(home);
    if (grant !== undefined) await logIn([command, 'login', server, ...grant], env);
    const args = [command, 'proxy', server];
    const tools = await use(
      new StdioClientTransport({ command: process.execPath, args, env, stderr: 'inherit' }),
    );
    // The proxy's own login tool does not count as use of the server.
    if (tools.includes(LOGIN_TOOL)) throw new Error('The proxy came to no login.');
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

/** Writes `config.json`, and each secret into a separate file that `config.json` names. */
async function configure(home: string, server: string): Promise<void> {
  const { client_id: clientId, client_secret: secret, private_key_pem: key, issuer } = context;
  const has = (name: string) => values.lenient.includes(name) || undefined;
  const settings = {
    clientId,
    clientSecret: await secretFile(home, 'secret', secret),
    clientKey: await secretFile(home, 'key.pem', key),
    clientIssuer: clientId === undefined ? undefined : issuer,
    clientMetadataUrl: CLIENT_METADATA_URL,
    dpop: scenario.startsWith('auth/dpop') || undefined,
    lenient: { pkceNotAdvertised: has('pkce-not-advertised'), legacyEndpoints: has('legacy-endpoints') },
  };
  const text = JSON.stringify({ servers: { [server]: settings } });
  await writeFile(join(home, 'config.json'), text, { mode: 0o600 });
}

async function secretFile(
  home: string,
  name: string,
  secret: string | undefined,
): Promise<{ file: string } | undefined> {
  if (secret === undefined) return undefined;
  const file = join(home, name);
  await writeFile(file, secret, { mode: 0o600 });
  return { file };
}

/** The options of `holdfast login`, if the context asks for a grant of the extensions. */
async function grantThatNeedsNobody(home: string): Promise<string[] | undefined> {
  const workload = await secretFile(home, 'workload.jwt', context.valid_jwt);
  if (workload !== undefined) return ['--workload-token-file', workload.file];
  const identity = await secretFile(home, 'identity.jwt', context.idp_id_token);
  if (identity !== undefined) {
    const { idp_issuer: issuer = '', idp_client_id: client = '' } = context;
    return ['--id-token-file', identity.file, '--idp', issuer, '--idp-client-id', client];
  }
  const itself = context.private_key_pem !== undefined || scenario.startsWith('auth/client-credentials');
  return itself ? ['--client-credentials'] : undefined;
}

async function logIn(args: readonly string[], env: NodeJS.ProcessEnv): Promise<void> {
  const [code] = await once(spawn(process.execPath, args, { env, stdio: ['ignore', 2, 2] }), 'exit');
  if (code !== 0) throw new Error(`holdfast login ended with ${String(code)}.`);
}
