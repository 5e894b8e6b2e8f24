/**
 * The client that the official MCP conformance suite tests: a plain user of Holdfast's public API and of the MCP SDK.
 * It connects to the given server, reads what the server offers, uses each tool, the first resource and the first
 * prompt, and disconnects. It knows two things about the authorization. One is whether a user is present to log in;
 * this user always agrees. The other is the client and the grant from the suite (`MCP_CONFORMANCE_CONTEXT`).
 *
 *     client.cjs [--lenient pkce-not-advertised] [--lenient legacy-endpoints] <url>
 *
 * Exits with 0 if it could use the server, else with 1 and the reason on stderr.
 */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { HoldfastError, type LoginOptions, openVault, Secret } from '../src/index.ts';
import { authorizedFetch } from '../src/mcp/index.ts';
import { defined } from '../src/values/defined.ts';
import { CLIENT_METADATA_URL, context, scenario, use } from './use.ts';

/** In milliseconds. Well below the suite's limit for the client, so that the client itself reports the timeout. */
const LOGIN_TIMEOUT_MS = 60_000;

const { values, positionals } = parseArgs({
  options: { lenient: { type: 'string', multiple: true, default: [] } },
  allowPositionals: true,
});
const url = positionals[0];
if (url === undefined) throw new Error('The URL of the MCP server is missing.');

run(url).catch((error: unknown) => {
  process.stderr.write(`Could not use the server: ${said(error)}\n`);
  process.exitCode = 1;
});

async function run(server: string): Promise<void> {
  const home = await mkdtemp(join(tmpdir(), 'holdfast-conformance-'));
  try {
    const vault = openVault({ home, keyring: 'file' });
    try {
      const login = {
        ...(await chosenGrant(home)),
        ...leniencies(),
        clientMetadataUrl: CLIENT_METADATA_URL,
        timeoutMs: LOGIN_TIMEOUT_MS,
      };
      const authorized = authorizedFetch(vault, server, { interaction, login, fetch: onNewConnection });
      await use(new StreamableHTTPClientTransport(new URL(server), { fetch: authorized }));
    } finally {
      await vault.close();
    }
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

/** The text of an error with its causes: the SDK wraps the errors of a fetch. */
function said(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const own =
    error instanceof HoldfastError ? `${error.code}: ${error.message}` : `${error.name}: ${error.message}`;
  const hint = error instanceof HoldfastError && error.hint !== undefined ? ` (${error.hint})` : '';
  return `${own}${hint}${error.cause === undefined ? '' : `\n  because of ${said(error.cause)}`}`;
}

/**
 * The suite's servers close a connection after five idle seconds. With forty clients on two cores, a request on its way
 * can meet that close. It must not be sent again, since the server may have seen it. So each request has its own
 * connection.
 */
const onNewConnection: typeof fetch = (input, init) => {
  const headers = new Headers(init?.headers);
  headers.set('connection', 'close');
  return fetch(input, { ...init, headers });
};

/** The user at the browser, who is logged in at every server and agrees to everything. */
const interaction = {
  async authorize(authorizationUrl: string): Promise<void> {
    const answer = await fetch(authorizationUrl, { redirect: 'manual' });
    const location = answer.headers.get('location');
    await answer.body?.cancel();
    if (location === null)
      throw new Error(`The authorization endpoint answered ${answer.status}, not a redirect.`);
    const page = await fetch(new URL(location, authorizationUrl));
    await page.body?.cancel();
  },
};

/**
 * The client and the grant from the context. A context with a client secret may mean the authorization code grant or
 * client credentials: only the scenario's name tells them apart.
 */
async function chosenGrant(home: string): Promise<LoginOptions> {
  const { client_id: id, client_secret: secret, private_key_pem: privateKey, issuer } = context;
  if (id === undefined) return scenario.startsWith('auth/dpop') ? { dpop: true } : {};
  const client = defined({
    id,
    issuer,
    secret: secret === undefined ? undefined : new Secret(secret),
    privateKey: privateKey === undefined ? undefined : new Secret(privateKey),
  });
  if (context.valid_jwt !== undefined) {
    const assertion = await assertionFile(home, context.valid_jwt);
    return { client, grant: { type: 'workload-identity', assertion } };
  }
  if (context.idp_id_token !== undefined) {
    return {
      client,
      grant: {
        type: 'enterprise',
        assertion: await assertionFile(home, context.idp_id_token),
        identityProvider: { issuer: context.idp_issuer ?? '', tokenEndpoint: context.idp_token_endpoint },
        identityClient: { id: context.idp_client_id ?? '' },
      },
    };
  }
  const itself = privateKey !== undefined || scenario.startsWith('auth/client-credentials');
  return itself ? { client, grant: { type: 'client_credentials' } } : { client };
}

async function assertionFile(home: string, assertion: string): Promise<{ file: string }> {
  const file = join(home, 'assertion.jwt');
  await writeFile(file, assertion, { mode: 0o600 });
  return { file };
}

function leniencies(): Pick<LoginOptions, 'lenient'> {
  const has = (name: string) => values.lenient.includes(name) || undefined;
  return {
    lenient: defined({
      pkceNotAdvertised: has('pkce-not-advertised'),
      legacyEndpoints: has('legacy-endpoints'),
    }),
  };
}
