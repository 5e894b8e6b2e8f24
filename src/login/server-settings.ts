import * as v from 'valibot';
import { canonicalResource } from '../credential.ts';
import { HoldfastError, InvalidArgumentError } from '../errors.ts';
import type { Leniency } from '../oauth/leniency.ts';
import { printable, quote } from '../quote.ts';
import type { Secret } from '../secret.ts';
import type { Environment } from '../system/environment.ts';
import type { Layout } from '../system/files/paths.ts';
import { readSecret } from '../system/files/secret-file.ts';
import { readSettings, type SettingsFile } from '../system/files/settings-file.ts';
import { defined } from '../values/defined.ts';
import type { ClientOptions } from './types.ts';

/*
 * The user's settings for a server: in `config.json` under `servers`, by the server's URL, and in the environment.
 * `config.json` holds no secrets; it names the file or the variable of each secret.
 */

export interface ServerSettings {
  readonly client?: ClientOptions | undefined;
  readonly clientMetadataUrl?: string | undefined;
  readonly scopes?: readonly string[] | undefined;
  readonly dpop?: boolean | undefined;
  readonly callbackPort?: number | undefined;
  readonly lenient?: Leniency | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** How the server reacts when a refresh token is sent twice. */
  readonly replay?: 'window' | 'strict' | undefined;
}

const text = v.pipe(v.string(), v.nonEmpty());
const Elsewhere = v.union([v.strictObject({ file: text }), v.strictObject({ env: text })]);

const Server = v.strictObject({
  clientId: v.optional(text),
  clientSecret: v.optional(Elsewhere),
  clientKey: v.optional(Elsewhere),
  clientKeyId: v.optional(text),
  clientAuth: v.optional(
    v.picklist(['none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt']),
  ),
  clientIssuer: v.optional(text),
  clientMetadataUrl: v.optional(text),
  scopes: v.optional(v.array(text)),
  dpop: v.optional(v.boolean()),
  callbackPort: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535))),
  headers: v.optional(v.record(v.string(), Elsewhere)),
  replay: v.optional(v.picklist(['window', 'strict'])),
  lenient: v.optional(
    v.strictObject({
      trustedIssuer: v.exactOptional(text),
      metadataUrl: v.exactOptional(text),
      pkceNotAdvertised: v.exactOptional(v.boolean()),
      resourceOmitted: v.exactOptional(v.boolean()),
      legacyEndpoints: v.exactOptional(v.boolean()),
      privateAddresses: v.exactOptional(v.boolean()),
      splitEndpoints: v.exactOptional(v.boolean()),
      otherLocalUsers: v.exactOptional(v.boolean()),
    }),
  ),
});

/**
 * Reads the settings for a server. The environment's client takes precedence over the file's.
 *
 * @param resource its canonical URI
 * @throws InvalidArgumentError when the file, or a secret that it names, is unusable; no request has been sent then
 * @throws StorageUnsafeError when others may change the file
 */
export async function serverSettings(
  resource: string,
  layout: Layout,
  environment: Environment,
): Promise<ServerSettings> {
  const file = await readSettings(layout, environment);
  const common = file === undefined ? undefined : textField(file, 'clientMetadataUrl');
  const server = file === undefined ? {} : entryFor(file, resource);
  const { variables } = environment;
  const id = variables['HOLDFAST_CLIENT_ID'] || server.clientId;
  const fromEnvironment = Boolean(variables['HOLDFAST_CLIENT_ID']);
  // A secret belongs to its own client: never send one server's secret to another server.
  const secret = fromEnvironment
    ? await secretOf('HOLDFAST_CLIENT_SECRET', environment)
    : await read(server.clientSecret, environment);
  const privateKey = fromEnvironment
    ? await secretOf('HOLDFAST_CLIENT_KEY', environment)
    : await read(server.clientKey, environment);
  const headers: [name: string, value: string][] = [];
  for (const [name, from] of Object.entries(server.headers ?? {})) {
    headers.push([name, (await read(from, environment))?.reveal() ?? '']);
  }
  return {
    client:
      id === undefined
        ? undefined
        : defined({
            id,
            secret,
            privateKey,
            keyId: fromEnvironment ? undefined : server.clientKeyId,
            authMethod: fromEnvironment ? undefined : server.clientAuth,
            issuer: fromEnvironment ? undefined : server.clientIssuer,
          }),
    clientMetadataUrl: variables['HOLDFAST_CLIENT_METADATA_URL'] || server.clientMetadataUrl || common,
    scopes: server.scopes,
    dpop: server.dpop,
    callbackPort: server.callbackPort,
    lenient: server.lenient,
    replay: server.replay,
    headers: server.headers === undefined ? undefined : Object.fromEntries(headers),
  };
}

/** Lists the leniencies that the file sets, by server. */
export async function leniencySettings(
  layout: Layout,
  environment: Environment,
): Promise<readonly { readonly resource: string; readonly lenient: Leniency }[]> {
  const file = await readSettings(layout, environment);
  if (file === undefined) return [];
  return entries(file).flatMap(([resource, { lenient }]) =>
    lenient === undefined || Object.keys(lenient).length === 0 ? [] : [{ resource, lenient }],
  );
}

type Server = v.InferOutput<typeof Server>;

function entryFor(file: SettingsFile, resource: string): Server {
  return entries(file).find(([name]) => name === resource)?.[1] ?? {};
}

function entries({ path, settings }: SettingsFile): [resource: string, server: Server][] {
  const servers = settings['servers'] ?? {};
  if (typeof servers !== 'object' || servers === null || Array.isArray(servers)) {
    throw new InvalidArgumentError(`${path}: "servers" does not hold an object.`, {
      hint: 'It should look like "servers": {"https://mcp.example.com/mcp": {"clientId": "…"}}.',
    });
  }
  return Object.entries(servers).map(([name, value]) => {
    const parsed = v.safeParse(Server, value);
    if (!parsed.success) {
      const [issue] = parsed.issues;
      const where = [name, v.getDotPath(issue)].filter((part) => part !== null).join(' → ');
      throw new InvalidArgumentError(
        `${path}: servers → ${printable(where)} is not a setting that Holdfast knows, or has a value that it cannot have.`,
        {
          hint: 'See docs/conformance.md for the settings of a server. A secret stands in a file or a variable: {"file": "/path"} or {"env": "NAME"}.',
        },
      );
    }
    return [canonical(name, path), parsed.output];
  });
}

function canonical(name: string, path: string): string {
  try {
    return canonicalResource(name);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    throw new InvalidArgumentError(`${path}: servers: ${error.message}`, {
      cause: error,
      hint: 'The key is the whole URL of the MCP server.',
    });
  }
}

function textField({ path, settings }: SettingsFile, name: string): string | undefined {
  const value = settings[name];
  if (value === undefined) return undefined;
  if (typeof value === 'string' && value !== '') return value;
  throw new InvalidArgumentError(`${path}: ${quote(name)} is not text.`);
}

/**
 * Reads the secret from the variable, or from the file that the `_FILE` variable names, as Docker and Kubernetes
 * provide them.
 */
async function secretOf(variable: string, environment: Environment): Promise<Secret | undefined> {
  if (environment.variables[variable]) return readSecret({ variable }, environment);
  const file = environment.variables[`${variable}_FILE`];
  return file ? readSecret({ file, says: `${variable}_FILE` }, environment) : undefined;
}

async function read(
  reference: v.InferOutput<typeof Elsewhere> | undefined,
  environment: Environment,
): Promise<Secret | undefined> {
  if (reference === undefined) return undefined;
  return readSecret(
    'file' in reference ? { file: reference.file, says: 'config.json' } : { variable: reference.env },
    environment,
  );
}
