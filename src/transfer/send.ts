import * as v from 'valibot';
import { type Credential, type CredentialId, isKeyBound, isRenewable } from '../credential.ts';
import { serializeCredential } from '../credential-record.ts';
import type { StoredCredential } from '../credentials/credential-store.ts';
import { loginCommand, MOVED, notLoggedIn, notLoggedInNear, refused } from '../credentials/login-required.ts';
import type { SealedCredentialStore } from '../credentials/sealed/sealed-credential-store.ts';
import { lapsesAt } from '../credentials/token-age.ts';
import { AbortedError, InvalidArgumentError, LoginCancelledError } from '../errors.ts';
import { type BlobHeader, readBlob, sealBlob } from '../handover/blob.ts';
import { type HandoverCode, parseCode } from '../handover/code.ts';
import type { TransferMode } from '../handover/transfer-mode.ts';
import { fourWords } from '../handover/words.ts';
import { checkNothingInDoubt } from '../refresh/in-doubt.ts';
import type { ReusePolicy } from '../refresh/reuse-policy.ts';
import { Secret } from '../secret.ts';
import { thisMoment } from '../system/clock.ts';
import { lifetimeOf } from './receive.ts';
import type { HandoverFiles } from './sealed-files.ts';
import type { SendOptions, SendResult } from './types.ts';

/*
 * The sending end of a hand-over. A refresh token that rotates has one holder. So the sender sends an access token
 * without refresh token, a login made for the receiver, or its own login, which it then no longer has.
 */

const DEFAULT_LIFETIME_MS = 600_000;

export interface SendContext {
  readonly credentialStore: SealedCredentialStore;
  readonly policy: ReusePolicy;
  readonly files: HandoverFiles;
  /** Refreshes the stored login if it is due. */
  readonly renew: (options: SendOptions) => Promise<unknown>;
  /** Logs in again and stores nothing. */
  readonly logInElsewhere: (options: SendOptions) => Promise<Credential>;
}

export async function send(
  id: CredentialId,
  options: SendOptions,
  context: SendContext,
): Promise<SendResult> {
  const { mode = 'access-token', lifetimeMs = DEFAULT_LIFETIME_MS } = options;
  const code = parseCode(options.to);
  const sending: Sending = { id, options, context, code, mode, lifetimeMs: lifetimeOf(lifetimeMs) };
  if (mode === 'move') return await move(sending);
  return mode === 'fresh' ? await sendFresh(sending) : await sendAccessToken(sending);
}

interface Sending {
  readonly id: CredentialId;
  readonly options: SendOptions;
  readonly context: SendContext;
  readonly code: HandoverCode;
  readonly mode: TransferMode;
  readonly lifetimeMs: number;
}

async function sendAccessToken(sending: Sending): Promise<SendResult> {
  const { id, options, context } = sending;
  await context.renew(options);
  const found = await context.credentialStore.find(id);
  if (found === undefined) throw notLoggedIn(id);
  const credential = context.credentialStore.newest(found.held).credential;
  checkSendableCopy(credential);
  await confirm(sending);
  return sealed(sending, accessTokenOf(credential));
}

async function sendFresh(sending: Sending): Promise<SendResult> {
  await confirm(sending);
  const credential = await sending.context.logInElsewhere(sending.options);
  return sealed(sending, { ...credential, account: sending.id.account });
}

/**
 * Moves the login. The sealed blob is saved before the record becomes a tombstone, and returned after that. Whenever
 * this process dies, the login is still here, or the same call with the same code returns its blob again.
 */
async function move(sending: Sending): Promise<SendResult> {
  const { id, options, context, code } = sending;
  const { credentialStore, policy, files } = context;
  const found = await credentialStore.find(id);
  if (found === undefined) throw await notLoggedInNear(id, credentialStore);
  const before = await blobAgain(sending, found.held);
  if (before !== undefined) return before;
  checkMovable(found.held.credential);
  const words = await confirm(sending);
  await removeExpired(files);
  const lease = credentialStore.lease(found.held);
  try {
    // Another login or another process may change the record meanwhile. Then send the changed one.
    for (;;) {
      const current = await lease.begin(await policy.patience(found.held.credential, options.signal));
      if (current === undefined) throw notLoggedIn(id);
      const again = await blobAgain(sending, current);
      if (again !== undefined) return again;
      checkMovable(current.credential);
      await checkNothingInDoubt(lease, current.credential);
      const result = await sealed(sending, current.credential);
      await files.write('sent', {
        id: current.address.id,
        key: current.key,
        plaintext: sentText(result, code.id),
      });
      // If this fails, the blob stays: the store may have written the tombstone although its answer was lost.
      const reason = `it was moved to another machine (hand-over words: ${words}).`;
      const gone = await lease.replace(current, tombstoneOf(current.credential, reason));
      if (typeof gone !== 'string') return result;
      await lease.release();
    }
  } finally {
    await lease.release();
  }
}

/** Returns the blob of a login that has already moved, if it is for this code and has not expired. */
async function blobAgain(
  sending: Sending,
  { credential, address }: StoredCredential,
): Promise<SendResult | undefined> {
  if (credential.loginRequired?.error !== MOVED) return undefined;
  const { code, context } = sending;
  const found = await context.files.find('sent', address.id);
  const sent = found && parseSent(found.plaintext);
  if (sent === undefined || sent.to !== code.id || Date.now() > sent.expiresAt) throw refused(credential);
  const { to: _to, ...result } = sent;
  return { ...result, ...(await wordsOf(code, sent.blob)), mode: 'move', again: true };
}

async function sealed(sending: Sending, credential: Credential): Promise<SendResult> {
  const { code, mode, lifetimeMs } = sending;
  const { resource, account } = credential;
  const leaving = departing(credential);
  const tokenExpiresAt = leaving.tokens.expiresAt;
  const end = Date.now() + lifetimeMs;
  // Expire no later than the access token, which is useless afterwards.
  const expiresAt =
    mode === 'access-token' && tokenExpiresAt !== undefined ? Math.min(end, tokenExpiresAt) : end;
  const about: Omit<BlobHeader, 'to'> = { resource, account, mode, expiresAt };
  const blob = await sealBlob(code, about, serializeCredential(leaving));
  const canRefresh = isRenewable(leaving);
  const words = await wordsOf(code, blob);
  return { blob, ...words, mode, resource, account, expiresAt, tokenExpiresAt, canRefresh, again: false };
}

async function wordsOf(code: HandoverCode, blob: string): Promise<{ codeWords: string; blobWords: string }> {
  return {
    codeWords: await fourWords('code', code.publicKey),
    blobWords: await fourWords('blob', readBlob(blob).digest),
  };
}

/** Lets the user compare the words of both ends before anything is sealed. */
async function confirm({ code, options }: Sending): Promise<string> {
  const words = await fourWords('code', code.publicKey);
  if (options.confirm !== undefined && !(await options.confirm(words))) {
    throw new LoginCancelledError(
      'The words differ, so the code is not the one that was shown: nothing was sent.',
      {
        hint: 'Whoever could change it on its way must not get the login. Copy the code by another way.',
      },
    );
  }
  if (options.signal?.aborted === true) {
    throw new AbortedError('The hand-over was ended by its caller.', { cause: options.signal.reason });
  }
  return words;
}

/**
 * Converts the token's times to the wall clock of this moment: the other machine does not know this machine's boot
 * time.
 */
export function departing(credential: Credential): Credential {
  const { tokens } = credential;
  const expiresAt = lapsesAt(credential, thisMoment());
  const shift = (expiresAt ?? 0) - (tokens.expiresAt ?? 0);
  const obtainedAt = Math.max(0, tokens.obtainedAt + shift);
  return { ...credential, tokens: { ...tokens, obtainedAt, expiresAt, obtainedBoot: undefined } };
}

/**
 * Keeps only what the use of the access token needs. Drops the revocation endpoint: revoking the token there could end
 * the whole login here (RFC 7009 section 2.1).
 */
export function accessTokenOf(credential: Credential): Credential {
  const { server, client, tokens } = credential;
  const { issuer, tokenEndpoint, reach } = server;
  const { clientId, redirectUris, source } = client;
  return {
    ...credential,
    server: { issuer, tokenEndpoint, reach },
    client: { clientId, redirectUris, source, authMethod: 'none' },
    grant: undefined,
    tokens: { ...tokens, refreshToken: undefined },
  };
}

function checkSendableCopy(credential: Credential): void {
  if (!isKeyBound(credential)) return;
  const { resource, account } = credential;
  throw new InvalidArgumentError(
    `The access token of ${resource} is bound to a key (DPoP, RFC 9449), and is of no use without it; a key has one holder.`,
    {
      hint: `Make a login for the other machine, with a key of its own: ${sendCommand(resource, account)} --fresh. Or give this one away: --move`,
    },
  );
}

export function checkMovable(credential: Credential): void {
  const { resource, account, grant } = credential;
  if (credential.loginRequired !== undefined) throw refused(credential);
  if (grant === undefined) return;
  throw new InvalidArgumentError(
    `The login to ${resource} was made without a person (${grant.type}), from what lies on this machine.`,
    {
      hint: `Log in there in the same way: ${loginCommand(resource, account)} … Or send an access token alone: leave out --move`,
    },
  );
}

function sendCommand(resource: string, account: string): string {
  return loginCommand(resource, account).replace('holdfast login', 'holdfast send');
}

/** Replaces a moved login: holds no token, but the reason. Its registration serves the next login. */
export function tombstoneOf(credential: Credential, reason: string): Credential {
  const now = Date.now();
  const { server } = credential;
  return {
    ...credential,
    generation: credential.generation + 1,
    server: { ...server, revocationEndpoint: undefined },
    dpopKey: undefined,
    // A new login time: after an interrupted write, recovery must not take the tombstone for a newer state of that
    // login.
    loggedInAt: now,
    tokens: { accessToken: new Secret(MOVED), tokenType: 'Bearer', obtainedAt: now, expiresAt: now },
    loginRequired: { reason, error: MOVED, since: now },
  };
}

const time = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Sent = v.object({
  to: v.string(),
  blob: v.string(),
  resource: v.string(),
  account: v.string(),
  expiresAt: time,
  tokenExpiresAt: v.optional(time),
  canRefresh: v.boolean(),
});

function sentText(
  { blob, resource, account, expiresAt, tokenExpiresAt, canRefresh }: SendResult,
  to: string,
): Uint8Array {
  const kept = { to, blob, resource, account, expiresAt, tokenExpiresAt, canRefresh };
  return Buffer.from(JSON.stringify(kept), 'utf8');
}

function parseSent(plaintext: Uint8Array): v.InferOutput<typeof Sent> | undefined {
  try {
    const parsed = v.safeParse(Sent, JSON.parse(Buffer.from(plaintext).toString('utf8')));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}

/** Removes blobs that have expired. */
async function removeExpired(files: HandoverFiles): Promise<void> {
  for (const found of await files.all('sent')) {
    const sent = parseSent(found.plaintext);
    if (sent !== undefined && Date.now() > sent.expiresAt) await files.remove('sent', found);
  }
}
