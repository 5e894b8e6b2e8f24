import * as v from 'valibot';
import type { AuthorizationServer, Credential } from './credential.ts';
import { RecordDamagedError, RecordNewerError } from './errors.ts';
import { Secret } from './secret.ts';
import { unknownMembers, withUnknownMembers } from './values/unknown-members.ts';

/* The plaintext of a record: how a credential is written, and how it is read and checked. */

/** Grows when a field changes its meaning. A record of a higher version is never read and never overwritten. */
const SCHEMA_VERSION = 1;

const secret = v.pipe(
  v.string(),
  v.nonEmpty(),
  v.transform((value) => new Secret(value)),
);
const time = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const Server1 = v.pipe(
  v.object({
    issuer: v.string(),
    tokenEndpoint: v.string(),
    revocationEndpoint: v.optional(v.string()),
    reach: v.optional(v.picklist(['public', 'private', 'anywhere', 'anyone'])),
    /**
     * A separate field, because an older version would treat an unknown `reach` as damage. That version drops this
     * field and refuses other users' servers.
     */
    otherLocalUsers: v.optional(v.boolean()),
    signingAlgorithms: v.optional(v.array(v.string())),
  }),
  v.transform(({ otherLocalUsers, ...server }) =>
    otherLocalUsers === true && server.reach === 'anywhere'
      ? { ...server, reach: 'anyone' as const }
      : server,
  ),
);
const Client1 = v.object({
  clientId: v.string(),
  clientSecret: v.optional(secret),
  clientSecretExpiresAt: v.optional(time),
  privateKey: v.optional(secret),
  keyId: v.optional(v.string()),
  authMethod: v.picklist(['none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt']),
  redirectUris: v.array(v.string()),
  source: v.picklist(['dynamic', 'pre-registered', 'metadata-document']),
});
const Assertion1 = v.object({ file: v.optional(v.string()), variable: v.optional(v.string()) });

const Record1 = v.object({
  v: v.literal(SCHEMA_VERSION),
  resource: v.string(),
  account: v.string(),
  resourceParameter: v.optional(v.string()),
  generation: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  epoch: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1))),
  server: Server1,
  client: Client1,
  grant: v.optional(
    v.variant('type', [
      v.object({ type: v.literal('client_credentials') }),
      v.object({ type: v.literal('workload-identity'), assertion: Assertion1 }),
      v.object({
        type: v.literal('enterprise'),
        assertion: Assertion1,
        identityProvider: Server1,
        identityClient: Client1,
      }),
    ]),
  ),
  dpopKey: v.optional(secret),
  leniencies: v.optional(v.array(v.string())),
  tokens: v.object({
    accessToken: secret,
    tokenType: v.string(),
    refreshToken: v.optional(secret),
    obtainedAt: time,
    obtainedBoot: v.optional(v.object({ id: v.pipe(v.string(), v.nonEmpty()), ms: time })),
    expiresAt: v.optional(time),
  }),
  requestedScope: v.optional(v.string()),
  grantedScope: v.optional(v.string()),
  loggedInAt: time,
  received: v.optional(v.object({ mode: v.picklist(['access-token', 'fresh', 'move']), at: time })),
  imported: v.optional(
    v.object({
      from: v.string(),
      mode: v.picklist(['access-token', 'move']),
      at: time,
      origin: v.string(),
    }),
  ),
  loginRequired: v.optional(v.object({ reason: v.string(), error: v.optional(v.string()), since: time })),
});

/** The plaintext of a record: JSON in UTF-8. The caller seals it at once. */
export function serializeCredential(credential: Credential): Uint8Array {
  const { unknown, ...known } = credential;
  const plain = withUnknownMembers({ v: SCHEMA_VERSION, ...written(known) }, unknown);
  // A Secret is redacted in JSON. Only this function writes it out, and the caller seals it at once.
  const text = JSON.stringify(plain, function (this: unknown, key: string, value: unknown) {
    const original = (this as Readonly<Record<string, unknown>>)[key];
    return original instanceof Secret ? original.reveal() : value;
  });
  return Buffer.from(text, 'utf8');
}

/** Converts the members to their form in a record. */
function written(known: Pick<Credential, 'server' | 'grant'>): object {
  const { server, grant } = known;
  return {
    ...known,
    server: writtenServer(server),
    grant:
      grant?.type === 'enterprise'
        ? { ...grant, identityProvider: writtenServer(grant.identityProvider) }
        : grant,
  };
}

function writtenServer(server: AuthorizationServer): object {
  return server.reach === 'anyone' ? { ...server, reach: 'anywhere', otherLocalUsers: true } : server;
}

const UPDATE =
  'Update the Holdfast that you run here to the version that wrote it. To see this one’s: holdfast --version';

/** Whether a fixed choice has an unknown text as its value. */
function isUnknownValue({ type, input }: { type: string; input: unknown }): boolean {
  return (type === 'picklist' || type === 'variant') && typeof input === 'string' && input !== '';
}

/**
 * Reads what `serializeCredential` wrote. Unknown fields are preserved, so that writing the record again loses nothing.
 *
 * @throws RecordNewerError for a record of a later schema
 * @throws RecordDamagedError when it is authentic but not a credential
 */
export function parseCredential(plaintext: Uint8Array): Credential {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(plaintext).toString('utf8'));
  } catch {
    // JSON.parse quotes its input in the message, so its error must not become the cause.
    throw new RecordDamagedError('The record opens, but what it holds is not JSON.');
  }
  const version =
    typeof json === 'object' && json !== null && 'v' in json && typeof json.v === 'number' ? json.v : 0;
  if (version > SCHEMA_VERSION) {
    throw new RecordNewerError(
      `The record has schema version ${version}; this Holdfast reads up to ${SCHEMA_VERSION}.`,
      { hint: UPDATE },
    );
  }
  const parsed = v.safeParse(Record1, json);
  if (!parsed.success) {
    const where = parsed.issues.map((issue) => v.getDotPath(issue) ?? 'the whole').slice(0, 3);
    if (parsed.issues.every(isUnknownValue)) {
      throw new RecordNewerError(
        `The record has values that this Holdfast does not know (${where.join(', ')}): a newer one wrote it.`,
        { hint: UPDATE },
      );
    }
    throw new RecordDamagedError(`The record opens, but is not a credential (${where.join(', ')}).`);
  }
  const { v: _version, ...credential } = parsed.output;
  const unknown = unknownMembers(json, written(parsed.output));
  return unknown === undefined ? credential : { ...credential, unknown };
}
